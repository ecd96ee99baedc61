"""A run whose S3 server and MLflow server are both killed for a minute in the middle of a training, then started again where they were.

The run must wait and end well, with the reference's bytes; MLflow must show all of it after `msm track sync`, whether or not the projector
caught up before the end.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from msm.local.accept import Accepted, accept
from msm.store.checkpoints import newest_checkpoints
from tests.chaos.kills import CHAIN, processes_of
from tests.chaos.tiny_run import write_run
from tests.chaos.verdict import Digests, Verdict, judge
from tests.mlflow_server import MLflowServer, new_server
from tests.s3 import running_s3

Say = Callable[[str], None]
MOMENT_SECONDS = 300.0
END_SECONDS = 600.0


def server_process(directory: Path) -> tuple[int, list[str]]:
    """Process id and command line of the SeaweedFS whose data lie in a directory."""
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().decode().rstrip("\0").split("\0") if entry.name.isdecimal() else []
        except OSError:
            continue
        if f"-dir={directory}" in words:
            return int(entry.name), words
    raise RuntimeError(f"no SeaweedFS runs in {directory}")


@contextmanager
def killed_and_started_again(directory: Path, seconds: float) -> Iterator[None]:
    """SeaweedFS is killed, and started with the same words `seconds` later; the block runs with the new one, which is killed at its end."""
    pid, words = server_process(directory)
    os.kill(pid, signal.SIGKILL)
    time.sleep(seconds)
    again = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=directory)
    try:
        yield
    finally:
        again.kill()
        again.wait()


@dataclass(slots=True)
class Outage:
    """One run file in a home, its store in a bucket."""

    run_file: Path
    home: Path
    environ: Mapping[str, str]
    say: Say

    def accepted(self) -> Accepted:
        return accept(self.run_file, self.environ, self.run_file.parent)

    def start(self) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "msm.cli", "run", str(self.run_file)]
        return subprocess.Popen(command, env=dict(self.environ), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def wait_for_training(self, process: "subprocess.Popen[str]") -> None:
        """Until the first checkpoint of a midtraining is stored."""
        run, until = self.accepted(), time.monotonic() + MOMENT_SECONDS
        (stage,) = (s for s in run.plan.stages if s.kind == "midtrain")
        while not newest_checkpoints(run.store, stage.kind, stage.fingerprint):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"no checkpoint: {process.stdout.read() if process.stdout else ''}")
            time.sleep(0.3)

    def sync(self) -> str:
        command = [sys.executable, "-m", "msm.cli", "track", "sync", str(self.run_file)]
        done = subprocess.run(command, env=dict(self.environ), capture_output=True, text=True, timeout=END_SECONDS, check=False)
        return done.stdout + done.stderr


def away(root: Path, model: Path, seconds: float, reference: Digests, say: Say) -> Verdict:
    """Both servers away at once for `seconds`."""
    root.mkdir(parents=True, exist_ok=True)
    tracking = new_server(root)
    tracking.start()
    say("an MLflow server and an S3 server run")
    try:
        with running_s3(root / "s3") as server:
            server.make_bucket("runs")
            environ = {**os.environ, "MSM_HOME": str(root / "home"), "OMP_NUM_THREADS": "1", **server.config("runs", "here").to_environ()}
            outage = Outage(write_run(root / "in", model, **CHAIN, tracking={"uri": tracking.uri}), root / "home", environ, say)
            return _survive(outage, tracking, root / "s3", seconds, reference)
    finally:
        tracking.stop()


def _survive(outage: Outage, tracking: MLflowServer, data: Path, seconds: float, reference: Digests) -> Verdict:
    process = outage.start()
    outage.wait_for_training(process)
    tracking.stop()
    outage.say(f"both killed in the middle of a training, for {seconds:.0f} s")
    with killed_and_started_again(data, seconds):
        tracking.start()
        outage.say("both run again")
        said, _ = process.communicate(timeout=END_SECONDS)
        if process.returncode != 0:
            outage.say(f"the run ended with {process.returncode}: {said[-800:]}")
            return Verdict(lost=1, orphans=len(processes_of(outage.home)))
        verdict, wrong = judge(outage.accepted(), reference, {})
        verdict.orphans = len(processes_of(outage.home))
        shown = outage.sync()
        if "MLflow shows" not in shown:
            wrong, verdict.lost = [*wrong, f"MLflow: {shown}"], verdict.lost + 1
    for line in wrong:
        outage.say(line)
    waited = "waiting for it" in said
    outage.say(f"the run ended well{', having said that it waits' if waited else ''}; {shown.strip()}")
    return verdict
