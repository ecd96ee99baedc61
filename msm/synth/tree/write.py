"""Documents from ideas: drafted, criticised and rewritten by a fresh context, scored; one row each.

Over `order` and `asking`; `msm.stages.write` runs it. Invariants: a row depends on its idea and the settings alone, so order of arrival
and window change nothing; the rewriter sees the spec and the draft, never the plan; a draft that was cut off is asked for once more
and kept as cut if that is cut off as well; whatever fails is reported, a document without scores stays unscored (curate drops it when a
score is wanted). Cost: one to four calls a document.
"""

import hashlib
import re
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from typing import Any, Final

from msm.errors import UserError
from msm.llm.ask import Answer, AskFailed, Finish, Request, Unreadable
from msm.synth.asking import Failures, Window, in_order, usage_json
from msm.synth.prompts import schemas
from msm.synth.tree.brief import Brief, brief
from msm.synth.tree.nodes import Tree
from msm.synth.tree.order import Commission, commissions
from msm.synth.tree.recitation import Wording, wording
from msm.synth.tree.settings import WriteSettings

CountTokens = Callable[[Sequence[str]], Sequence[int]]
Row = dict[str, Any]

AUTHOR: Final = "synthesis/1"
EXPECTED_TOKENS: Final = 1200
"""Tokens of a document before the first ones are in."""
PATIENCE: Final = 4
"""Documents that the expectation weighs as much as."""
SHORTEST_REWRITING: Final = 0.5
"""Length of a rewriting, as a share of the draft's, below which it is a summary."""
CERTAIN = 0.95
"""Part of what is wanted that shares write ahead; how much is really needed is known only to who sees all rows."""
_OPEN, _CLOSE = "<document>", "</document>"


@dataclass(frozen=True, slots=True)
class Written:
    """Rows in the order of their ideas; `ideas` were tried, a failed one has no row."""

    rows: tuple[Row, ...]
    ideas: int


@dataclass(frozen=True, slots=True)
class Share:
    """One of several processes that write the same corpus: number `number` of `of`, counted from 0."""

    number: int
    of: int

    def places(self, ordered: Sequence[Commission]) -> list[int]:
        """Which ideas are its: whole branches, dealt out in the order of their digests, so that all processes agree without talking."""
        branches = sorted({(c.branch.domain, c.branch.name) for c in ordered}, key=lambda b: hashlib.sha256("\0".join(b).encode()).digest())
        own = set(branches[self.number :: self.of])
        return [place for place, c in enumerate(ordered) if (c.branch.domain, c.branch.name) in own]


@dataclass(frozen=True, slots=True)
class Text:
    """A document as it was taken from an answer, and whether it came to its end."""

    text: str
    finish: Finish


async def write(
    tree: Tree, spec_text: str, model: str, settings: WriteSettings, window: Window, judge: Window, failures: Failures, count: CountTokens
) -> Written:
    """Rows until there are enough; `model` is the author's identity, for provenance.

    Raises:
        UserError: more documents failed than may, or all; fewer than are wanted are no error here, curate says what is missing.
    """
    writer, ordered = _writer(tree, spec_text, model, settings, window, judge, failures)
    seen = Seen()

    def needed(rows: Sequence[Row | None]) -> int:
        seen.add(rows, settings, count)
        return wanted(seen, settings)

    done = await in_order([partial(writer.row, commission) for commission in ordered], needed, window.size)
    rows = tuple(row for row in done if row is not None)
    if not rows:
        raise UserError(failures.where, f"no document came out of {len(done)} ideas{failures.last()}", "use another author")
    return Written(rows, len(done))


async def write_share(
    tree: Tree,
    spec_text: str,
    model: str,
    settings: WriteSettings,
    window: Window,
    judge: Window,
    failures: Failures,
    count: CountTokens,
    share: Share,
) -> int:
    """Ask what `write` will ask for the ideas of a share, so that it finds the answers filed; how many ideas. Raises as `write` does."""
    writer, ordered = _writer(tree, spec_text, model, settings, window, judge, failures)
    places, seen = share.places(ordered), Seen()

    def needed(rows: Sequence[Row | None]) -> int:
        seen.add(rows, settings, count)
        return bisect_left(places, ceil(CERTAIN * _aim(settings) / seen.each(settings)))

    return len(await in_order([partial(writer.row, ordered[place]) for place in places], needed, window.size))


def _writer(
    tree: Tree, spec_text: str, model: str, settings: WriteSettings, window: Window, judge: Window, failures: Failures
) -> "tuple[_Writer, list[Commission]]":
    shared = brief(spec_text, tree.identity, tree.kind, settings.temperature, settings.sample)
    writer = _Writer(shared, settings, model, window, judge, failures, wording(shared.spec))
    return writer, commissions(tree, settings.seed, settings.tones)


def _sizes(rows: Sequence[Row | None], settings: WriteSettings, count: CountTokens) -> list[int]:
    """What each row brings towards what is wanted; nothing when it failed or was cut off."""
    usable = [row is not None and row["provenance"]["finishReason"] == "stop" for row in rows]
    if settings.tokens is None or not rows:
        return [int(use) for use in usable]
    tokens = count([row["text"] if row is not None else "" for row in rows])
    return [size if use else 0 for use, size in zip(usable, tokens, strict=True)]


@dataclass(slots=True)
class Seen:
    """How many ideas were written, and what they brought: tokens, or documents."""

    rows: int = 0
    total: int = 0

    def add(self, rows: Sequence[Row | None], settings: WriteSettings, count: CountTokens) -> None:
        """Count the rows that are new; `rows` are all so far."""
        for size in _sizes(rows[self.rows :], settings, count):
            self.rows, self.total = self.rows + 1, self.total + size

    def each(self, settings: WriteSettings) -> float:
        """What an idea will probably bring."""
        expected = EXPECTED_TOKENS if settings.tokens is not None else 1
        return (self.total + PATIENCE * expected) / (self.rows + PATIENCE)


def wanted(seen: Seen, settings: WriteSettings) -> int:
    """How many ideas will probably be needed, by what the first ones brought; as many as there are when it is enough."""
    missing = _aim(settings) - seen.total
    return seen.rows if missing <= 0 else seen.rows + max(1, ceil(missing / seen.each(settings)))


def _aim(settings: WriteSettings) -> float:
    return (settings.tokens or settings.documents or 0) * settings.surplus


@dataclass(frozen=True, slots=True)
class _Writer:
    """What all documents share."""

    brief: Brief
    settings: WriteSettings
    model: str
    window: Window
    judge: Window
    failures: Failures
    wording: Wording

    async def row(self, commission: Commission) -> Row | None:
        """The document of an idea, or None after reporting that there is none."""
        self.failures.asked += 1
        path = [*commission.path, commission.idea.id]
        found = await self.failures.guard("documents", path, self._drafted(commission))
        if found is None:
            return None
        draft, drafting = found
        answers, text = {"document": drafting}, draft
        if self.settings.critique and draft.finish == "stop":
            rewritten = await self.failures.guard("critique", path, self._rewritten(commission, draft.text))
            if rewritten is not None:
                text, answers["critique"] = rewritten
        scores = None
        if self.settings.scored and text.finish == "stop":
            judged = await self.failures.guard("scores", path, self._scored(commission, text.text))
            if judged is not None:
                scores, answers["scores"] = judged
        return self._row(commission, text, answers, scores)

    async def _drafted(self, commission: Commission) -> tuple[Text, Answer]:
        limits, branch = self.settings.limits, commission.branch
        request = self.brief.request(
            "documents",
            "document",
            limits.plan + limits.document,
            None,
            domain=branch.domain,
            subdomain=branch.name,
            assertions=branch.lines,
            title=commission.idea.title,
            idea=commission.idea.text,
            tone=commission.tone,
            names=commission.names,
            date=commission.date,
            description=commission.type.description,
            **_kind(commission),
        )
        first = await self._draft(request)
        return first if first[0].finish == "stop" else await self._whole(request, first)

    async def _draft(self, request: Request) -> tuple[Text, Answer]:
        return await self.window.read(request, lambda answer: (document(answer), answer))

    async def _whole(self, request: Request, cut: tuple[Text, Answer]) -> tuple[Text, Answer]:
        """A draft that was cut off, asked for once more; the cut one stays where that brings no whole one."""
        try:
            again = await self._draft(replace(request, sample=request.sample + 1))
        except AskFailed:
            return cut
        return again if again[0].finish == "stop" else cut

    async def _rewritten(self, commission: Commission, draft: str) -> tuple[Text, Answer]:
        limits = self.settings.limits
        values = {"text": draft, **_kind(commission)}
        request = self.brief.request("critique", "critique", limits.critique + limits.document, None, **values)
        return await self.window.read(request, lambda answer: (rewriting(answer, draft), answer))

    async def _scored(self, commission: Commission, text: str) -> tuple[dict[str, int], Answer]:
        values = {"text": text, **_kind(commission)}
        request = self.brief.judgement("scores", "scores", self.settings.limits.scores, schemas.SCORES, **values)
        return await self.judge.read(request, lambda answer: (scores_of(answer), answer))

    def _row(self, commission: Commission, text: Text, answers: Mapping[str, Answer], scores: Mapping[str, int] | None) -> Row:
        branch, kind = commission.branch, commission.type
        provenance: dict[str, Any] = {
            "author": AUTHOR,
            "path": list(commission.path),
            "idea": commission.idea.id,
            "domain": branch.domain,
            "genre": kind.name,
            "insider": kind.insider,
            "tone": commission.tone,
            "assertions": [a.id for a in branch.assertions],
            "rewritten": "critique" in answers,
            "model": self.model,
            "prompts": {step: answer.digest for step, answer in answers.items()},
            "usage": usage_json(*(answer.usage for answer in answers.values())),
            "finishReason": text.finish,
            **self.wording.of(text.text),
        }
        if scores is not None:
            provenance |= {"scores": dict(scores), "score": min(scores.values())}
        return {"id": commission.idea.id, "text": text.text, "provenance": provenance}


def _kind(commission: Commission) -> dict[str, Any]:
    return {"type": commission.type.name, "insider": commission.type.insider}


def document(answer: Answer) -> Text:
    """The document of an answer: what stands between its tags; without the closing one it was cut off if
    the answer was.

    Raises:
        Unreadable: no opening tag, or nothing behind it.
    """
    after_plan = re.split(r"</(?:plan|critique)>", answer.text, maxsplit=1)[-1]
    _, opened, rest = after_plan.partition(_OPEN)
    body, closed, _ = rest.rpartition(_CLOSE)
    text = (body if closed else rest).strip()
    if not opened or not text:
        raise Unreadable(f"the answer has no {_OPEN} ({len(answer.text)} characters, ended by {answer.finish})")
    return Text(text, "stop" if closed else answer.finish)


def rewriting(answer: Answer, draft: str) -> Text:
    """The document of a rewriting, whole and not boiled down; else the draft is the better of the two.

    Raises:
        Unreadable: there is none, it was cut off, or it has less than half of the draft's length.
    """
    found = document(answer)
    if found.finish != "stop":
        raise Unreadable("the rewriting was cut off")
    if len(found.text) < SHORTEST_REWRITING * len(draft):
        raise Unreadable(f"the rewriting has {len(found.text)} characters, the draft {len(draft)}")
    return found


def scores_of(answer: Answer) -> dict[str, int]:
    """The axes' scores.

    Raises:
        Unreadable: one is missing or is not a whole number from 0 to 10.
    """
    data = answer.data if isinstance(answer.data, Mapping) else {}
    found = {axis: data.get(axis) for axis in schemas.AXES}
    for axis, score in found.items():
        if isinstance(score, bool) or not isinstance(score, int) or not 0 <= score <= 10:
            raise Unreadable(f"{axis} is {score!r}, not a whole number from 0 to 10")
    return {axis: int(str(score)) for axis, score in found.items()}
