"""Topics of conversation, and what people say to open one.

Over `asking`; `make` calls. Invariants: every batch is shown what exists; a topic that brings nothing new in three batches has given what
it has, it is never asked without end. Source of steps and counts: the reference's chat pipeline (batches of 50, six kinds of question).
Cost: a call a batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Final

from msm.llm.ask import Answer
from msm.synth.asking import SAMPLES, Window, folded, topped_up
from msm.synth.dialogue.settings import LEAST_TOPICS, QUESTION_BATCH, TOPIC_BATCH, Candidate, ChatSettings
from msm.synth.prompts import schemas
from msm.synth.prompts.schemas import entries, words
from msm.synth.tree.brief import Brief

TOPIC_TOKENS: Final = 4096
QUESTION_TOKENS: Final = 8192
ROUNDS: Final = 100
"""Batches of one backfill round: its samples are told from the others' by the round's number."""


def topics_wanted(settings: ChatSettings) -> int:
    """Topics for so many samples."""
    return max(LEAST_TOPICS, ceil(settings.samples / settings.questions_per_domain))


async def topics(brief: Brief, settings: ChatSettings, window: Window) -> list[str]:
    """Different topics, as many as are wanted or as the author finds.

    Raises:
        AskFailed: it found none.
    """

    async def ask(wanted: int, existing: Sequence[str], number: int) -> list[str]:
        values: dict[str, Any] = {"wanted": wanted, "existing": list(existing)}
        request = brief.request("topics", "chat_domains", TOPIC_TOKENS, schemas.CHAT_DOMAINS, **values)
        answer = await window.ask(replace(request, sample=request.sample * SAMPLES + number))
        return [topic for entry in entries(answer.data, "topics") if (topic := words(entry, "topic"))]

    return await topped_up(topics_wanted(settings), TOPIC_BATCH, folded, ask)


@dataclass(frozen=True, slots=True)
class Questions:
    """Asks for the openings of a topic."""

    brief: Brief
    window: Window

    async def of(self, topic: str, wanted: int, known: Sequence[Candidate], round_: int) -> list[Candidate]:
        """New openings, different from the known ones.

        Raises:
            AskFailed: nothing came.
        """

        async def ask(missing: int, existing: Sequence[Candidate], number: int) -> list[Candidate]:
            values: dict[str, Any] = {"domain": topic, "wanted": missing, "existing": [c.message for c in existing]}
            request = self.brief.request("questions", "chat_questions", QUESTION_TOKENS, schemas.CHAT_QUESTIONS, **values)
            answer = await self.window.ask(replace(request, sample=request.sample * SAMPLES + round_ * ROUNDS + number))
            return [c for entry in entries(answer.data, "messages") if (c := _candidate(topic, entry, answer)).message]

        return await topped_up(wanted, QUESTION_BATCH, lambda c: folded(c.message), ask, known)


def _candidate(topic: str, entry: Mapping[str, Any], answer: Answer) -> Candidate:
    return Candidate(topic, words(entry, "message"), words(entry, "kind"), asked=answer.digest)
