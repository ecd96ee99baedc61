"""What the full spend will be, from what a pilot of it took: calls, tokens, money and time a step, each from the least to the most.

Over `asks` (counts) and `sample` (what the pilot's rows are like); `cli` prints it. Invariants: nothing is asked; what the journal answers
already, the pilot's answers among it, is not counted again; a step that the pilot did not measure keeps the forecast's assumption and says
so. Intervals are Student's t at 95 % over answers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from msm.api.base import Part
from msm.api.inputs import OpenAI, Price
from msm.llm.ask import Usage
from msm.plan import Stage, kinds
from msm.preview.report import AskForecast
from msm.preview.sample import Between, Sample, mean_interval
from msm.stages.demonstrate import chat_settings
from msm.stages.outline import kind_of, tree_settings
from msm.stages.params import integer, mapping
from msm.stages.write import write_settings
from msm.synth.tree.counting import Range, exactly, ideas_of, outline_steps
from msm.synth.tree.settings import BATCH, WriteSettings

JUDGED = ("scores", "verdicts")
"""Steps that the judge answers."""


class StepProjection(Part):
    """One step of the full run, without what is answered already: (least, most)."""

    step: str
    """Name of the step."""
    calls: tuple[int, int]
    """Questions, answered ones among them."""
    answered: int
    """Of these, what the journal answers already."""
    measured: int
    """Answers of the pilot that the tokens rest on; 0 for an assumption."""
    prompt_tokens: tuple[int, int]
    """Tokens of the questions that are still to be asked."""
    completion_tokens: tuple[int, int]
    """Tokens of their answers."""
    price: tuple[float, float] | None = None
    """Price of both; null where the endpoint states none."""


class StageProjection(Part):
    """One stage of the full run that asks."""

    name: str
    """For people."""
    steps: tuple[StepProjection, ...]
    """Its steps."""
    missing: tuple[int, int] = (0, 0)
    """Documents that are wanted and that the tree has no ideas for."""
    seconds: tuple[float, float] | None = None
    """Time: from as many questions at once as the endpoint takes, to the pilot's pace; null where that is not known."""


@dataclass(frozen=True, slots=True)
class Piloted:
    """What is known of a stage from its pilot.

    `stage` is the pilot's own, `usages` the tokens of its answers by step; `shape` (domains, branches) of its tree; `sample` what its rows
    are like; `tokens_a_second` of fresh answers and how many questions were `at_once` under way.
    """

    stage: Stage
    usages: Mapping[str, Sequence[Usage]]
    shape: tuple[int, int] | None
    sample: Sample | None
    tokens_a_second: float | None
    at_once: int


def project(stage: Stage, asks: Sequence[AskForecast], piloted: Piloted, outline: Stage | None) -> StageProjection:
    """A stage of the full run; `asks` is what a preview says of it, `outline` what a write stage reads."""
    counted = dict(_calls(stage, asks, piloted, outline))
    steps = tuple(_step(stage, ask, counted[ask.step], piloted) for ask in asks)
    return StageProjection(name=stage.name, steps=steps, missing=_missing(stage, piloted, outline), seconds=_seconds(stage, steps, piloted))


def _missing(stage: Stage, piloted: Piloted, outline: Stage | None) -> tuple[int, int]:
    """What the tree falls short of; nothing for other stages than write, or while the tree is not known."""
    if outline is None or piloted.shape is None or piloted.sample is None:
        return 0, 0
    wanted, there = documents_wanted(write_settings(stage.params), piloted.sample), ideas_of_full(outline, piloted.shape)
    return max(0, wanted.low - there), max(0, wanted.high - there)


def _calls(stage: Stage, asks: Sequence[AskForecast], piloted: Piloted, outline: Stage | None) -> Iterator[tuple[str, Range]]:
    known = {ask.step: Range(*ask.calls) for ask in asks}
    if stage.kind == kinds.OUTLINE and piloted.shape is not None:
        settings, (domains, branches) = tree_settings(stage.params), piloted.shape
        shape = exactly(domains), exactly(branches)
        known |= {step.step: step.calls for step in outline_steps(settings, kind_of(stage.params), 0, shape)}
    elif stage.kind == kinds.WRITE and piloted.sample is not None:
        documents = documents_needed(write_settings(stage.params), piloted, outline)
        known |= {step: _times(documents, _a_document(step, piloted)) for step in known}
    elif stage.kind == kinds.DEMONSTRATE and piloted.sample is not None and (passed := piloted.sample.passed_share.low) > 0:
        wanted = chat_settings(stage.params).samples
        candidates = Range(ceil(wanted / piloted.sample.passed_share.high), max(wanted, ceil(wanted / passed)))
        known |= {step: candidates for step in ("answers", "verdicts") if step in known}
    yield from known.items()


def documents_needed(settings: WriteSettings, piloted: Piloted, outline: Stage | None) -> Range:
    """Ideas that will be written, as far as there are ideas."""
    assert piloted.sample is not None
    found = documents_wanted(settings, piloted.sample)
    if outline is None or piloted.shape is None:
        return found
    most = ideas_of_full(outline, piloted.shape)
    return Range(min(found.low, most), min(found.high, most))


def documents_wanted(settings: WriteSettings, sample: Sample) -> Range:
    """Ideas that must be written until there is enough, by what the pilot's brought."""
    each, wanted = sample.brought(settings.tokens is not None), (settings.tokens or settings.documents or 0) * settings.surplus
    return Range(ceil(wanted / each.high), ceil(wanted / each.low)) if each.low > 0 else exactly(ceil(wanted))


def ideas_of_full(outline: Stage, shape: tuple[int, int]) -> int:
    """Ideas of the full run's tree."""
    return ideas_of(tree_settings(outline.params), exactly(shape[1])).low


def _a_document(step: str, piloted: Piloted) -> float:
    """Questions of a step for each idea that was written."""
    documents = len(piloted.usages.get("documents", ()))
    return len(piloted.usages.get(step, ())) / documents if documents else 1.0


def _times(documents: Range, each: float) -> Range:
    return Range(ceil(documents.low * each), ceil(documents.high * each))


def _step(stage: Stage, ask: AskForecast, calls: Range, piloted: Piloted) -> StepProjection:
    left = Range(max(0, calls.low - ask.answered), max(0, calls.high - ask.answered))
    usages = piloted.usages.get(ask.step, ())
    if not usages:
        share = [end / most if most else 0.0 for end, most in zip((left.low, left.high), ask.calls, strict=True)]
        prompt = Range(*(round(s * tokens) for s, tokens in zip(share, ask.prompt_tokens, strict=True)))
        completion = Range(*(round(s * tokens) for s, tokens in zip(share, ask.completion_tokens, strict=True)))
        cached = 0.0
    else:
        more = _longer(stage, piloted.stage, ask.step)
        prompt = _tokens(left, mean_interval([float(u.prompt) for u in usages]), 1.0)
        completion = _tokens(left, mean_interval([float(u.completion) for u in usages]), more)
        cached = sum(u.cached for u in usages) / max(1, sum(u.prompt for u in usages))
    return StepProjection(
        step=ask.step,
        calls=(calls.low, calls.high),
        answered=min(ask.answered, calls.high),
        measured=len(usages),
        promptTokens=(prompt.low, prompt.high),
        completionTokens=(completion.low, completion.high),
        price=_price(endpoint(stage, ask.step).price, prompt, completion, cached),
    )


def _tokens(calls: Range, each: Between, times: float) -> Range:
    return Range(round(calls.low * each.low * times), round(calls.high * each.high * times))


def _longer(full: Stage, pilot: Stage, step: str) -> float:
    """How many times as long an answer of the full run is where a list is asked for that was cut."""
    if step == "ideas":
        sizes = [min(BATCH, integer(stage.params, "ideasPerType")) for stage in (full, pilot)]
        return sizes[0] / sizes[1]
    return 1.0


def endpoint(stage: Stage, step: str) -> OpenAI:
    """The endpoint that answers a step."""
    endpoints = mapping(stage.execution, "endpoints")
    role = "judge" if step in JUDGED and "judge" in endpoints else "author"
    return OpenAI.model_validate(mapping(mapping(endpoints, role), "openai"))


def _price(price: Price | None, prompt: Range, completion: Range, cached: float) -> tuple[float, float] | None:
    """With the share of prompt tokens that the server's cache had in the pilot."""
    if price is None:
        return None
    reused = price.input if price.cached_input is None else price.cached_input
    each = price.input * (1 - cached) + reused * cached
    low, high = ((p * each + c * price.output) / 10**6 for p, c in ((prompt.low, completion.low), (prompt.high, completion.high)))
    return low, high


def _seconds(stage: Stage, steps: Sequence[StepProjection], piloted: Piloted) -> tuple[float, float] | None:
    """The pilot's pace is the slowest; a server that answers more at once as fast is the fastest."""
    if not piloted.tokens_a_second:
        return None
    low, high = (sum(step.completion_tokens[end] for step in steps) / piloted.tokens_a_second for end in (0, 1))
    wider = max(1.0, endpoint(stage, "").concurrency / max(1, piloted.at_once))
    return low / wider, high
