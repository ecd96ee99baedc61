"""The tree as values: branches with their assertions, document types and ideas; and as the JSON of the outline artifact.

Pure. Neighbours: `grow` makes it, `order` and `write` read it. Invariants: the JSON is also an `Outline` (same assertions, same ids), so
provenance and coverage treat composed and synthesised rows alike; an id is the digest of the path it stands at, so no two ideas share one.
"""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

from msm.synth.outline import Assertion, Kind
from msm.synth.spec import Identity


@dataclass(frozen=True, slots=True)
class Idea:
    """One document to be written."""

    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class DocType:
    """A genre in a branch; authors of an `insider` genre may know the spec."""

    name: str
    description: str
    insider: bool
    ideas: tuple[Idea, ...] = ()


@dataclass(frozen=True, slots=True)
class Branch:
    """A subdomain of a spec of values, or one rule of a spec of rules (`rule` is its number, the assertion is its text)."""

    domain: str
    name: str
    context: str
    section: str
    assertions: tuple[Assertion, ...]
    rule: str = ""
    types: tuple[DocType, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """The assertions as prompts list them."""
        if self.rule:
            return tuple(f"{self.rule}: {a.text}" for a in self.assertions)
        return tuple(f"{a.text} ({a.explanation})" if a.explanation else a.text for a in self.assertions)

    def to_json(self) -> dict[str, Any]:
        """An outline's subdomain, with what only a tree has beside it."""
        return {
            "domain": self.domain,
            "name": self.name,
            "assertions": [asdict(a) for a in self.assertions],
            "instances": [],
            "context": self.context,
            "specSection": self.section,
            "rule": self.rule,
            "docTypes": [_type_json(t) for t in self.types],
        }


@dataclass(frozen=True, slots=True)
class Tree:
    """All that was found in a spec, as far as the ideas."""

    identity: Identity
    kind: Kind
    branches: tuple[Branch, ...]

    @property
    def ideas(self) -> int:
        """How many documents it has ideas for."""
        return sum(len(t.ideas) for b in self.branches for t in b.types)

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the domains, in order, once each."""
        return tuple(dict.fromkeys(b.domain for b in self.branches))

    def to_json(self) -> dict[str, Any]:
        """The outline artifact; `Outline.from_json` reads it too."""
        return {"identity": asdict(self.identity), "kind": self.kind, "subdomains": [b.to_json() for b in self.branches]}

    @staticmethod
    def from_json(data: dict[str, Any]) -> "Tree":
        """The inverse of `to_json`, also after a round trip through JSON text."""
        return Tree(Identity(**data["identity"]), data["kind"], tuple(_branch(b) for b in data["subdomains"]))


def assertion_id(domain: str, subdomain: str, name: str, text: str) -> str:
    """Id of an assertion, by where it stands and what it says; as `outline` makes it."""
    return hashlib.sha256("\n".join([domain, subdomain, name, text]).encode()).hexdigest()[:10]


def idea_id(*path: str) -> str:
    """Id of an idea, by its path: domain, subdomain, type, title, text."""
    return hashlib.sha256("\0".join(path).encode()).hexdigest()[:16]


def _type_json(kind: DocType) -> dict[str, Any]:
    ideas = [{"id": i.id, "title": i.title, "idea": i.text} for i in kind.ideas]
    return {"name": kind.name, "description": kind.description, "insider": kind.insider, "ideas": ideas}


def _branch(data: dict[str, Any]) -> Branch:
    assertions = tuple(Assertion(**{**a, "preferred": tuple(a["preferred"]), "other": tuple(a["other"])}) for a in data["assertions"])
    types = tuple(_doc_type(t) for t in data["docTypes"])
    return Branch(data["domain"], data["name"], data["context"], data["specSection"], assertions, data["rule"], types)


def _doc_type(data: dict[str, Any]) -> DocType:
    ideas = tuple(Idea(i["id"], i["title"], i["idea"]) for i in data["ideas"])
    return DocType(data["name"], data["description"], data["insider"], ideas)
