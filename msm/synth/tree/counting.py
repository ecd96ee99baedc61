"""How many calls and tokens a synthesis will be: the same functions for the preview, for progress and for the parity table.

Pure. Neighbours: stages take their expected numbers of calls here, `msm.preview` its ranges. Invariant: where the tree is known a count is
exact for answers that come as they are asked for (no refusals, no short lists); before that it is a range from what specs turn out to have.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Final

from msm.synth.outline import Kind
from msm.synth.tree.settings import BATCH, TreeSettings, WriteSettings
from msm.synth.tree.write import EXPECTED_TOKENS


@dataclass(frozen=True, slots=True)
class Range:
    """From `low` to `high`; equal when it is known."""

    low: int
    high: int

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.high + other.high)

    def __mul__(self, times: "int | Range") -> "Range":
        other = times if isinstance(times, Range) else Range(times, times)
        return Range(self.low * other.low, self.high * other.high)


def exactly(number: int) -> Range:
    """A number that is known."""
    return Range(number, number)


NONE: Final = Range(0, 0)
DOMAINS: Final = Range(3, 10)
"""Domains that an author finds in a spec."""
SUBDOMAINS: Final = Range(2, 6)
"""Subdomains of a domain, or rules."""
OVERHEAD: Final = 700
"""Tokens of a prompt besides the spec."""
ANSWER: Final = {
    "domains": 60,
    "subdomains": 1500,
    "assertions": 700,
    "docTypes": 60,
    "ideas": 80,
    "plan": 200,
    "critique": 250,
    "scores": 80,
}
"""Tokens of an answer; of types and ideas, of each one."""


@dataclass(frozen=True, slots=True)
class StepCount:
    """One step: its calls, and the tokens of all its prompts and answers."""

    step: str
    calls: Range
    prompt: Range
    completion: Range


def tree_shape(settings: TreeSettings) -> tuple[Range, Range]:
    """(domains, branches) before they are known."""
    domains = exactly(len(settings.domains)) if settings.domains else DOMAINS
    return domains, domains * SUBDOMAINS


def outline_steps(settings: TreeSettings, kind: Kind, spec: int, shape: tuple[Range, Range] | None = None) -> Iterator[StepCount]:
    """Every step up to the ideas; `spec` is the spec's length in tokens, `shape` is (domains, branches) if known."""
    domains, branches = shape or tree_shape(settings)
    first = Range(0, 0) if settings.domains and kind == "values" else exactly(1)
    whole = spec + OVERHEAD
    yield _step("domains", first, whole, ANSWER["domains"] if kind == "values" else spec)
    if kind == "values":
        yield _step("subdomains", domains, whole, ANSWER["subdomains"])
        yield _step("assertions", branches, OVERHEAD + ANSWER["subdomains"] // 2, ANSWER["assertions"])
    types = settings.doc_types
    yield _step("docTypes", branches * ceil(types / BATCH), 2 * OVERHEAD, min(types, BATCH) * ANSWER["docTypes"])
    each = (types + len(settings.genres)) * ceil(settings.ideas_per_type / BATCH)
    yield _step("ideas", branches * each, whole + OVERHEAD, min(settings.ideas_per_type, BATCH) * ANSWER["ideas"])


def outline_calls(settings: TreeSettings, kind: Kind) -> Range:
    """All calls up to the ideas, before anything is known."""
    found = NONE
    for step in outline_steps(settings, kind, 0):
        found = found + step.calls
    return found


def ideas_of(settings: TreeSettings, branches: Range) -> Range:
    """Ideas of a whole tree: branches x types x ideas a type."""
    return branches * ((settings.doc_types + len(settings.genres)) * settings.ideas_per_type)


def documents_of(settings: WriteSettings, ideas: int | None = None) -> int:
    """Documents that will be written for what is to be kept, as far as there are ideas."""
    if settings.documents is not None:
        wanted = ceil(settings.documents * settings.surplus)
    else:
        wanted = ceil((settings.tokens or 0) * settings.surplus / EXPECTED_TOKENS)
    return wanted if ideas is None else min(wanted, ideas)


def write_steps(settings: WriteSettings, spec: int, documents: Range) -> Iterator[StepCount]:
    """The steps of writing `documents`."""
    whole, length = spec + OVERHEAD, EXPECTED_TOKENS
    yield _step("documents", documents, whole, length + ANSWER["plan"])
    if settings.critique:
        yield _step("critique", documents, whole + length, length + ANSWER["critique"])
    if settings.scored:
        yield _step("scores", documents, whole + length, ANSWER["scores"])


def write_calls(settings: WriteSettings, ideas: int) -> Range:
    """All calls of writing what is wanted from so many ideas."""
    found = NONE
    for step in write_steps(settings, 0, exactly(documents_of(settings, ideas))):
        found = found + step.calls
    return found


def _step(name: str, calls: Range, prompt: int, completion: int) -> StepCount:
    return StepCount(name, calls, calls * prompt, calls * completion)
