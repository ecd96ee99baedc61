"""A controller: what each outcome of a pass means for the next one, and that no pass harms another."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from msm_operator.runtime.cache import Change, Store
from msm_operator.runtime.controller import Controller, Work, label_key, owner_keys
from msm_operator.runtime.errors import Conflict, NotLeading, TooManyRequests
from msm_operator.runtime.metrics import Metrics, samples
from msm_operator.runtime.seams import Key
from tests.unit.operator_runtime.virtual_time import virtually

Pass = Callable[[Key], Awaitable[timedelta | None]]


class Scripted:
    """A reconciler that does what the test says and notes when."""

    def __init__(self, do: Pass) -> None:
        self.do = do
        self.passes: list[tuple[float, str]] = []
        self.under_way: list[str] = []

    async def reconcile(self, key: Key) -> timedelta | None:
        self.passes.append((asyncio.get_running_loop().time(), key.name))
        assert key.name not in self.under_way, "one worker a key"
        self.under_way.append(key.name)
        try:
            return await self.do(key)
        finally:
            self.under_way.remove(key.name)


def run(name: str, version: int = 1) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "team", "resourceVersion": str(version)}}


def working(
    do: Pass, seconds: float, *names: str, work: Work | None = None, then: Callable[[Controller], None] | None = None
) -> tuple[Scripted, Metrics]:
    """The passes of a controller over objects of these names, within `seconds`."""
    scripted, metrics, store = Scripted(do), Metrics(), Store()
    for name in names:
        store.put(run(name))

    async def main() -> None:
        controller = Controller("msmrun", scripted, store, metrics, work=work)
        stop = asyncio.Event()
        running = asyncio.create_task(controller.run(stop))
        await asyncio.sleep(0)
        if then:
            then(controller)
        await asyncio.sleep(seconds)
        stop.set()
        await running
        assert controller.queue is None

    virtually(main())
    return scripted, metrics


async def nothing(key: Key) -> None:
    return None


def failing(error: BaseException) -> Pass:
    async def fail(key: Key) -> None:
        if key.name == "poisoned":
            raise error

    return fail


def result(metrics: Metrics, of: str) -> float:
    return samples(metrics.text()).get(f'controller_runtime_reconcile_total{{controller="msmrun",result="{of}"}}', 0.0)


def test_a_new_leader_looks_at_every_object_once() -> None:
    scripted, metrics = working(nothing, 3600, "a", "b", "c")
    assert [name for _, name in scripted.passes] == ["a", "b", "c"]
    assert result(metrics, "success") == 3


def test_a_pass_may_ask_for_the_next_one() -> None:
    async def again(key: Key) -> timedelta:
        return timedelta(seconds=10)

    scripted, metrics = working(again, 35, "a")
    assert [when for when, _ in scripted.passes] == [0.0, 10.0, 20.0, 30.0]
    assert result(metrics, "requeue_after") == 4


FAILURES = {
    "a conflict": Conflict("somebody wrote"),
    "a mistake of ours": KeyError("spec"),
    "a recursion without end": RecursionError(),
}


@pytest.mark.parametrize("error", FAILURES.values(), ids=FAILURES)
def test_an_object_that_always_fails_is_tried_ever_more_slowly_and_delays_no_other(error: Exception) -> None:
    scripted, metrics = working(failing(error), 3600, "poisoned", *"abcdefgh", work=Work(workers=2))
    poisoned = [when for when, name in scripted.passes if name == "poisoned"]
    others = [when for when, name in scripted.passes if name != "poisoned"]
    assert max(others) == 0.0 and len(others) == 8
    assert 15 <= len(poisoned) <= 30, "0.1 s doubling to 300 s"
    assert result(metrics, "error") == len(poisoned) and result(metrics, "success") == 8


def test_what_the_server_asks_to_wait_is_waited() -> None:
    scripted, _ = working(failing(TooManyRequests("busy", retry_after=100)), 250, "poisoned")
    assert [when for when, _ in scripted.passes] == pytest.approx([0.0, 100.0, 200.0])


def test_a_pass_without_end_is_ended_and_tried_again() -> None:
    async def hang(key: Key) -> None:
        await asyncio.sleep(1e9)

    scripted, metrics = working(hang, 25, "a", work=Work(workers=1, limit_s=10))
    assert [round(when) for when, _ in scripted.passes] == [0, 10, 20]
    assert result(metrics, "error") == 3


def test_a_pass_that_finds_the_lease_lost_is_left_to_the_next_leader() -> None:
    scripted, metrics = working(failing(NotLeading("lost")), 3600, "poisoned")
    assert len(scripted.passes) == 1 and result(metrics, "error") == 0


def test_a_success_forgets_the_failures_before_it() -> None:
    attempts = 0

    async def sometimes(key: Key) -> timedelta:
        nonlocal attempts
        attempts += 1
        if attempts % 3:
            raise Conflict("again")
        return timedelta(seconds=100)

    scripted, _ = working(sometimes, 250, "a")
    pauses = [later - earlier for (earlier, _), (later, _) in zip(scripted.passes, scripted.passes[1:], strict=False)]
    assert all(pause < 0.3 for number, pause in enumerate(pauses) if number % 3 != 2)


def test_a_stop_waits_for_the_pass_under_way_and_begins_no_other() -> None:
    ended: list[float] = []

    async def slow(key: Key) -> None:
        await asyncio.sleep(10)
        ended.append(asyncio.get_running_loop().time())

    scripted, _ = working(slow, 5, "a", "b", work=Work(workers=1))
    assert ended == [10.0] and len(scripted.passes) == 1


def test_a_change_by_others_is_looked_at_and_the_echo_of_our_own_write_is_not() -> None:
    def then(controller: Controller) -> None:
        key = Key("team", "a")
        controller.on_primary(Change("updated", key, run("a", 2), echo=True))
        assert controller.queue is not None and len(controller.queue) == 0
        controller.on_primary(Change("updated", key, run("a", 3)))
        assert len(controller.queue) == 1

    scripted, _ = working(nothing, 1, then=then)
    assert [name for _, name in scripted.passes] == ["a"]


def test_a_change_of_a_child_is_its_owners_and_an_unreadable_one_is_nobodys() -> None:
    child = {
        "metadata": {
            "name": "a-train-1",
            "namespace": "team",
            "labels": {"modelspec.dev/run": "labelled"},
            "ownerReferences": [
                {"apiVersion": "modelspec.dev/v1alpha1", "kind": "MSMRun", "name": "a", "uid": "u"},
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x", "uid": "v"},
            ],
        }
    }

    def then(controller: Controller) -> None:
        owned = controller.on_related(owner_keys("modelspec.dev/v1beta1", "MSMRun"))
        owned(Change("updated", Key("team", "a-train-1"), child))
        owned(Change("updated", Key("team", "odd"), {"metadata": {"name": "odd", "ownerReferences": [{"kind": "MSMRun"}]}}))
        controller.on_related(label_key("modelspec.dev/run"))(Change("deleted", Key("team", "a-train-1"), child))

    scripted, _ = working(nothing, 1, then=then)
    assert [name for _, name in scripted.passes] == ["a", "labelled"]


def test_its_metrics_have_controller_runtimes_names() -> None:
    _, metrics = working(nothing, 1, "a", work=Work(workers=3))
    shown = samples(metrics.text())
    assert shown['controller_runtime_max_concurrent_reconciles{controller="msmrun"}'] == 3
    assert shown['controller_runtime_active_workers{controller="msmrun"}'] == 0
    assert shown['controller_runtime_reconcile_time_seconds_count{controller="msmrun"}'] == 1
