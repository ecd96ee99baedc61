"""Asking many questions at once, in a bounded window, with failures that are counted and never looped on.

Over the seam `msm.llm.ask`; neighbours: `tree` and `dialogue` ask through a `Window`. Invariants: results stand in the order of the
questions whatever the order of arrival; a failed question is reported, at most `limit` of them; no question is repeated without end.
Only what concerns one question (AskFailed) is counted; an endpoint that is away or a spent budget ends the whole work at once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, TypeVar

from msm.errors import UserError
from msm.llm.ask import Answer, Asker, AskFailed, Request, TooLong, Unreadable, Usage

T = TypeVar("T")

TRIES: Final = 2
"""Times that a refused or unreadable question is asked, each with a fresh sample."""
EMPTY_BATCHES: Final = 3
"""Batches in a row without anything new after which a list is as long as it will get."""
SAMPLES: Final = 1000
"""Repetitions of one question within a sample of the whole work."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A branch that was skipped: at which step, where in the tree, why."""

    step: str
    path: tuple[str, ...]
    reason: str
    message: str


@dataclass(slots=True)
class Failures:
    """What was skipped so far; more than `limit` end the work. `where` names the setting in errors."""

    limit: int
    where: str
    found: list[Failure] = field(default_factory=list)
    asked: int = 0
    share: float = 0.0

    def add(self, step: str, path: Sequence[str], error: AskFailed) -> None:
        """Report a skipped branch.

        Raises:
            UserError: one more than the limit, or than `share` of what was asked where that is more.
        """
        self.found.append(Failure(step, tuple(path), error.reason, str(error)))
        if len(self.found) > max(self.limit, self.share * self.asked):
            raise UserError(self.where, f"{len(self.found)} branches failed, at most {self.limit} may; the last: {step}: {error}", FIX)

    async def guard(self, step: str, path: Sequence[str], work: Awaitable[T]) -> T | None:
        """The work's result, or None after reporting that it failed."""
        try:
            return await work
        except AskFailed as error:
            self.add(step, path, error)
            return None

    def last(self) -> str:
        """What failed last, in brackets; empty where nothing did."""
        return f" ({self.found[-1].step}: {self.found[-1].message})" if self.found else ""

    def listed(self) -> list[dict[str, Any]]:
        """Rows for failures.jsonl, in the order of the tree."""
        ordered = sorted(self.found, key=lambda f: (f.path, f.step, f.message))
        return [{"step": f.step, "path": list(f.path), "reason": f.reason, "message": f.message} for f in ordered]


FIX: Final = "reword the spec where the model declines, use another author, or raise maxFailures"


@dataclass(slots=True)
class Spent:
    """Questions and tokens of one step; `reused` of the calls were answered by the journal."""

    calls: int = 0
    reused: int = 0
    prompt: int = 0
    completion: int = 0

    def add(self, answer: Answer) -> None:
        """Count one answer."""
        self.calls += 1
        self.reused += answer.reused
        self.prompt += answer.usage.prompt
        self.completion += answer.usage.completion


@dataclass(slots=True)
class Window:
    """At most `size` questions under way to one asker; `told` hears each answer."""

    asker: Asker
    size: int = 256
    told: Callable[[Answer], None] = lambda _: None
    spent: dict[str, Spent] = field(default_factory=dict)
    _slots: asyncio.Semaphore | None = None

    async def ask(self, request: Request) -> Answer:
        """The answer; raises what the asker raises."""
        self._slots = self._slots or asyncio.Semaphore(self.size)
        async with self._slots:
            answer = await self.asker.ask(request)
        self.spent.setdefault(request.purpose, Spent()).add(answer)
        self.told(answer)
        return answer

    async def read(self, request: Request, read: Callable[[Answer], T]) -> T:
        """What `read` makes of the answer, asked up to TRIES times; `read` raises AskFailed for what it cannot use."""
        for again in range(TRIES):
            try:
                return read(await self.ask(replace(request, sample=request.sample * SAMPLES + again)))
            except TooLong:
                raise
            except AskFailed as error:
                last = error
        raise last


def usage_json(*parts: Usage) -> dict[str, int]:
    """Tokens of one or several answers, for a row's provenance."""
    return {"prompt": sum(p.prompt for p in parts), "completion": sum(p.completion for p in parts)}


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All results in order; the first error cancels the rest and is raised when they have ended."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        await cancelled(tasks)


async def cancelled(tasks: Iterable["asyncio.Future[Any]"]) -> None:
    """Cancel what still runs and wait until it has ended."""
    left = [task for task in tasks if not task.done()]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


async def topped_up(
    wanted: int, batch: int, key: Callable[[T], str], ask: Callable[[int, list[T], int], Awaitable[Sequence[T]]], known: Sequence[T] = ()
) -> list[T]:
    """Up to `wanted` different entries in batches: `ask(how many, what exists, round)` until there are enough or nothing new comes.

    A round that fails counts as empty. Entries whose `key` is in `known` already are not counted nor returned; they are shown first.

    Raises:
        AskFailed: nothing at all came.
    """
    old = {key(entry) for entry in known}
    found: dict[str, T] = {}
    empty, number = 0, 0
    last: AskFailed | None = None
    while len(found) < wanted and empty < EMPTY_BATCHES:
        before = len(found)
        try:
            for entry in await ask(min(batch, wanted - before), [*known, *found.values()], number):
                if key(entry) not in old:
                    found.setdefault(key(entry), entry)
            last = None
        except AskFailed as error:
            last = error
            if isinstance(error, TooLong):
                break
        empty = 0 if len(found) > before else empty + 1
        number += 1
    if not found and wanted > 0:
        raise last or Unreadable(f"nothing new in {number} batches")
    return list(found.values())[:wanted]


async def in_order(work: Sequence[Callable[[], Coroutine[Any, Any, T]]], needed: Callable[[Sequence[T]], int], ahead: int) -> list[T]:
    """The shortest prefix of the work's results that is enough, in order, with at most `ahead` under way.

    `needed(results so far)` says how long a prefix will probably be wanted: not more than there are ends the work. It is asked again
    after every result of the prefix, so that little is begun that is not wanted; what is left over is cancelled. Cost: constant a result.
    """
    line = _Line[T]([])
    done: list[T] = []
    try:
        while (target := min(needed(done), len(work))) > len(done):
            for number in range(len(line.tasks), min(target, len(done) + ahead)):
                line.start(work[number]())
            await line.moved(len(done))
            while len(done) < len(line.tasks) and line.tasks[len(done)].done() and needed(done) > len(done):
                done.append(line.tasks[len(done)].result())
        return done
    finally:
        await cancelled(line.tasks)


@dataclass(slots=True)
class _Line(Generic[T]):
    """Tasks in order; `wake` is set when the one in front has ended, or any has failed."""

    tasks: list["asyncio.Future[T]"]
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    front: int = 0
    failed: BaseException | None = None

    def start(self, work: Coroutine[Any, Any, T]) -> None:
        task, number = asyncio.ensure_future(work), len(self.tasks)
        self.tasks.append(task)
        task.add_done_callback(lambda ended: self._ended(number, ended))

    def _ended(self, number: int, task: "asyncio.Future[T]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failed = self.failed or error
        if number == self.front or self.failed is not None:
            self.wake.set()

    async def moved(self, front: int) -> None:
        """Wait until the task at `front` has ended; raise the first error of any."""
        self.front = front
        if self.tasks[front].done():
            self.wake.set()
        await self.wake.wait()
        self.wake.clear()
        if self.failed is not None:
            raise self.failed


def folded(text: str) -> str:
    """A text as it is compared: case and white space do not count."""
    return " ".join(text.casefold().split())
