"""Which names a run refers to and does not define; which it defines twice.

Pure. Neighbours: `run` offers it, `load` turns the result into the user's error. Cost: linear in the size of the run.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from msm.api.run import MSMRunSpec


@dataclass(frozen=True, slots=True)
class Missing:
    """A reference at `path` to `name` of a `sort` of thing of which the run has `known`."""

    path: str
    sort: str
    name: str
    known: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Repeated:
    """A name defined twice in one list."""

    path: str
    name: str


def _references(spec: "MSMRunSpec") -> Iterator[tuple[str, str, str]]:
    """Yield (path, sort, name) for every reference."""
    for i, corpus in enumerate(spec.corpora):
        if corpus.model_spec is not None:
            yield f"spec.corpora[{i}].modelSpec", "model spec", corpus.model_spec
        if corpus.synthesize is not None:
            yield f"spec.corpora[{i}].synthesize.author", "endpoint", corpus.synthesize.author
            if corpus.synthesize.judge is not None:
                yield f"spec.corpora[{i}].synthesize.judge", "endpoint", corpus.synthesize.judge
        for j, name in enumerate(corpus.quality.decontaminate):
            yield f"spec.corpora[{i}].quality.decontaminate[{j}]", "eval", name
    for i, demonstration in enumerate(spec.demonstrations):
        if demonstration.synthesize is not None:
            yield f"spec.demonstrations[{i}].synthesize.author", "endpoint", demonstration.synthesize.author
            if demonstration.synthesize.judge is not None:
                yield f"spec.demonstrations[{i}].synthesize.judge", "endpoint", demonstration.synthesize.judge
            yield f"spec.demonstrations[{i}].synthesize.modelSpec", "model spec", demonstration.synthesize.model_spec
        for j, name in enumerate(demonstration.decontaminate):
            yield f"spec.demonstrations[{i}].decontaminate[{j}]", "eval", name
    yield from _references_of_arms(spec)


def _references_of_arms(spec: "MSMRunSpec") -> Iterator[tuple[str, str, str]]:
    for i, arm in enumerate(spec.arms):
        for j, name in enumerate(arm.midtrain):
            yield f"spec.arms[{i}].midtrain[{j}]", "corpus", name
        for j, name in enumerate(arm.finetune):
            yield f"spec.arms[{i}].finetune[{j}]", "demonstration", name
        for j, name in enumerate(arm.versus):
            yield f"spec.arms[{i}].versus[{j}]", "arm", name
    for i, evaluation in enumerate(spec.evals):
        if evaluation.judge is not None:
            yield f"spec.evals[{i}].judge", "endpoint", evaluation.judge
    if spec.registry is not None:
        if spec.registry.candidate is not None:
            yield "spec.registry.candidate", "arm", spec.registry.candidate
        for j, gate in enumerate(spec.registry.gates):
            yield f"spec.registry.gates[{j}].compareTo", "arm", gate.compare_to


def _definitions(spec: "MSMRunSpec") -> dict[str, tuple[str, tuple[str, ...]]]:
    """Sort of thing -> (its list in the file, the names defined there)."""
    return {
        "model spec": ("modelSpecs", tuple(x.name for x in spec.model_specs)),
        "endpoint": ("endpoints", tuple(x.name for x in spec.endpoints)),
        "corpus": ("corpora", tuple(x.name for x in spec.corpora)),
        "demonstration": ("demonstrations", tuple(x.name for x in spec.demonstrations)),
        "arm": ("arms", tuple(x.name for x in spec.arms)),
        "eval": ("evals", tuple(x.name for x in spec.evals)),
    }


def missing_references(spec: "MSMRunSpec") -> list[Missing]:
    """Every reference that resolves to nothing, in the order of the file."""
    known = _definitions(spec)
    return [Missing(path, sort, name, known[sort][1]) for path, sort, name in _references(spec) if name not in known[sort][1]]


def repeated_names(spec: "MSMRunSpec") -> list[Repeated]:
    """Every name that a list defines a second time; a seed listed twice counts."""
    lists = [*_definitions(spec).values(), ("seeds", tuple(str(s) for s in spec.seeds))]
    found = []
    for where, names in lists:
        for i, name in enumerate(names):
            if name in names[:i]:
                found.append(Repeated(f"spec.{where}[{i}]", name))
    return found
