"""Every built image does its work as nobody, on a read-only root, without a shell or a compiler: `make test-images`.

What is not built is skipped with what to type. Cost: some minutes of CPU, most of it vLLM's start.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

from tests.e2e.images.room import COMPILERS, SHELLS, USER, NotHere, builder, room

pytestmark = pytest.mark.images
OPERATOR_MB = 220
EVERY = ("operator", "trainer", "serve", "storage-initializer", "mlflow")
THEIRS = ("training-operator", "kserve-controller", "network-policies", "pause", "seaweedfs")
RANK = """
import os, torch, torch.distributed as dist
dist.init_process_group("gloo")
seen = torch.tensor([float(dist.get_rank() + 1)])
dist.all_reduce(seen)
assert seen.item() == 3.0
os.write(1, f"reduced {dist.get_rank()}\\n".encode())
"""
CLIENT = """
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
client = MlflowClient()
run = client.create_run(client.create_experiment("it"), tags={"msm.run": "it"}).info.run_id
client.log_batch(run, metrics=[Metric("loss", 0.5, 0, 0)], params=[Param("rank", "8")])
client.log_text(run, "a page", "report.html")
client.create_registered_model("cheese")
version = client.create_model_version("cheese", "s3://bucket/midtrain/x", run, tags={"msm.fingerprint": "x"})
client.set_registered_model_alias("cheese", "champion", version.version)
found = client.get_model_version_by_alias("cheese", "champion")
searched = client.search_model_versions("tags.`msm.fingerprint` = 'x'")
print(found.version, f"v{searched[0].version}", client.get_metric_history(run, "loss")[0].value)
"""


@contextlib.contextmanager
def image(name):
    """A mounted image, or a skip with the reason."""
    with contextlib.ExitStack() as stack:
        try:
            mounted = stack.enter_context(room(name))
        except NotHere as missing:
            pytest.skip(str(missing))
        yield mounted


@pytest.fixture
def place(tmp_path):
    """A directory that the image's user may write, below ones that it may pass."""
    for directory in [tmp_path, *tmp_path.parents]:
        if directory.stat().st_mode & 0o005 != 0o005 and str(directory) != "/":
            directory.chmod(directory.stat().st_mode | 0o055)
    given = tmp_path / "given"
    given.mkdir()
    os.chown(given, USER, USER)
    return given


def give(directory):
    """Hand what is in a directory to the image's user."""
    for path in [directory, *directory.rglob("*")]:
        os.chown(path, USER, USER)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as held:
        return held.getsockname()[1]


def wait_for(url, running, within):
    """What a server answers, once it does."""
    until = time.monotonic() + within
    while time.monotonic() < until and running.process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.read()
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise AssertionError(f"{url} did not answer:\n{running.said()[-3000:]}")


@pytest.mark.parametrize("name", EVERY)
def test_there_is_no_compiler_and_the_shell_is_really_covered(name):
    with image(name) as made:
        assert made.programs(COMPILERS) == []
        assert made.config["User"] == f"{USER}:{USER}"
        shell = "import os; print(os.getuid(), os.access('/', os.W_OK)); os.execv('/bin/sh', ['sh', '-c', 'echo a shell'])"
        ended = made.run("python3", "-c", shell)
        assert made.programs(SHELLS)
        assert f"{USER} False" in ended.said
        assert "PermissionError" in ended.said


def test_the_operator_says_what_it_is_not_told_and_holds_no_torch():
    with image("operator") as made:
        ended = made.run()
        assert ended.code == 2
        assert "MSM_STAGE_IMAGE: is not set" in ended.said
        everything = (
            "import importlib, pkgutil, msm_operator, sys, importlib.util as u\n"
            "for m in pkgutil.walk_packages(msm_operator.__path__, 'msm_operator.'):\n"
            "    m.name.endswith('__main__') or importlib.import_module(m.name)\n"
            "import mlflow, scipy.special, torchx.specs, kubernetes.aio, minio, huggingface_hub, tokenizers, jinja2\n"
            "assert u.find_spec('torch') is None\n"
            "print('imported', len([n for n in sys.modules if n.startswith('msm_operator')]))\n"
        )
        ended = made.run("python", "-c", everything)
        assert ended.code == 0, ended.said
        assert "imported" in ended.said


def test_the_operator_is_small():
    build = builder()
    with image("operator") as made:
        base = build.size_mb(build.local_base())
        assert made.record["mb"] - base <= OPERATOR_MB


def test_bytecode_is_ready_so_that_a_read_only_root_costs_no_start():
    with image("operator") as made:
        ended = made.run("python", "-v", "-c", "import msm_operator.main, kubernetes.aio")
        assert ended.code == 0
        from_source = [line for line in ended.said.splitlines() if line.startswith("# code object from '/") and line.endswith(".py'")]
        assert "msm_operator/__pycache__/main" in ended.said
        assert [line for line in from_source if "/opt/venv/" in line or "/app/" in line] == []


def test_ranks_meet_by_gloo_in_the_trainer(place):
    (place / "rank.py").write_text(RANK)
    with image("trainer") as made:
        torchrun = ("python", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "/given/rank.py")
        ended = made.run(*torchrun, mounts={place: "/given"}, within=300)
        assert ended.code == 0, ended.said
        assert "reduced 0" in ended.said
        assert "reduced 1" in ended.said


def test_every_kind_of_stage_commits_in_the_trainer(place):
    from msm.local.accept import accept
    from msm.stages import contract
    from msm.store.artifacts import read_manifest
    from tests.chaos.tiny_run import write_run
    from tests.tiny import make_tiny_model

    with image("trainer") as made:
        environ = {**os.environ, "MSM_HOME": str(place / "home"), "MSM_STORE_URI": (place / "store").as_uri()}
        accepted = accept(write_run(place / "run", make_tiny_model(place / "model", vocab=320)), environ, place)
        give(place)
        for number, stage in enumerate(accepted.plan.stages):
            told = {
                contract.STAGE: contract.encode_stage(stage),
                contract.SCRATCH: str(place / f"scratch-{number}"),
                contract.CACHE: str(place / "cache"),
                "MSM_STORE_URI": (place / "store").as_uri(),
            }
            ended = made.run(environ=told, mounts={place: str(place)}, within=600)
            assert ended.code == 0, (stage.kind, ended.said[-4000:])
            assert read_manifest(accepted.store, stage.kind, stage.fingerprint) is not None
    assert {"fetch", "curate", "demonstrate", "midtrain", "finetune", "evaluate"} <= {stage.kind for stage in accepted.plan.stages}


def test_the_server_answers_a_chat(place):
    """With the shell: vLLM 0.32 asks `lscpu` for the cores through one, and has no other way."""
    from tests.vllm_server import smollm2

    shutil.copytree(smollm2(), place / "model")
    give(place)
    port = free_port()
    words = ("python3", "-m", "vllm.entrypoints.openai.api_server", "--model=/mnt/models", "--served-model-name=smollm2", f"--port={port}")
    with (
        image("serve") as made,
        dataclasses.replace(made, covered=COMPILERS).start(
            *words, "--max-model-len=1024", environ={"VLLM_CPU_KVCACHE_SPACE": "1"}, mounts={place / "model": "/mnt/models"}
        ) as running,
    ):
        wait_for(f"http://127.0.0.1:{port}/v1/models", running, 1200)
        asked = {
            "model": "smollm2",
            "temperature": 0,
            "max_tokens": 12,
            "messages": [{"role": "user", "content": "What is the capital of France?"}],
        }
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/chat/completions", json.dumps(asked).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            assert "Paris" in json.load(answer)["choices"][0]["message"]["content"]


@pytest.fixture
def s3(place):
    """SeaweedFS out of its image, with one object."""
    from minio import Minio

    identity = {
        "name": "it",
        "credentials": [{"accessKey": "it", "secretKey": "its-secret"}],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    (place / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (place / "data").mkdir()
    give(place)
    services = {name: free_port() for name in ("master.port", "volume.port", "filer.port", "s3.port")}
    grpc = {f"{name}.grpc": free_port() for name in services}
    ports = [f"-{name}={port}" for name, port in {**services, **grpc}.items()]
    words = [
        "weed",
        "-logtostderr=true",
        "server",
        "-dir=/given/data",
        "-s3",
        "-s3.config=/given/s3.json",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
    ]
    words += [
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=0",
        "-s3.localSocket=/tmp/s3",
        "-filer.localSocket=/tmp/filer",
    ]
    with image("seaweedfs") as made, made.start(*words, *ports, mounts={place: "/given"}) as running:
        client = Minio(f"127.0.0.1:{services['s3.port']}", access_key="it", secret_key="its-secret", secure=False, region="us-east-1")
        until = time.monotonic() + 90
        while True:
            try:
                client.make_bucket(bucket_name="weights")
                (place / "config.json").write_text('{"a": 1}')
                client.fput_object(bucket_name="weights", object_name="model/config.json", file_path=str(place / "config.json"))
                break
            except Exception:
                if time.monotonic() > until or running.process.poll() is not None:
                    raise AssertionError(running.said()[-3000:]) from None
                time.sleep(0.5)
        yield services["s3.port"]


def test_the_storage_initializer_brings_what_seaweedfs_keeps(s3, place):
    told = {
        "AWS_ACCESS_KEY_ID": "it",
        "AWS_SECRET_ACCESS_KEY": "its-secret",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3}",
        "AWS_DEFAULT_REGION": "us-east-1",
        "S3_USE_HTTPS": "0",
    }
    models = place / "models"
    models.mkdir()
    os.chown(models, USER, USER)
    program = "/storage-initializer/scripts/initializer-entrypoint"
    with image("storage-initializer") as made:
        ended = made.run(program, "s3://weights/model", "/mnt/models/base", environ=told, mounts={models: "/mnt/models"})
        assert ended.code == 0, ended.said
        assert (models / "base" / "config.json").read_text() == '{"a": 1}'
        assert made.run(program, "s3://weights").code != 0


def test_mlflow_keeps_what_the_operators_small_client_writes(place):
    port = free_port()
    words = ["mlflow", "server", "--host=127.0.0.1", f"--port={port}", "--workers=1", "--backend-store-uri=sqlite:////given/mlflow.db"]
    words += ["--artifacts-destination=file:///given/artifacts", "--serve-artifacts"]
    told = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with image("mlflow") as made, image("operator") as operator, made.start(*words, environ=told, mounts={place: "/given"}) as running:
        assert wait_for(f"http://127.0.0.1:{port}/health", running, 300) == b"OK"
        ended = operator.run("python", "-c", CLIENT, environ={"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}, within=300)
        assert ended.code == 0, ended.said
        assert "1 v1 0.5" in ended.said
        assert made.run("python", "-c", "import boto3").code == 0


@pytest.mark.parametrize("name", ["training-operator", "kserve-controller"])
def test_a_controller_of_others_starts(name):
    with image(name) as made:
        ended = made.run("/manager", "--help")
        assert "leader-elect" in ended.said


def test_the_pause_program_ends_when_it_is_told_to():
    with image("pause") as made, made.start() as running:
        with pytest.raises(subprocess.TimeoutExpired):
            running.process.wait(1)
        threading.Timer(0, running.process.terminate).start()
        running.process.wait(10)
