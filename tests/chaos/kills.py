"""Real SIGKILLs of real processes: of `msm run`, of its stages, of torchrun and its ranks, at moments drawn from a seed.

After each, the same command again until it ends. Whom to kill is looked up in /proc by the run's home, which every process of a run has in
its environment. A chain is one store; it gets several kills and a verdict.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msm.local.accept import Accepted, accept
from msm.store import ObjectStore, StoreConfig, open_store
from msm.store.artifacts import read_manifest
from tests.chaos.tiny_run import write_run
from tests.chaos.verdict import Digests, Verdict, judge

Say = Callable[[str], None]
LOOK_SECONDS = 0.03
PATIENCE_SECONDS = 600.0
"""A call that neither ends nor reaches its moment in this time is lost."""
VANISH_SECONDS = 20.0
"""What a run may leave behind for a moment after it has ended well."""
KILLS_A_CHAIN = 10
RECIPE = {"maxLength": 64, "batchTokens": 64, "learningRate": 1e-3, "epochs": 20, "checkpointEvery": 1}
CHAIN: dict[str, Any] = {
    "training": {
        "method": "lora",
        "lora": {"rank": 4, "alpha": 8},
        "midtrain": RECIPE,
        "finetune": {**RECIPE, "maxLength": 128, "batchTokens": 128},
        "precision": "float32",
    },
    "arms": [{"name": "msm-home-aft", "midtrain": ["home"], "finetune": ["food"]}],
}
PROGRAMS = {"run": "msm.cli", "stage": "msm.stages", "torchrun": "torch.distributed.run", "rank": "msm.train.worker"}
Processes = Mapping[int, str]
"""Process id -> command line."""


def processes_of(home: Path) -> dict[int, str]:
    """Living processes whose environment points into a run's home."""
    found, mark = {}, str(home).encode()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and mark in (entry / "environ").read_bytes() and not _is_zombie(entry):
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    return found


def _is_zombie(entry: Path) -> bool:
    return (entry / "stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z"


@dataclass(frozen=True, slots=True)
class Blow:
    """Which moment to wait for, how many seconds more, and whom to kill."""

    moment: str
    delay: float
    victim: str


MOMENTS: Mapping[str, tuple[float, tuple[str, ...]]] = {
    "msm run starts": (3.0, ("run",)),
    "a stage starts": (2.0, ("stage", "run", "everything")),
    "a commit": (0.0, ("stage", "run", "everything")),
    "torchrun starts": (2.0, ("torchrun", "stage", "run", "everything")),
    "a rank starts": (6.0, ("rank", "torchrun", "everything")),
    "between checkpoints": (1.0, ("rank", "stage", "run", "torchrun", "everything")),
    "evaluation": (6.0, ("stage", "run")),
    "anywhere": (15.0, ("run", "stage", "everything")),
}
"""Moment -> (longest delay after it in seconds, whom to kill)."""


def blows(draw: random.Random) -> Iterator[Blow]:
    """Every pair of moment and victim in a random order, for ever."""
    while True:
        pairs = [(moment, longest, victim) for moment, (longest, victims) in MOMENTS.items() for victim in victims]
        draw.shuffle(pairs)
        yield from (Blow(moment, draw.uniform(0, longest), victim) for moment, longest, victim in pairs)


@dataclass(slots=True)
class Chain:
    """One store and the calls on it."""

    run_file: Path
    home: Path
    say: Say
    kills: int = 0
    winners: dict[str, str] = field(default_factory=dict)
    replaced: list[str] = field(default_factory=list)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def store(self) -> ObjectStore:
        return open_store(StoreConfig(f"file://{self.home.resolve()}/store"))

    def start(self) -> None:
        """Type the command."""
        self.home.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "MSM_HOME": str(self.home), "OMP_NUM_THREADS": "1"}
        with (self.home / "output.txt").open("ab") as output:
            command = [sys.executable, "-m", "msm.cli", "run", str(self.run_file)]
            self.process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)

    def suffer(self, blow: Blow) -> bool:
        """Wait for the blow's moment and strike, unless the call ends before; whether somebody was killed."""
        if self.process is None or self.process.poll() is not None:
            self.start()
        reached = self._wait_for(blow)
        found = self._victims(blow.victim) if reached else []
        for process in found:
            _kill(process)
        self._note(found, blow)
        return bool(found)

    def finish(self) -> bool:
        """The command again until it ends well; whether it did."""
        for _ in range(4):
            if self.process is None or self.process.poll() is not None:
                self.start()
            assert self.process is not None
            try:
                if self.process.wait(PATIENCE_SECONDS) == 0:
                    return True
            except subprocess.TimeoutExpired:
                break
        self.say(f"{self.home.name}: does not end: {(self.home / 'output.txt').read_text()[-600:]}")
        return False

    def accepted(self) -> Accepted:
        return accept(self.run_file, {**os.environ, "MSM_HOME": str(self.home)}, self.run_file.parent)

    def orphans(self) -> Processes:
        """What still runs although the run has ended and had its moment."""
        until = time.monotonic() + VANISH_SECONDS
        while (left := processes_of(self.home)) and time.monotonic() < until:
            time.sleep(0.2)
        return left

    def check_winners(self) -> None:
        """Whoever was first must stay first: note manifests that another attempt has replaced, or that are gone."""
        found = dict(self._winners())
        self.replaced += [key for key, attempt in self.winners.items() if found.get(key) != attempt]
        self.winners |= found

    def _winners(self) -> Iterator[tuple[str, str]]:
        store = self.store
        for key in [f.key for f in store.list("") if f.key.endswith("/manifest.json") and f.key.count("/") == 2]:
            kind, fingerprint, _ = key.split("/")
            manifest = read_manifest(store, kind, fingerprint)
            if manifest is not None:
                yield key, manifest.attempt

    def _wait_for(self, blow: Blow) -> bool:
        assert self.process is not None
        arrived, until = _arrival(blow.moment, self), time.monotonic() + PATIENCE_SECONDS
        while not arrived():
            if self.process.poll() is not None or time.monotonic() > until:
                return False
            time.sleep(LOOK_SECONDS)
        time.sleep(blow.delay)
        return self.process.poll() is None

    def _victims(self, victim: str) -> list[int]:
        """Process ids to kill, `msm run` itself when the one that is wanted is not there."""
        assert self.process is not None
        found = processes_of(self.home)
        if victim == "everything":
            return [self.process.pid, *(pid for pid in found if pid != self.process.pid)]
        wanted = [
            pid
            for pid, command in found.items()
            if f"-m {PROGRAMS[victim]}" in command and not (victim == "rank" and "torch.dist" in command)
        ]
        return wanted[:1] or [self.process.pid]

    def _note(self, found: list[int], blow: Blow) -> None:
        if found:
            self.kills += 1
            self.say(f"{self.home.name}: kill {self.kills}: {blow.victim} {blow.delay:.1f} s after: {blow.moment}")
        assert self.process is not None
        if self.process.pid in found:
            self.process.wait()
        self.check_winners()


def _kill(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return


def _arrival(moment: str, chain: Chain) -> Callable[[], bool]:
    """Whether a moment has come since now."""
    before = processes_of(chain.home)
    store = chain.home / "store"

    def new(program: str, kind: str = "") -> bool:
        return any(
            f"-m {PROGRAMS[program]}" in command and pid not in before and kind in _stage_of(pid)
            for pid, command in processes_of(chain.home).items()
        )

    def checkpoints() -> set[Path]:
        return set(store.glob("*/*/attempts/*/checkpoints/*/manifest.json"))

    def uncommitted_files() -> bool:
        return any(not (files.parents[2] / "manifest.json").exists() for files in store.glob("*/*/attempts/*/files"))

    known = checkpoints()
    tests: dict[str, Callable[[], bool]] = {
        "msm run starts": lambda: True,
        "anywhere": lambda: True,
        "a stage starts": lambda: new("stage"),
        "torchrun starts": lambda: new("torchrun"),
        "a rank starts": lambda: new("rank"),
        "evaluation": lambda: new("stage", '"kind":"evaluate"'),
        "between checkpoints": lambda: bool(checkpoints() - known),
        "a commit": uncommitted_files,
    }
    return tests[moment]


def _stage_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def tormented(chain: Chain, wanted: int, order: Iterator[Blow]) -> None:
    """Up to `wanted` kills on one chain; fewer when it ends before."""
    while chain.kills < wanted:
        if not chain.suffer(next(order)) and chain.process is not None and chain.process.poll() == 0:
            return


def conclude(chain: Chain, reference: Digests) -> Verdict:
    """Let it end, and count."""
    if not chain.finish():
        return Verdict(kills=chain.kills, lost=1, orphans=len(chain.orphans()))
    chain.check_winners()
    left = chain.orphans()
    verdict, wrong = judge(chain.accepted(), reference, {})
    verdict.kills, verdict.orphans = chain.kills, len(left)
    verdict.duplicates += len(set(chain.replaced))
    for line in [*wrong, *(f"orphan: {command}" for command in left.values()), *(f"replaced: {key}" for key in set(chain.replaced))]:
        chain.say(f"{chain.home.name}: {line}")
    return verdict


def kill_lane(root: Path, model: Path, wanted: int, seed: int, reference: Digests, say: Say) -> Verdict:
    """Chains one after the other until `wanted` kills are done."""
    draw, verdict, number = random.Random(seed), Verdict(), 0
    order, run_file = blows(draw), write_run(root / "in", model, **CHAIN)
    while verdict.kills < wanted:
        number += 1
        chain = Chain(run_file, root / f"chain-{number}", say)
        tormented(chain, min(KILLS_A_CHAIN, wanted - verdict.kills), order)
        verdict.add(conclude(chain, reference))
        say(f"{root.name}: chain {number} has ended, {verdict.kills} of {wanted} kills")
    return verdict
