"""A fault injector between the operator's `Api` and `PretendServer`: crashes, refusals, silence, and watches that repeat, lag and break.

A request that was sent is carried out whatever becomes of its sender, as on a real network. Everything is drawn from one seeded source,
so a seed is a story; time is the loop's, virtual. Invariant: no fault changes what the server answers to those who get an answer.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from msm_operator.runtime.connection import Connection
from msm_operator.runtime.errors import ApiError, Unavailable, error_of
from tests.chaos.faulty import PowerCut
from tests.chaos.pretend_server import Place, PretendServer, Refused

EXPIRED = json.dumps({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}}) + "\n"
LATE = 2.0
"""Seconds after which a request whose sender gave up may still be carried out: less than a fence's grace."""


@dataclass(slots=True)
class Dice:
    """What goes wrong when. `crash_at` counts boundaries: requests and operations of the store, each with a before and an after."""

    rng: random.Random
    crashes: int
    """How many are wanted."""
    spacing: Callable[[random.Random], int]
    faults: float = 0.06
    """Share of requests that meet something else than a crash."""
    happened: Counter[str] = field(default_factory=Counter)
    boundaries: int = 0
    crash_at: int = 0
    calm: bool = False

    def __post_init__(self) -> None:
        self.crash_at = self.spacing(self.rng)

    def is_crash(self) -> bool:
        """Pass a boundary; whether the process dies there."""
        if self.calm:
            return False
        self.boundaries += 1
        if self.crashes <= 0 or self.boundaries < self.crash_at:
            return False
        self.crashes -= 1
        self.happened["crash"] += 1
        self.crash_at = self.boundaries + self.spacing(self.rng)
        return True

    def fault(self, *kinds: str) -> str:
        """What happens to a request beside crashes, mostly nothing."""
        if self.calm or self.rng.random() >= self.faults:
            return ""
        kind = self.rng.choice(kinds)
        self.happened[kind] += 1
        return kind

    def latency(self) -> float:
        return self.rng.uniform(0.001, 0.03)


@dataclass(slots=True)
class Life:
    """One process of the operator: whether it lives, and how it dies."""

    name: str
    end: Callable[[], None] = lambda: None
    off: bool = False

    def check(self) -> None:
        """Raise `PowerCut` in a process that is dead."""
        if self.off:
            raise PowerCut(self.name)

    def die(self) -> None:
        """Be gone: nothing of it goes on."""
        self.off = True
        self.end()
        raise PowerCut(self.name)


class Answer:
    """What of a response the `Api` reads."""

    def __init__(self, text: str, lines: AsyncIterator[bytes] | None = None) -> None:
        self._text, self._lines = text, lines
        self.content = self

    async def read(self) -> bytes:
        return self._text.encode()

    def iter_any(self) -> AsyncIterator[bytes]:
        assert self._lines is not None, "a watch is asked for, not a plain answer"
        return self._lines


class Wire(Connection):
    """One process's connection."""

    def __init__(self, life: Life, server: PretendServer, dice: Dice) -> None:
        self._life, self._server, self._dice = life, server, dice

    async def close(self) -> None:
        """Nothing is open."""

    @asynccontextmanager
    async def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: Any = None,
        limits: aiohttp.ClientTimeout,
    ) -> AsyncIterator[Any]:
        """The answer to one request, or what came instead of one."""
        place = Place.of(path)
        self._life.check()
        if "watch" in query:
            yield Answer("", self._watch(place, query, limits.sock_read or 90.0))
            return
        asked = json.loads(json.dumps(body)) if body is not None else None
        yield Answer(await self._ask(method, place, query, asked, limits.total or 30.0))

    async def _ask(self, method: str, place: Place, query: Mapping[str, str], body: Any, limit: float) -> str:
        dice, counted = self._dice, not (place.plural == "leases" and method == "GET")
        if counted and dice.is_crash():
            self._life.die()
        fault = dice.fault("429", "500", "unheard", "unanswered", "410" if method == "GET" and not place.name else "409")
        if fault.isdecimal():
            await asyncio.sleep(dice.latency())
            raise _refusal(int(fault), dice.rng)
        carried_out = asyncio.ensure_future(
            self._arrive(method, place, query, body, dice.latency() if not fault else LATE * dice.rng.random())
        )
        if fault == "unheard":
            carried_out.cancel()
        if fault:
            await asyncio.sleep(limit)
            raise Unavailable(f"{method} {place}: no answer", why="TimeoutError")
        text = await asyncio.shield(carried_out)
        await asyncio.sleep(dice.latency())
        self._life.check()
        if counted and dice.is_crash():
            self._life.die()
        if isinstance(text, ApiError):
            raise text
        return text

    async def _arrive(self, method: str, place: Place, query: Mapping[str, str], body: Any, after: float) -> str | ApiError:
        """The server's part: in a task of its own, since it does not die with its client."""
        await asyncio.sleep(after)
        try:
            return json.dumps(self._server.answer(self._life.name, method, place, query, body))
        except Refused as no:
            told = {"kind": "Status", "code": no.status, "reason": no.reason, "message": str(no)}
            return error_of(no.status, json.dumps(told).encode(), None, f"{method} {place.plural}/{place.name}")

    async def _watch(self, place: Place, query: Mapping[str, str], silence: float) -> AsyncIterator[bytes]:
        """Lines of a watch, with what may be wrong with them."""
        server, dice, loop = self._server, self._dice, asyncio.get_running_loop()
        at, end, heard = int(query["resourceVersion"] or 0), loop.time() + float(query["timeoutSeconds"]), loop.time()
        before = ""
        while loop.time() < end:
            self._life.check()
            if at < server.compacted:
                yield EXPIRED.encode()
                return
            news, lines = server.news, list[str]()
            for one in server.since(place, query, at):
                line = json.dumps({"type": one.type, "object": json.loads(one.text)}) + "\n"
                lines += [line, *self._repeated(line, before)]
                at, before = one.revision, line
            if lines:
                fault = dice.fault("lag", "break", "410")
                if fault == "lag":
                    await asyncio.sleep(dice.rng.uniform(0.1, 5.0))
                if fault == "410":
                    yield EXPIRED.encode()
                    return
                if fault == "break":
                    yield "".join(lines)[: dice.rng.randrange(len("".join(lines)))].encode()
                    raise Unavailable(f"watch {place.plural}: the connection broke", why="ClientPayloadError")
                heard = loop.time()
                yield "".join(lines).encode()
                continue
            try:
                async with asyncio.timeout(min(60.0, end - loop.time())):
                    await news.wait()
            except TimeoutError:
                at = max(at, server.revision)
                heard = loop.time()
                mark = {"metadata": {"resourceVersion": str(at)}}
                yield (json.dumps({"type": "BOOKMARK", "object": mark}) + "\n").encode()
            if loop.time() - heard > silence:
                raise Unavailable(f"watch {place.plural}: silent", why="TimeoutError")

    def _repeated(self, line: str, before: str) -> Iterator[str]:
        """Events that come twice, and old ones that come again."""
        fault = self._dice.fault("twice", "stale")
        if fault == "twice":
            yield line
        elif fault == "stale" and before:
            yield before


def _refusal(status: int, rng: random.Random) -> ApiError:
    reasons = {409: "Conflict", 410: "Expired", 429: "TooManyRequests", 500: "InternalError"}
    told = {"kind": "Status", "code": status, "reason": reasons[status], "message": "fault injector"}
    wait = str(rng.choice((1, 2, 5))) if status == 429 else None
    return error_of(status, json.dumps(told).encode(), wait, "injected")
