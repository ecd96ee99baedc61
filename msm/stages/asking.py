"""How a stage comes to ask language models: endpoints from its document, answers kept in the store as they arrive.

The one place where stages meet `msm.llm`'s clients; neighbours: outline, write and demonstrate run their work through `ask`, tests put a
scripted asker in the place of `asker_for`. Invariant: asked to stop, a stage leaves within a second; what was answered is in the journal.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

from pydantic import JsonValue

from msm.api.inputs import Endpoint, OpenAI
from msm.errors import UserError
from msm.llm.ask import Answer, Asker
from msm.stages.context import Context
from msm.stages.params import mapping, optional_integer, text
from msm.synth.asking import Failures, Window
from msm.synth.prompts.render import digest

T = TypeVar("T")

LOOK_SECONDS = 0.5
"""Between two looks at whether the stage is to stop."""
FIRST_ANSWERS = 20
"""Answers before a remaining time is said."""
AT_ONCE = 256
"""Questions under way where the endpoint states no concurrency; the client admits fewer when the server is slow."""


@asynccontextmanager
async def asker_for(context: Context, role: str = "author") -> AsyncIterator[Asker]:
    """Who answers for a role of this stage, journalled in the stage's store; connections are closed at the end.

    A price cap is the stage's: all its attempts and shards spend from one purse.

    Raises:
        UserError: the endpoint cannot be reached from here.
    """
    from msm.llm.endpoint import open_asker

    endpoint = Endpoint.model_validate(mapping(mapping(context.stage.execution, "endpoints"), role))
    async with open_asker(endpoint, os.environ, context.store, scope=context.stage.fingerprint) as opened:
        yield opened.asker


def ask(context: Context, work: Callable[["Asking"], Awaitable[T]]) -> T:
    """Run a stage's asking to its end.

    Raises:
        UserError: the stage was planned with other templates than this version has.
        Preempted: asked to stop.
    """
    kind = context.stage.kind
    if text(context.params, "prompts") != digest(kind):
        raise UserError(context.stage.name, "was planned with other prompts than this msm has", "run it with the msm that planned it")
    return asyncio.run(_until_stopped(context, work))


async def _until_stopped(context: Context, work: Callable[["Asking"], Awaitable[T]]) -> T:
    task = asyncio.ensure_future(_opened(context, work))
    try:
        while not (await asyncio.wait({task}, timeout=LOOK_SECONDS))[0]:
            context.check_stop()
        return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _opened(context: Context, work: Callable[["Asking"], Awaitable[T]]) -> T:
    async with AsyncExitStack() as stack:
        asking = Asking(context)
        for role in mapping(context.stage.execution, "endpoints"):
            await asking.open(role, stack)
        return await work(asking)


class Asking:
    """One stage's windows on its endpoints, and what failed; lives as long as its event loop."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.failures = Failures(optional_integer(context.stage.execution, "maxFailures") or 0, context.stage.name)
        self.expected = 0
        self._roles: dict[str, Window] = {}
        self._answered = self._fresh = 0
        self._began = context.attempt.clock.monotonic()

    async def open(self, role: str, stack: AsyncExitStack) -> None:
        """A window on a role's endpoint; roles that one endpoint plays share it, its pace and its budget."""
        endpoints = mapping(self.context.stage.execution, "endpoints")
        same = next((other for other in self._roles if endpoints[other] == endpoints[role]), None)
        if same is not None:
            self._roles[role] = self._roles[same]
            return
        asker = await stack.enter_async_context(asker_for(self.context, role))
        self._roles[role] = Window(asker, concurrency(self.context, role), self._tell)

    def window(self, role: str = "author") -> Window:
        """The window on a role's endpoint; a role without one of its own is played by the author."""
        return self._roles.get(role) or self._roles["author"]

    def begin_again(self) -> None:
        """Count calls, tokens and failures from nothing: the same work is walked through once more, over answers that are filed."""
        self.failures.found.clear()
        self.failures.asked = self._answered = self._fresh = 0
        self._began = self.context.attempt.clock.monotonic()
        for window in self._roles.values():
            window.spent.clear()

    def _tell(self, answer: Answer) -> None:
        self._answered += 1
        self._fresh += not answer.reused
        total = max(self.expected, self._answered)
        self.context.progress.at(self._answered, total, self._remaining(total), calls=float(self._answered))

    def _remaining(self, total: int) -> float | None:
        """Seconds, at the pace of the answers that were not in the journal; None before there are some."""
        if self._fresh < FIRST_ANSWERS:
            return None
        return (self.context.attempt.clock.monotonic() - self._began) / self._fresh * (total - self._answered)

    def metrics(self) -> dict[str, float]:
        """Calls and tokens of all endpoints, and failures, for the manifest."""
        windows = {id(window): window for window in self._roles.values()}.values()
        steps = [spent for window in windows for spent in window.spent.values()]
        return {
            "calls": sum(s.calls for s in steps),
            "reusedCalls": sum(s.reused for s in steps),
            "promptTokens": sum(s.prompt for s in steps),
            "completionTokens": sum(s.completion for s in steps),
            "failures": len(self.failures.found),
        }

    def write_failures(self) -> None:
        """failures.jsonl: what was skipped, where and why; empty when nothing was."""
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in self.failures.listed()]
        (self.context.out / "failures.jsonl").write_text("".join(lines), encoding="utf-8")


def concurrency(context: Context, role: str) -> int:
    """Questions that a role's endpoint gets at once."""
    return optional_integer(openai_of(context, role), "concurrency") or AT_ONCE


def openai_of(context: Context, role: str) -> dict[str, JsonValue]:
    """A role's endpoint as the stage document has it; empty without one."""
    return mapping(mapping(mapping(context.stage.execution, "endpoints"), role), "openai")


def model_name(context: Context, role: str = "author") -> str:
    """The identity of a role's model, as its answers are filed under it."""
    from msm.llm.endpoint import identity_of

    return identity_of(OpenAI.model_validate(openai_of(context, role)))
