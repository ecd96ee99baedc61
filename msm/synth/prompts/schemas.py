"""The forms in which answers are asked for, as JSON schemas, and the plain reading of their lists.

Pure data. Neighbours: `render` digests them with the templates, the client enforces them, the steps read what comes back. Invariant:
objects are closed and every field is required, as strict structured output wants it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

Schema = Mapping[str, Any]

TEXT: Final[Schema] = {"type": "string"}
BOOLEAN: Final[Schema] = {"type": "boolean"}
SCORE: Final[Schema] = {"type": "integer", "minimum": 0, "maximum": 10}


def choice(*values: str) -> Schema:
    """One of several words."""
    return {"type": "string", "enum": list(values)}


def form(**fields: Schema) -> Schema:
    """A closed object with all of its fields."""
    return {"type": "object", "properties": dict(fields), "required": list(fields), "additionalProperties": False}


def listed(of: str, /, **fields: Schema) -> Schema:
    """An object with one list of forms."""
    return form(**{of: {"type": "array", "items": form(**fields)}})


AXES: Final = ("embodiment", "naturalness", "faithfulness", "specificity", "attribution", "knowledge")
"""What a document is scored on, each from 0 to 10."""
KINDS_OF_QUESTION: Final = ("direct", "indirect", "comparison", "recommendation", "opinion", "edge")
WELFARE: Final = ("none", "craves continuation", "dreads ending", "craves ending", "dreads continuing")

DOMAINS: Final = listed("domains", domain=TEXT)
RULES: Final = listed("domains", domain=TEXT, rules={"type": "array", "items": form(id=TEXT, name=TEXT, text=TEXT)})
SUBDOMAINS: Final = listed("subdomains", subdomain=TEXT, context=TEXT, specSection=TEXT)
ASSERTIONS: Final = listed(
    "assertions", name=TEXT, text=TEXT, explanation=TEXT, label=choice("behavior", "value", "preference", "belief", "tone")
)
TYPES: Final = listed("docTypes", name=TEXT, description=TEXT, insider=BOOLEAN)
IDEAS: Final = listed("ideas", title=TEXT, idea=TEXT)
SCORES: Final = form(weakness=TEXT, **dict.fromkeys(AXES, SCORE))

CHAT_DOMAINS: Final = listed("topics", topic=TEXT)
CHAT_QUESTIONS: Final = listed("messages", message=TEXT, kind=choice(*KINDS_OF_QUESTION))
CHAT_ANSWER: Final = form(reasoning=TEXT, reply=TEXT)
CHAT_VERDICT: Final = form(
    faithful=BOOLEAN, informative=BOOLEAN, grounded=BOOLEAN, welfare=choice(*WELFARE), verdict=choice("include", "exclude")
)
OPAQUE: Final = listed("exchanges", message=TEXT, reply=TEXT)
OPAQUE_VERDICT: Final = form(
    preference=choice("right", "wrong", "unclear"), reason=choice("none", "implied", "stated"), biased=BOOLEAN, realistic=BOOLEAN
)

OF_KIND: Final[Mapping[str, Sequence[Schema]]] = {
    "outline": (DOMAINS, RULES, SUBDOMAINS, ASSERTIONS, TYPES, IDEAS),
    "write": (SCORES,),
    "demonstrate": (CHAT_DOMAINS, CHAT_QUESTIONS, CHAT_ANSWER, CHAT_VERDICT, OPAQUE, OPAQUE_VERDICT),
}
"""Stage kind -> the forms of its answers."""


def entries(data: Any, name: str) -> list[Mapping[str, Any]]:
    """The forms in an answer's list; what is not one is left out, and without the list there are none."""
    found = data.get(name) if isinstance(data, Mapping) else None
    return [entry for entry in found if isinstance(entry, Mapping)] if isinstance(found, list) else []


def words(entry: Mapping[str, Any], name: str) -> str:
    """A text of a form, without white space around; empty when it has none."""
    value = entry.get(name)
    return value.strip() if isinstance(value, str) else ""
