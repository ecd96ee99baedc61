"""The whole client in bad weather: one call in five fails, processes are killed, and every question is accounted for."""

import asyncio
import os
import random
import signal
import time
from collections import Counter

import pytest

from msm.llm.account import Account
from msm.llm.ask import Answer, AskFailed, Request, Sampling
from msm.llm.client import open_openai
from msm.llm.digest import request_digest
from msm.llm.journal import JournalledAsker, answer_key, find_answer
from msm.llm.patience import Patience
from msm.llm.price import Price, per_million
from msm.store import StoreConfig, open_store
from tests.llm_server import PASSING, Fault, Reply, connection_to, running_llm_server, seeded_faults

pytestmark = pytest.mark.timeout(180)
EVERY = (*PASSING, Fault.REFUSAL, Fault.FILTERED, Fault.TRUNCATED)
PATIENCE = Patience(seconds=60.0, tries=8, first=0.01, longest=0.05)
"""The shipped number of tries, quicker."""
FORM = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"], "additionalProperties": False}


def question(number):
    schema = FORM if number % 4 == 0 else None
    return Request("the spec. ", f"document {number}.", Sampling(60), "shaped" if schema else "free", schema=schema)


def content(asked):
    text = f"Written for {asked.body['messages'][0]['content'][10:].partition('.')[0]}."
    return Reply(f'{{"text": "{text}"}}' if "response_format" in asked.body else text)


async def ask_everything(asker, requests):
    return await asyncio.gather(*(asker.ask(request) for request in requests), return_exceptions=True)


@pytest.fixture
def store(tmp_path):
    return open_store(StoreConfig(uri=(tmp_path / "store").as_uri()))


@pytest.mark.long
def test_two_thousand_questions_in_a_storm_none_lost_silently(store):
    requests, account = [question(number) for number in range(2000)], Account()
    price = Price(input=per_million(3), output=per_million(15))

    async def run(server):
        connection = connection_to(server.base_url, price=price, cap=10**18, concurrency=64, timeout=2.0, patience=PATIENCE)
        async with open_openai(connection, random.Random(0), account=account) as asker:
            results = await ask_everything(JournalledAsker(asker, store, connection.identity, account), requests)
            return results, asker

    with running_llm_server(
        content=content, faults=seeded_faults(7, 0.2, EVERY), count_prefix=False, remember=False, latency=0.01
    ) as server:
        results, asker = asyncio.run(run(server))
    answers = [result for result in results if isinstance(result, Answer)]
    failed = Counter(result.reason for result in results if isinstance(result, AskFailed))
    assert len(answers) + failed.total() == 2000
    assert failed.keys() <= {"Refused"}
    declined = server.counts[Fault.REFUSAL.value] + server.counts[Fault.FILTERED.value]
    assert failed["Refused"] == declined
    for request, result in zip(requests, results, strict=True):
        if isinstance(result, Answer) and result.finish == "stop":
            words = result.text if request.schema is None else result.data["text"]
            assert words == f"Written for {request.prompt}"
    assert sum(totals.asked for totals in account.purposes.values()) == 2000
    assert all(totals.open == 0 for totals in account.purposes.values())
    assert sum(totals.failed.total() for totals in account.purposes.values()) == declined
    assert sum(totals.tries for totals in account.purposes.values()) == server.number
    assert (asker.gate.in_flight, asker.budget.reserved) == (0, 0)
    assert asker.budget.spent == sum(totals.price for totals in account.purposes.values())
    assert sum(1 for _ in store.list("answers")) == len(answers)


def test_without_refusals_every_answer_comes(store):
    async def run(server):
        async with open_openai(connection_to(server.base_url, concurrency=64, timeout=2.0, patience=PATIENCE), random.Random(1)) as asker:
            return await ask_everything(asker, [question(number) for number in range(300)])

    with running_llm_server(content=content, faults=seeded_faults(3, 0.2), count_prefix=False, latency=0.01) as server:
        results = asyncio.run(run(server))
    assert [result for result in results if not isinstance(result, Answer)] == []


def child(base_url, store, requests):
    """A process that asks until it is killed or done; exit code 0 when done."""

    async def run():
        connection = connection_to(base_url, concurrency=8)
        async with open_openai(connection) as asker:
            await ask_everything(JournalledAsker(asker, store, connection.identity), requests)

    pid = os.fork()
    if pid:
        return pid
    try:
        asyncio.run(run())
        os._exit(0)
    finally:
        os._exit(1)


def wait_for(asked, count):
    """Return when the server was asked so often; a child that does not get there is stuck."""
    give_up = time.monotonic() + 30
    while len(asked) < count:
        assert time.monotonic() < give_up, f"{len(asked)} of {count} requests after 30 s"
        time.sleep(0.002)


def test_twenty_kills_and_no_filed_answer_is_asked_for_again(store):
    """Processes are forked, so that twenty starts cost no twenty imports; SIGKILL leaves them no last word."""
    draw, requests, kills, rounds = random.Random(5), [question(number) for number in range(400)], 0, []
    with running_llm_server(content=content, latency=0.02, count_prefix=False) as server:
        done = False
        while not done and len(rounds) < 200:
            filed = {request.prompt for request in requests if store.stat(answer_key(request_digest("a script", request)))}
            before = len(server.asked)
            pid = child(server.base_url, store, requests)
            if kills < 20:
                time.sleep(draw.uniform(0.08, 0.25))
                os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            kills += os.WIFSIGNALED(status)
            done = os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0
            asked = {each.body["messages"][0]["content"].removeprefix("the spec. ") for each in server.asked[before:]}
            rounds.append((filed, asked))
    assert done
    assert kills == 20
    assert all(not filed & asked for filed, asked in rounds)
    assert all(find_answer(store, "a script", request) is not None for request in requests)
