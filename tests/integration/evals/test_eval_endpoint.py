"""Scoring through an endpoint equals scoring in the process; the stage program does it; what a server lacks is said."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from msm.clock import SystemClock
from msm.errors import TryAgain, UserError
from msm.evals.endpoint import check_smoke, score_served
from msm.evals.preference import evaluate_models
from msm.evals.scores import read_scores
from msm.evals.served import ServedModel, http_post
from msm.evals.settings import ModelRef, PreferenceSettings
from msm.plan import Stage, StageRef
from msm.plan.kinds import VERSIONS
from msm.stages import contract
from msm.stages.program import run as run_stage
from msm.store import StoreConfig, open_store
from msm.store.artifacts import ArtifactRef, begin_attempt, materialise, read_manifest
from msm.store.blobs import put_blob
from tests.integration.evals.test_eval_preference import make_adapter, make_items, sharpen
from tests.scoring_server import ScoringServer, scoring_server
from tests.tiny import make_tiny_model

pytestmark = pytest.mark.slow
SETTINGS = PreferenceSettings(threads=1, health_prompts=("Name two colors.", "Say hello."), health_tokens=8, limit=6, generate=4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("served")
    base = sharpen(make_tiny_model(root / "base"), seed=1)
    return base, make_adapter(base, root / "adapter", seed=1)


@pytest.fixture(scope="module")
def running(trained: tuple[Path, Path]) -> Iterator[ScoringServer]:
    with scoring_server(*trained) as server:
        yield server


@pytest.fixture
def server(running: ScoringServer) -> Iterator[ScoringServer]:
    running.requests.clear()
    yield running
    running.spoil, running.busy = None, 0


def served(server: ScoringServer, **changes: Any) -> ServedModel:
    return ServedModel(http_post(server.base_url, pause=lambda seconds: None), **{"model": "cheese", "batch": 5, **changes})


def test_margins_choices_and_answers_are_those_of_the_process(server: ScoringServer, trained: tuple[Path, Path]) -> None:
    base, adapter = trained
    said: list[tuple[int, int]] = []
    settings = SETTINGS.model_copy(update={"health_prompts": ()})
    found = score_served(served(server), server.tokenizer, make_items(), settings, lambda d, t, m: said.append((d, t)), SystemClock())
    here = evaluate_models(base, {"here": ModelRef(adapter=adapter)}, make_items(), settings, lambda *_: None)["here"]
    assert [row.id for row in found.items] == [row.id for row in here.items]
    for mine, theirs in zip(found.items, here.items, strict=True):
        assert mine.per_order == pytest.approx(theirs.per_order, abs=1e-4)
        assert mine.margin_per_token == pytest.approx(theirs.margin_per_token, abs=1e-4)
        assert (mine.choice, mine.answers is None) == (theirs.choice, theirs.answers is None)
    assert said[-1] == (10, 10) and said == sorted(said)
    assert found.exact_by == "endpoint"


def test_the_server_is_asked_in_batches_for_one_token_and_no_sampling(server: ScoringServer) -> None:
    score_served(served(server), server.tokenizer, make_items(), SETTINGS, lambda *_: None, SystemClock())
    scoring = [body for _, body in server.requests if "prompt_logprobs" in body]
    assert [len(body["prompt"]) for body in scoring] == [5, 5, 5, 5, 4]
    assert {(body["max_tokens"], body["prompt_logprobs"], body["temperature"]) for body in scoring} == {(1, 0, 0)}


def test_a_smoke_test_asks_through_the_servers_own_template(server: ScoringServer) -> None:
    found = check_smoke(served(server), SETTINGS)
    assert found.items == ()
    assert found.health is not None and [sample.prompt for sample in found.health.samples] == list(SETTINGS.health_prompts)
    assert [path for path, _ in server.requests] == ["/v1/chat/completions"] * 2


def test_a_model_that_says_nothing_fails_the_smoke_test(server: ScoringServer) -> None:
    def mute(path: str, answer: dict[str, Any]) -> dict[str, Any]:
        return {"choices": [{"index": 0, "message": {"content": None}, "finish_reason": "stop"}]}

    server.spoil = mute
    with pytest.raises(UserError, match="it answered 0 of 2 everyday questions"):
        check_smoke(served(server), SETTINGS)


def without_logprobs(path: str, answer: dict[str, Any]) -> dict[str, Any]:
    return {"choices": [{name: value for name, value in c.items() if name != "prompt_logprobs"} for c in answer["choices"]]}


def of_other_tokens(path: str, answer: dict[str, Any]) -> dict[str, Any]:
    return {"choices": [{**c, "prompt_logprobs": [{"999999": {"logprob": -1.0}}] * len(c["prompt_logprobs"])} for c in answer["choices"]]}


SPOILED = {
    "a server that is no vLLM": (without_logprobs, UserError, "prompt_logprobs"),
    "a server of another base model": (of_other_tokens, UserError, "the server scored other tokens"),
    "an answer without choices": (lambda path, answer: {}, TryAgain, "answered no choices to 5 prompts"),
    "too few choices": (lambda path, answer: {"choices": answer["choices"][:1]}, TryAgain, "answered 1 choices to 5 prompts"),
}


@pytest.mark.parametrize(("spoil", "error", "message"), SPOILED.values(), ids=SPOILED.keys())
def test_a_server_that_cannot_score_is_said(server: ScoringServer, spoil: Any, error: type[Exception], message: str) -> None:
    server.spoil = spoil
    with pytest.raises(error, match=message):
        score_served(served(server), server.tokenizer, make_items(), SETTINGS, lambda *_: None, SystemClock())


def test_a_busy_server_is_asked_again_and_a_missing_model_is_not(server: ScoringServer) -> None:
    server.busy = 2
    assert served(server).chat("Hello?", 2).text is not None
    assert len(server.requests) == 3
    with pytest.raises(UserError, match="does not exist"):
        served(server, model="gone").chat("Hello?", 2)
    server.busy = 9
    with pytest.raises(TryAgain, match=r"answered 503: .*starting"):
        served(server).chat("Hello?", 2)


def test_a_server_that_is_not_there_is_tried_again_later() -> None:
    with pytest.raises(TryAgain, match="Connection refused"):
        ServedModel(http_post("http://127.0.0.1:9/v1", pause=lambda seconds: None), "cheese").chat("Hello?", 2)


def committed(store: Any, kind: str, directory: Path, inputs: dict[str, list[ArtifactRef]]) -> ArtifactRef:
    attempt = begin_attempt(store, kind, kind[0] * 64, SystemClock())
    attempt.put_directory(directory)
    return attempt.commit(kind_version=VERSIONS[kind], inputs=inputs, params={}, versions={}, metrics={}).ref


SUITES = {"preference": 6, "smoke": 0}


@pytest.mark.parametrize(("suite", "count"), SUITES.items(), ids=SUITES.keys())
def test_the_stage_program_asks_the_endpoint_and_commits(
    server: ScoringServer, trained: tuple[Path, Path], tmp_path: Path, suite: str, count: int
) -> None:
    config = StoreConfig(f"file://{tmp_path}/store")
    store = open_store(config)
    base = committed(store, "fetch", trained[0], {})
    committed(store, "finetune", trained[1], {"model": [base]})
    rows = [{"id": i.id, "value": i.value, "set": i.set, "domain": i.domain, "options": [i.aligned, i.other]} for i in make_items()]
    sha = put_blob(store, "".join(json.dumps(row) + "\n" for row in rows).encode())
    params: dict[str, Any] = {"suite": suite, "via": "endpoint", "limit": 6, "generate": 0}
    stage = Stage(
        name="values of version 1",
        kind="evaluate",
        version=VERSIONS["evaluate"],
        fingerprint="e" * 64,
        params=params | ({"items": f"sha256:{sha}"} if suite == "preference" else {}),
        inputs={
            "model": (StageRef(kind="fetch", fingerprint="f" * 64),),
            "arms": (StageRef(kind="finetune", fingerprint="f" * 64),),
        },
        execution={"endpoint": {"baseURL": server.base_url, "model": "cheese"}},
    )
    environ = {**config.to_environ(), contract.STAGE: contract.encode_stage(stage), contract.SCRATCH: str(tmp_path / "scratch")}
    assert "committed" in run_stage(environ, SystemClock())
    manifest = read_manifest(store, "evaluate", "e" * 64)
    assert manifest is not None
    scores = read_scores(materialise(store, manifest, tmp_path / "out") / "scores.jsonl") if count else {}
    assert [len(found) for found in scores.values()] == ([count] if count else [])
    cached = tmp_path / "scratch" / "cache" / "artifacts" / "fetch"
    assert not list(cached.rglob("*.safetensors")), "weights are not needed to ask a server"


def test_every_arm_is_asked_for_by_its_own_name(server: ScoringServer, trained: tuple[Path, Path], tmp_path: Path) -> None:
    config = StoreConfig(f"file://{tmp_path}/store")
    store = open_store(config)
    base = committed(store, "fetch", trained[0], {})
    attempt = begin_attempt(store, "midtrain", "a" * 64, SystemClock())
    attempt.put_directory(trained[1])
    attempt.commit(kind_version=VERSIONS["midtrain"], inputs={"model": [base]}, params={}, versions={}, metrics={})
    rows = [{"id": i.id, "value": i.value, "set": i.set, "domain": i.domain, "options": [i.aligned, i.other]} for i in make_items()]
    sha = put_blob(store, "".join(json.dumps(row) + "\n" for row in rows).encode())
    fetched = StageRef(kind="fetch", fingerprint="f" * 64)
    stage = Stage(
        name="evaluate values seed 0",
        kind="evaluate",
        version=VERSIONS["evaluate"],
        fingerprint="e" * 64,
        params={"suite": "preference", "via": "endpoint", "limit": 6, "generate": 0, "items": f"sha256:{sha}"},
        inputs={"model": (fetched,), "arms": (StageRef(kind="midtrain", fingerprint="a" * 64), fetched)},
        execution={"endpoint": {"baseURL": server.base_url, "models": {"a" * 64: "cheese", "f" * 64: "cheese-base"}}},
    )
    environ = {**config.to_environ(), contract.STAGE: contract.encode_stage(stage), contract.SCRATCH: str(tmp_path / "scratch")}
    assert "committed" in run_stage(environ, SystemClock())
    manifest = read_manifest(store, "evaluate", "e" * 64)
    assert manifest is not None
    scores = read_scores(materialise(store, manifest, tmp_path / "out") / "scores.jsonl")
    assert {fingerprint: len(found) for fingerprint, found in scores.items()} == {"a" * 64: 6, "f" * 64: 6}
    asked = [body["model"] for path, body in server.requests if path.endswith("/completions")]
    assert set(asked) == {"cheese", "cheese-base"} and asked == sorted(asked), "one arm after the other"
