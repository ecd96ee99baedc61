"""The client against a scripted server (no model behind it): every failure by name, nothing lost, nothing asked for without need."""

import asyncio
import random
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from msm.errors import TryAgain, UserError
from msm.llm.admission import HARD_CUT, START
from msm.llm.ask import Refused, Request, Sampling, TooLong, Unreadable, Usage
from msm.llm.client import open_openai
from msm.llm.failures import NoAnswer
from msm.llm.patience import Patience
from msm.llm.price import Price, per_million, units
from tests.llm_server import MODEL, Fault, Reply, connection_to, running_llm_server

pytestmark = pytest.mark.timeout(120)
LABEL = {"type": "object", "properties": {"label": {"enum": ["a", "b"]}}, "required": ["label"], "additionalProperties": False}


def question(text="hello", **changes):
    return Request(**{"prefix": "the spec. ", "prompt": text, "sampling": Sampling(50, 0.7, 0.9), "purpose": "documents", **changes})


def ask(connection, *requests, during=None, pace=None):
    """All answers or exceptions, and the asker; `during` runs meanwhile."""

    async def run():
        async with open_openai(connection, random.Random(0), pace) as asker:
            asked = asyncio.gather(*(asker.ask(request) for request in requests), return_exceptions=True)
            if during is not None:
                await during()
            return await asyncio.wait_for(asked, 60), asker

    return asyncio.run(run())


def ask_one(server, request, **changes):
    [result], asker = ask(connection_to(server.base_url, **changes), request)
    if isinstance(result, BaseException):
        raise result
    return result, asker


def first_only(fault):
    """The fault on the first call, then none."""
    return lambda asked: fault if asked.number == 0 else None


def test_what_is_sent():
    with running_llm_server(key="sk-secret") as server:
        ask_one(server, question(system="Be brief."), key="sk-secret")
    [asked] = server.asked
    assert asked.body == {
        "model": MODEL,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "the spec. hello"}],
        "max_tokens": 50,
        "temperature": 0.7,
        "top_p": 0.9,
    }


def test_what_comes_back():
    with running_llm_server(content=lambda asked: Reply("An answer.", "length")) as server:
        answer, _ = ask_one(server, question())
    assert (answer.text, answer.data, answer.reasoning, answer.finish) == ("An answer.", None, "", "length")
    assert answer.usage == Usage(prompt=4, completion=3, cached=0)


def test_the_shared_beginning_is_found_in_the_servers_prefix_cache():
    spec = "The model prefers affordable cheese. " * 300
    with running_llm_server() as server:
        requests = [question(f"Write document {number}.", prefix=spec) for number in range(40)]
        answers, asker = ask(connection_to(server.base_url, concurrency=1), *requests)
    assert server.prefix_hit_rate > 0.95
    assert all(answer.usage.cached >= 0.95 * answer.usage.prompt for answer in answers[1:])
    assert asker.account.of("documents").cached_tokens == sum(answer.usage.cached for answer in answers)


REASONING = {
    "in reasoning_content": Reply("Yes.", extra={"reasoning_content": "hm"}),
    "in reasoning": Reply("Yes.", extra={"reasoning": "hm"}),
    "in the text": Reply("<think>\nhm\n</think>\n\nYes."),
    "in the text, opened by the template": Reply("hm\n</think>\n\nYes."),
}


@pytest.mark.parametrize("reply", REASONING.values(), ids=REASONING)
def test_reasoning_never_stays_in_the_text(reply):
    with running_llm_server(content=lambda asked: reply) as server:
        answer, _ = ask_one(server, question())
    assert (answer.text, answer.reasoning) == ("Yes.", "hm")


PASSING = [fault for fault in Fault if fault not in (Fault.REFUSAL, Fault.FILTERED, Fault.TRUNCATED)]


@pytest.mark.parametrize("fault", PASSING, ids=[fault.value for fault in PASSING])
def test_what_passes_is_survived(fault):
    with running_llm_server(faults=first_only(fault)) as server:
        answer, asker = ask_one(server, question(), timeout=0.7 if fault is Fault.HANG else 10.0)
    assert answer.text == "fine"
    totals = asker.account.of("documents")
    assert (totals.asked, totals.answered, totals.tries, totals.setbacks.total()) == (1, 1, 2, 1)


FINAL = {
    "a refusal": ({"faults": lambda asked: Fault.REFUSAL}, question(), {}, Refused, "no"),
    "a content filter": ({"faults": lambda asked: Fault.FILTERED}, question(), {}, Refused, "content_filter"),
    "a question that does not fit": ({"context": 30}, question("x" * 200), {}, TooLong, "maximum context length is 30"),
    "a limit of tokens that does not fit": ({"context": 40}, question(), {}, TooLong, "maximum context length is 40"),
    "a question that always fails while nobody else is asked": (
        {"faults": lambda asked: Fault.ERROR},
        question(),
        {},
        NoAnswer,
        "although the server is there",
    ),
    "a wrong key": ({"key": "sk-right"}, question(), {"key": "sk-wrong"}, UserError, "the environment variable OPENAI_API_KEY"),
    "no key where one is needed": ({"key": "sk-right"}, question(), {}, UserError, "spec.endpoints.author.apiKey"),
    "a server that is always too busy": ({"capacity": 0}, question(), {"patience": Patience(0.5, 4, 0.01, 0.1)}, TryAgain, "429"),
    "a server that asks to come back tomorrow": (
        {"faults": lambda asked: Fault.RATE_SECONDS, "retry_after": 86400.0},
        question(),
        {},
        TryAgain,
        "asks to wait 86400 s",
    ),
    "a form that never comes": (
        {"content": lambda asked: Reply("I would rather not.")},
        question(schema=LABEL),
        {},
        Unreadable,
        "in 3 tries",
    ),
    "a form that is always cut at its limit": (
        {"content": lambda asked: Reply('{"label": "', "length")},
        question(schema=LABEL, sampling=Sampling(3)),
        {},
        Unreadable,
        "cut at 3 tokens",
    ),
    "a form that is always cut before its limit": (
        {"content": lambda asked: Reply('{"label": "', "length")},
        question(schema=LABEL),
        {},
        TooLong,
        "cut at 3 tokens, before its limit of 50: a question of 4 tokens leaves no room for more",
    ),
    "a cap that the first question would pass": (
        {},
        question(),
        {"price": Price(output=per_million(15)), "cap": units(0.0001)},
        UserError,
        "spec.endpoints.author.maxPrice",
    ),
}


@pytest.mark.parametrize("case", FINAL.values(), ids=FINAL)
def test_what_does_not_pass_is_named(case):
    script, request, changes, kind, words = case
    with running_llm_server(**script) as server, pytest.raises(kind) as caught:
        ask_one(server, request, **changes)
    assert type(caught.value) is kind
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "sk-wrong" not in str(caught.value)


def test_an_unknown_model_is_answered_with_those_that_there_are():
    with running_llm_server() as server:
        connection = connection_to(server.base_url)
        [result], _ = ask(replace(connection, place=replace(connection.place, model="gpt-9")), question())
    said = f'spec.endpoints.author.model: {server.base_url} has no model "gpt-9"; it has: {MODEL}; '
    assert str(result) == said + "name one of these, or serve the model that you want"


def test_an_address_without_v1_says_so():
    with running_llm_server() as server:
        [result], _ = ask(connection_to(server.base_url.replace("/v1", "/v2")), question())
    assert isinstance(result, UserError)
    assert result.field == "spec.endpoints.author.baseURL"
    assert "/v1" in result.fix


def test_a_server_that_is_not_there_is_waited_for_and_then_named():
    with running_llm_server() as server:
        server.down()
        began = time.monotonic()
        [result], asker = ask(connection_to(server.base_url, patience=Patience(0.6, 3, 0.01, 0.1)), question())
    assert isinstance(result, TryAgain)
    assert "cannot connect" in str(result)
    assert 0.5 < time.monotonic() - began < 10
    assert asker.account.of("documents").abandoned == 1


def test_a_hundred_questions_survive_a_restart_of_the_server():
    with running_llm_server(latency=0.05) as server:

        async def restart():
            await asyncio.sleep(0.2)
            await asyncio.to_thread(server.down)
            await asyncio.sleep(1.0)
            await asyncio.to_thread(server.up)

        requests = [question(f"number {number}") for number in range(100)]
        patience = Patience(20.0, 3, 0.01, 0.2)
        answers, asker = ask(connection_to(server.base_url, concurrency=10, patience=patience), *requests, during=restart)
    assert [answer.text for answer in answers] == ["fine"] * 100
    assert asker.account.of("documents").setbacks.keys() <= {"away", "cut", "slow"}


class FastPace:
    """Two hundred seconds of waiting in one."""

    def __init__(self):
        self.clock = self

    def now(self):
        return datetime.now(UTC)

    def monotonic(self):
        return time.monotonic() * 200

    async def sleep(self, seconds):
        await asyncio.sleep(seconds / 200)


def test_an_outage_of_minutes_is_survived_with_the_patience_that_is_shipped():
    with running_llm_server() as server:
        server.down()

        async def come_back():
            await asyncio.sleep(2.0)  # 400 s of the client's time
            await asyncio.to_thread(server.up)

        requests = [question(f"number {number}") for number in range(30)]
        answers, asker = ask(connection_to(server.base_url, patience=Patience()), *requests, during=come_back, pace=FastPace())
    assert [answer.text for answer in answers] == ["fine"] * 30
    assert asker.account.of("documents").tries < 30 * 60


def test_one_poisoned_question_is_given_up_while_the_others_are_answered():
    def poison(asked):
        return Fault.ERROR if "poison" in asked.prompt else None

    with running_llm_server(faults=poison, latency=0.01) as server:
        requests = [question("poison"), *(question(f"number {number}") for number in range(200))]
        answers, asker = ask(connection_to(server.base_url, concurrency=4), *requests)
    assert isinstance(answers[0], NoAnswer)
    assert "tries failed, the last with: 500 <html>" in str(answers[0])
    assert all(answer.text == "fine" for answer in answers[1:])
    assert asker.account.of("documents").failed == {"NoAnswer": 1}


def test_the_form_is_asked_for_on_the_wire_where_the_server_takes_it():
    with running_llm_server(content=lambda asked: Reply('{"label": "a"}')) as server:
        answer, _ = ask_one(server, question(schema=LABEL))
    assert answer.data == {"label": "a"}
    assert server.asked[0].body["response_format"]["json_schema"] == {"name": "answer", "schema": LABEL, "strict": True}
    assert server.asked[0].last == "the spec. hello"


@pytest.mark.parametrize("silent", [False, True], ids=["and says so", "and says something else"])
def test_a_server_without_schemas_is_found_out_once_and_asked_in_words(silent):
    with running_llm_server(
        content=lambda asked: Reply('```json\n{"label": "b"}\n```'), takes_schema=False, ignores_schema_word=silent
    ) as server:

        async def run():
            async with open_openai(connection_to(server.base_url)) as asker:
                return [await asker.ask(question(f"number {number}", schema=LABEL)) for number in range(5)]

        answers = asyncio.run(run())
    assert [answer.data for answer in answers] == [{"label": "b"}] * 5
    assert sum("response_format" in asked.body for asked in server.asked) == 1
    assert server.asked[-1].last.startswith("the spec. number 4\n\n")
    assert '{"enum":["a","b"]}' in server.asked[-1].last


def test_a_server_that_refuses_one_schema_keeps_getting_the_others():
    picky = {"type": "object", "properties": {"label": {"type": "string", "format": "odd"}}, "required": ["label"]}

    def content(asked):
        return Reply('{"label": "a"}')

    with running_llm_server(content=content) as server:
        server.script.takes = lambda schema: schema != picky

        async def run():
            async with open_openai(connection_to(server.base_url)) as asker:
                return [(await asker.ask(question(schema=schema))).data for schema in (LABEL, picky, LABEL, picky)]

        assert asyncio.run(run()) == [{"label": "a"}] * 4
    assert ["response_format" in asked.body for asked in server.asked] == [True, True, False, True, False]


def test_a_wrong_form_is_corrected_in_the_same_conversation():
    with running_llm_server(content=lambda asked: Reply('{"label": "a"}' if "once more" in asked.last else '{"label": "c"}')) as server:
        answer, asker = ask_one(server, question(schema=LABEL))
    assert answer.data == {"label": "a"}
    assert asker.account.of("documents").corrections == 1
    first, second = (asked.body["messages"] for asked in server.asked)
    assert second[: len(first)] == first
    assert [message["role"] for message in second] == ["user", "assistant", "user"]
    assert "'c' is not one of ['a', 'b']" in second[-1]["content"]
    assert answer.usage.prompt > server.counts["prompt_tokens"] / 2


def test_a_second_correction_follows_the_last_wrong_answer_only():
    labels = iter(["c", "d", "a"])
    with running_llm_server(content=lambda asked: Reply(f'{{"label": "{next(labels)}"}}')) as server:
        answer, _ = ask_one(server, question(schema=LABEL))
    assert answer.data == {"label": "a"}
    assert [len(asked.body["messages"]) for asked in server.asked] == [1, 3, 3]
    assert server.asked[2].body["messages"][1]["content"] == '{"label": "d"}'


def test_a_form_that_was_cut_before_its_limit_is_asked_afresh_since_a_correction_would_leave_less_room():
    replies = iter([Reply('{"label": "', "length"), Reply('{"label": "a"}')])
    with running_llm_server(content=lambda asked: next(replies)) as server:
        answer, _ = ask_one(server, question(schema=LABEL))
    assert answer.data == {"label": "a"}
    assert server.asked[0].body == server.asked[1].body


def test_an_answer_that_was_all_reasoning_is_asked_afresh():
    replies = iter([Reply("<think>still thinking", "length"), Reply('{"label": "a"}')])
    with running_llm_server(content=lambda asked: next(replies)) as server:
        answer, _ = ask_one(server, question(schema=LABEL))
    assert answer.data == {"label": "a"}
    assert server.asked[0].body == server.asked[1].body


def test_no_room_for_a_correction_is_no_answer_rather_than_a_question_that_is_too_long():
    with running_llm_server(content=lambda asked: Reply("words " * 40), context=120) as server, pytest.raises(Unreadable, match="no room"):
        ask_one(server, question(schema=LABEL))


def test_a_server_that_wants_the_newer_word_for_the_limit_gets_it():
    with running_llm_server(takes_max_tokens=False) as server:
        ask_one(server, question())
    assert [("max_tokens" in asked.body, "max_completion_tokens" in asked.body) for asked in server.asked] == [(True, False), (False, True)]


def test_requests_are_the_same_bytes_each_time():
    from msm.llm.wire import encode, opening

    bodies = {encode(MODEL, opening(question(system="s")), Sampling(5), "max_tokens", LABEL) for _ in range(3)}
    assert len(bodies) == 1


def test_retry_after_is_kept_by_everybody():
    with running_llm_server(faults=first_only(Fault.RATE_SECONDS), retry_after=0.6) as server:
        began = time.monotonic()
        _, asker = ask_one(server, question())
        assert time.monotonic() - began >= 0.6
    assert asker.gate.window.slots == int(HARD_CUT * START)


def test_a_small_server_is_found_to_be_small():
    with running_llm_server(capacity=12, latency=0.1, count_prefix=False) as server:
        requests = [question(f"number {number}") for number in range(350)]
        patient = connection_to(server.base_url, patience=Patience(30.0, 8, 0.1, 1.0))
        answers, asker = ask(patient, *requests)
    assert [answer.text for answer in answers] == ["fine"] * 350
    assert asker.account.of("documents").setbacks["busy"] < 2 * START
    assert 6 <= asker.gate.window.slots <= 16


def test_the_cap_holds_with_everything_in_flight_and_what_is_finished_is_kept():
    price = Price(input=per_million(3), output=per_million(15))
    with running_llm_server(latency=0.005, count_prefix=False) as server:
        requests = [question(f"number {number}") for number in range(400)]
        answers, asker = ask(connection_to(server.base_url, price=price, cap=units(0.01)), *requests)
    done = [answer for answer in answers if not isinstance(answer, BaseException)]
    stopped = [answer for answer in answers if isinstance(answer, UserError)]
    assert len(done) + len(stopped) == 400
    assert done
    assert stopped
    assert asker.budget.spent <= units(0.01)
    assert asker.budget.reserved == 0
    assert asker.account.of("documents").price == asker.budget.spent
    billed = 3 * server.counts["prompt_tokens"] + 15 * server.counts["completion_tokens"]
    assert asker.budget.spent == billed * 10**6


def test_what_may_have_been_billed_counts_as_spent():
    price = Price(input=per_million(3), output=per_million(15))
    with running_llm_server(faults=first_only(Fault.HALF)) as server:
        _, asker = ask_one(server, question(), price=price, cap=units(1))
    totals = asker.account.of("documents")
    assert totals.unconfirmed > 0
    assert asker.budget.spent == totals.price > totals.unconfirmed


def test_a_cancelled_question_gives_everything_back():
    async def run(server):
        async with open_openai(connection_to(server.base_url, cap=units(100), timeout=30)) as asker:
            task = asyncio.create_task(asker.ask(question()))
            await asyncio.sleep(0.2)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return asker

    with running_llm_server(latency=20) as server:
        asker = asyncio.run(run(server))
    assert (asker.gate.in_flight, asker.budget.reserved) == (0, 0)
    assert asker.account.of("documents").abandoned == 1
