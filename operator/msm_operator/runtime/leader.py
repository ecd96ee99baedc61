"""Who of several replicas writes: a Lease that is taken, renewed, given back, and a fence that every write passes.

`manager` runs the `Elector` beside the caches; `writer` and `events` ask the `Fence`. Invariants: the fence opens for `renew_deadline`
from the moment *before* a renewal was sent, on this machine's monotonic time, so it is shut before another replica may take the lease
even if this process was frozen meanwhile; nobody's wall clock is compared with anybody's. Ours and not `kubernetes.aio`'s: that one
has no time limit on requests, no release, no fence, and wall clocks (docs/design/operator-runtime.md). Cost: a write each `retry`.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from msm_operator.runtime.api import Api, Object
from msm_operator.runtime.errors import ApiError, Conflict, NotFound, NotLeading
from msm_operator.runtime.metrics import Metrics
from msm_operator.runtime.resources import LEASES
from msm_operator.runtime.seams import Key

T = TypeVar("T")
log = logging.getLogger(__name__)
WallClock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class LeaseTiming:
    """Seconds; `duration > renew_deadline > retry`."""

    duration: float = 15.0
    """Silence of the holder after which others may take the lease; whole seconds."""
    renew_deadline: float = 10.0
    """How long a holder may write after its last renewal."""
    retry: float = 2.0
    """Between renewals."""
    look: float = 1.0
    """Between looks of a replica that waits; a lease that was given back is taken after at most this."""

    def __post_init__(self) -> None:
        if not self.duration > self.renew_deadline > self.retry > 0:
            raise ValueError(f"a lease needs duration > renew_deadline > retry > 0, not {self}")

    @classmethod
    def of(cls, duration: float) -> "LeaseTiming":
        """The usual proportions for a lease of so many seconds."""
        return cls(duration, duration * 2 / 3, duration * 2 / 15, duration / 15)

    @property
    def patience(self) -> float:
        """How long one attempt may take: so long that a busy server's TLS handshake fits, so short that there is a second one."""
        return self.renew_deadline / 2


class Fence:
    """Whether this process may write, as of right now."""

    def __init__(self, *, grace: float = 2.5, now: Callable[[], float] | None = None) -> None:
        self.grace = grace
        """Seconds that a write which was sent in time may still take: less than what lies between renew_deadline and duration."""
        self._now = now or asyncio.get_running_loop().time
        self._until = float("-inf")

    def open_until(self, moment: float) -> None:
        """Allow writes before `moment`."""
        self._until = moment

    def shut(self) -> None:
        """Allow none."""
        self._until = float("-inf")

    def remaining(self) -> float:
        """Seconds that writes are still allowed; 0 when they are not."""
        return max(0.0, self._until - self._now())

    def check(self) -> None:
        """Raise `NotLeading` unless writes are allowed."""
        if self.remaining() <= 0:
            raise NotLeading("this replica does not hold the lease", why="NotLeading")

    async def guard(self, write: Callable[[], Awaitable[T]]) -> T:
        """The outcome of `write`, begun only while writes are allowed and given up before another replica may begin."""
        self.check()
        try:
            async with asyncio.timeout(self.remaining() + self.grace):
                return await write()
        except TimeoutError as error:
            raise NotLeading("the lease ran out while a write waited for its answer", why="NotLeading") from error


@dataclass(frozen=True, slots=True)
class _Seen:
    """The lease as last read, and when it was first seen to be so."""

    lease: Object
    since: float

    @property
    def holder(self) -> str:
        return str((self.lease.get("spec") or {}).get("holderIdentity") or "")

    def expired(self, now: float, at_least: float) -> bool:
        lasts = float((self.lease.get("spec") or {}).get("leaseDurationSeconds") or at_least)
        return not self.holder or now >= self.since + lasts


class Elector:
    """One candidate for one Lease."""

    def __init__(
        self,
        api: Api,
        lease: Key,
        identity: str,
        fence: Fence,
        metrics: Metrics,
        *,
        timing: LeaseTiming | None = None,
        rng: random.Random | None = None,
        wall: WallClock = lambda: datetime.now(UTC),
    ) -> None:
        self.identity, self.fence = identity, fence
        self._api, self._lease, self._wall = api, lease, wall
        self.timing = timing or LeaseTiming()
        self._rng = rng or random.Random()
        self._seen: _Seen | None = None
        self._status = metrics.gauge("leader_election_master_status", "1 while this replica leads.", ("name",))
        self._status.track(lambda: float(fence.remaining() > 0), lease.name)

    async def campaign(self) -> None:
        """Return once the lease is ours and the fence is open."""
        log.info("%s waits for the lease %s", self.identity, self._lease)
        while not await self._attempt():
            await asyncio.sleep(self.timing.look * self._rng.uniform(0.8, 1.0))
        log.info("%s leads", self.identity)

    async def lead(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` while the lease is ours; cancel it at once when it is lost, then return. Its own end or error ends this too."""
        working = asyncio.ensure_future(work())
        renewing = asyncio.create_task(self._renew(), name="lease")
        try:
            await asyncio.wait((working, renewing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (working, renewing):
                task.cancel()
            await asyncio.wait((working, renewing))
        if not working.cancelled():
            working.result()
        if not renewing.cancelled():
            renewing.result()

    async def give_back(self) -> None:
        """Shut the fence and let others have the lease at once; call it when nothing of ours writes any more."""
        self.fence.shut()
        if self._seen is None or self._seen.holder != self.identity:
            return
        with contextlib.suppress(ApiError, TimeoutError):
            async with asyncio.timeout(self.timing.patience):
                while not await self._given_back():
                    await asyncio.sleep(0.1)

    async def _given_back(self) -> bool:
        """Empty the lease if it is ours; False where a renewal that was cancelled on its way arrived in between."""
        lease = await self._api.get(LEASES, self._lease)
        if self._look(lease).holder == self.identity:
            try:
                self._look(await self._write(lease, holder="", lasts=1))
            except Conflict:
                return False
            log.info("%s gave the lease back", self.identity)
        return True

    async def _renew(self) -> None:
        while self.fence.remaining() > 0:
            pause = min(self.timing.retry, self.fence.remaining())
            await asyncio.sleep(pause)
            await self._attempt()
        self.fence.shut()
        log.error("%s lost the lease", self.identity)

    async def _attempt(self) -> bool:
        """Take or renew the lease; whether it is ours. The fence is opened here and nowhere else."""
        begin, left = asyncio.get_running_loop().time(), self.fence.remaining()
        try:
            async with asyncio.timeout(min(self.timing.patience, left or self.timing.patience)):
                ours = await self._take_or_renew()
        except Conflict:
            return False
        except (ApiError, TimeoutError) as error:
            log.warning("lease %s: %s", self._lease, str(error) or "no answer in time")
            return False
        if ours:
            self.fence.open_until(begin + self.timing.renew_deadline)
        return ours

    async def _take_or_renew(self) -> bool:
        try:
            seen = self._look(await self._api.get(LEASES, self._lease))
        except NotFound:
            created = await self._api.create(LEASES, self._body({}, self.identity, self.timing.duration))
            self._look(created)
            return True
        if seen.holder != self.identity:
            self.fence.shut()
            if not seen.expired(asyncio.get_running_loop().time(), self.timing.duration):
                return False
        self._look(await self._write(seen.lease, holder=self.identity, lasts=self.timing.duration))
        return True

    def _look(self, lease: Object) -> _Seen:
        """Remember the lease; its silence counts from when it last changed before our eyes."""
        if self._seen is None or self._seen.lease.get("spec") != lease.get("spec"):
            self._seen = _Seen(lease, asyncio.get_running_loop().time())
        else:
            self._seen = _Seen(lease, self._seen.since)
        return self._seen

    async def _write(self, lease: Object, *, holder: str, lasts: float) -> Object:
        return await self._api.replace(LEASES, self._body(lease, holder, lasts))

    def _body(self, lease: Object, holder: str, lasts: float) -> Object:
        """The next state of the lease; with the resourceVersion of the last one, so only one of two takers succeeds."""
        old: dict[str, Any] = lease.get("spec") or {}
        now = self._wall().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        change = holder != (old.get("holderIdentity") or "")
        taken = change and bool(holder)
        spec = old | {"holderIdentity": holder, "leaseDurationSeconds": max(1, int(lasts)), "renewTime": now}
        spec["acquireTime"] = now if taken else old.get("acquireTime") or now
        spec["leaseTransitions"] = int(old.get("leaseTransitions") or 0) + int(taken and bool(old))
        meta = lease.get("metadata") or {"name": self._lease.name, "namespace": self._lease.namespace}
        return {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": meta, "spec": spec}
