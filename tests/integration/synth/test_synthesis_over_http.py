"""Synthesising stages over real HTTP, with the real client and journal: faults, a real kill, the prefix cache. The server is scripted."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from msm.api import parse_run
from msm.clock import SystemClock
from msm.errors import Exit, UserError
from msm.llm.ask import Request, Sampling
from msm.plan import Plan, Stage, plan_run
from msm.resolve.digests import text_identity
from msm.stages import contract
from msm.stages.program import attempt_stage
from msm.store import ObjectStore
from msm.store.artifacts import read_manifest
from msm.store.blobs import put_blob
from tests.llm_server import MODEL, Asked, Fault, Reply, ScriptedServer, running_llm_server, seeded_faults
from tests.runs import resolution
from tests.scripted import ScriptedAsker
from tests.unit.preview.kept import a_store, commit, tokenizer_files
from tests.unit.synth_tree.runs import Artifact, run_data

GENERAL = (Path(__file__).parents[2] / "unit/synth_tree/general_spec.md").read_text(encoding="utf-8")
LONG = (
    GENERAL
    + "\n## At length\n"
    + "\n".join(f"{{model_name}} keeps promise number {n} since a kept word is worth more." for n in range(500))
)
AUTHOR = ScriptedAsker()


def content(asked: Asked) -> Reply:
    """What a scripted asker would say: by the form that is asked for and the digest of the question."""
    form = asked.body.get("response_format", {}).get("json_schema", {}).get("schema")
    request = Request("", asked.last, Sampling(1), "", schema=form)
    answer = AUTHOR.answer(request, hashlib.sha256(asked.prompt.encode()).hexdigest())
    return Reply(answer.text if form is None else json.dumps(answer.data))


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with running_llm_server(content=content) as running:
        yield running


def planned(
    server: ScriptedServer, store: ObjectStore, spec: str = GENERAL, concurrency: int = 16, endpoint: Any = None, **corpus: Any
) -> Plan:
    data = run_data({"quality": {"minScore": 1}, **corpus})
    data["spec"]["modelSpecs"][0]["source"] = {"path": "spec.md"}
    reached = {"baseURL": server.base_url, "model": MODEL, "identity": "scripted", "concurrency": concurrency, "timeout": 2}
    for known in data["spec"]["endpoints"]:
        known["openai"] = {**reached, **(endpoint or {})}
    put_blob(store, spec.encode())
    plan = plan_run(parse_run(data), resolution(modelSpecs__bread=text_identity(spec.encode())))
    fetch = next(s for s in plan.stages if s.kind == "fetch")
    if read_manifest(store, fetch.kind, fetch.fingerprint) is None:
        commit(store, fetch, tokenizer_files())
    return plan


def attempted(plan: Plan, kind: str, store: ObjectStore, tmp_path: Path) -> Artifact:
    stage = next(s for s in plan.stages if s.kind == kind)
    scratch = tmp_path / f"scratch-{kind}"
    attempt_stage(stage, store, {contract.SCRATCH: str(scratch)}, SystemClock(), threading.Event(), 1.0)
    return Artifact(store, stage)


def test_a_fifth_of_all_calls_may_fail_and_no_document_is_lost(server: ScriptedServer, tmp_path: Path) -> None:
    kinds = [Fault.RATE, Fault.RATE_SECONDS, Fault.UNAVAILABLE, Fault.ERROR, Fault.RESET, Fault.HALF, Fault.GARBAGE, Fault.EMPTY]
    server.script.faults = seeded_faults(0, 0.2, kinds)
    store = a_store(tmp_path)
    plan = planned(server, store, documents=12, synthesize={"ideasPerType": 10})
    found = {kind: attempted(plan, kind, store, tmp_path) for kind in ("outline", "write", "curate", "demonstrate")}
    assert {kind: artifact.metrics.get("failures", 0) for kind, artifact in found.items()} == dict.fromkeys(found, 0)
    assert found["curate"].metrics["documents"] == 12
    assert len(found["demonstrate"].rows()) == 20
    assert sum(server.counts[fault.value] for fault in kinds) > 15


def test_the_document_stage_hits_the_prefix_cache(server: ScriptedServer, tmp_path: Path) -> None:
    store = a_store(tmp_path)
    plan = planned(server, store, LONG, documents=30, synthesize={"ideasPerType": 10, "critique": False}, quality={})
    attempted(plan, "outline", store, tmp_path)
    before = server.counts["prefix_hits"], server.counts["prefix_queries"]
    attempted(plan, "write", store, tmp_path)
    rate = (server.counts["prefix_hits"] - before[0]) / (server.counts["prefix_queries"] - before[1])
    assert rate >= 0.9, f"prefix hit rate {rate:.3f}"


def test_a_stage_that_is_killed_asks_again_only_what_was_in_flight(server: ScriptedServer, tmp_path: Path) -> None:
    server.script.latency = 0.03
    store = a_store(tmp_path)
    plan = planned(server, store, concurrency=4, documents=30, synthesize={"ideasPerType": 10})
    attempted(plan, "outline", store, tmp_path)
    stage = next(s for s in plan.stages if s.kind == "write")
    start = server.number
    process = begin(stage, tmp_path, 0)
    wait_until(lambda: server.number >= start + 20, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    while (code := begin(stage, tmp_path, 1).wait(60)) == Exit.TRY_AGAIN:
        time.sleep(0.5)
    assert code == 0
    times = Counter(asked.prompt for asked in server.asked[start:])
    repeated = sum(count - 1 for count in times.values())
    assert repeated <= 4, f"{repeated} questions were asked again although 4 were under way"
    rows = Artifact(store, stage).rows()
    assert len(rows) == 38
    assert len({row["id"] for row in rows}) == 38


BAD_INPUT: dict[str, tuple[dict[str, Any], str, str]] = {
    "a spec of 1 MB and a stated context": (
        {"contextTokens": "32k"},
        "x y " * 260_000,
        r"the step domains does not fit: about \d{6} tokens",
    ),
    "a spec of 1 MB and a context that only the server knows": ({}, "x y " * 260_000, r"the step domains does not fit .*32768"),
    "a budget of 0": ({"price": {"input": 1, "output": 1}, "maxPrice": 0}, GENERAL, "maxPrice"),
    "an empty spec": ({}, "  \n", "the spec is empty"),
}


@pytest.mark.parametrize(("endpoint", "spec", "said"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_is_one_line_that_says_what_to_change(
    server: ScriptedServer, tmp_path: Path, endpoint: dict[str, Any], spec: str, said: str
) -> None:
    server.script.context = 32768
    store = a_store(tmp_path)
    with pytest.raises(UserError, match=said) as found:
        attempted(planned(server, store, spec, endpoint=endpoint), "outline", store, tmp_path)
    assert "\n" not in str(found.value)
    assert server.counts["answered"] == 0


SERVERS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "an endpoint without the model": ({}, {"model": "absent"}, r"has no model .absent.*scripted"),
    "a wrong key": ({"key": "sk-right"}, {}, r"OPENAI_API_KEY"),
    "an endpoint with a small max length": ({"context": 4000}, {}, r"the step domains does not fit .*4000"),
}


@pytest.mark.parametrize(("script", "endpoint", "said"), SERVERS.values(), ids=SERVERS)
def test_a_server_that_will_not_do_is_said_in_one_line_by_the_stage(
    server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: dict[str, Any], endpoint: dict[str, Any], said: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
    for name, value in script.items():
        setattr(server.script, name, value)
    store = a_store(tmp_path)
    with pytest.raises(UserError, match=said) as found:
        attempted(planned(server, store, endpoint=endpoint), "outline", store, tmp_path)
    assert "\n" not in str(found.value)
    assert "sk-wrong" not in str(found.value)
    assert server.counts["answered"] == 0


def begin(stage: Stage, tmp_path: Path, number: int) -> "subprocess.Popen[bytes]":
    environ = {**os.environ, contract.STAGE: contract.encode_stage(stage), contract.SCRATCH: str(tmp_path / f"process-{number}")}
    environ["MSM_STORE_URI"] = f"file://{tmp_path}/store"
    return subprocess.Popen([sys.executable, "-m", "msm.stages"], env=environ, start_new_session=True, stderr=subprocess.DEVNULL)


def wait_until(condition: Any, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, "the stage ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
