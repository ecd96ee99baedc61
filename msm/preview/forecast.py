"""A plan's forecast: per stage whether it is committed already, how many rows, tokens and updates it has, how long it may take.

Neighbours: `lengths` measures the data, `speed` knows the assumptions, `cli` prints the result. Invariant: reads only; a stage that is
committed, or that only feeds committed ones, costs nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from msm.api import MSMRun
from msm.data.packing import split_lengths
from msm.evals.items import parse_items
from msm.plan import Plan, Stage, kinds
from msm.plan.decide import needed
from msm.preview import gpus, speed
from msm.preview.asks import ENDPOINT_TOKENS_A_SECOND, asking_seconds, asks_of
from msm.preview.lengths import CHAT_TOKENS, DOCUMENT_TOKENS, REPLAY_TOKENS, TOKENS_A_WORD, Lengths, Measure
from msm.preview.report import Forecast, StageForecast, Standing, Totals
from msm.preview.shape import Shape
from msm.preview.texts import Texts, texts_of
from msm.stages.params import integer, mapping, optional_integer, text
from msm.store.artifacts import read_manifest
from msm.store.objects import ObjectStore
from msm.synth.tree.write import EXPECTED_TOKENS
from msm.train.counting import Counting, count, count_updates, warn_few_updates

PACKED_ROWS = 200_000
"""Above so many pieces the packing is taken to be full instead of being computed."""


def forecast(run: MSMRun, uid: str, plan: Plan, store: ObjectStore, base: Path, model: Shape | None = None) -> Forecast:
    """Count and time a plan; `base` is the directory of the run's file, `model` the sizes of a base that is not fetched yet.

    Raises:
        UserError: a text or row file that a stage would refuse.
    """
    with TemporaryDirectory(prefix="msm-preview-") as work:
        texts = texts_of(run, base, store)
        forecaster = _Forecaster(plan, store, texts, Measure(plan, store, texts, Path(work)), model)
        stages = tuple(forecaster.stage(stage) for stage in plan.stages)
    return Forecast(
        run=plan.run,
        uid=uid,
        precision=plan.resolution.precision,
        stages=stages,
        totals=_totals(stages, plan),
        warnings=tuple(dict.fromkeys([*forecaster.warnings, *forecaster.measure.warnings])),
        assumptions=tuple(_assumptions(plan, stages)),
    )


@dataclass(slots=True)
class _Forecaster:
    """What is looked up once for all stages of a plan."""

    plan: Plan
    store: ObjectStore
    texts: Texts
    measure: Measure
    shape: Shape | None
    warnings: list[str] = field(default_factory=list)
    size: float = 1.0
    committed: frozenset[str] = frozenset()
    wanted: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        manifests = {s.fingerprint: m for s in self.plan.stages if (m := read_manifest(self.store, s.kind, s.fingerprint)) is not None}
        self.committed = frozenset(manifests)
        self.wanted = frozenset(s.fingerprint for s in needed(self.plan, self.committed))
        for fetched in (m for m in manifests.values() if m.kind == kinds.FETCH):
            weights = sum(entry.size for path, entry in fetched.files.items() if path.endswith(".safetensors"))
            self.size = weights / 4 / speed.REFERENCE_PARAMETERS or 1.0
        self.shape = self.measure.shape() or self.shape
        if self.size == 1.0 and self.shape is not None:
            self.size = self.shape.parameters / speed.REFERENCE_PARAMETERS

    def stage(self, stage: Stage) -> StageForecast:
        found = self._forecast(stage)
        if stage.fingerprint in self.wanted:
            return self._asking(stage, found)
        state: Standing = "committed" if stage.fingerprint in self.committed else "not needed"
        return found.model_copy(update={"state": state, "seconds": None})

    def _asking(self, stage: Stage, found: StageForecast) -> StageForecast:
        """With what it asks of language models, if it asks."""
        asks = asks_of(stage, self.plan, self.store, self.texts)
        self.warnings.extend(asks.warnings)
        return found.model_copy(update={"asks": asks.steps, "seconds": asking_seconds(asks.steps)}) if asks.steps else found

    def _forecast(self, stage: Stage) -> StageForecast:
        blank = StageForecast(name=stage.name, kind=stage.kind, fingerprint=stage.fingerprint, state="to run")
        match stage.kind:
            case kinds.FETCH:
                return blank.model_copy(update={"seconds": speed.FETCH_SECONDS * self.size})
            case kinds.CURATE | kinds.DEMONSTRATE:
                return self._data(stage, blank)
            case kinds.MIDTRAIN | kinds.FINETUNE:
                return self._training(stage, blank)
            case kinds.EVALUATE:
                return self._evaluation(stage, blank)
        return blank.model_copy(update={"seconds": speed.START_SECONDS})

    def _data(self, stage: Stage, blank: StageForecast) -> StageForecast:
        lengths = self.measure.lengths(stage)
        if stage.params.get("author") == "replay":
            seconds = speed.answering_seconds(integer(stage.params, "fromBase"), integer(stage.params, "maxTokens"), self.size)
        else:
            seconds = speed.rows_seconds(lengths.tokens)
        counts = {"rows": len(lengths.values) or None, "tokens": lengths.tokens or None, "basis": lengths.basis}
        return blank.model_copy(update={**counts, "seconds": seconds})

    def _training(self, stage: Stage, blank: StageForecast) -> StageForecast:
        data = [self.measure.lengths(self.plan.stage(ref)) for ref in stage.inputs["data"]]
        if not all(part.values for part in data):
            return blank.model_copy(update={"basis": "estimated"})
        counting = counted([length for part in data for length in part.values], stage)
        self._warn(stage, data, counting)
        return blank.model_copy(
            update={
                "rows": counting.rows,
                "tokens": counting.tokens,
                "updates": counting.updates,
                "fill": round(counting.fill, 4),
                "seconds": self._training_seconds(stage, counting.tokens),
                "basis": _weakest(data),
                **self._machines(stage),
            }
        )

    def _machines(self, stage: Stage) -> dict[str, int]:
        """GPUs of a training, and the memory of each and of its machine."""
        on = gpus.machines(stage)
        if self.shape is None or not on.gpus:
            return {"gpus": on.gpus} if on.gpus else {}
        each = gpus.training_memory(stage, self.shape)
        return {"gpus": on.gpus, "gpu_memory": each.gpu, "host_memory": each.host * on.ranks}

    def _training_seconds(self, stage: Stage, tokens: int) -> float | None:
        """None on GPUs where the model's sizes are not known."""
        if gpus.machines(stage).gpus:
            return gpus.gpu_seconds(stage, tokens, self.shape) if self.shape is not None else None
        return speed.training_seconds(tokens, _method(stage), text(stage.params, "precision"), self.size)

    def _warn(self, stage: Stage, data: list[Lengths], counting: Counting) -> None:
        few, longest = warn_few_updates(counting.updates, stage.name), integer(stage.params, "maxLength")
        if few is not None:
            self.warnings.append(few)
        known = [length for part in data if part.basis != "estimated" for length in part.values]
        if stage.kind == kinds.FINETUNE and max(known, default=0) > longest and self.measure.model() is not None:
            self.warnings.append(
                f"{stage.name} has a chat of {max(known)} tokens, more than its maxLength {longest}, and will refuse it; raise maxLength"
            )

    def _evaluation(self, stage: Stage, blank: StageForecast) -> StageForecast:
        data = self.texts.get(text(stage.params, "items"))
        if data is None:
            return blank.model_copy(update={"basis": "estimated"})
        all_items = len(parse_items(data.decode("utf-8"), f"{stage.name}: items"))
        items = min(all_items, optional_integer(stage.params, "limit") or all_items)
        generate = optional_integer(stage.params, "generate")
        answered = items if generate is None else min(items, generate)
        served = "endpoints" in stage.execution
        seconds = None if served else speed.evaluation_seconds(items, answered, len(stage.inputs["arms"]), self.size)
        return blank.model_copy(update={"rows": items, "seconds": seconds, "basis": "counted"})


def asks_sentence(stage: StageForecast) -> str:
    """A stage's asking in a line: calls by step, tokens of answers."""
    steps = ", ".join(f"{a.step} {_span(*a.calls)}" + (f" ({a.answered} answered)" if a.answered else "") for a in stage.asks)
    low, high = (_about(sum(a.completion_tokens[end] for a in stage.asks)) for end in (0, 1))
    tokens = low if low == high else f"{low}-{high}"
    return f"{stage.name} asks {steps} times; about {tokens} tokens of answers"


def _about(tokens: int) -> str:
    """Tokens in two figures or so: 250k, 6.1M."""
    return f"{tokens / 1e6:.1f}M" if tokens >= 1e6 else f"{round(tokens, -3) // 1000}k" if tokens >= 1e4 else str(tokens)


def _span(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,}-{high:,}"


def counted(lengths: list[int], stage: Stage) -> Counting:
    """A training's counts from its rows' lengths, by training's own function; above 200,000 pieces the packing is taken to be full."""
    longest, batch, epochs = (integer(stage.params, name) for name in ("maxLength", "batchTokens", "epochs"))
    if sum(len(split_lengths(length, longest)) for length in lengths) <= PACKED_ROWS:
        return count(lengths, longest, batch, epochs)
    rows = -(-sum(lengths) // longest)
    return Counting(count_updates(rows, longest, batch, epochs), sum(lengths) * epochs, rows, 1.0)


def _weakest(data: list[Lengths]) -> str:
    found = {part.basis for part in data}
    return next(basis for basis in ("estimated", "composed", "curated", "counted") if basis in found)


def _method(stage: Stage) -> str:
    return "lora" if "lora" in mapping(stage.params, "method") else "full"


def _totals(stages: tuple[StageForecast, ...], plan: Plan) -> Totals:
    left = [s for s in stages if s.state == "to run"]
    trained = [s for s in left if s.kind in kinds.TRAINING]
    return Totals(
        stages=len(stages),
        committed=sum(s.state == "committed" for s in stages),
        toRun=len(left),
        tokens=sum(s.tokens or 0 for s in trained),
        updates=sum(s.updates or 0 for s in trained),
        seconds=sum(s.seconds or 0.0 for s in left),
        gpuHours=round(sum(_gpu_hours(s, plan) for s in left), 1),
        calls=sum(a.calls[1] - a.answered for s in left for a in s.asks),
        price=round(sum(a.price[1] * (a.calls[1] - a.answered) / a.calls[1] for s in left for a in s.asks if a.price and a.calls[1]), 4),
    )


def _gpu_hours(stage: StageForecast, plan: Plan) -> float:
    """Of a training by its GPUs, of an asking by those of the models that it asks."""
    busy = stage.gpus or 0
    if stage.asks:
        busy = gpus.served_gpus(next(s for s in plan.stages if s.fingerprint == stage.fingerprint))
    return busy * (stage.seconds or 0.0) / 3600


def _assumptions(plan: Plan, stages: tuple[StageForecast, ...]) -> Iterator[str]:
    """What the printed numbers assume, only where one of them does."""
    left = {s.fingerprint for s in stages if s.state == "to run"}
    shown = {s.fingerprint: s.basis for s in stages}
    trainings = [s for s in plan.stages if s.kind in kinds.TRAINING and s.fingerprint in left]
    on_processors = [s for s in trainings if not gpus.machines(s).gpus]
    yield from dict.fromkeys(speed.speed_sentence(_method(s), text(s.params, "precision")) for s in on_processors)
    if len(on_processors) < len(trainings):
        yield speed.gpu_sentence()
    data = [s for s in plan.stages if s.kind in (kinds.CURATE, kinds.DEMONSTRATE)]
    if any(s.params.get("author") == "replay" and shown[s.fingerprint] == "estimated" for s in data):
        yield f"replayed chats are taken to have {REPLAY_TOKENS} tokens each"
    if any(shown[s.fingerprint] == "composed" for s in data):
        yield "composed rows are counted before the quality gates drop some"
    if any(s.asks for s in stages):
        yield from (asks_sentence(s) for s in stages if s.asks)
        yield f"endpoints are taken to write {ENDPOINT_TOKENS_A_SECOND:,.0f} tokens/s, documents to have {EXPECTED_TOKENS:,} tokens each"
    if any(s.state == "to run" and s.kind == kinds.FETCH for s in stages):
        yield f"the base model is not fetched yet, so tokens are {TOKENS_A_WORD} a word and {CHAT_TOKENS} a chat template"
    synthesised = {s.fingerprint for s in plan.stages if s.params.get("synthesised") is True}
    if any(s.kind == kinds.CURATE and s.basis == "estimated" and s.fingerprint not in synthesised for s in stages):
        yield f"documents that cannot be read yet are taken to have {DOCUMENT_TOKENS} tokens each"
