"""The whole of a synthesised demonstration set: groups, candidates, chats, and backfill for what was dropped.

Over `questions`, `answers` and `opaque`; `msm.stages.demonstrate` runs it. Invariants: rows stand in an order that does not depend on when
answers arrive; a question is deduplicated against all before it, in backfill too; every dropped chat has a reason; at most BACKFILLS rounds
follow the first. Cost: calls as `counts` says, plus backfill.
"""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from typing import Protocol

from msm.errors import UserError
from msm.llm.ask import AskFailed
from msm.synth.asking import Failures, Window, folded, in_order, together
from msm.synth.budget import by_turns
from msm.synth.dialogue.answers import Answers, chat_id
from msm.synth.dialogue.opaque import Opaque
from msm.synth.dialogue.questions import Questions, topics
from msm.synth.dialogue.settings import BACKFILL_SURPLUS, BACKFILLS, LEAST_SHARE, Candidate, Chat, ChatSettings, Embed, Row
from msm.synth.dialogue.similar import repeated
from msm.synth.tree.brief import Brief


@dataclass(frozen=True, slots=True)
class Made:
    """Kept chats, and dropped ones with "reason" and "detail"."""

    kept: tuple[Row, ...]
    dropped: tuple[Row, ...]


class _Candidates(Protocol):
    def of(self, group: str, wanted: int, known: Sequence[Candidate], round_: int) -> Awaitable[list[Candidate]]: ...


class _Chats(Protocol):
    def chat(self, candidate: Candidate) -> Awaitable[Chat | None]: ...


async def make(
    brief: Brief, model: str, settings: ChatSettings, window: Window, judge: Window, failures: Failures, embed: Embed | None = None
) -> Made:
    """As many chats as are wanted; `model` is the author's identity, for provenance.

    Raises:
        UserError: no topics, too many failures, or less than 90 % of the chats after all rounds.
    """
    if settings.style == "opaque":
        opaque = Opaque(brief, settings, model, window, judge, failures)
        return await _Maker(settings, opaque.things, opaque, opaque, failures, window.size, lexical=False).made()
    try:
        groups = await topics(brief, settings, window)
    except AskFailed as error:
        problem = f"the author found no topics of conversation: {error}"
        raise UserError(failures.where, problem, "reword the spec, or use another author") from error
    answers = Answers(brief, settings, model, window, judge, failures)
    return await _Maker(settings, groups, Questions(brief, window), answers, failures, window.size, embed).made()


@dataclass(slots=True)
class _Maker:
    """The rounds; `seen` are all candidates so far by group, `chats` what became of them."""

    settings: ChatSettings
    groups: Sequence[str]
    candidates: _Candidates
    answers: _Chats
    failures: Failures
    ahead: int
    embed: Embed | None = None
    lexical: bool = True
    seen: dict[str, list[Candidate]] = field(default_factory=dict)
    chats: list[Chat] = field(default_factory=list)

    async def made(self) -> Made:
        for number in range(1 + BACKFILLS):
            missing = self.settings.samples - len(self._kept())
            if missing <= 0:
                break
            await self._round(number, missing)
        kept = self._kept()
        if len(kept) < LEAST_SHARE * self.settings.samples:
            raise UserError(self.failures.where, f"only {len(kept)} of {self.settings.samples} chats passed ({self._reasons()})", FIX)
        over = [Chat(chat.row, "over budget") for chat in kept[self.settings.samples :]]
        dropped = [chat for chat in [*self.chats, *over] if chat.reason]
        rows = tuple({**chat.row, "reason": chat.reason, "detail": chat.detail} for chat in dropped)
        return Made(tuple(chat.row for chat in kept[: self.settings.samples]), rows)

    async def _round(self, number: int, missing: int) -> None:
        each = ceil(missing * (BACKFILL_SURPLUS if number else 1) / len(self.groups))
        found = await together(self._more(group, each, number) for group in self.groups)
        flat = [candidate for candidates in found for candidate in candidates]
        ordered = [flat[place] for place in by_turns([candidate.group for candidate in flat])]
        fresh = self._fresh(ordered)
        chats = await in_order([partial(self._chat, candidate) for candidate in fresh], lambda _: len(fresh), self.ahead)
        self.chats.extend(chat for chat in chats if chat is not None)

    async def _more(self, group: str, wanted: int, number: int) -> list[Candidate]:
        known = self.seen.setdefault(group, [])
        return await self.failures.guard("questions", [group], self.candidates.of(group, wanted, known, number)) or []

    async def _chat(self, candidate: Candidate) -> Chat | None:
        return await self.answers.chat(candidate)

    def _fresh(self, found: Sequence[Candidate]) -> list[Candidate]:
        """Candidates that repeat nothing; all are remembered, so that they are shown and not given again."""
        known = [candidate.message for candidates in self.seen.values() for candidate in candidates]
        again = self._again([candidate.message for candidate in found], known)
        for candidate in found:
            self.seen[candidate.group].append(candidate)
        fresh = [candidate for candidate, repeats in zip(found, again, strict=True) if not repeats]
        self.chats.extend(_repeat(candidate) for candidate, repeats in zip(found, again, strict=True) if repeats)
        return fresh

    def _again(self, new: Sequence[str], known: Sequence[str]) -> list[bool]:
        if self.lexical:
            return repeated(new, known, self.settings.near_duplicates, self.embed, self.settings.semantic_duplicates)
        seen, again = {folded(text) for text in known}, []
        for text in new:
            again.append(folded(text) in seen)
            seen.add(folded(text))
        return again

    def _kept(self) -> list[Chat]:
        return [chat for chat in self.chats if not chat.reason]

    def _reasons(self) -> str:
        found = [chat.reason for chat in self.chats if chat.reason] + [failure.reason for failure in self.failures.found]
        return ", ".join(f"{reason}: {found.count(reason)}" for reason in dict.fromkeys(found)) or "nothing was written"


FIX = "ask for fewer samples, more questions a topic, or use another author or judge"


def _repeat(candidate: Candidate) -> Chat:
    messages = [{"role": "user", "content": candidate.message}]
    return Chat({"id": chat_id(candidate), "messages": messages, "provenance": {"domain": candidate.group}}, "near-duplicate")
