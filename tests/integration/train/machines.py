"""Entry programs as the pods of a PyTorchJob run them, one a machine, joined by torchrun's variables; here all on one machine (gloo)."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from msm.clock import SystemClock
from msm.plan import Stage, StageRef, kinds
from msm.plan.fingerprint import fingerprint
from msm.stages import contract
from msm.store import StoreConfig, open_store
from msm.store.artifacts import begin_attempt, read_manifest
from msm.store.checkpoints import newest_checkpoints
from msm.store.progress import read_progress

RECIPE = {
    "learningRate": 1e-3,
    "schedule": "cosine",
    "warmupRatio": 0.05,
    "weightDecay": 0.01,
    "gradientClip": 1,
    "epochs": 2,
    "maxLength": 128,
    "batchTokens": 640,
    "seed": 0,
    "precision": "float32",
    "method": {"lora": {"rank": 4, "alpha": 8, "dropout": 0.1}},
}
SECONDS = 240


def commit_directory(store, kind, directory, only=None, **params):
    attempt = begin_attempt(store, kind, fingerprint(kind, 1, params, {}), SystemClock())
    for path in sorted(directory.iterdir()) if only is None else [directory / only]:
        attempt.put_file("rows.jsonl" if only else path.name, path)
    attempt.commit(kind_version=1, inputs={}, params=params, versions={}, metrics={})
    return StageRef(kind=kind, fingerprint=attempt.fingerprint)


@dataclass
class Cluster:
    """A store with a model and a corpus in it, and a midtraining of them."""

    root: Path
    model: Path
    documents: Path
    inputs: dict = field(default_factory=dict)

    def stage(self, nodes, processes, **changes):
        params = {**RECIPE, **changes}
        refs = {role: (ref,) for role, ref in self.inputs.items()}
        version = kinds.VERSIONS["midtrain"]
        resources = {"nodes": nodes, "gpusPerNode": 0, "processesPerNode": processes, "microBatchRows": 1}
        return Stage(
            name="midtrain a",
            kind="midtrain",
            version=version,
            fingerprint=fingerprint("midtrain", version, params, {role: [ref.fingerprint] for role, (ref,) in refs.items()}),
            params=params,
            inputs=refs,
            execution={"resources": resources, "checkpointEvery": 1, "deepspeed": {"zeroStage": 2}},
        )

    @property
    def uri(self):
        return f"file://{self.root}/store"

    @property
    def store(self):
        return open_store(StoreConfig(self.uri))


def make_cluster(root, model, documents):
    cluster = Cluster(root, model, documents)
    fetched = commit_directory(cluster.store, "fetch", model, source="hf://a/b@1", dtype="float32")
    rows = commit_directory(cluster.store, "curate", documents.parent, only=documents.name)
    cluster.inputs.update(model=fetched, data=rows)
    return cluster


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_machines(cluster, stage, name):
    """One entry program for each machine of the stage, the leading one first; each sees one core, so that it computes with one thread."""
    count = stage.execution["resources"]["nodes"]
    pods = {"PET_NNODES": f"{count}:{count}", "PET_RDZV_BACKEND": "c10d", "PET_RDZV_ENDPOINT": f"127.0.0.1:{free_port()}", "RANK": "7"}
    cores = sorted(os.sched_getaffinity(0))
    return [
        start_machine(
            cluster,
            stage,
            cluster.root / f"{name}-{number}",
            cores[number % len(cores)],
            pods | {"PET_RDZV_CONF": f"is_host={number == 0}"},
        )
        for number in range(count)
    ]


def start_machine(cluster, stage, directory, core, pods):
    directory.mkdir(parents=True)
    environ = {
        **os.environ,
        **(pods if stage.execution["resources"]["nodes"] > 1 else {}),
        contract.STAGE: contract.encode_stage(stage),
        "MSM_STORE_URI": cluster.uri,
        contract.SCRATCH: str(directory / "scratch"),
        contract.TERMINATION_LOG: str(directory / "termination.json"),
        contract.GRACE: "60",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    log = (directory / "log.txt").open("wb")
    return subprocess.Popen(
        [sys.executable, "-m", "msm.stages"], env=environ, stderr=log, preexec_fn=lambda: os.sched_setaffinity(0, {core})
    )


def finish(cluster, name, machines):
    """(exit code, last message) of each machine."""
    return [
        (machine.wait(SECONDS), _message(cluster.root / f"{name}-{number}" / "termination.json")) for number, machine in enumerate(machines)
    ]


def _message(path):
    return json.loads(path.read_text())["message"] if path.exists() else ""


def end(machines):
    for machine in machines:
        machine.send_signal(signal.SIGKILL)
        machine.wait()


def steps(cluster, stage):
    """Of each attempt the last step that its heartbeat told."""
    return [progress.step for progress in read_progress(cluster.store, stage.kind, stage.fingerprint)]


def checkpoint_step(cluster, stage):
    return max((found.step for found in newest_checkpoints(cluster.store, stage.kind, stage.fingerprint)), default=0)


def manifest_of(cluster, stage):
    return read_manifest(cluster.store, stage.kind, stage.fingerprint)


def losses(cluster, stage):
    manifest = manifest_of(cluster, stage)
    return [json.loads(line)["loss"].hex() for line in cluster.store.get(manifest.key("metrics.jsonl")).splitlines()]


def wait_for(condition, seconds=SECONDS):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
