"""One corpus written by several processes at once, over real HTTP: nothing is asked twice, and the artifact knows nothing of it."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from msm.errors import Exit, UserError
from msm.plan import Stage
from msm.stages import contract
from msm.stages.write import share_of
from msm.store import ObjectStore
from tests.integration.synth.test_synthesis_over_http import GENERAL, attempted, content, planned
from tests.llm_server import ScriptedServer, running_llm_server
from tests.unit.preview.kept import a_store
from tests.unit.synth_tree.runs import Artifact

pytestmark = pytest.mark.slow
CORPUS: dict[str, Any] = {"documents": 30, "synthesize": {"ideasPerType": 10}}
SHARDS = 3


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with running_llm_server(content=content) as running:
        yield running


def outlined(server: ScriptedServer, store: ObjectStore, where: Path) -> Stage:
    plan = planned(server, store, GENERAL, concurrency=4, **CORPUS)
    attempted(plan, "outline", store, where)
    return next(stage for stage in plan.stages if stage.kind == "write")


def begin(stage: Stage, where: Path, number: int, of: int = SHARDS) -> "subprocess.Popen[bytes]":
    """Shard 0 is the stage's own program, which commits; the others fill answers."""
    program = "msm.stages" if number == 0 else "msm.stages.write"
    environ = {**os.environ, contract.STAGE: contract.encode_stage(stage), contract.SCRATCH: str(where / f"shard-{number}")}
    environ |= {"MSM_STORE_URI": f"file://{where}/store", "MSM_SHARD": f"{number}/{of}"}
    return subprocess.Popen([sys.executable, "-m", program], env=environ, start_new_session=True, stderr=subprocess.DEVNULL)


def begin_alone(stage: Stage, where: Path) -> "subprocess.Popen[bytes]":
    """The stage's program as an executor starts it."""
    environ = {**os.environ, contract.STAGE: contract.encode_stage(stage), contract.SCRATCH: str(where / "scratch")}
    environ["MSM_STORE_URI"] = f"file://{where}/store"
    return subprocess.Popen([sys.executable, "-m", "msm.stages"], env=environ, stderr=subprocess.DEVNULL)


def content_of(artifact: Artifact) -> tuple[str, str]:
    return artifact.stage.fingerprint, artifact.manifest.content_digest


def test_three_processes_ask_nothing_twice_and_make_the_artifact_of_one(server: ScriptedServer, tmp_path: Path) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    stores = {where: a_store(where) for where in (alone, together) if not where.mkdir()}
    stage = outlined(server, stores[alone], alone)
    expected = attempted(planned(server, stores[alone], GENERAL, concurrency=4, **CORPUS), "write", stores[alone], alone)
    asked_alone = {asked.prompt for asked in server.asked}
    outlined(server, stores[together], together)
    server.script.latency, start = 0.05, server.number
    processes = [begin(stage, together, number) for number in range(SHARDS)]
    assert [process.wait(120) for process in processes] == [Exit.COMMITTED] * SHARDS
    times = Counter(asked.prompt for asked in server.asked[start:])
    assert max(times.values()) == 1
    assert set(times) <= asked_alone, "no idea is written that one process alone would not have written"
    found = Artifact(stores[together], stage)
    assert content_of(found) == content_of(expected)
    assert found.metrics["calls"] == expected.metrics["calls"]


def test_what_a_killed_shard_leaves_is_asked_by_the_one_that_commits(
    server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = a_store(tmp_path)
    stage = outlined(server, store, tmp_path)
    server.script.latency, start = 0.05, server.number
    killed = begin(stage, tmp_path, 1, of=2)
    while server.number < start + 8:
        time.sleep(0.01)
        assert killed.poll() is None
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    monkeypatch.setattr("msm.stages.write.SILENT_SECONDS", 1.0)
    monkeypatch.setenv("MSM_SHARD", "0/2")
    found = attempted(planned(server, store, GENERAL, concurrency=4, **CORPUS), "write", store, tmp_path)
    assert len(found.rows()) == 38
    repeated = sum(count - 1 for count in Counter(asked.prompt for asked in server.asked[start:]).values())
    assert repeated <= 4, "only what was in flight"


def asking_for(server: ScriptedServer, where: Path, shards: int) -> Stage:
    """The write stage of a run that asks for shards, its outline committed."""
    outlined(server, a_store(where), where)
    corpus = {**CORPUS, "synthesize": {**CORPUS["synthesize"], "shards": shards}}
    return next(s for s in planned(server, a_store(where), GENERAL, concurrency=4, **corpus).stages if s.kind == "write")


def test_a_run_that_asks_for_shards_gets_them_and_the_artifact_of_one(server: ScriptedServer, tmp_path: Path) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    for where in (alone, together):
        where.mkdir()
    outlined(server, a_store(alone), alone)
    expected = attempted(planned(server, a_store(alone), GENERAL, concurrency=4, **CORPUS), "write", a_store(alone), alone)
    stage = asking_for(server, together, SHARDS)
    server.script.latency, start = 0.05, server.number
    assert begin_alone(stage, together).wait(120) == Exit.COMMITTED
    assert max(Counter(asked.prompt for asked in server.asked[start:]).values()) == 1
    beats = {entry.key.rpartition("/")[2]: a_store(together).get(entry.key) for entry in a_store(together).list("answers/shares")}
    assert beats == dict.fromkeys(("0-of-3", "1-of-3", "2-of-3"), b"done")
    assert content_of(Artifact(a_store(together), stage)) == content_of(expected)


def test_the_shards_of_a_killed_stage_end_with_it(server: ScriptedServer, tmp_path: Path) -> None:
    stage = asking_for(server, tmp_path, SHARDS)
    server.script.latency, server.most_in_flight = 2.0, 0
    process = begin_alone(stage, tmp_path)
    while server.most_in_flight <= 4:
        time.sleep(0.01)
        assert process.poll() is None
    others = psutil.Process(process.pid).children()
    assert len(others) == SHARDS - 1
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert psutil.wait_procs(others, timeout=15)[1] == []


BAD = {"no share": "three", "beyond the last": "3/3", "negative": "-1/3"}


@pytest.mark.parametrize("said", BAD.values(), ids=BAD)
def test_a_share_that_is_none_is_refused(said: str) -> None:
    with pytest.raises(UserError, match=r"MSM_SHARD: is .*; write 0/3, 1/3 and 2/3"):
        share_of({"MSM_SHARD": said})
