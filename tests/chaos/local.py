"""`make chaos-local`: kills and injected crashes, counted. The last line is one JSON object; exit code 1 when anything was lost.

usage: python -m tests.chaos.local [--seed N] [--kills N] [--injected N] [--away SECONDS] [--root DIRECTORY]

First the run that all others are compared with, then parts side by side, each in a process of its own: lanes of real kills, one that
injects, one whose servers go away. Numbers come from what the parts found in their stores and in /proc. Cost: docs/design/faults.md.
"""

import argparse
import json
import logging
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.chaos import tiny_run
from tests.chaos.faulty import Fault
from tests.chaos.verdict import Verdict, digests

Say = Callable[[str], None]
RANDOM = tuple(Fault)
WITHOUT_OTHERS = tuple(fault for fault in Fault if fault is not Fault.OVERTAKEN)
"""With real training in threads two calls cannot train at once."""
REAL_SHARE = 12
"""One crash in so many is injected into a run that really trains and evaluates."""
SPACING, REAL_SPACING = 12, 25
INJECTED = 600
"""One at every operation of a run (230) for the machine and for the stage's process, and some at random on top."""


def main(arguments: Sequence[str]) -> int:
    """Run all parts, or the one that was asked for, and print the sum."""
    options = _options(arguments)
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"[{time.monotonic() - started:5.0f} s] {line}", flush=True)

    root = options.root or Path(tempfile.mkdtemp(prefix="chaos-", dir=_fast()))
    root.mkdir(parents=True, exist_ok=True)
    verdict = _part(options, root, say) if options.part else _all(options, root, say)
    if verdict.good and options.root is None:
        shutil.rmtree(root, ignore_errors=True)
    elif not options.part:
        say(f"what is left of it lies in {root}")
    print(json.dumps(asdict(verdict)), flush=True)
    return 0 if verdict.good else 1


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.local", description="kills and injected crashes, counted")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=40, help="real SIGKILLs")
    parser.add_argument("--injected", type=int, default=INJECTED, help="injected crashes, at least")
    parser.add_argument("--away", type=float, default=60.0, help="seconds that S3 and MLflow are away; 0: leave that part out")
    parser.add_argument("--lanes", type=int, default=2, help="chains that are killed side by side")
    parser.add_argument("--root", type=Path, help="directory to work in and to keep; default: a temporary one")
    parser.add_argument("--part", choices=("prepare", "kills", "injected", "away"), help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _fast() -> Path | None:
    """A directory in memory: hundreds of small stores wait for no disk."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > 2 << 30 else None


def _all(options: argparse.Namespace, root: Path, say: Say) -> Verdict:
    """Every part as a process of its own; what one prints is passed on, its last line is its verdict."""
    say(f"seed {options.seed}, in {root}")
    found: dict[str, Verdict] = {}
    _watch(found, "prepare", "prepare", [], root, say)
    lanes = min(options.lanes, max(1, options.kills)) if options.kills else 0
    shares = [options.kills // lanes + (lane < options.kills % lanes) for lane in range(lanes)]
    wanted = [("kills", f"lane{lane}", lane, ["--kills", str(share)]) for lane, share in enumerate(shares)]
    if options.injected:
        wanted.append(("injected", "injected", 0, ["--injected", str(options.injected)]))
    if options.away:
        wanted.append(("away", "away", 1, ["--away", str(options.away)]))
    parts = (
        []
        if found["prepare"].lost
        else [
            threading.Thread(target=_watch, args=(found, part, name, ["--seed", str(options.seed + number), *more], root, say))
            for part, name, number, more in wanted
        ]
    )
    for part in parts:
        part.start()
    for part in parts:
        part.join()
    total = Verdict()
    for verdict in found.values():
        total.add(verdict)
    return total


def _watch(found: dict[str, Verdict], part: str, name: str, more: list[str], root: Path, say: Say) -> None:
    """One part: its lines as they come; a part that dies has lost something."""
    command = [sys.executable, "-m", "tests.chaos.local", "--part", part, "--root", str(root / name), *more]
    last = ""
    with (root / f"{name}.err").open("wb") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            last = line
            if not line.startswith("{"):
                say(f"{name}: {line.rstrip().partition('] ')[2]}")
    try:
        process.wait()
        found[name] = Verdict(**json.loads(last))
    except (ValueError, TypeError):
        say(f"{name}: died with code {process.returncode}: {(root / f'{name}.err').read_text()[-2000:]}")
        found[name] = Verdict(lost=1)


def _part(options: argparse.Namespace, root: Path, say: Say) -> Verdict:
    from tests.chaos.away import away
    from tests.chaos.kills import kill_lane

    logging.disable(logging.CRITICAL)
    model, kept = root.parent / "model", root.parent / "reference.json"
    if options.part == "injected":
        return _injected(root, model, options.injected, random.Random(options.seed), say)
    _stay_on_one_processor(options.seed)
    if options.part == "prepare":
        return _prepare(root, model, kept, say)
    reference = json.loads(kept.read_text())
    if options.part == "away":
        return away(root, model, options.away, reference, say)
    return kill_lane(root, model, options.kills, options.seed, reference, say)


def _stay_on_one_processor(number: int) -> None:
    """A training takes a thread for each processor that it may use, and sums are bit-equal for one number of threads alone."""
    ours = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {ours[number % len(ours)]})


def _prepare(root: Path, model: Path, kept: Path, say: Say) -> Verdict:
    """The model, and what the kills' run makes of it undisturbed; in this process, so that real processes must agree with it."""
    from tests.chaos.kills import CHAIN
    from tests.chaos.warm import World

    tiny_run.make_model(model.parent)
    world = World(tiny_run.write_run(root / "in", model, **CHAIN), root / "home", real_training=True)
    if not world.call().succeeded:
        return Verdict(lost=1)
    kept.write_text(json.dumps(digests(world.accepted())))
    say("the undisturbed run is made")
    return Verdict()


def _injected(root: Path, model: Path, wanted: int, draw: random.Random, say: Say) -> Verdict:
    """Every operation in turn (every k-th for a small `wanted`), then random ones; the last part of them in runs that really train."""
    from tests.chaos.injections import EVERYWHERE, STAGE_ONLY, Injector
    from tests.chaos.warm import quiet_threads

    quiet_threads()
    plain = Injector(tiny_run.write_run(root / "plain", model, **tiny_run.WITHOUT_EVALS), root, say)
    operations = plain.prepare()
    real = max(1, wanted // REAL_SHARE)
    step = max(1, -(-operations * 2 // (wanted - real)))
    say(f"an undisturbed call does {operations} operations; a crash at every {step if step > 1 else 'single'} one")
    for kinds in (EVERYWHERE, STAGE_ONLY):
        crashes = plain.every_operation(kinds, step=step)
        say(f"{crashes} crashes, each alone in its run: {kinds[0].value} and the like")
    while plain.verdict.injected < wanted - real:
        plain.at_random(draw, RANDOM, SPACING)
    say(f"{plain.verdict.injected} crashes with those at random, several in a run; {plain.made} runs")
    trained = Injector(tiny_run.write_run(root / "real", model), root / "trained", say, real_training=True)
    trained.prepare()
    while trained.verdict.injected < real:
        trained.at_random(draw, WITHOUT_OTHERS, REAL_SPACING)
    say(f"{trained.verdict.injected} crashes in runs that really train and evaluate; {trained.made} runs")
    total = Verdict()
    total.add(plain.verdict)
    total.add(trained.verdict)
    return total


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
