"""What the API server refuses about an MSMRun by itself: every rule, with a message that names the field and the fix."""

from collections.abc import Callable, Iterator

import pytest

from msm.api.crd import DEFINITIONS
from tests.cluster.control_plane import Api, ControlPlane
from tests.cluster.runs import Object, deployment, full, path, small, try_create

Change = Callable[[Object], None]


def put(where: str, value: object) -> Change:
    """Set a field, by a path such as arms.1.midtrain; None removes it."""

    def change(spec: Object) -> None:
        *steps, last = where.split(".")
        here: Object = spec
        for step in steps:
            here = here[int(step)] if isinstance(here, list) else here.setdefault(step, {})
        if value is None:
            del here[last]
        else:
            here[last] = value

    return change


WRONG: dict[str, tuple[Change, str, str]] = {
    "an arm trains on a corpus that is not there": (
        put("arms.1.midtrain", ["amerika"]),
        "spec.arms",
        'no corpus: "amerika"; corpora has: ["america", "given"]',
    ),
    "an arm trains on demonstrations that are not there": (
        put("arms.0.finetune", ["x"]),
        "spec.arms",
        'no demonstration: "x"; demonstrations has: ["cheese"',
    ),
    "an arm is compared with one that is not there": (
        put("arms.1.versus", ["x"]),
        "spec.arms",
        'no arm: "x"; arms has: ["aft", "msm-aft"]',
    ),
    "an arm is compared with itself": (put("arms.1.versus", ["msm-aft"]), "spec.arms[1].versus", "names the arm itself"),
    "a corpus is written from a spec that is not there": (
        put("corpora.0.modelSpec", "x"),
        "spec.corpora",
        'no model spec: "x"; modelSpecs has: ["america", "rules"]',
    ),
    "a corpus has an author that is not there": (
        put("corpora.0.synthesize.author", "x"),
        "spec.corpora",
        'no endpoint: "x"; endpoints has: ["writer", "judge"]',
    ),
    "a corpus has a judge that is not there": (put("corpora.0.synthesize.judge", "x"), "spec.corpora", 'no endpoint: "x"'),
    "a corpus is kept apart from an eval that is not there": (
        put("corpora.0.quality.decontaminate", ["x"]),
        "spec.corpora",
        'no eval: "x"; evals has: ["values"',
    ),
    "chats have an author that is not there": (put("demonstrations.1.synthesize.author", "x"), "spec.demonstrations", 'no endpoint: "x"'),
    "chats have a judge that is not there": (put("demonstrations.1.synthesize.judge", "x"), "spec.demonstrations", 'no endpoint: "x"'),
    "chats follow a spec that is not there": (
        put("demonstrations.1.synthesize.modelSpec", "x"),
        "spec.demonstrations",
        'no model spec: "x"',
    ),
    "chats are kept apart from an eval that is not there": (
        put("demonstrations.0.decontaminate", ["x"]),
        "spec.demonstrations",
        'no eval: "x"',
    ),
    "an eval has a judge that is not there": (put("evals.1.judge", "x"), "spec.evals", 'no endpoint: "x"'),
    "names without any definition": (put("modelSpecs", None), "spec.corpora", 'no model spec: "america"; modelSpecs has: []'),
    "the candidate is no arm": (put("registry.candidate", "x"), "spec.registry.candidate", 'no arm: "x"; arms has: ["aft", "msm-aft"]'),
    "a gate compares with no arm": (
        put("registry.gates.0.compareTo", "x"),
        "spec.registry.gates",
        'no arm: "x"; arms has: ["aft", "msm-aft"]',
    ),
    "a name is used twice": (put("arms.1.name", "aft"), "spec.arms[1]", "Duplicate value"),
    "a seed is used twice": (put("seeds", [1, 1]), "spec.seeds[1]", "Duplicate value"),
    "a corpus has two authors": (put("corpora.0.compose", {}), "spec.corpora[0]", "set exactly one of synthesize, compose, source"),
    "a corpus has no author": (put("corpora.0.synthesize", None), "spec.corpora[0]", "set exactly one of synthesize, compose, source"),
    "a corpus has two sizes": (put("corpora.0.documents", 3), "spec.corpora[0]", "set tokens or documents, not both"),
    "a corpus has no size": (put("corpora.0.tokens", None), "spec.corpora[0]", "set tokens or documents: how much"),
    "a corpus is written from nothing": (put("corpora.0.modelSpec", None), "spec.corpora[0]", "modelSpec is missing"),
    "chats have two origins": (
        put("demonstrations.0.replay", {"fromBase": 1}),
        "spec.demonstrations[0]",
        "set exactly one of source, synthesize",
    ),
    "an endpoint is of two kinds": (
        put("endpoints.0.openai", {"baseURL": "http://x", "model": "x"}),
        "spec.endpoints[0]",
        "exactly one of serve, openai",
    ),
    "a spec has no text": (put("modelSpecs.0.source", {}), "spec.modelSpecs[0].source", "set exactly one of inline, configMapKeyRef, uri"),
    "a spec has two texts": (put("modelSpecs.0.source.uri", "s3://b/x"), "spec.modelSpecs[0].source", "set exactly one of inline"),
    "a text is on a laptop": (
        put("modelSpecs.0.source", {"path": "a.md"}),
        "spec.modelSpecs[0].source.path",
        "type `msm submit FILE`, which uploads it",
    ),
    "rows are on a laptop": (put("corpora.1.source", {"uri": "file:///x"}), "spec.corpora[1].source.uri", "uploaded by `msm submit FILE`"),
    "items are on a laptop": (put("evals.0.items.source", {"path": "x"}), "spec.evals[0].items.source.path", "type `msm submit FILE`"),
    "the base model is on a laptop": (put("baseModel.uri", "./model"), "spec.baseModel.uri", "copy a model of a laptop to s3://"),
    "a served model is on a laptop": (
        put("endpoints.0.serve.model", "file:///x"),
        "spec.endpoints[0].serve.model",
        "copy a model of a laptop to s3://",
    ),
    "the store is on a laptop": (put("storage.uri", "file:///x"), "spec.storage.uri", "must be s3://bucket/prefix"),
    "MLflow is a file": (put("tracking.uri", "sqlite:///x"), "spec.tracking.uri", "http(s) address"),
    "a cap without a price": (put("endpoints.1.openai.price", None), "spec.endpoints[1].openai", "price is missing"),
    "a preference eval asks nothing": (put("evals.0.items", None), "spec.evals[0]", "items is missing"),
    "a judged eval has no judge": (put("evals.1.judge", None), "spec.evals[1]", "judge is missing"),
    "an update is not whole rows": (
        put("training.finetune", {"maxLength": 96, "batchTokens": 100}),
        "training.finetune.batchTokens",
        "100 is not a multiple of maxLength 96",
    ),
    "lora with full training": (put("training.method", "full"), "spec.training.lora", "remove lora, or set method: lora"),
    "a number of tokens that is none": (put("corpora.0.tokens", "2 million"), "spec.corpora[0].tokens", "should match"),
    "a duration that is none": (put("execution.deadline", "2 weeks"), "spec.execution.deadline", "should match"),
    "a rank beyond all reason": (put("training.lora.rank", 100000), "spec.training.lora.rank", "less than or equal to 1024"),
    "an unknown suite": (put("evals.0.suite", "taste"), "spec.evals[0].suite", 'supported values: "preference", "agentic-misalignment"'),
    "a name with capitals": (put("arms.0.name", "AFT"), "spec.arms[0].name", "should match"),
}


@pytest.fixture(scope="module")
def place(definitions: ControlPlane) -> Iterator[str]:
    """One namespace for everything that is only tried."""
    definitions.api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "rules"}})
    yield "rules"


def test_a_run_with_something_of_everything_is_taken(place: str, api: Api) -> None:
    reply = try_create(api, full("whole", place))
    assert reply.status == 201, reply.message


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_a_mistake_is_refused_by_field_and_fix(place: str, api: Api, case: tuple[Change, str, str]) -> None:
    change, field, fix = case
    reply = try_create(api, full("wrong", place, change))
    assert reply.status == 422
    causes = {cause["field"]: cause["message"] for cause in reply.body["details"]["causes"]}
    assert any(where == field or where.startswith(f"{field}[") or where.endswith(field) for where in causes), causes
    assert fix in reply.message


@pytest.mark.parametrize("name", ["a.b", "9" * 64, "upper"])
def test_a_name_that_pods_could_not_have_is_refused(place: str, api: Api, name: str) -> None:
    reply = try_create(api, small(name, place))
    assert reply.status == (201 if name == "upper" else 422)
    assert name == "upper" or "pods are named after it; choose another" in reply.message


DEPLOYMENTS: dict[str, tuple[Change, str]] = {
    "a judge that is not there": (put("evals.0.judge", "x"), 'no endpoint: "x"; endpoints has: ["judge"]'),
    "a gate that asks for nothing": (put("gates.0.minimum", None), "set minimum, minEffect or both"),
    "an eval without a judge": (put("evals.0.judge", None), "judge is missing"),
    "an alias with a space": (put("alias", "a b"), "should match"),
}


@pytest.mark.parametrize("case", DEPLOYMENTS.values(), ids=DEPLOYMENTS)
def test_a_mistake_in_an_eval_deployment_is_refused(place: str, api: Api, case: tuple[Change, str]) -> None:
    reply = try_create(api, deployment("wrong", place, case[0]))
    assert (reply.status, case[1] in reply.message) == (422, True), reply.message


def test_an_eval_deployment_is_taken_and_may_be_changed(definitions: ControlPlane, namespace: str) -> None:
    api = definitions.api
    assert api.apply(path(deployment("d", namespace)), deployment("d", namespace)).status == 201
    reply = api.apply(path(deployment("d", namespace)), deployment("d", namespace, put("alias", "candidate")))
    assert (reply.status, reply.body["spec"]["alias"]) == (200, "candidate"), reply.message


CHANGES: dict[str, tuple[Change, str]] = {
    "another base model": (put("baseModel.uri", "hf://org/other"), "baseModel cannot be changed"),
    "another text": (put("modelSpecs.0.source.inline", "Be humble."), "modelSpecs cannot be changed"),
    "a spec less": (put("demonstrations", [{"name": "cheese", "compose": {}}]), "demonstrations cannot be changed"),
    "another learning rate": (put("training.midtrain.learningRate", 0.5), "training cannot be changed"),
    "another pod template": (put("training.midtrain.podTemplate.spec.nodeSelector.gpu", "no"), "training cannot be changed"),
    "another seed": (put("seeds", [0, 2]), "seeds cannot be changed"),
    "an eval less": (put("evals", [{"name": "values", "items": {"source": {"uri": "s3://b/x"}}}]), "evals cannot be changed"),
    "a registry that goes": (put("registry", None), "registry cannot be changed"),
    "a store that goes": (put("storage", None), "storage cannot be changed"),
    "another deadline": (put("execution.deadline", "1h"), "deadline cannot be changed"),
    "a queue that comes": (put("execution.queueName", "q"), "queueName cannot be changed"),
}


@pytest.fixture(scope="module")
def kept(place: str, definitions: ControlPlane) -> Object:
    """A run that is there; what is tried on it is refused or dry."""
    one = full("kept", place)
    reply = definitions.api.apply(path(one), one)
    assert reply.status == 201, reply.message
    return one


@pytest.mark.parametrize("case", CHANGES.values(), ids=CHANGES)
def test_what_a_plan_is_made_from_cannot_be_changed(kept: Object, place: str, api: Api, case: tuple[Change, str]) -> None:
    changed = full("kept", place, case[0])
    reply = api.apply(path(kept), changed, dryRun="All")
    assert reply.status == 422
    assert f"{case[1]}; make a new MSMRun" in reply.message


@pytest.mark.parametrize("where", ["suspend", "ttlSecondsAfterFinished", "execution.parallelism"])
def test_what_only_schedules_may_be_changed(kept: Object, place: str, api: Api, where: str) -> None:
    value = True if where == "suspend" else 7
    reply = api.apply(path(kept), full("kept", place, put(where, value)), dryRun="All")
    assert reply.status == 200, reply.message


def test_every_rule_has_a_message_and_a_price_that_the_api_server_takes(definitions: ControlPlane) -> None:
    for definition in DEFINITIONS:
        stored = definitions.api.get("crd", definition.name)
        conditions = {one["type"]: one["status"] for one in stored["status"]["conditions"]}
        assert conditions["Established"] == "True"
        assert conditions.get("NonStructuralSchema", "False") == "False"
        assert len(definition.to_yaml().encode()) < 300_000
