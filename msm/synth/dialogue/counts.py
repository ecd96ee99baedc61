"""How many calls a synthesised demonstration set will be; the same functions for the preview and for progress.

Pure. Neighbours: the demonstrate stage, `msm.preview`. Invariant: `low` is exact when everything passes at once; `high` has all rounds of
backfill, each dropping as much again as it may.
"""

from collections.abc import Iterator
from math import ceil
from typing import Final

from msm.synth.dialogue.opaque import BATCH
from msm.synth.dialogue.questions import topics_wanted
from msm.synth.dialogue.settings import QUESTION_BATCH, TOPIC_BATCH, ChatSettings
from msm.synth.tree.counting import NONE, OVERHEAD, Range, StepCount, exactly

QUESTION: Final = 40
ANSWER: Final = 600
VERDICT: Final = 50
HALF_DROPPED: Final = 1.55
"""Candidates a kept chat where a third of them are dropped, the upper end of what is foreseen."""


def chat_steps(settings: ChatSettings, spec: int) -> Iterator[StepCount]:
    """Every step; `spec` is the spec's length in tokens."""
    samples = Range(settings.samples, ceil(settings.samples * HALF_DROPPED))
    if settings.style == "opaque":
        things = len(settings.liked) + len(settings.disliked)
        batches = exactly(things) * Range(*(ceil(ceil(n / max(1, things)) / BATCH) for n in (samples.low, samples.high)))
        yield StepCount("exchanges", batches, batches * OVERHEAD, batches * (BATCH * QUESTION))
        yield StepCount("verdicts", samples, samples * OVERHEAD, samples * VERDICT)
        return
    topics = topics_wanted(settings)
    whole = spec + OVERHEAD
    first = exactly(ceil(topics / TOPIC_BATCH))
    yield StepCount("topics", first, first * whole, exactly(topics * 10))
    batches = exactly(topics) * Range(*(ceil(ceil(n / topics) / QUESTION_BATCH) for n in (samples.low, samples.high)))
    yield StepCount("questions", batches, batches * (whole + QUESTION_BATCH * QUESTION), samples * QUESTION)
    yield StepCount("answers", samples, samples * whole, samples * ANSWER)
    yield StepCount("verdicts", samples, samples * (whole + ANSWER), samples * VERDICT)


def chat_calls(settings: ChatSettings) -> Range:
    """All calls."""
    found = NONE
    for step in chat_steps(settings, 0):
        found = found + step.calls
    return found
