"""Starts torchrun so that all of its processes can be found and ended.

torchrun puts each rank into a session of its own, so a process group does not reach them; a random mark in the environment does, which
every descendant inherits and /proc shows. Linux only, no torch. Invariant: after `end_all` no process with the mark runs.
"""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from msm.train.job import TrainJob
from msm.train.machines import read_machines
from msm.train.outcome import WorkFiles

MARK = "MSM_TRAIN_MARK"


@dataclass(frozen=True, slots=True)
class Ranks:
    """A started torchrun and the mark of all its processes."""

    process: "subprocess.Popen[bytes]"
    mark: str

    def ended(self) -> bool:
        """Whether torchrun itself has exited."""
        return self.process.poll() is not None

    def end_all(self) -> None:
        """Cuts the lifeline and kills whatever still has the mark, until nothing does."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        while marked := [pid for pid in _marked(self.mark) if _kill(pid)]:
            self.process.poll()
            time.sleep(0.01 * min(len(marked), 5))
        self.process.wait()


def start_ranks(job: TrainJob, environment: Mapping[str, str]) -> Ranks:
    """Starts `job.processes` ranks of the worker under torchrun in their own session; output goes to the work directory's log.

    On one machine torchrun makes a rendezvous of its own, on several it takes the one that the environment's PET_* variables describe.
    """
    machines = read_machines(job.machines, environment)
    where = [] if machines.count > 1 else ["--standalone", "--nnodes", "1"]
    torchrun = ["-m", "torch.distributed.run", *where, "--nproc-per-node", str(job.processes), "--max-restarts", "0"]
    command = [sys.executable, *torchrun, "-m", "msm.train.worker", str(WorkFiles(job.work).job)]
    return start_marked(job, command, {**environment, **machines.settings})


def start_marked(job: TrainJob, command: Sequence[str], environment: Mapping[str, str]) -> Ranks:
    """Starts `command` in its own session with the lifeline as standard input; its descendants carry the mark."""
    mark = secrets.token_hex(16)
    with WorkFiles(job.work).log.open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**environment, **_settings(job), MARK: mark},
        )
    return Ranks(process, mark)


def _settings(job: TrainJob) -> dict[str, str]:
    threads = job.threads or max(1, len(os.sched_getaffinity(0)) // job.processes)
    return {
        "OMP_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "true",
        "DS_SKIP_CUDA_CHECK": "1",
        "DEEPSPEED_LOG_LEVEL": "warning",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "PYTHONUNBUFFERED": "1",
    }


def _marked(mark: str) -> Iterator[int]:
    wanted = f"{MARK}={mark}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _has(entry / "environ", wanted) and not _is_zombie(entry / "stat"):
            yield int(entry.name)


def _has(path: Path, wanted: bytes) -> bool:
    try:
        return wanted in path.read_bytes()
    except OSError:
        return False


def _is_zombie(path: Path) -> bool:
    try:
        return path.read_bytes().rpartition(b")")[2].split()[0] == b"Z"
    except (OSError, IndexError):
        return True


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
