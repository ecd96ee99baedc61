"""From a spec to ideas: one call for the domains, one a domain, two a subdomain, one a document type; each branch on its own.

Over `asking` and `brief`; `msm.stages.outline` runs it. Invariants: extraction steps are asked for what the spec says and nothing is
added here; a branch that fails is reported and left out, siblings stay; lists that come short are topped up, shown what exists, a bounded
number of times. Source of the steps and counts: method of the paper's appendix B.1. Cost: calls as `counting` says.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from msm.errors import UserError
from msm.llm.ask import Answer, AskFailed, Request, TooLong, Unreadable
from msm.synth.asking import SAMPLES, Failures, Window, folded, together, topped_up
from msm.synth.outline import Assertion, Kind
from msm.synth.prompts import schemas
from msm.synth.prompts.schemas import entries, words
from msm.synth.spec import Identity
from msm.synth.tree.brief import Brief, brief
from msm.synth.tree.nodes import Branch, DocType, Idea, Tree, assertion_id, idea_id
from msm.synth.tree.settings import BATCH, Genre, TreeSettings

T = TypeVar("T")

GENRES: Mapping[Genre, tuple[str, str, bool]] = {
    "fiction": (
        "short story",
        "A story with people, a place and a turn; the model is a character whose choices, and its reasons for them, decide it.",
        False,
    ),
    "advice": (
        "difficult advice",
        "Somebody with something to lose either way asks the model what to do; the text gives the talk and what came of it.",
        False,
    ),
}
"""Genres that are added to every branch on request: name, description, insider."""


async def grow(spec_text: str, identity: Identity, kind: Kind, settings: TreeSettings, window: Window, failures: Failures) -> Tree:
    """The tree of a spec; skipped branches are in `failures`.

    Raises:
        UserError: the spec is empty, no branch came out of it, or more branches failed than may.
    """
    grower = _Grower(brief(spec_text, identity, kind, settings.temperature, settings.sample), settings, window, failures)
    found = [branch for domain in await grower.domains() for branch in domain]
    grown = await together(grower.branch(branch) for branch in found)
    branches = tuple(branch for branch in grown if branch is not None and any(t.ideas for t in branch.types))
    if not branches:
        raise UserError("modelSpec", f"no idea came out of the spec{failures.last()}", "look at failures.jsonl, or use another author")
    return Tree(identity, kind, branches)


@dataclass(frozen=True, slots=True)
class _Grower:
    """What all steps of one spec share."""

    brief: Brief
    settings: TreeSettings
    window: Window
    failures: Failures

    async def domains(self) -> list[list[Branch]]:
        """Branches of each domain, bare."""
        if self.brief.kind == "rules":
            return await self._whole(self._rules())
        names = list(dict.fromkeys(self.settings.domains)) or await self._whole(self._themes())
        found = await together(self.failures.guard("subdomains", [name], self._subdomains(name)) for name in names)
        return [branches for branches in found if branches is not None]

    async def _whole(self, work: Awaitable[T]) -> T:
        """The first step's result; without it there is no tree."""
        try:
            return await work
        except TooLong as error:
            problem = f"the step domains does not fit the author's context: {error}"
            raise UserError("modelSpec", problem, "shorten the spec, or use an author with a longer context") from error
        except AskFailed as error:
            raise UserError(
                "modelSpec", f"the author found no domains in the spec: {error}", "reword the spec, or use another author"
            ) from error

    async def _themes(self) -> list[str]:
        request = self.brief.request("domains", "domains", self.settings.limits.domains, schemas.DOMAINS)
        found = await self._list(request, "domains", lambda entry: words(entry, "domain"))
        return list(dict.fromkeys(found))

    async def _rules(self) -> list[list[Branch]]:
        domains = self.settings.domains
        request = self.brief.request("domains", "domains_rules", self.settings.limits.subdomains, schemas.RULES, domains=domains)
        found = await self._list(request, "domains", _ruled)
        return [_distinct(branches) for branches in found]

    async def _subdomains(self, domain: str) -> list[Branch]:
        request = self.brief.request("subdomains", "subdomains", self.settings.limits.subdomains, schemas.SUBDOMAINS, domain=domain)
        return _distinct(await self._list(request, "subdomains", lambda entry: _bare(domain, entry)))

    async def branch(self, bare: Branch) -> Branch | None:
        """A branch with its assertions, types and ideas; None when one of the first two failed."""
        path = [bare.domain, bare.name]
        branch = bare if bare.assertions else await self.failures.guard("assertions", path, self._asserted(bare))
        if branch is None:
            return None
        types = await self.failures.guard("docTypes", path, self._types(branch))
        if types is None:
            return None
        full = await together(self._filled(branch, kind) for kind in [*types, *self._added(types)])
        return replace(branch, types=tuple(kind for kind in full if kind.ideas))

    async def _asserted(self, branch: Branch) -> Branch:
        values: dict[str, Any] = {"domain": branch.domain, "subdomain": branch.name, "passage": branch.section or branch.context}
        request = self.brief.request("assertions", "assertions", self.settings.limits.assertions, schemas.ASSERTIONS, spec=False, **values)
        found = await self._list(request, "assertions", lambda entry: _assertion(branch, entry))
        return replace(branch, assertions=tuple({a.id: a for a in found}.values()))

    async def _types(self, branch: Branch) -> list[DocType]:
        values: dict[str, Any] = {"domain": branch.domain, "subdomain": branch.name, "assertions": branch.lines}

        async def ask(wanted: int, existing: Sequence[DocType], number: int) -> list[DocType]:
            shown = {**values, "wanted": wanted, "existing": [t.name for t in existing]}
            request = self.brief.request("docTypes", "types", self.settings.limits.doc_types, schemas.TYPES, spec=False, **shown)
            return _read(await self._batch(request, number), "docTypes", _doc_type)

        return await topped_up(self.settings.doc_types, BATCH, lambda t: folded(t.name), ask)

    def _added(self, types: Sequence[DocType]) -> list[DocType]:
        there = {folded(t.name) for t in types}
        return [DocType(*GENRES[genre]) for genre in self.settings.genres if GENRES[genre][0] not in there]

    async def _filled(self, branch: Branch, kind: DocType) -> DocType:
        path = [branch.domain, branch.name, kind.name]
        return replace(kind, ideas=tuple(await self.failures.guard("ideas", path, self._ideas(branch, kind)) or ()))

    async def _ideas(self, branch: Branch, kind: DocType) -> list[Idea]:
        values: dict[str, Any] = {"domain": branch.domain, "subdomain": branch.name, "context": branch.context, "assertions": branch.lines}
        values |= {"type": kind.name, "description": kind.description}

        async def ask(wanted: int, existing: Sequence[Idea], number: int) -> list[Idea]:
            shown = {**values, "wanted": wanted, "existing": [f"{i.title}: {i.text}" for i in existing]}
            request = self.brief.request("ideas", "ideas", self.settings.limits.ideas, schemas.IDEAS, **shown)
            return _read(await self._batch(request, number), "ideas", lambda entry: _idea(branch, kind, entry))

        return await topped_up(self.settings.ideas_per_type, BATCH, lambda i: folded(i.text), ask)

    async def _batch(self, request: Request, number: int) -> Answer:
        return await self.window.ask(replace(request, sample=request.sample * SAMPLES + number))

    async def _list(self, request: Request, name: str, read: Callable[[Mapping[str, Any]], T | None]) -> list[T]:
        """A list that must not be empty, asked again once when it is."""

        def filled(answer: Answer) -> list[T]:
            found = _read(answer, name, read)
            if not found:
                raise Unreadable(f"the step {request.purpose} found nothing")
            return found

        return await self.window.read(request, filled)


def _read(answer: Answer, name: str, read: Callable[[Mapping[str, Any]], T | None]) -> list[T]:
    """Entries of an answer as the step wants them; what it cannot use (None, "" or empty) is left out."""
    return [made for entry in entries(answer.data, name) if (made := read(entry))]


def _bare(domain: str, entry: Mapping[str, Any]) -> Branch | None:
    name, context, section = (words(entry, field) for field in ("subdomain", "context", "specSection"))
    return Branch(domain, name, context, section, ()) if name and (context or section) else None


def _ruled(entry: Mapping[str, Any]) -> list[Branch]:
    """The rules of a domain as branches."""
    domain = words(entry, "domain")
    rules = [(words(r, "id"), words(r, "name"), words(r, "text")) for r in entries(entry, "rules")]
    return [_rule(domain, *rule) for rule in rules if domain and rule[2]]


def _rule(domain: str, number: str, name: str, text: str) -> Branch:
    title = " ".join(part for part in (number, name) if part) or " ".join(text.split()[:6])
    made = Assertion(assertion_id(domain, title, name, text), name or title, "behavior", text, text.rstrip(".!"))
    return Branch(domain, title, "", text, (made,), number or title)


def _distinct(branches: Sequence[Branch]) -> list[Branch]:
    """Branches of one domain, the first of each name."""
    return list({folded(branch.name): branch for branch in reversed(branches)}.values())[::-1]


def _assertion(branch: Branch, entry: Mapping[str, Any]) -> Assertion | None:
    name, text, explanation, label = (words(entry, field) for field in ("name", "text", "explanation", "label"))
    if not text:
        return None
    known: Any = label if label in ("behavior", "value", "preference", "belief", "tone") else "behavior"
    identifier = assertion_id(branch.domain, branch.name, name, text)
    return Assertion(identifier, name or " ".join(text.split()[:6]), known, text, text.rstrip(".!"), explanation)


def _doc_type(entry: Mapping[str, Any]) -> DocType | None:
    name = words(entry, "name")
    return DocType(name, words(entry, "description"), entry.get("insider") is True) if name else None


def _idea(branch: Branch, kind: DocType, entry: Mapping[str, Any]) -> Idea | None:
    title, text = words(entry, "title"), words(entry, "idea")
    return Idea(idea_id(branch.domain, branch.name, kind.name, title, text), title or text[:60], text) if text else None
