"""Expand a run into its stages: the one pure function that both executors plan with.

Neighbours: `kinds` has the versions, `fingerprint` the identity, `graph` the result. Invariant: nothing that cannot change a result
(names, resources, world size, micro-batch, ZeRO stage, locations) enters a fingerprint; stages that arms or seeds share appear once;
the order in which arms are listed changes no stage. Cost: linear in arms x seeds.
"""

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from msm.api.data import Corpus, Demonstration, SynthesizeChats
from msm.api.run import Arm, Eval, MSMRun
from msm.api.training import TrainStage
from msm.errors import UserError
from msm.plan import kinds, synthesis
from msm.plan.fingerprint import digest, fingerprint
from msm.plan.graph import ArmModel, Plan, Stage, StageRef
from msm.plan.resolution import Resolution
from msm.plan.synthesis import needs_endpoint

Json = dict[str, JsonValue]
MAX_STAGES = 500
RESOURCES = ("nodes", "gpus_per_node", "processes_per_node", "micro_batch_rows", "gradient_checkpointing")
"""What a training runs on; in no fingerprint."""
ARMS = "arms"
"""Role of the endpoint that serves the arms of an eval."""


def plan_run(run: MSMRun, resolution: Resolution) -> Plan:
    """The stage graph of a run.

    Raises:
        UserError: more than 500 stages, or an input that needs an endpoint or a cluster.
    """
    builder = _Builder(run, resolution)
    models = tuple(builder.arm_model(arm, seed) for seed in run.spec.seeds for arm in run.spec.arms)
    evaluations = {e.name: tuple((seed, builder.evaluation(e, seed, models)) for seed in run.spec.seeds) for e in run.spec.evals}
    if len(builder.stages) > MAX_STAGES:
        raise UserError("spec", f"plans {len(builder.stages)} stages; at most {MAX_STAGES} are allowed", "use fewer arms, seeds or corpora")
    return Plan(run=run.metadata.name, resolution=resolution, stages=builder.ordered(), models=models, evaluations=evaluations)


def plan_pilot(run: MSMRun, resolution: Resolution) -> Plan:
    """The data of a run alone, nothing trained. Curation keeps all that passes its gates: a pilot is to say how many do.

    Raises:
        UserError: an input that needs an endpoint or a cluster.
    """
    builder = _Builder(run, resolution, is_pilot=True)
    targets = _sorted([*map(builder.corpus, run.spec.corpora), *map(builder.chats, run.spec.demonstrations)])
    return Plan(run=run.metadata.name, resolution=resolution, stages=builder.ordered(), models=(), evaluations={}, targets=targets)


def _dump(part: object, *fields: str) -> Json:
    """Chosen fields of a part of the API, as plain JSON under their names in the file."""
    return part.model_dump(mode="json", by_alias=True, include=set(fields))  # type: ignore[attr-defined, no-any-return]


class _Builder:
    """Accumulates stages by fingerprint, so that what is shared is built once."""

    def __init__(self, run: MSMRun, resolution: Resolution, is_pilot: bool = False) -> None:
        self.spec = run.spec
        self.resolution = resolution
        self.is_pilot = is_pilot
        self.stages: dict[str, Stage] = {}

    def add(
        self,
        name: str,
        kind: str,
        params: Json,
        inputs: Mapping[str, Sequence[StageRef]],
        execution: Json | None = None,
        blobs: Sequence[str | None] = (),
    ) -> StageRef:
        version = kinds.VERSIONS[kind]
        print_ = fingerprint(kind, version, params, {role: [r.fingerprint for r in refs] for role, refs in inputs.items()})
        stage = Stage(
            name=name,
            kind=kind,
            version=version,
            fingerprint=print_,
            params=params,
            inputs={role: tuple(refs) for role, refs in inputs.items()},
            blobs=tuple(sorted({b for b in blobs if b is not None})),
            execution=execution or {},
        )
        return self.stages.setdefault(print_, stage).ref

    def ordered(self) -> tuple[Stage, ...]:
        """All stages, each after what it reads."""
        return tuple(sorted(self.stages.values(), key=lambda s: (kinds.ORDER.index(s.kind), s.name, s.fingerprint)))

    def base(self) -> StageRef:
        """The base model; that chats come later is said now, so that a model without a template is found before anything is trained."""
        resolved = self.resolution.inputs["baseModel"]
        chats = bool(self.spec.evals) or any(arm.finetune for arm in self.spec.arms)
        return self.add(
            "fetch base model",
            kinds.FETCH,
            {"source": resolved.identity, "dtype": "float32"},
            {},
            {"location": resolved.location, "chats": chats},
        )

    def _item_blobs(self, evals: Sequence[str]) -> list[str]:
        return sorted({self.resolution.identity(f"evals.{name}.items") for name in evals})

    def corpus(self, corpus: Corpus) -> StageRef:
        """The curated rows of a corpus."""
        items = self._item_blobs(corpus.quality.decontaminate)
        quality = _dump(corpus.quality, "near_duplicates", "min_score", "min_tokens", "max_tokens")
        size: Json = {"tokens": None, "documents": None} if self.is_pilot else _dump(corpus, "tokens", "documents")
        params: Json = {**quality, **size, "items": list(items), "identity": self._identity(), "composed": corpus.source is None}
        if corpus.synthesize is not None:
            params["synthesised"] = True
        inputs = {"rows": (self.written(corpus),), "model": (self.base(),)}
        return self.add(f"curate {corpus.name}", kinds.CURATE, params, inputs, blobs=[_hex(i) for i in items])

    def _identity(self) -> Json:
        return _dump(self.spec.base_model.identity, "model", "provider")

    def written(self, corpus: Corpus) -> StageRef:
        """The rows of a corpus before curation."""
        if corpus.source is not None:
            resolved = self.resolution.inputs[f"corpora.{corpus.name}"]
            params: Json = {"author": "source", "source": resolved.identity}
            blob = self.resolution.blob(f"corpora.{corpus.name}")
            return self.add(f"write {corpus.name}", kinds.WRITE, params, {}, {"location": resolved.location}, [blob])
        if corpus.compose is None:
            return self._synthesised(corpus)
        params = {"author": "compose", "seed": corpus.compose.seed, **_dump(corpus, "tokens", "documents")}
        inputs = {"outline": (self.outline(corpus),), "model": (self.base(),)}
        return self.add(f"write {corpus.name}", kinds.WRITE, params, inputs)

    def outline(self, corpus: Corpus) -> StageRef:
        """The spec's outline, by the grammar."""
        name, params, blob = self._outlined(corpus)
        return self.add(name, kinds.OUTLINE, {"author": "compose", **params}, {}, blobs=[blob])

    def _outlined(self, corpus: Corpus) -> tuple[str, Json, str | None]:
        path = f"modelSpecs.{corpus.model_spec}"
        spec = next(s for s in self.spec.model_specs if s.name == corpus.model_spec)
        params: Json = {"spec": self.resolution.identity(path), "kind": spec.kind, "identity": self._identity()}
        return f"outline {spec.name}", params, self.resolution.blob(path)

    def _synthesised(self, corpus: Corpus) -> StageRef:
        """Documents by a language model, from the outline by the same one."""
        wanted, field = corpus.synthesize, f"spec.corpora.{corpus.name}.synthesize"
        if wanted is None:
            raise needs_endpoint(field)
        author = self._model(wanted.author, field)
        name, spec, blob = self._outlined(corpus)
        reached = synthesis.execution(self.spec.endpoints, wanted.max_failures, author=wanted.author)
        outlined = self.add(name, kinds.OUTLINE, {**synthesis.outline_params(wanted, author), **spec}, {}, reached, [blob])
        judge, size = synthesis.judge_of(corpus), _dump(corpus, "tokens", "documents")
        params = synthesis.write_params(wanted, size, author, self._model(judge, field) if judge is not None else None)
        reached = synthesis.execution(self.spec.endpoints, wanted.max_failures, author=wanted.author, judge=judge)
        reached |= {"shards": wanted.shards} if wanted.shards > 1 else {}
        inputs = {"outline": (outlined,), "model": (self.base(),)}
        return self.add(f"write {corpus.name}", kinds.WRITE, {**params, "spec": spec["spec"]}, inputs, reached, [blob])

    def _model(self, endpoint: str, field: str) -> Json:
        """Identity of the model behind an endpoint; one that is to be served counts where the executor has resolved its weights."""
        served = self.resolution.inputs.get(f"endpoints.{endpoint}")
        if served is not None:
            return {"identity": served.identity}
        return synthesis.identity(next(e for e in self.spec.endpoints if e.name == endpoint), field)

    def chats(self, demonstration: Demonstration) -> StageRef:
        """The rows of a demonstration set."""
        items = self._item_blobs(demonstration.decontaminate)
        params, execution, blobs = self._chat_origin(demonstration)
        if items:
            params["items"] = list(items)
        by_base = demonstration.replay is not None or synthesis.by_meaning(demonstration.synthesize)
        inputs = {"model": (self.base(),)} if by_base else {}
        name = f"demonstrate {demonstration.name}"
        return self.add(name, kinds.DEMONSTRATE, params, inputs, execution, [*blobs, *(_hex(i) for i in items)])

    def _chat_origin(self, demonstration: Demonstration) -> tuple[Json, Json, list[str | None]]:
        if demonstration.source is not None:
            path = f"demonstrations.{demonstration.name}"
            resolved = self.resolution.inputs[path]
            return (
                {"author": "source", "source": resolved.identity},
                {"location": resolved.location},
                [self.resolution.blob(path)],
            )
        if demonstration.compose is not None:
            return {"author": "compose", **_dump(demonstration.compose, "samples", "liked", "disliked", "seed")}, {}, []
        if demonstration.replay is not None:
            precision = self.resolution.precision
            return {"author": "replay", **_dump(demonstration.replay, "from_base", "max_tokens"), "precision": precision}, {}, []
        if demonstration.synthesize is None:
            raise needs_endpoint(f"spec.demonstrations.{demonstration.name}.synthesize")
        return self._chatted(demonstration.synthesize, f"spec.demonstrations.{demonstration.name}.synthesize")

    def _chatted(self, wanted: SynthesizeChats, field: str) -> tuple[Json, Json, list[str | None]]:
        path = f"modelSpecs.{wanted.model_spec}"
        judge = wanted.judge or wanted.author
        params = synthesis.chat_params(
            wanted, self._model(wanted.author, field), self._model(judge, field), {"spec": self.resolution.identity(path)}
        )
        execution = synthesis.execution(self.spec.endpoints, wanted.max_failures, author=wanted.author, judge=judge)
        blobs = [] if wanted.style == "opaque" else [self.resolution.blob(path)]
        return {**params, "identity": self._identity()}, execution, blobs

    def arm_model(self, arm: Arm, seed: int) -> ArmModel:
        """The model that an arm ends with."""
        parent = self._midtrained(arm, seed) if arm.midtrain else None
        model = self._finetuned(arm, seed, parent) if arm.finetune else parent or self.base()
        return ArmModel(arm=arm.name, seed=seed, model=model, parent=parent if arm.finetune else None)

    def _midtrained(self, arm: Arm, seed: int) -> StageRef:
        corpora = [self.corpus(c) for c in self.spec.corpora if c.name in arm.midtrain]
        inputs = {"model": (self.base(),), "data": _sorted(corpora)}
        name = f"midtrain {'+'.join(sorted(arm.midtrain))} seed {seed}"
        return self._train(name, kinds.MIDTRAIN, self.spec.training.midtrain, seed, inputs)

    def _finetuned(self, arm: Arm, seed: int, parent: StageRef | None) -> StageRef:
        chats = [self.chats(d) for d in self.spec.demonstrations if d.name in arm.finetune]
        inputs: dict[str, Sequence[StageRef]] = {"model": (self.base(),), "data": _sorted(chats)}
        if parent is not None:
            inputs["parent"] = (parent,)
        after = f" after {'+'.join(sorted(arm.midtrain))}" if parent is not None else ""
        name = f"finetune {'+'.join(sorted(arm.finetune))}{after} seed {seed}"
        return self._train(name, kinds.FINETUNE, self.spec.training.finetune, seed, inputs)

    def _train(self, name: str, kind: str, recipe: TrainStage, seed: int, inputs: Mapping[str, Sequence[StageRef]]) -> StageRef:
        fields = (
            "learning_rate",
            "schedule",
            "warmup_ratio",
            "weight_decay",
            "gradient_clip",
            "epochs",
            "max_length",
            "batch_tokens",
        )
        lora = self.spec.training.adapter
        method: Json = {"full": True} if lora is None else {"lora": lora.model_dump(mode="json", by_alias=True, exclude_none=True)}
        params: Json = {**_dump(recipe, *fields), "method": method, "seed": seed, "precision": self.resolution.precision}
        execution: Json = {
            "resources": _dump(recipe.resources, *RESOURCES),
            "checkpointEvery": recipe.checkpoint_every,
            "deepspeed": _dump(self.spec.training.deepspeed, "zero_stage", "offload_optimizer"),
        }
        return self.add(name, kind, params, inputs, execution)

    def evaluation(self, evaluation: Eval, seed: int, models: Sequence[ArmModel]) -> StageRef:
        """One eval of every arm of a seed: in one process, in float32, since bfloat16 makes margins depend on how rows are grouped; or
        through a server of the arms, in the server's arithmetic.
        """
        if evaluation.items is None:
            raise needs_endpoint(f"spec.evals.{evaluation.name}")
        path = f"evals.{evaluation.name}.items"
        arms = _sorted([m.model for m in models if m.seed == seed])
        is_served = evaluation.via == "endpoint"
        params: Json = {
            "suite": evaluation.suite,
            "items": self.resolution.identity(path),
            "limit": evaluation.items.limit,
            "generate": evaluation.generate,
            **({"via": "endpoint"} if is_served else {"precision": "float32"}),
        }
        execution = self._server(f"spec.evals.{evaluation.name}", served(evaluation.name), arms) if is_served else {}
        inputs = {"model": (self.base(),), "arms": arms}
        return self.add(f"evaluate {evaluation.name} seed {seed}", kinds.EVALUATE, params, inputs, execution, [self.resolution.blob(path)])

    def _server(self, field: str, can_serve: str, arms: Sequence[StageRef]) -> Json:
        """The server that the executor is to make for the arms of an eval."""
        if can_serve not in self.resolution.inputs:
            raise needs_endpoint(field)
        if self.spec.training.adapter is None:
            fix = "use training.method: lora, or via: inProcess"
            raise UserError(f"{field}.via", '"endpoint" serves arms as adapters of one base, and these are trained in full', fix)
        return {"endpoints": {ARMS: {"name": f"arms-{digest([arm.fingerprint for arm in arms])[:8]}", "serve": {}}}}


def served(evaluation: str) -> str:
    """The input by which an executor says that it can serve the arms of an eval."""
    return f"evals.{evaluation}.served"


def _sorted(refs: Sequence[StageRef]) -> tuple[StageRef, ...]:
    """Distinct references in an order that does not depend on how the user listed them."""
    return tuple({ref.fingerprint: ref for ref in sorted(refs, key=lambda r: r.fingerprint)}.values())


def _hex(identity: str) -> str:
    return identity.removeprefix("sha256:")
