"""Real SIGKILLs of stages that ask: no answer that was filed is asked for again, and the artifact is that of an undisturbed stage.

The server is scripted and answers each question by the question alone, so an answer in the journal tells which question it belongs to.
"""

import hashlib
import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from msm.api import parse_run
from msm.clock import SystemClock
from msm.llm.ask import Request, Sampling
from msm.plan import Plan, Stage, plan_run
from msm.resolve.digests import text_identity
from msm.stages import contract, program
from msm.store import ObjectStore
from msm.store.artifacts import ANSWERS, open_attempt, read_manifest
from msm.store.blobs import put_blob
from msm.store.progress import read_progress
from tests.llm_server import MODEL, Asked, Reply, ScriptedServer, running_llm_server
from tests.runs import resolution
from tests.scripted import ScriptedAsker
from tests.unit.preview.kept import a_store, commit, tokenizer_files
from tests.unit.synth_tree.runs import SPEC, run_data

pytestmark = pytest.mark.slow
AUTHOR = ScriptedAsker()
UNDER_WAY = 4


@dataclass(frozen=True)
class Plague:
    """How often each stage is killed, how many answers it is given before a kill at most, and how large the run is."""

    kills: dict[str, int]
    most: int
    corpus: dict[str, Any]
    chats: dict[str, Any]


TWENTY = Plague(
    {"write": 12, "demonstrate": 8},
    6,
    {"documents": 24, "synthesize": {"docTypes": 2, "ideasPerType": 10}, "quality": {"minScore": 1}},
    {"samples": 40, "questionsPerDomain": 8},
)
SIXTY = Plague(
    {"outline": 20, "write": 20, "demonstrate": 20},
    5,
    {"documents": 40, "synthesize": {"docTypes": 6, "ideasPerType": 10}, "quality": {"minScore": 1}},
    {"samples": 80, "questionsPerDomain": 8},
)
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [
        *(f"msm.stages.{name}" for name in ("program", "outline", "write", "demonstrate")),
        *("msm.llm.endpoint", "msm.data.tokens", "tokenizers", "jinja2", "pytest"),
        *("tests.llm_server", "tests.scripted", "tests.unit.preview.kept", "tests.unit.synth_tree.runs"),
    ]
)
"""Real processes that are forked when everything is imported: thirty starts cost seconds instead of minutes."""


def content(asked: Asked) -> Reply:
    form = asked.body.get("response_format", {}).get("json_schema", {}).get("schema")
    answer = AUTHOR.answer(Request("", asked.last, Sampling(1), "", schema=form), hashlib.sha256(asked.prompt.encode()).hexdigest())
    return Reply(answer.text if form is None else json.dumps(answer.data))


def said(text: str, data: Any) -> str:
    """An answer as it is told from others."""
    return json.dumps(data, sort_keys=True) if data is not None else text.strip()


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with running_llm_server(content=content, latency=0.02) as running:
        yield running


def planned(server: ScriptedServer, store: ObjectStore, plague: Plague) -> Plan:
    data = run_data(deepcopy(plague.corpus), deepcopy(plague.chats))
    for known in data["spec"]["endpoints"]:
        known["openai"] = {"baseURL": server.base_url, "model": MODEL, "identity": "scripted", "concurrency": UNDER_WAY}
    put_blob(store, SPEC.encode())
    plan = plan_run(parse_run(data), resolution(modelSpecs__bread=text_identity(SPEC.encode())))
    commit(store, the(plan, "fetch"), tokenizer_files())
    return plan


def the(plan: Plan, kind: str) -> Stage:
    return next(stage for stage in plan.stages if stage.kind == kind)


def attempt(environ: dict[str, str]) -> None:
    """What a stage's process does, in a process that has imported everything."""
    os._exit(program.main(environ))


def begun(stage: Stage, directory: Path, number: int) -> Any:
    environ = {
        contract.STAGE: contract.encode_stage(stage),
        contract.SCRATCH: str(directory / f"scratch-{stage.kind}-{number}"),
        "MSM_STORE_URI": f"file://{directory}/store",
    }
    process = PROCESSES.Process(target=attempt, args=(environ,))
    process.start()
    return process


def finished(stage: Stage, directory: Path, store: ObjectStore) -> dict[str, str]:
    """Let it end; its files by their digests."""
    process = begun(stage, directory, 999)
    process.join(120)
    assert process.exitcode == 0
    manifest = read_manifest(store, stage.kind, stage.fingerprint)
    assert manifest is not None
    return {name: entry.sha256 for name, entry in manifest.files.items() if name != "failures.jsonl"}


def bury(stage: Stage, store: ObjectStore) -> None:
    """What an executor does with those that it finds killed: nobody waits for them."""
    for beat in read_progress(store, stage.kind, stage.fingerprint):
        if not beat.ended:
            open_attempt(store, stage.kind, stage.fingerprint, beat.attempt, SystemClock()).retire(beat)


def filed(store: ObjectStore) -> set[str]:
    """All answers that are in the journal now."""
    entries = (json.loads(store.get(info.key))["said"] for info in store.list(f"{ANSWERS}/") if "/spending/" not in info.key)
    return {said(entry["text"], entry["data"]) for entry in entries}


def wait_until(server: ScriptedServer, asked: int, process: Any) -> None:
    deadline = time.monotonic() + 60
    while server.number < asked:
        assert process.exitcode is None, "the stage ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.parametrize("plague", [TWENTY, pytest.param(SIXTY, marks=pytest.mark.long)], ids=["twenty kills", "twenty of each stage"])
def test_of_what_was_answered_before_a_kill_nothing_is_asked_again(plague: Plague, server: ScriptedServer, tmp_path: Path) -> None:
    draw = random.Random(5)
    calm, rough = (tmp_path / name for name in ("calm", "rough"))
    stores = {directory: a_store(directory) for directory in (calm, rough)}
    plans = {directory: planned(server, store, plague) for directory, store in stores.items()}
    expected = {}
    for kind in ("outline", "write", "demonstrate"):
        expected[kind] = finished(the(plans[calm], kind), calm, stores[calm])
    if "outline" not in plague.kills:
        finished(the(plans[rough], "outline"), rough, stores[rough])
    kills = again = 0
    for kind, wanted in plague.kills.items():
        stage, store, known = the(plans[rough], kind), stores[rough], filed(stores[rough])
        for number in range(wanted):
            start, after = server.number, draw.randint(1, plague.most)
            process = begun(stage, rough, number)
            wait_until(server, start + after, process)
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            assert process.exitcode == -signal.SIGKILL
            kills += 1
            bury(stage, store)
            asked = [said(*_reply(one)) for one in server.asked[start:]]
            again += len(known.intersection(asked))
            assert known <= filed(store), "a filed answer is gone"
            known = filed(store)
        start = server.number
        assert finished(stage, rough, store) == expected[kind]
        again += len(known.intersection(said(*_reply(one)) for one in server.asked[start:]))
    assert (kills, again) == (sum(plague.kills.values()), 0)


def _reply(asked: Asked) -> tuple[str, Any]:
    text = content(asked).text or ""
    return (text, json.loads(text)) if "response_format" in asked.body else (text, None)
