"""Accept a run of the cluster: check it, resolve its inputs once, plan it, freeze the plan.

Blocking, for a thread. Neighbours: `documents` keeps what is frozen, `msm.local.accept` checks the same things on a laptop. Invariant: a
refusal is one UserError that names the field; a run that was accepted keeps its plan whatever happens to its inputs.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from msm.api import MSMRun, parse_run
from msm.api.data import Corpus, Demonstration
from msm.api.inputs import KeyRef, ModelSpec, Source, TextSource
from msm.api.run import Items
from msm.errors import UserError
from msm.local.resolving import answer, resolve_for_cluster
from msm.plan import plan_run
from msm.resolve.clients import Clients
from msm.store import ObjectStore, StoreConfig
from msm.store.blobs import put_blob
from msm.train.precision import Precision
from msm_operator.backends.installation import Installation
from msm_operator.controllers.documents import ClusterRecord, Documents, freeze, load, run_id

LAPTOP_ONLY = "`path:` and `file:` are for the laptop; `msm submit` uploads them and rewrites them"


@dataclass(frozen=True, slots=True)
class Asked:
    """A run as its user asked for it: parsed, with the texts of the ConfigMaps that it names."""

    run: MSMRun
    namespace: str
    uid: str
    texts: Mapping[KeyRef, str]


def parse(obj: Mapping[str, Any]) -> MSMRun:
    """The MSMRun of a resource.

    Raises:
        UserError: it is not consistent, or names files of a laptop.
    """
    metadata = {name: obj["metadata"][name] for name in ("name", "namespace", "labels", "annotations") if name in obj["metadata"]}
    run = parse_run({"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": metadata, "spec": obj.get("spec", {})})
    for field, value in _places(obj.get("spec", {}), "spec"):
        raise UserError(field, f'"{value}" is a file of a laptop', LAPTOP_ONLY)
    if run.spec.base_model.uri.startswith("pvc://"):
        raise UserError("spec.baseModel.uri", "pvc:// is not read by stages", "copy the model to s3://, or use hf:// or pypi://")
    return run


def _places(node: Any, where: str) -> Iterator[tuple[str, str]]:
    """Every `path:` and `file:` below a node of the spec, by its place."""
    if isinstance(node, list):
        for number, item in enumerate(node):
            yield from _places(item, f"{where}[{number}]")
    if not isinstance(node, dict) or where.endswith((".podTemplate", ".scratch", ".modelCache")):
        return
    for key, value in node.items():
        is_file = isinstance(value, str) and (
            key == "path" or (key in ("uri", "model") and value.startswith("file:") and where != "spec.storage")
        )
        if is_file:
            yield f"{where}.{key}", value
        else:
            yield from _places(value, f"{where}.{key}")


def config_maps(run: MSMRun) -> list[KeyRef]:
    """The ConfigMap keys that a run names, each once."""
    spec = run.spec
    sources: list[Source | TextSource | None] = [one.source for one in spec.model_specs]
    sources += [one.source for one in spec.corpora] + [one.source for one in spec.demonstrations]
    sources += [one.items.source for one in spec.evals if one.items is not None]
    found = [one.config_map_key_ref for one in sources if one is not None and one.config_map_key_ref is not None]
    return list(dict.fromkeys(found))


def with_texts(run: MSMRun, texts: Mapping[KeyRef, str]) -> MSMRun:
    """The run with the contents of ConfigMaps in their place.

    Raises:
        UserError: a ConfigMap or its key is not there.
    """
    spec = run.spec
    changed = {
        "model_specs": tuple(_told(one, f"spec.modelSpecs.{one.name}", texts) for one in spec.model_specs),
        "corpora": tuple(_told(one, f"spec.corpora.{one.name}", texts) for one in spec.corpora),
        "demonstrations": tuple(_told(one, f"spec.demonstrations.{one.name}", texts) for one in spec.demonstrations),
        "evals": tuple(
            one if one.items is None else one.model_copy(update={"items": _told(one.items, f"spec.evals.{one.name}.items", texts)})
            for one in spec.evals
        ),
    }
    return run.model_copy(update={"spec": spec.model_copy(update=changed)})


Sourced = TypeVar("Sourced", ModelSpec, Corpus, Demonstration, Items)


def _told(one: Sourced, field: str, texts: Mapping[KeyRef, str]) -> Sourced:
    """The part with its ConfigMap's contents in place of the ConfigMap's name."""
    ref = one.source.config_map_key_ref if one.source is not None else None
    if one.source is None or ref is None:
        return one
    if ref not in texts:
        problem = f"there is no key {ref.key} in a ConfigMap {ref.name} of this namespace"
        raise UserError(f"{field}.source.configMapKeyRef", problem, "make it")
    return one.model_copy(update={"source": type(one.source).model_construct(inline=texts[ref])})


def accept(
    asked: Asked, config: StoreConfig, store: ObjectStore, clients: Callable[[StoreConfig], Clients], installation: Installation
) -> Documents:
    """The run's frozen documents, made now or found.

    Raises:
        UserError: an input or the plan is not possible (NotReadable: perhaps for the operator alone); TryAgain: something outside does not
            answer.
    """
    name = asked.run.metadata.name
    id_ = run_id(name, asked.uid)
    frozen = load(store, config, id_)
    if frozen is not None:
        return frozen
    by_pod = answer(store, id_) if installation.hub_secret is not None else None
    resolution = by_pod or resolve_for_cluster(
        with_texts(asked.run, asked.texts), clients(config), lambda data: put_blob(store, data), precision(asked.run, installation)
    )
    plan = plan_run(asked.run, resolution)
    where = ClusterRecord(
        namespace=asked.namespace, name=name, uid=asked.uid, image=installation.image, serve_image=installation.serve_image
    )
    return freeze(store, config, id_, asked.run, plan, where)


def precision(run: MSMRun, installation: Installation) -> Precision:
    """The arithmetic of a run, decided once: by its spec, else by what it trains on."""
    wanted = run.spec.training.precision
    if wanted != "auto":
        return wanted
    training = run.spec.training
    gpus = max(training.midtrain.resources.gpus_per_node, training.finetune.resources.gpus_per_node)
    return installation.gpu_precision if gpus else "float32"
