"""Every input of a run, resolved: the one call an executor makes before it plans.

Neighbours: `inputs` resolves each; `msm.plan` reads the result. Invariant: the keys are those the planner asks for (`baseModel`,
`modelSpecs.NAME`, `corpora.NAME`, `demonstrations.NAME`, `evals.NAME.items`). Cost: one read of each text; a wheel once.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from msm.api.inputs import Source, TextSource
from msm.api.run import MSMRun
from msm.errors import UserError
from msm.plan.resolution import Resolution, Resolved
from msm.resolve.clients import Clients
from msm.resolve.inputs import Keep, resolve_corpus, resolve_file, resolve_model, resolve_text


def resolve_run(run: MSMRun, base: Path, clients: Clients, keep: Keep, precision: Literal["float32", "bfloat16"]) -> Resolution:
    """Resolve a run; paths are relative to `base`, the run file's directory.

    Raises:
        UserError: an input that is not there, named by its place in the file; TryAgain when the outside does not answer.
    """
    return Resolution(inputs=dict(_inputs(run, base, clients, keep)), precision=precision)


Reader = Callable[[str, str, Path, Clients, Keep], Resolved]


class Reading(NamedTuple):
    """What every reader is given beside the address: where paths begin, whom to ask, where bytes are kept."""

    base: Path
    clients: Clients
    keep: Keep


def _inputs(run: MSMRun, base: Path, clients: Clients, keep: Keep) -> Iterator[tuple[str, Resolved]]:
    spec, reading = run.spec, Reading(base, clients, keep)
    for model_spec in spec.model_specs:
        name = f"modelSpecs.{model_spec.name}"
        yield name, _resolved(model_spec.source, f"spec.{name}.source", resolve_file, reading)
    for corpus in spec.corpora:
        if corpus.source is not None:
            field = f"spec.corpora.{corpus.name}.source"
            yield f"corpora.{corpus.name}", _resolved(corpus.source, field, resolve_corpus, reading)
    for demonstration in spec.demonstrations:
        if demonstration.source is not None:
            field = f"spec.demonstrations.{demonstration.name}.source"
            yield f"demonstrations.{demonstration.name}", _resolved(demonstration.source, field, resolve_file, reading)
    for evaluation in spec.evals:
        if evaluation.items is not None:
            field = f"spec.evals.{evaluation.name}.items.source"
            yield f"evals.{evaluation.name}.items", _resolved(evaluation.items.source, field, resolve_file, reading)
    model = spec.base_model
    yield "baseModel", resolve_model(model.uri, model.revision, "spec.baseModel.uri", base, clients)


def _resolved(source: Source | TextSource, field: str, read: Reader, reading: Reading) -> Resolved:
    """A source by whichever origin it has; inline rows are kept as they are."""
    if source.inline is not None:
        return resolve_text(source.inline.encode(), reading.keep)
    if source.config_map_key_ref is not None:
        raise UserError(f"{field}.configMapKeyRef", "needs a cluster: there are no ConfigMaps here", "use path or inline")
    origin = source.uri if source.uri is not None else source.path
    assert origin is not None, "a source has exactly one origin"
    return read(origin, field, reading.base, reading.clients, reading.keep)
