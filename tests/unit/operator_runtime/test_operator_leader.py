"""The Lease: one leader at a time whatever happens, a new one soon after the old one is gone."""

import asyncio
import contextlib
import copy
import logging
import random
from datetime import UTC, datetime
from typing import Any

import pytest

from msm_operator.runtime.errors import AlreadyExists, Conflict, NotFound, NotLeading, Unavailable
from msm_operator.runtime.leader import Elector, Fence, LeaseTiming
from msm_operator.runtime.metrics import Metrics, samples
from msm_operator.runtime.seams import Key
from tests.unit.operator_runtime.virtual_time import stall, virtually

LEASE = Key("system", "msm-operator")
TIMING = LeaseTiming()


class LeaseServer:
    """One Lease with optimistic concurrency, in memory; `trouble` decides what befalls each request of whom."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self.lease: dict[str, Any] | None = None
        self.writes: list[tuple[float, str]] = []
        self.rng = rng or random.Random(0)
        self.revision = 0
        self.down: set[str] = set()
        """Who gets no answer."""
        self.chance = 0.0

    def store(self, body: dict[str, Any]) -> dict[str, Any]:
        self.revision += 1
        self.lease = copy.deepcopy(body)
        self.lease["metadata"]["resourceVersion"] = str(self.revision)
        self.writes.append((asyncio.get_running_loop().time(), body["spec"]["holderIdentity"]))
        return copy.deepcopy(self.lease)

    @property
    def holder(self) -> str:
        return self.lease["spec"]["holderIdentity"] if self.lease else ""


class LeaseApi:
    """What an elector asks of `api.Api`, of one client."""

    def __init__(self, server: LeaseServer, identity: str) -> None:
        self.server, self.identity = server, identity

    async def get(self, resource: Any, key: Key) -> dict[str, Any]:
        await self._way()
        if self.server.lease is None:
            raise NotFound("lease")
        return copy.deepcopy(self.server.lease)

    async def create(self, resource: Any, body: dict[str, Any]) -> dict[str, Any]:
        await self._way()
        if self.server.lease is not None:
            raise AlreadyExists("lease")
        return await self._answer(self.server.store(body))

    async def replace(self, resource: Any, body: dict[str, Any]) -> dict[str, Any]:
        await self._way()
        if self.server.lease is None:
            raise NotFound("lease")
        if body["metadata"].get("resourceVersion") != self.server.lease["metadata"]["resourceVersion"]:
            raise Conflict("lease")
        return await self._answer(self.server.store(body))

    async def _way(self) -> None:
        await asyncio.sleep(0.01)
        if self.identity in self.server.down:
            await asyncio.sleep(3600)
        await self._maybe()

    async def _answer(self, done: dict[str, Any]) -> dict[str, Any]:
        await self._maybe()
        return done

    async def _maybe(self) -> None:
        if self.server.rng.random() < self.server.chance:
            if self.server.rng.random() < 0.5:
                await asyncio.sleep(self.server.rng.uniform(0, 30))
            raise Unavailable("lease: no answer")


def elector(server: LeaseServer, identity: str, timing: LeaseTiming = TIMING, metrics: Metrics | None = None) -> Elector:
    fence = Fence(grace=(timing.duration - timing.renew_deadline) / 2)
    wall = lambda: datetime.fromtimestamp(server.rng.uniform(0, 2e9), UTC)  # noqa: E731 (nobody may care what the hour is)
    api: Any = LeaseApi(server, identity)
    return Elector(api, LEASE, identity, fence, metrics or Metrics(), timing=timing, rng=random.Random(identity), wall=wall)


async def leading(candidate: Elector) -> asyncio.Task[None]:
    """A task that leads until it is stopped."""
    await candidate.campaign()
    task = asyncio.create_task(candidate.lead(lambda: asyncio.sleep(1e9)))
    await asyncio.sleep(0)
    return task


async def stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))


def now() -> float:
    return asyncio.get_running_loop().time()


def test_the_first_one_leads_and_the_second_waits() -> None:
    async def main() -> None:
        server = LeaseServer()
        first, second = elector(server, "first"), elector(server, "second")
        task = await leading(first)
        waiting = asyncio.create_task(second.campaign())
        await asyncio.sleep(300)
        assert not waiting.done() and first.fence.remaining() > 0 and second.fence.remaining() == 0
        with pytest.raises(NotLeading):
            second.fence.check()
        assert server.lease is not None and server.lease["spec"]["leaseTransitions"] == 0
        writes = [when for when, _ in server.writes]
        assert 140 <= len(writes) <= 160, "a renewal each 2 s"
        waiting.cancel()
        await stopped(task)

    virtually(main())


def test_a_lease_that_is_given_back_is_taken_within_a_second_and_a_half() -> None:
    async def main() -> None:
        server = LeaseServer()
        first, second = elector(server, "first"), elector(server, "second")
        task = await leading(first)
        waiting = asyncio.create_task(second.campaign())
        await asyncio.sleep(60)
        await stopped(task)
        begin = now()
        await first.give_back()
        assert first.fence.remaining() == 0 and server.holder == ""
        await waiting
        assert now() - begin < 1.5 and server.holder == "second"
        assert server.lease is not None and server.lease["spec"]["leaseTransitions"] == 1

    virtually(main())


def test_after_a_crash_another_leads_when_the_lease_has_run_out_and_not_before() -> None:
    async def main() -> None:
        server = LeaseServer()
        first, second = elector(server, "first"), elector(server, "second")
        task = await leading(first)
        waiting = asyncio.create_task(second.campaign())
        await asyncio.sleep(61)
        await stopped(task)
        last = server.writes[-1][0]
        await waiting
        assert TIMING.duration <= now() - last < TIMING.duration + 2 * TIMING.look < 20

    virtually(main())


def test_who_cannot_renew_stops_writing_before_another_may() -> None:
    async def main() -> None:
        server = LeaseServer()
        first, second = elector(server, "first"), elector(server, "second")
        task = await leading(first)
        waiting = asyncio.create_task(second.campaign())
        await asyncio.sleep(60)
        server.down.add("first")
        await task
        lost = now()
        assert first.fence.remaining() == 0
        await waiting
        assert now() > lost + 2.0, "between the two lies time in which nobody writes"

    virtually(main())


def test_a_process_that_was_frozen_writes_nothing_when_it_thaws() -> None:
    async def main() -> None:
        server = LeaseServer()
        first = elector(server, "first")
        task = await leading(first)
        await asyncio.sleep(5)
        first.fence.check()
        stall(11.0)
        with pytest.raises(NotLeading):
            first.fence.check()
        sent = False

        async def write() -> None:
            nonlocal sent
            sent = True

        with pytest.raises(NotLeading):
            await first.fence.guard(write)
        assert not sent
        await stopped(task)

    virtually(main())


def test_a_write_that_hangs_is_given_up_before_another_may_lead() -> None:
    async def main() -> None:
        server = LeaseServer()
        first = elector(server, "first")
        await first.campaign()
        begin = now()
        with pytest.raises(NotLeading, match="while a write waited"):
            await first.fence.guard(lambda: asyncio.sleep(1e6))
        assert now() - begin <= (TIMING.renew_deadline + TIMING.duration) / 2 + 0.1

    virtually(main())


def test_losing_the_lease_cancels_the_work_and_the_replica_may_lead_again() -> None:
    async def main() -> None:
        server = LeaseServer()
        first = elector(server, "first")
        ended: list[float] = []

        async def work() -> None:
            try:
                await asyncio.sleep(1e9)
            finally:
                ended.append(now())

        await first.campaign()
        leading = asyncio.create_task(first.lead(work))
        await asyncio.sleep(10)
        assert server.lease is not None
        server.lease["spec"] |= {"holderIdentity": "a person", "renewTime": "x"}
        await leading
        assert len(ended) == 1 and ended[0] < 10 + 2 * TIMING.retry + 0.1
        begin = now()
        await first.campaign()
        assert now() - begin >= TIMING.duration - 0.1

    virtually(main())


def test_the_works_own_failure_is_not_swallowed() -> None:
    async def main() -> None:
        first = elector(LeaseServer(), "first")
        await first.campaign()

        async def work() -> None:
            raise RuntimeError("a controller broke")

        with pytest.raises(RuntimeError, match="a controller broke"):
            await first.lead(work)

    virtually(main())


def test_a_lease_that_somebody_deleted_is_made_again_by_its_holder() -> None:
    async def main() -> None:
        server = LeaseServer()
        task = await leading(elector(server, "first"))
        await asyncio.sleep(3)
        server.lease = None
        await asyncio.sleep(5)
        assert server.holder == "first" and not task.done()
        await stopped(task)

    virtually(main())


def test_giving_back_takes_nothing_from_the_next_holder() -> None:
    async def main() -> None:
        server = LeaseServer()
        first = elector(server, "first")
        await first.campaign()
        assert server.lease is not None
        server.lease["spec"]["holderIdentity"] = "second"
        await first.give_back()
        assert server.holder == "second"

    virtually(main())


def test_a_renewal_that_arrives_late_does_not_keep_the_lease_from_being_given_back() -> None:
    class Overtaken(LeaseApi):
        async def replace(self, resource: Any, body: dict[str, Any]) -> dict[str, Any]:
            if not body["spec"]["holderIdentity"] and not late:
                late.append(self.server.store(self.server.lease or {}))
            return await super().replace(resource, body)

    late: list[dict[str, Any]] = []

    async def main() -> None:
        server = LeaseServer()
        first = elector(server, "first")
        await first.campaign()
        first._api = Overtaken(server, "first")  # type: ignore[assignment]
        await first.give_back()
        assert late and server.holder == ""

    virtually(main())


def test_the_metric_says_who_leads() -> None:
    async def main() -> None:
        metrics, server = Metrics(), LeaseServer()
        first = elector(server, "first", metrics=metrics)
        assert samples(metrics.text())['leader_election_master_status{name="msm-operator"}'] == 0
        await first.campaign()
        assert samples(metrics.text())['leader_election_master_status{name="msm-operator"}'] == 1

    virtually(main())


@pytest.mark.parametrize("timing", [{"duration": 5, "renew_deadline": 5}, {"renew_deadline": 2, "retry": 2}, {"retry": 0}])
def test_a_timing_that_could_let_two_write_is_refused(timing: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="duration > renew_deadline > retry > 0"):
        LeaseTiming(**timing)


@pytest.mark.parametrize("seed", range(12))
def test_never_may_two_write_whatever_the_network_does(seed: int) -> None:
    rng = random.Random(seed)
    timing = TIMING if seed % 2 else LeaseTiming(duration=3, renew_deadline=2, retry=0.5, look=0.5)
    alive: dict[str, Elector] = {}
    led: set[str] = set()

    async def work(one: Elector) -> None:
        while True:
            await asyncio.sleep(0.25)
            one.fence.check()
            led.add(one.identity)
            assert [name for name, other in alive.items() if other.fence.remaining() > 0] == [one.identity]

    async def live(one: Elector) -> None:
        while True:
            await one.campaign()
            with contextlib.suppress(NotLeading):
                await one.lead(lambda: work(one))

    async def replica(server: LeaseServer, name: str) -> None:
        """Live, crash or stop, come back under a new name, for ever."""
        for number in range(10_000):
            one = elector(server, f"{name}-{number}", timing)
            alive[one.identity] = one
            life = asyncio.create_task(live(one))
            await asyncio.wait((life,), timeout=rng.expovariate(1 / 60))
            if life.done():
                life.result()
            life.cancel()
            await asyncio.wait((life,))
            if rng.random() < 0.5:
                await one.give_back()
            del alive[one.identity]

    async def main() -> None:
        server = LeaseServer(rng)
        replicas = [asyncio.create_task(replica(server, name)) for name in ("a", "b", "c")]
        for _ in range(20):
            server.chance = rng.choice([0.0, 0.0, 0.3, 0.9])
            await asyncio.wait(replicas, timeout=rng.uniform(5, 60))
        for task in replicas:
            if task.done():
                task.result()
            task.cancel()

    logging.disable()
    try:
        virtually(main())
    finally:
        logging.disable(logging.NOTSET)
    assert len(led) > 3, "many led"
