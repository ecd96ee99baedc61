"""Crashes of the operator at boundaries of requests and store operations, by seed, each story compared with its undisturbed self.

Neighbours: `operator_world` tells a story, `operator` counts. A boundary is the moment before or after a request or an operation of the
store. First one small run, killed at every boundary in turn; then a busy cluster, killed many times a story, with all other faults.
"""

import json
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msm.store import open_store
from msm.store.artifacts import read_manifest
from msm_operator.controllers.documents import load, run_id
from tests.chaos.operator_verdict import OperatorVerdict
from tests.chaos.operator_world import Scenario, World
from tests.chaos.pretend_outside import End
from tests.chaos.pretend_wire import Dice
from tests.unit.operator_msmrun.cluster import CHAIN, NAMESPACE
from tests.unit.operator_msmrun.test_msmrun_endpoints import SERVED
from tests.unit.operator_runtime.virtual_time import virtually

Say = Callable[[str], None]
TWO: dict[str, Any] = CHAIN
"""A run of two stages."""


def ends(run: str, kind: str, number: int) -> End:
    """How attempts end."""
    match run, kind, number:
        case "flawed", "fetch", 1:
            return End(1, "ValueError: once")
        case "evicted", "evaluate", 1:
            return End(143, "", evicted=True)
        case "mistaken", "evaluate", _:
            return End(2, '{"exitCode": 2, "reason": "InvalidInput", "message": "items: none is left"}')
        case "hopeless", "fetch", _:
            return End(1, "Traceback\nValueError: again")
    return End()


SMALL = Scenario({"flawed": TWO}, (), ends)
BUSY = Scenario(
    {
        "whole": {"execution": {"parallelism": 2}},
        "flawed": TWO,
        "evicted": TWO,
        "mistaken": TWO,
        "hopeless": {**TWO, "execution": {"retries": {"limit": 1}}},
        "refused": {"arms": [{"name": "x", "midtrain": ["hoem"]}]},
        "served": {**SERVED, "endpoints": [{"name": "writer", "serve": {"model": "s3://inputs/served-writer", "gpus": 1}}]},
        "paused": {"execution": {"parallelism": 3, "deletionPolicy": "Delete"}},
        "dropped": {"execution": {"parallelism": 3, "deletionPolicy": "Delete"}},
        "fleeting": {**TWO, "execution": {"deletionPolicy": "Delete"}, "ttlSecondsAfterFinished": 30},
    },
    ((60.0, "paused", "suspend"), (70.0, "dropped", "delete"), (140.0, "paused", "resume")),
    ends,
)


def near(rng: random.Random) -> int:
    """Boundaries until the next crash: few or many, about equally often."""
    return round(2.0 ** rng.uniform(0.0, 8.5))


def outcome(world: World) -> dict[str, Any]:
    """What is left of each run in the end, without what time decides."""
    return {name: _outcome(world, name) for name in world.scenario.runs}


def _outcome(world: World, name: str) -> Any:
    found = world.server.objects.get(("msmruns", NAMESPACE, name))
    store = open_store(world.config)
    if found is None:
        return {"records": [info.key for info in store.list("runs/") if info.key.startswith(f"runs/{name}-")]}
    status = found.get("status", {})
    conditions = {c["type"]: [c["status"], c["reason"]] for c in status.get("conditions", ())}
    documents = load(store, world.config, run_id(name, found["metadata"]["uid"]))
    manifests = [read_manifest(store, s.kind, s.fingerprint) for s in documents.plan.stages] if documents else []
    uid = found["metadata"]["uid"]
    children = sorted(child[1:] for child in world.outside.born if child[0] == uid)
    return {
        "conditions": conditions,
        "plan": status.get("plan"),
        "results": status.get("results"),
        "stages": [{key: row.get(key) for key in ("name", "state", "reason", "attempts", "faults")} for row in status.get("stages", ())],
        "digests": [manifest.content_digest if manifest else None for manifest in manifests],
        "children": "any" if name in world.scenario.free else children,
    }


def lost(reference: Mapping[str, Any], found: Mapping[str, Any]) -> int:
    """Stages that the undisturbed story has and this one has not."""
    pairs = [(reference[name].get("digests", ()), found[name].get("digests", ())) for name in reference]
    return sum(
        len(one) if len(one) != len(other) else sum(a is not None and a != b for a, b in zip(one, other, strict=True))
        for one, other in pairs
    )


@dataclass(slots=True)
class Teller:
    """Tells stories of one scenario and compares them with the undisturbed one."""

    scenario: Scenario
    say: Say
    verdict: OperatorVerdict = field(default_factory=OperatorVerdict)
    happened: Counter[str] = field(default_factory=Counter)
    reference: dict[str, Any] = field(default_factory=dict)
    stories: int = 0

    def prepare(self) -> int:
        """The undisturbed story; how many boundaries it has."""
        world = self._tell(Dice(random.Random(0), 0, near, faults=0.0))
        problems = [*world.wrong, *world.stuck]
        if problems:
            raise AssertionError(f"the undisturbed story: {problems}")
        self.reference = world.kept
        return world.dice.boundaries

    def tell(self, name: str, dice: Dice) -> None:
        """One story with crashes."""
        world = self._tell(dice)
        found = world.kept
        missing, other = lost(self.reference, found), json.dumps(found, sort_keys=True) != json.dumps(self.reference, sort_keys=True)
        crashes = dice.happened["crash"]
        self.verdict.add(
            OperatorVerdict(injected=crashes, lost=missing, duplicates=len(world.wrong), stuck=len(world.stuck), different=int(other))
        )
        self.happened += dice.happened
        for line in [*world.wrong, *world.stuck, *(_differences(self.reference, found) if other else ())]:
            self.say(f"{name}: {line}")

    def _tell(self, dice: Dice) -> World:
        self.stories += 1
        with tempfile.TemporaryDirectory(prefix="operator-world-", dir=_memory()) as directory:
            world = World(Path(directory), self.scenario, dice)
            virtually(world.story())
            world.kept = outcome(world)
            return world


def _differences(reference: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    wrong = []
    for name, wanted in reference.items():
        for part in wanted:
            if json.dumps(wanted[part]) != json.dumps(found[name].get(part)):
                wrong.append(f"{name}: {part}: {json.dumps(found[name].get(part))} instead of {json.dumps(wanted[part])}")
    return wrong


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def inject(wanted: int, seed: int, say: Say) -> OperatorVerdict:
    """At least `wanted` crashes: each boundary of a small run alone, then drawn ones in a busy cluster."""
    total = OperatorVerdict()
    small = Teller(SMALL, say)
    boundaries = small.prepare()
    step = max(1, -(-boundaries * 2 // wanted))
    for number in range(1, boundaries + 1, step):
        small.tell(f"boundary {number}", Dice(random.Random(number), 1, lambda _, number=number: number, faults=0.0))
    say(f"a small run has {boundaries} boundaries; {small.verdict.injected} crashes, each alone")
    busy = Teller(BUSY, say)
    busy.prepare()
    while small.verdict.injected + busy.verdict.injected < wanted:
        name = f"seed {seed}, story {busy.stories}"
        busy.tell(name, Dice(random.Random(f"{seed} {busy.stories}"), 60, near))
        say(f"{name}: {small.verdict.injected + busy.verdict.injected} of {wanted} crashes")
    say(f"{busy.stories} stories of {len(BUSY.runs)} runs; {dict(busy.happened)}")
    total.add(small.verdict)
    total.add(busy.verdict)
    return total
