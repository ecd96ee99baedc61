"""The asker behind which a real server is: admission, tries, form, money.

Neighbours: implements `ask.Asker`; `transport` carries, `admission` paces, `patience` decides on more tries, `budget` on money, `shape` and
`parse` on form. Invariant: a question ends in exactly one of answer, AskFailed, TryAgain, UserError or cancellation, and is counted
as that; what a server may charge is reserved before it is asked. One asker an endpoint, made and used inside one running event loop. Cost
beside the HTTP library: about 0.3 ms of CPU a question.
"""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from msm.errors import MSMError, TryAgain, UserError
from msm.llm.account import Account
from msm.llm.admission import Gate
from msm.llm.ask import Answer, AskFailed, Refused, Request, Sampling, TooLong, Unreadable, Usage
from msm.llm.budget import Budget
from msm.llm.connection import Connection
from msm.llm.digest import request_digest
from msm.llm.failures import BLAMELESS, OVERLOAD, NoAnswer, NotTaken, Setback
from msm.llm.ledger import Purse
from msm.llm.pace import LoopPace, Pace
from msm.llm.parse import NoValue, read_json
from msm.llm.patience import Trouble, after_failure, backoff, judge
from msm.llm.price import cost, most_tokens
from msm.llm.shape import Schema, as_correction, as_words, check_against
from msm.llm.transport import Transport
from msm.llm.wire import Conversation, Reply, decode, encode, opening

GOOD_TIME = 0.5
"""An answer that took less than this share of the timeout is one that the endpoint kept up with."""


@dataclass(slots=True)
class Dialect:
    """What was learned of the server: its word for the limit of tokens, whether it takes schemas, and which it does not."""

    limit_name: str = "max_tokens"
    takes_schemas: bool | None = None
    refused: set[str] = field(default_factory=set)

    def takes(self, key: str) -> bool:
        """Whether to send this schema."""
        return self.takes_schemas is not False and key not in self.refused

    def learn(self, key: str, taken: bool) -> None:
        """A schema was taken, or an answer came only without it."""
        if taken:
            self.takes_schemas = True
            return
        self.refused.add(key)
        self.takes_schemas = bool(self.takes_schemas)


class OpenAIAsker:
    """Asks one OpenAI-compatible server."""

    def __init__(self, connection: Connection, rng: random.Random, pace: Pace, account: Account, purse: Purse | None = None) -> None:
        self.account = account
        self.budget = Budget(connection.cap, connection.place.field, purse)
        self.gate = Gate(connection.concurrency, pace, rng)
        self.dialect = Dialect()
        self._connection, self._rng, self._pace = connection, rng, pace
        self._transport = Transport(connection, pace)
        self._last_answer = float("-inf")

    @property
    def identity(self) -> str:
        """What its answers are filed under."""
        return self._connection.identity

    async def ask(self, request: Request) -> Answer:
        """The answer; see `ask.Asker` for what is raised."""
        totals = self.account.of(request.purpose)
        totals.asked += 1
        try:
            answer = await (self._freely(request) if request.schema is None else self._in_shape(request, request.schema))
        except AskFailed as error:
            totals.failed[error.reason] += 1
            raise
        except BaseException:
            totals.abandoned += 1
            raise
        totals.answered += 1
        return answer

    async def close(self) -> None:
        """Close the connections, give back what was not spent."""
        await self._transport.close()
        await self.budget.close()

    async def _freely(self, request: Request) -> Answer:
        reply = await self._reply(request, opening(request), None)
        return self._answer(request, reply, None, reply.usage or Usage())

    async def _in_shape(self, request: Request, schema: Schema) -> Answer:
        """Ask until the data fits the schema, a bounded number of times."""
        problem_of, used = check_against(schema), Usage()
        turns: Conversation = ()
        problem, cut_short = "", False
        for tried in range(self._connection.corrections + 1):
            try:
                reply = await self._shaped_reply(request, turns, schema)
            except TooLong as error:
                if not turns:
                    raise
                raise Unreadable(f"no answer in the form asked for ({problem}), and no room to ask for it again: {error}") from error
            used = _sum(used, reply.usage)
            try:
                return self._answer(request, reply, read_json(reply.text, problem_of), used)
            except NoValue as error:
                cut_short = _is_cut_short(reply, request.sampling)
                problem = _what_is_wrong(reply, request.sampling, error)
            turns = () if cut_short else _correction(reply, problem, schema)
            self.account.of(request.purpose).corrections += tried < self._connection.corrections
        said = f"no answer in the form asked for, in {self._connection.corrections + 1} tries: {problem}"
        raise TooLong(said) if cut_short else Unreadable(said)

    async def _shaped_reply(self, request: Request, turns: Conversation, schema: Schema) -> Reply:
        """One reply, with the schema on the wire where the server takes it and in words where it does not."""
        key = str(schema)
        if self.dialect.takes(key):
            try:
                reply = await self._reply(request, (*opening(request), *turns), schema)
            except NotTaken:
                pass
            else:
                self.dialect.learn(key, taken=True)
                return reply
        reply = await self._reply(request, (*opening(request, as_words(schema)), *turns), None)
        self.dialect.learn(key, taken=False)
        return reply

    async def _reply(self, request: Request, turns: Conversation, schema: Schema | None) -> Reply:
        """Try until there is a reply; patience decides when to stop."""
        trouble = Trouble()
        while True:
            try:
                return await self._try(request, turns, schema, again=trouble.failures > 0)
            except NotTaken as refusal:
                if refusal.field == "response_format":
                    raise
                self._rename_limit(refusal)
            except Setback as setback:
                self.account.of(request.purpose).setbacks[setback.kind] += 1
                trouble = await self._bear(trouble, setback)

    def _rename_limit(self, refusal: NotTaken) -> None:
        if self.dialect.limit_name != "max_tokens":
            place = self._connection.place
            raise UserError(place.field, f"{place.base_url} takes no limit of tokens: {refusal.said}", "use another server or model")
        self.dialect.limit_name = "max_completion_tokens"

    async def _try(self, request: Request, turns: Conversation, schema: Schema | None, again: bool) -> Reply:
        sent_at = await self.gate.enter(again)
        try:
            async with self._paying(request, turns) as bill:
                self.account.of(request.purpose).tries += 1
                body = encode(self._connection.model, turns, request.sampling, self.dialect.limit_name, schema)
                reply = decode(await self._transport.complete(body, schema is not None))
                bill.usage = reply.usage
            self._heard(sent_at)
            self.account.of(request.purpose).use(reply.usage or Usage())
        except Setback as setback:
            if setback.kind in OVERLOAD:
                self.gate.overloaded(sent_at)
            if setback.wait is not None:
                self.gate.pause(min(setback.wait, self._connection.patience.seconds))
            raise
        finally:
            self.gate.leave()
        if reply.declined:
            raise Refused(reply.declined)
        return reply

    def _heard(self, sent_at: float) -> None:
        now = self._pace.clock.monotonic()
        self._last_answer = now
        if now - sent_at < GOOD_TIME * self._connection.timeout:
            self.gate.kept_up()

    @asynccontextmanager
    async def _paying(self, request: Request, turns: Conversation) -> AsyncIterator["_Bill"]:
        """Reserve the worst case, settle what the try cost: nothing when it was refused, the worst when nobody knows."""
        price, totals = self._connection.price, self.account.of(request.purpose)
        worst = cost(price, most_tokens(request, sum(len(text.encode("utf-8", "replace")) for _, text in turns[1:])))
        hold = await self.budget.reserve(worst)
        bill, actual, unconfirmed = _Bill(), 0, 0
        try:
            yield bill
            actual = worst if bill.usage is None else cost(price, bill.usage)
        except Setback as setback:
            actual = unconfirmed = worst if setback.may_be_billed else 0
            raise
        except (MSMError, NotTaken):
            raise
        except BaseException:
            actual = unconfirmed = worst
            raise
        finally:
            self.budget.settle(hold, actual)
            totals.price += actual
            totals.unconfirmed += unconfirmed

    async def _bear(self, trouble: Trouble, setback: Setback) -> Trouble:
        """Wait for the next try, or give up."""
        patience = self._connection.patience
        trouble = after_failure(trouble, self._pace.clock.monotonic(), setback.kind not in BLAMELESS, self._last_answer)
        if (setback.wait or 0) > patience.seconds:
            raise self._away(setback, f"it asks to wait {setback.wait:.0f} s")
        match judge(trouble, patience, self._last_answer):
            case "question":
                raise NoAnswer(f"{trouble.failures} tries failed, the last with: {setback.said}")
            case "endpoint" if setback.kind not in BLAMELESS and await self._transport.is_alive():
                raise NoAnswer(f"{trouble.failures} tries failed although the server is there, the last with: {setback.said}")
            case "endpoint":
                raise self._away(setback, f"no answer for {patience.seconds:.0f} s")
        await self._pace.sleep(backoff(trouble.failures, patience, self._rng))
        return trouble

    def _away(self, setback: Setback, why: str) -> TryAgain:
        return TryAgain(f"{self._connection.base_url}: {why}, at last: {setback.said}; every answer so far is kept")

    def _answer(self, request: Request, reply: Reply, data: object, usage: Usage) -> Answer:
        digest = request_digest(self._connection.identity, request)
        return Answer(reply.text, data, reply.reasoning, reply.finish, usage, digest)


@dataclass(slots=True)
class _Bill:
    usage: Usage | None = None


def _is_cut_short(reply: Reply, sampling: Sampling) -> bool:
    """Whether the answer ended before its limit: vLLM gives what room the context has left, other servers have limits of their own."""
    return reply.finish == "length" and reply.usage is not None and reply.usage.completion < sampling.max_tokens


def _what_is_wrong(reply: Reply, sampling: Sampling, error: NoValue) -> str:
    if reply.finish == "stop":
        return str(error)
    if reply.usage is None or not _is_cut_short(reply, sampling):
        return f"it was cut at {sampling.max_tokens} tokens ({error})"
    room = f"a question of {reply.usage.prompt} tokens leaves no room for more, or the server has a limit of its own"
    return f"it was cut at {reply.usage.completion} tokens, before its limit of {sampling.max_tokens}: {room}"


def _correction(reply: Reply, problem: str, schema: Schema) -> Conversation:
    """The turns that follow an answer in the wrong form; none after one that was all reasoning, which is asked afresh."""
    return (("assistant", reply.text), ("user", as_correction(problem, schema))) if reply.text.strip() else ()


def _sum(one: Usage, other: Usage | None) -> Usage:
    return one if other is None else Usage(one.prompt + other.prompt, one.completion + other.completion, one.cached + other.cached)


@asynccontextmanager
async def open_openai(
    connection: Connection,
    rng: random.Random | None = None,
    pace: Pace | None = None,
    account: Account | None = None,
    purse: Purse | None = None,
) -> AsyncIterator[OpenAIAsker]:
    """An asker for the running event loop; its connections are closed at the end."""
    asker = OpenAIAsker(connection, rng or random.Random(), pace or LoopPace(), account or Account(), purse)
    try:
        yield asker
    finally:
        await asker.close()
