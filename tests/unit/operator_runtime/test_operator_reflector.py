"""The reflector: whatever the server and the network do, the store ends up equal to what the server has."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from msm_operator.runtime.api import Selection
from msm_operator.runtime.cache import Change, Store, version_of
from msm_operator.runtime.metrics import Metrics, samples
from msm_operator.runtime.reflector import Patience, Reflector
from msm_operator.runtime.resources import PODS
from msm_operator.runtime.seams import Key
from tests.unit.operator_runtime.faulty_apiserver import Answer, Disturb, Drop, FaultyApiServer, Hang, client, serving, until

QUICK = Patience(first=0.01, most=0.05, unserved=0.02, watch=(30, 60), brief=0.005)


def pod(name: str, namespace: str = "team", **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, **more}


class Following:
    """A reflector at work, and what its handler heard."""

    def __init__(self, server: FaultyApiServer, reflector: Reflector, metrics: Metrics) -> None:
        self.server, self.reflector, self.metrics = server, reflector, metrics
        self.heard: list[Change] = []
        reflector.on_change(self.heard.append)

    def equal(self) -> bool:
        """Whether the store has exactly what the server has."""
        kept = {(key.namespace, key.name): self.reflector.store.version(key) for key in self.reflector.store.keys()}  # noqa: SIM118
        chosen = self.reflector.chosen
        there = {key[1:]: version_of(obj) for key, obj in self.server.objects.items() if key[0] == chosen.resource.plural}
        return kept == {key: version for key, version in there.items() if chosen.namespace in ("", key[0])}

    async def ends_equal(self) -> None:
        await until(lambda: self.reflector.synced.is_set() and self.equal())

    def lists(self) -> int:
        return sum("watch" not in asked.query for asked in self.server.asked)


@asynccontextmanager
async def following(
    server: FaultyApiServer, chosen: Selection | None = None, silence_s: float = 30.0, request_s: float = 30.0, **more: Any
) -> Any:
    metrics = Metrics()
    async with client(server, metrics, request_s=request_s, silence_s=silence_s) as api:
        reflector = Reflector(api, chosen or Selection(PODS), Store(), metrics, patience=QUICK, rng=random.Random(0), **more)
        seen = Following(server, reflector, metrics)
        running = asyncio.create_task(reflector.run())
        try:
            yield seen
        finally:
            running.cancel()
            await asyncio.wait((running,))


def follow(
    work: Callable[[FaultyApiServer, Following], Awaitable[Any]], before: Callable[[FaultyApiServer], None] | None = None, **more: Any
) -> Any:
    async def main() -> Any:
        async with serving() as server:
            (before or (lambda server: None))(server)
            async with following(server, **more) as seen:
                return await work(server, seen)

    return asyncio.run(main())


def test_it_lists_by_pages_and_then_follows_what_happens() -> None:
    def before(server: FaultyApiServer) -> None:
        for number in range(1200):
            server.put("pods", pod(f"p{number}"))

    async def work(server: FaultyApiServer, seen: Following) -> None:
        await seen.ends_equal()
        assert seen.lists() == 3 and len(seen.heard) == 1200 and {change.type for change in seen.heard} == {"added"}
        assert seen.reflector.live.is_set() or await seen.reflector.live.wait()
        server.put("pods", pod("new"))
        server.put("pods", pod("p1", spec=1))
        server.remove("pods", "team", "p2")
        await seen.ends_equal()
        assert [(change.type, change.key.name) for change in seen.heard[1200:]] == [("added", "new"), ("updated", "p1"), ("deleted", "p2")]
        assert seen.lists() == 3

    follow(work, before)


def busy(server: FaultyApiServer) -> None:
    """Changes of every type."""
    for number in range(6):
        server.put("pods", pod(f"p{number}", spec=number))
    server.put("pods", pod("p1", spec="changed"))
    server.remove("pods", "team", "p2")
    server.remove("pods", "team", "there")


TROUBLES: dict[str, Callable[[FaultyApiServer], None]] = {
    "the first list is refused with 500": lambda server: server.fail(Answer(500), times=3),
    "the first list is told to wait": lambda server: server.fail(Answer(429, retry_after="0")),
    "the first list's connection breaks": lambda server: server.fail(Drop(), times=2),
    "a list is forbidden for a while": lambda server: server.fail(Answer(403), times=2),
    "a proxy answers a list": lambda server: server.fail(Answer(502, html=True)),
    "a watch is refused with 410": lambda server: server.fail(Answer(410, "Expired"), where="watch"),
    "a watch is refused with 410 again and again": lambda server: server.fail(Answer(410, "Expired"), where="watch", times=4),
    "a watch is refused with 500": lambda server: server.fail(Answer(500), where="watch", times=2),
    "a watch is told to slow down": lambda server: server.fail(Answer(429, retry_after="0"), where="watch"),
    "a watch breaks in the middle of a line": lambda server: server.fail(Disturb(close_after=2), where="watch", times=3),
    "a watch sends 410 as an event": lambda server: server.fail(Disturb(error_after=(2, 410)), where="watch"),
    "a watch sends 410 as its first event, twice": lambda server: server.fail(Disturb(error_after=(0, 410)), where="watch", times=2),
    "a watch sends 500 as an event": lambda server: server.fail(Disturb(error_after=(1, 500)), where="watch"),
    "a watch sends each event twice": lambda server: server.fail(Disturb(twice=True), where="watch"),
    "a watch sends old events again": lambda server: server.fail(Disturb(stale=True), where="watch"),
    "a watch sends a proxy's page": lambda server: server.fail(Disturb(garbage_after=1), where="watch"),
}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
def test_nothing_is_missed_when(trouble: Callable[[FaultyApiServer], None]) -> None:
    def before(server: FaultyApiServer) -> None:
        server.put("pods", pod("there"))
        trouble(server)

    async def work(server: FaultyApiServer, seen: Following) -> None:
        await seen.reflector.synced.wait()
        busy(server)
        await seen.ends_equal()
        last = {change.key: change for change in seen.heard}
        assert last[Key("team", "there")].type == "deleted", "a handler hears of what went away"
        assert last[Key("team", "p1")].object["spec"] == "changed"
        server.put("pods", pod("later"))
        await seen.ends_equal()

    follow(work, before)


def test_a_list_that_hangs_is_given_up() -> None:
    async def work(server: FaultyApiServer, seen: Following) -> None:
        await seen.ends_equal()
        assert seen.lists() >= 2

    follow(work, lambda server: server.fail(Hang()), request_s=0.5)


def test_a_list_whose_pages_expire_again_and_again_is_asked_for_at_once() -> None:
    def before(server: FaultyApiServer) -> None:
        for number in range(600):
            server.put("pods", pod(f"p{number}"))
        server.fail(Answer(410, "Expired"), where="continue", times=100)

    async def work(server: FaultyApiServer, seen: Following) -> None:
        await seen.ends_equal()
        assert server.asked[-1].query.get("limit") in (None, "0")

    follow(work, before)


def test_a_watch_that_says_nothing_at_all_is_given_up() -> None:
    async def work(server: FaultyApiServer, seen: Following) -> None:
        await seen.reflector.synced.wait()
        await seen.reflector.live.wait()
        server.put("pods", pod("unheard"))
        await seen.ends_equal()
        assert samples(seen.metrics.text())['msm_reflector_failures_total{resource="pods",reason="SocketTimeoutError"}'] == 1

    follow(work, lambda server: server.fail(Disturb(silent=True), where="watch"), silence_s=0.2)


def test_it_says_since_when_nothing_was_missed() -> None:
    async def work(server: FaultyApiServer, seen: Following) -> None:
        assert seen.reflector.current_for() == 0
        await seen.reflector.live.wait()
        await asyncio.sleep(0.05)
        assert seen.reflector.current_for() >= 0.05
        server.fail(Answer(500), where="watch", times=3)
        server.close_streams()
        await until(lambda: not seen.reflector.live.is_set())
        assert seen.reflector.current_for() == 0

    follow(work, lambda server: None)


def test_after_a_compaction_what_was_deleted_meanwhile_is_told_as_deleted() -> None:
    def before(server: FaultyApiServer) -> None:
        server.put("pods", pod("stays"))
        server.put("pods", pod("goes", spec="last known"))
        server.bookmark_s = 60

    async def work(server: FaultyApiServer, seen: Following) -> None:
        await seen.reflector.live.wait()
        server.fail(Answer(500), where="watch", times=3)
        server.close_streams()
        await until(lambda: not seen.reflector.live.is_set())
        server.remove("pods", "team", "goes")
        server.compact()
        await seen.ends_equal()
        assert [(change.type, change.object.get("spec")) for change in seen.heard if change.key.name == "goes"] == [
            ("added", "last known"),
            ("deleted", "last known"),
        ]

    follow(work, before)


def test_bookmarks_spare_a_list_after_a_quiet_time() -> None:
    async def work(server: FaultyApiServer, seen: Following) -> None:
        await seen.reflector.live.wait()
        for number in range(5):
            server.put("jobs", {"metadata": {"name": f"j{number}", "namespace": "team"}})
        await asyncio.sleep(3 * server.bookmark_s)
        server.compact()
        server.close_streams()
        await until(lambda: sum("watch" in asked.query for asked in server.asked) >= 2)
        server.put("pods", pod("after"))
        await seen.ends_equal()
        assert seen.lists() == 1

    follow(work)


def test_a_server_whose_history_began_anew_is_believed() -> None:
    def before(server: FaultyApiServer) -> None:
        server.revision = 5000
        server.put("pods", pod("there", spec="new"))
        server.put("pods", pod("lost"))

    async def work(server: FaultyApiServer, seen: Following) -> None:
        await seen.reflector.live.wait()
        server.objects.clear()
        server.history.clear()
        server.revision = 200
        server.put("pods", pod("there", spec="as in the backup"))
        server.compacted = 10_000
        server.close_streams()
        await until(lambda: seen.lists() >= 2 or not server.streams)
        server.compacted = 0
        server.fail(Answer(410, "Expired"), where="watch")
        server.close_streams()
        await seen.ends_equal()

    follow(work, before)


def test_a_kind_that_a_cluster_lacks_is_no_obstacle_and_is_found_when_it_comes() -> None:
    async def work(server: FaultyApiServer, seen: Following) -> None:
        await seen.reflector.synced.wait()
        assert not seen.reflector.served and seen.reflector.live.is_set()
        server.absent.clear()
        server.put("pods", pod("first"))
        await until(lambda: seen.reflector.served and seen.equal() and len(seen.heard) == 1)
        server.absent.add("pods")
        server.fail(Answer(404, "NotFound"), where="watch")
        server.close_streams()
        await until(lambda: not seen.reflector.served)
        assert len(seen.reflector.store) == 0 and seen.heard[-1].type == "deleted"

    follow(work, lambda server: server.absent.add("pods"), optional=True)


def test_a_kind_that_must_be_there_is_waited_for() -> None:
    async def work(server: FaultyApiServer, seen: Following) -> None:
        await until(lambda: seen.lists() >= 3)
        assert not seen.reflector.synced.is_set()
        server.absent.clear()
        await seen.ends_equal()

    follow(work, lambda server: server.absent.add("pods"))


def test_one_namespace_is_followed_without_the_others() -> None:
    def before(server: FaultyApiServer) -> None:
        server.put("pods", pod("a"))
        server.put("pods", pod("b", "others"))

    async def work(server: FaultyApiServer, seen: Following) -> None:
        await seen.reflector.live.wait()
        server.put("pods", pod("c", "others"))
        server.put("pods", pod("d"))
        await seen.ends_equal()
        assert sorted(key.name for key in seen.reflector.store.keys()) == ["a", "d"]  # noqa: SIM118

    follow(work, before, chosen=Selection(PODS, "team"))


def test_metadata_only_keeps_no_contents() -> None:
    async def work(server: FaultyApiServer, seen: Following) -> None:
        await seen.reflector.live.wait()
        server.put("pods", pod("later", data={"password": "x"}))
        await seen.ends_equal()
        assert [sorted(obj) for obj in seen.reflector.store.all()] == [["apiVersion", "kind", "metadata"]] * 2

    follow(work, lambda server: server.put("pods", pod("first", data="x")) and None, chosen=Selection(PODS, metadata_only=True))


def test_watches_of_many_replicas_do_not_end_together() -> None:
    rng = random.Random(1)
    patience = Patience()
    assert len({rng.randint(*patience.watch) for _ in range(20)}) > 10
    pauses = [patience.after(failures, rng) for failures in range(1, 12)]
    assert 0.8 <= pauses[0] <= 1.6 and all(pause <= 60 for pause in pauses) and len(set(pauses)) == len(pauses)


@pytest.mark.parametrize("seed", range(6))
def test_after_a_hail_of_faults_the_store_is_right(seed: int) -> None:
    rng = random.Random(seed)
    faults: list[Any] = [Answer(500), Answer(410, "Expired"), Answer(429), Drop(), Disturb(close_after=1), Disturb(error_after=(1, 410))]
    faults += [Disturb(twice=True), Disturb(stale=True), Disturb(garbage_after=0)]

    async def work(server: FaultyApiServer, seen: Following) -> None:
        names = [f"p{number}" for number in range(8)]
        for _ in range(120):
            name = rng.choice(names)
            if rng.random() < 0.3 and ("pods", "team", name) in server.objects:
                server.remove("pods", "team", name)
            else:
                server.put("pods", pod(name, spec=rng.random()))
            if rng.random() < 0.2:
                server.fail(rng.choice(faults), where=rng.choice(["", "watch"]))
                server.close_streams()
            if rng.random() < 0.05:
                server.compact()
            await asyncio.sleep(rng.random() * 0.004)
        server.faults.clear()
        await seen.ends_equal()
        assert {change.key: change for change in seen.heard}.keys() >= set(seen.reflector.store.keys())

    follow(work)
