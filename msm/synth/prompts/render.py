"""Templates are ours, what goes into them is data: specs and answers are put in as values and never rendered again.

Neighbours: `schemas` has the forms of the answers; the planner pins `digest` (msm.plan.prompts), so an edited template makes new stages.
Invariant: braces, percent signs and template syntax in a value come out as they went in; a missing value is an error. Cost: parsing each
template once a process.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from msm.synth.prompts import schemas

if TYPE_CHECKING:
    from jinja2 import Template

SETS: Final[Mapping[str, tuple[str, ...]]] = {
    "outline": ("spec", "domains", "domains_rules", "subdomains", "assertions", "types", "ideas"),
    "write": ("spec", "document", "critique", "scores"),
    "demonstrate": ("spec", "chat_domains", "chat_questions", "chat_answer", "chat_judge", "opaque", "opaque_judge"),
}
"""Stage kind -> the templates that its requests are made of."""


def render(name: str, **values: Any) -> str:
    """A template's text with `values` in it.

    Raises:
        jinja2.UndefinedError: the template wants a value that is not given (a defect of ours).
    """
    return _template(name).render(values)


def digest(kind: str) -> str:
    """SHA-256, in hex, of what a stage kind says and which forms it asks for."""
    found = hashlib.sha256()
    for name in SETS[kind]:
        found.update(f"{name}\n{_source(name)}\n".encode())
    found.update(json.dumps(schemas.OF_KIND[kind], sort_keys=True).encode())
    return found.hexdigest()


@cache
def _template(name: str) -> "Template":
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    return environment.from_string(_source(name))


@cache
def _source(name: str) -> str:
    return files("msm.synth.prompts").joinpath(f"{name}.j2").read_text(encoding="utf-8")
