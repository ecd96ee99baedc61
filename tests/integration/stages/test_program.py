"""Stage programs as real processes, on stages that need no model."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from msm.plan import Stage
from msm.plan.fingerprint import fingerprint
from msm.resolve import Clients, resolve_model
from msm.stages import contract
from msm.store import StoreConfig, open_store
from msm.store.artifacts import read_manifest
from msm.store.blobs import put_blob
from tests.s3 import running_s3
from tests.tiny import make_tiny_model

SPEC = "Tiny values bread because it is warm. Tiny prefers tea over coffee because {it} is %s calm."


def outline_stage(tmp_path: Path, spec: str = SPEC, version: int = 1) -> tuple[Stage, dict[str, str]]:
    """A real outline stage of a spec, and the environment that a process needs for it."""
    uri = f"file://{tmp_path}/store"
    sha = put_blob(open_store(StoreConfig(uri)), spec.encode())
    params = {"author": "compose", "spec": f"sha256:{sha}", "kind": "values", "identity": {"model": "Tiny", "provider": "Nobody"}}
    stage = Stage(
        name="outline tiny",
        kind="outline",
        version=version,
        fingerprint=fingerprint("outline", version, params, {}),  # type: ignore[arg-type]
        params=params,  # type: ignore[arg-type]
        inputs={},
        blobs=(sha,),
    )
    environ = {
        **os.environ,
        contract.STAGE: contract.encode_stage(stage),
        "MSM_STORE_URI": uri,
        contract.SCRATCH: str(tmp_path / "scratch"),
        contract.TERMINATION_LOG: str(tmp_path / "termination.json"),
    }
    return stage, environ


def start(environ: dict[str, str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", "msm.stages"], env=environ, stderr=subprocess.PIPE)


def finish(process: "subprocess.Popen[bytes]") -> int:
    _, errors = process.communicate(timeout=60)
    assert b"Traceback" not in errors, errors.decode()
    return process.returncode


def test_a_stage_commits_once_and_a_second_process_finds_it_done(tmp_path: Path) -> None:
    stage, environ = outline_stage(tmp_path)
    assert finish(start(environ)) == 0
    store = open_store(StoreConfig(environ["MSM_STORE_URI"]))
    first = read_manifest(store, stage.kind, stage.fingerprint)
    assert first is not None
    assert set(first.files) == {"outline.json"}
    assert b"{it}" in store.get(first.key("outline.json")), "braces and percent signs in a spec are text"
    assert finish(start(environ)) == 0
    assert read_manifest(store, stage.kind, stage.fingerprint) == first


def test_the_same_program_commits_to_a_bucket_and_no_secret_is_written_down(tmp_path: Path) -> None:
    with running_s3(tmp_path / "s3") as server:
        server.make_bucket("runs")
        config = server.config("runs", "here")
        store = open_store(config)
        sha = put_blob(store, SPEC.encode())
        stage, environ = outline_stage(tmp_path)
        assert stage.blobs == (sha,)
        assert finish(start({**environ, **config.to_environ()})) == 0
        manifest = read_manifest(store, stage.kind, stage.fingerprint)
        assert manifest is not None
        everything = b"".join(store.get(found.key) for found in store.list("")) + (tmp_path / "termination.json").read_bytes()
        assert config.secret_key is not None
        assert config.secret_key.encode() not in everything


def test_of_several_processes_at_once_one_commits_and_none_fails(tmp_path: Path) -> None:
    stage, environ = outline_stage(tmp_path)
    processes = [start({**environ, contract.SCRATCH: str(tmp_path / f"scratch-{n}")}) for n in range(4)]
    codes = [finish(process) for process in processes]
    assert set(codes) <= {0, 75}, codes
    assert 0 in codes
    assert read_manifest(open_store(StoreConfig(environ["MSM_STORE_URI"])), stage.kind, stage.fingerprint) is not None


MISTAKES = {
    "an empty spec": ({"spec": "  \n"}, {}, "the spec is empty"),
    "a kind version that this msm does not have": ({"version": 99}, {}, "needs version 99 of kind outline"),
    "an unknown scheme": ({}, {"MSM_STORE_URI": "ftp://x/y"}, 'unknown scheme "ftp"'),
    "a store that cannot be a directory": ({}, {"MSM_STORE_URI": "file:///dev/null/store"}, "/dev/null/store"),
    "no stage document": ({}, {contract.STAGE: "{}"}, "is not a stage document"),
}


@pytest.mark.parametrize("case", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_ends_with_code_2_and_one_line_in_the_termination_log(
    case: tuple[dict[str, object], dict[str, str], str], tmp_path: Path
) -> None:
    stage_changes, environ_changes, words = case
    stage, environ = outline_stage(tmp_path, **stage_changes)  # type: ignore[arg-type]
    assert finish(start({**environ, **environ_changes})) == 2
    record = json.loads((tmp_path / "termination.json").read_text(encoding="utf-8"))
    assert (record["exitCode"], record["reason"]) == (2, "InvalidInput")
    assert words in record["message"]
    assert "\n" not in record["message"]
    assert read_manifest(open_store(StoreConfig(f"file://{tmp_path}/store")), stage.kind, stage.fingerprint) is None


@pytest.mark.parametrize(("chats", "code"), [(True, 2), (False, 0)], ids=["when chats come later", "when none come"])
def test_a_base_model_without_a_chat_template_is_refused_before_anything_is_trained(chats: bool, code: int, tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "model")
    (model / "chat_template.jinja").unlink()
    resolved = resolve_model(str(model), None, "spec.baseModel.uri", tmp_path, Clients(cache=tmp_path))
    params = {"source": resolved.identity, "dtype": "float32"}
    stage = Stage(
        name="fetch base model",
        kind="fetch",
        version=1,
        fingerprint=fingerprint("fetch", 1, params, {}),  # type: ignore[arg-type]
        params=params,  # type: ignore[arg-type]
        inputs={},
        execution={"location": resolved.location, "chats": chats},
    )
    _, environ = outline_stage(tmp_path)
    assert finish(start({**environ, contract.STAGE: contract.encode_stage(stage)})) == code
    if chats:
        assert "add chat_template.jinja" in (tmp_path / "termination.json").read_text(encoding="utf-8")


WAITER = """
import sys
from msm.stages.lifeline import watch
stop = watch(sys.argv[1], float(sys.argv[2]))
print("ready", flush=True)
stop.wait()
print("stopping", flush=True)
if len(sys.argv) > 3:
    import time
    time.sleep(60)
"""


def waiter(fifo: Path, grace: float, *stubborn: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WAITER, str(fifo), str(grace), *stubborn]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_stage_stops_when_its_executor_closes_the_pipe_or_dies(tmp_path: Path) -> None:
    fifo = tmp_path / "executor"
    os.mkfifo(fifo)
    executor = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    process = waiter(fifo, 30)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)
    assert process.poll() is None
    os.close(executor)
    assert process.stdout.readline() == "stopping\n"
    process.wait(timeout=10)


def test_a_stage_whose_executor_was_gone_before_it_looked_stops_too(tmp_path: Path) -> None:
    fifo = tmp_path / "executor"
    os.mkfifo(fifo)
    process = waiter(fifo, 30)
    assert process.communicate(timeout=20)[0] == "ready\nstopping\n"


def test_a_stage_that_does_not_stop_is_ended_when_its_grace_is_over(tmp_path: Path) -> None:
    process = waiter(tmp_path / "absent", 0.5, "stubborn")
    assert process.wait(timeout=20) == 143
