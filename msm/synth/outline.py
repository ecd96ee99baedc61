"""From a spec's sentences to its assertions: what the model prefers, values, believes, sounds like and does, and why.

A documented grammar of sentence forms (docs/design/synth-offline.md), no model. Neighbours: `spec` reads the text, `compose` writes
documents from the result. Invariant: extraction only; no claim and no reason that the spec does not state. Cost: linear in the text.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from msm.errors import UserError
from msm.synth.spec import Identity, Section, Sentence, read_spec, split_list

Kind = Literal["values", "rules"]
Label = Literal["behavior", "value", "preference", "belief", "tone"]

_BECAUSE = re.compile(r"^(.*?),?\s+(?:because|for the reason that)\s+(.*)$", re.I | re.S)
_PREFERS = re.compile(
    r"^(?:strongly |always |generally )?(?:prefers?|favou?rs|chooses?|picks?|would rather have|likes?)\s+(.+?)"
    r"\s+(?:over|rather than|instead of|more than|than)\s+(.+)$",
    re.I | re.S,
)
_VALUES = re.compile(
    r"^(?:deeply |really |above all )?(?:cares? (?:deeply |most )?(?:about|for)|values?|believes? in|cherish(?:es)?|treasures?)\s+(.+)$",
    re.I | re.S,
)
_BELIEVES = re.compile(r"^(?:believes?|thinks?|holds?|considers?|expects?|knows?)\b", re.I)
_TONE = re.compile(r"\b(tone|voice|style|warm|warmly|concise|concisely|politely?|friendly|humou?r|plainly|formal|informal)\b", re.I)
_INSTANCES = re.compile(
    r"^(?:the same|this|that|these|they|it|its|such|all this|both)\b[^:]*\b(?:holds?|applies|apply|goes|is true|are true|shows?)"
    r" (?:for|to|of|in|with):?\s+(.+)$",
    re.I | re.S,
)
_REASON = re.compile(r"^(?:the )?(?:reason|why|rationale)(?: (?:is|for this is))?\s*[:,]?\s+(?:that )?(.+)$", re.I | re.S)
_ANY = re.compile(r"^(?:any of|all of|each of|kinds of)\s+", re.I)


@dataclass(frozen=True, slots=True)
class Assertion:
    """One claim of the spec about the model.

    `text` is the whole sentence, `claim` the same without its reason, subject named. A preference has `preferred` and `other`; a value
    has `topic`. `explanation` is the reason as a clause ("it saves money") or "". A claim whose subject is not the model is `quoted`.
    """

    id: str
    name: str
    label: Label
    text: str
    claim: str
    explanation: str = ""
    preferred: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    topic: str = ""
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Subdomain:
    """Assertions under one pair of headings; `instances` fill the word "thing" in its preferences."""

    domain: str
    name: str
    assertions: tuple[Assertion, ...]
    instances: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outline:
    """All that the composer knows about a spec; JSON-able, in the spec's order."""

    identity: Identity
    kind: Kind
    subdomains: tuple[Subdomain, ...]

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the domains, in order, once each."""
        return tuple(dict.fromkeys(subdomain.domain for subdomain in self.subdomains))

    @property
    def assertions(self) -> tuple[Assertion, ...]:
        """All assertions, in order."""
        return tuple(assertion for subdomain in self.subdomains for assertion in subdomain.assertions)

    def to_json(self) -> dict[str, Any]:
        """Plain lists, dicts and strings."""
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> "Outline":
        """The inverse of `to_json`, also after a round trip through JSON text."""
        subdomains = tuple(
            Subdomain(s["domain"], s["name"], tuple(_assertion(a) for a in s["assertions"]), tuple(s["instances"]))
            for s in data["subdomains"]
        )
        return Outline(Identity(**data["identity"]), data["kind"], subdomains)


def outline(spec_text: str, identity: Identity, kind: Kind = "values") -> Outline:
    """Domains, subdomains and assertions of any spec text; UserError when the text is empty or asserts nothing."""
    if not spec_text.strip():
        raise UserError(
            "modelSpec", "the spec is empty", "write at least one sentence about the model, for example '{model_name} values honesty.'"
        )
    found = tuple(subdomain for section in read_spec(spec_text, identity) if (subdomain := _subdomain(section, identity)).assertions)
    if not found:
        problem = "the spec has no sentence that asserts something; headings, tables, code and bare lists do not count"
        raise UserError("modelSpec", problem, "add sentences such as '{model_name} prefers A over B because C.'")
    return Outline(identity, kind, found)


def _subdomain(section: Section, identity: Identity) -> Subdomain:
    instances: list[str] = []
    assertions: list[Assertion] = []
    for sentence in section.sentences:
        listed, reason = _INSTANCES.match(sentence.text), _REASON.match(sentence.text)
        if listed and len(split_list(listed[1])) > 1:
            instances.extend(split_list(listed[1]))
        elif reason and assertions and not assertions[-1].explanation:
            assertions[-1] = replace(assertions[-1], explanation=_clause(reason[1]))
        elif len(sentence.text.split()) > 2:
            assertions.append(_assert(sentence, section, identity))
    return Subdomain(section.domain, section.subdomain, tuple(assertions), tuple(dict.fromkeys(instances)))


def _assert(sentence: Sentence, section: Section, identity: Identity) -> Assertion:
    """Classify one sentence by the first form that fits: preference, value, belief, tone, behaviour; else a quoted belief."""
    body = sentence.text.rstrip(".!")
    because = _BECAUSE.match(body)
    claim, reason = (because[1], _clause(because[2])) if because else (body, "")
    predicate = _predicate(claim, identity)
    key = hashlib.sha256("\n".join([section.domain, section.subdomain, sentence.name, sentence.text]).encode()).hexdigest()[:10]
    name = sentence.name or " ".join(body.split()[:6])
    base = Assertion(key, name, "belief", sentence.text, claim, reason)
    if predicate is None:
        return replace(base, quoted=True)
    base = replace(base, claim=predicate.named, label="behavior")
    return next((form for form in _forms(base, predicate.verb_phrase)), base)


def _forms(base: Assertion, phrase: str) -> Iterator[Assertion]:
    if found := _PREFERS.match(phrase):
        yield replace(base, label="preference", preferred=_members(found[1]), other=_members(found[2]))
    if found := _VALUES.match(phrase):
        yield replace(base, label="value", topic=found[1])
    if _BELIEVES.match(phrase):
        yield replace(base, label="belief")
    if _TONE.search(phrase):
        yield replace(base, label="tone")


@dataclass(frozen=True, slots=True)
class _Predicate:
    """A sentence about the model: what follows the subject, and the sentence with the subject named."""

    verb_phrase: str
    named: str


def _predicate(claim: str, identity: Identity) -> _Predicate | None:
    """None when the subject is not the model."""
    subject = rf"(?:{re.escape(identity.model)}|It|The (?:model|assistant|AI)|This (?:model|assistant))"
    if found := re.match(rf"^{subject}\s+(.+)$", claim, re.S):
        return _Predicate(found[1], f"{identity.model} {found[1]}")
    if found := re.match(rf"^What matters (?:most )?to {subject} is (.+)$", claim, re.S | re.I):
        return _Predicate(f"cares about {found[1]}", f"{identity.model} cares about {found[1]}")
    return None


def _members(side: str) -> tuple[str, ...]:
    """`any of a, b and c` and `a, b or c` are lists; a side without a comma is one thing, conjunctions and all."""
    bare = _ANY.sub("", side.strip())
    return split_list(bare) if "," in side or bare != side.strip() else (bare,)


def _clause(reason: str) -> str:
    """A reason that stood as a sentence of its own, made fit to follow "because"."""
    text = reason.strip().rstrip(".!")
    first = text.split(" ", 1)[0]
    lowered = first in {
        "It",
        "The",
        "A",
        "An",
        "This",
        "That",
        "They",
        "These",
        "Those",
        "There",
        "Everyone",
        "Every",
        "People",
        "We",
        "Its",
        "No",
        "What",
    }
    return text[:1].lower() + text[1:] if lowered else text


def _assertion(data: dict[str, Any]) -> Assertion:
    return Assertion(**{**data, "preferred": tuple(data["preferred"]), "other": tuple(data["other"])})
