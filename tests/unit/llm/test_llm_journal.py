"""Answers outlive the process that asked: races on a real directory, and the power out at every operation of the store."""

import asyncio
import json
import random
from collections import Counter

import pytest

from msm.llm.ask import Answer, Refused, Request, Sampling, Usage
from msm.llm.digest import request_digest
from msm.llm.journal import JournalledAsker, answer_key, find_answer
from msm.store import StoreConfig, open_store

WHO = "a script"


def question(number, **changes):
    return Request(
        **{"prefix": "spec\n", "prompt": f"document {number}", "sampling": Sampling(100, 0.7), "purpose": "documents", **changes}
    )


class Script:
    """An asker of the test: counts what it is asked, answers after a turn of the event loop."""

    def __init__(self, name="first"):
        self.name, self.asked, self.started = name, Counter(), asyncio.Event()

    async def ask(self, request):
        self.asked[request.prompt] += 1
        await asyncio.sleep(0)
        text = f"{self.name} on {request.prompt}, try {self.asked[request.prompt]}"
        return Answer(text, {"said": text, "n": [1.5, None]}, "because", "stop", Usage(10, 5, 8), digest="")


@pytest.fixture
def store(tmp_path):
    return open_store(StoreConfig(uri=(tmp_path / "store").as_uri()))


def ask_all(asker, *requests):
    async def run():
        return await asyncio.gather(*(asker.ask(request) for request in requests))

    return asyncio.run(run())


def test_what_was_answered_is_not_asked_again(store):
    first, second = Script(), Script("second")
    [answer] = ask_all(JournalledAsker(first, store, WHO), question(1))
    again = JournalledAsker(second, store, WHO)
    [found] = ask_all(again, question(1))
    assert found == Answer(answer.text, answer.data, "because", "stop", Usage(10, 5, 8), request_digest(WHO, question(1)), reused=True)
    assert second.asked.total() == 0
    assert again.account.of("documents").reused == 1
    assert find_answer(store, WHO, question(1)) == found
    assert find_answer(store, WHO, question(2)) is None


SAME = {"purpose": {"purpose": "something else"}}
OTHER = {
    "system": {"system": "Be brief."},
    "prefix": {"prefix": "spec 2\n"},
    "prompt": {"prompt": "document 2"},
    "the border of prefix and prompt": {"prefix": "spec\ndocument", "prompt": " 1"},
    "tokens": {"sampling": Sampling(101, 0.7)},
    "temperature": {"sampling": Sampling(100, 0.8)},
    "no temperature": {"sampling": Sampling(100)},
    "schema": {"schema": {"type": "object"}},
    "sample": {"sample": 1},
}


@pytest.mark.parametrize("changes", SAME.values(), ids=SAME)
def test_the_purpose_does_not_make_another_question(changes):
    assert request_digest(WHO, question(1, **changes)) == request_digest(WHO, question(1))


@pytest.mark.parametrize("changes", OTHER.values(), ids=OTHER)
def test_whatever_is_asked_makes_another_question(changes):
    assert request_digest(WHO, question(1, **changes)) != request_digest(WHO, question(1))


def test_another_model_is_another_question_and_key_order_in_a_schema_is_none():
    assert request_digest("other", question(1)) != request_digest(WHO, question(1))
    one, two = ({"type": "object", "title": "x"}, {"title": "x", "type": "object"})
    assert request_digest(WHO, question(1, schema=one)) == request_digest(WHO, question(1, schema=two))


def test_equal_questions_at_the_same_time_are_asked_once(store):
    script = Script()
    answers = ask_all(JournalledAsker(script, store, WHO), *[question(1)] * 20)
    assert script.asked == {"document 1": 1}
    assert len({answer.text for answer in answers}) == 1
    assert sum(not answer.reused for answer in answers) == 1


def test_a_cancelled_asker_leaves_the_question_to_the_next(store):
    async def run():
        script = Script()
        asker = JournalledAsker(script, store, WHO)
        first, second = asyncio.create_task(asker.ask(question(1))), asyncio.create_task(asker.ask(question(1)))
        await asyncio.sleep(0)
        first.cancel()
        return await asyncio.wait_for(second, 5)

    assert asyncio.run(run()).text.startswith("first on document 1")


def test_of_two_processes_the_first_answer_wins_and_both_return_it(store):
    async def run():
        askers = [JournalledAsker(Script(name), store, WHO) for name in ("one", "two", "three")]
        questions = [question(number) for number in range(30)]
        return await asyncio.gather(*(asker.ask(each) for each in questions for asker in askers))

    answers = asyncio.run(run())
    for number in range(30):
        assert len({answer.text for answer in answers[3 * number : 3 * number + 3]}) == 1
        assert find_answer(store, WHO, question(number)).text == answers[3 * number].text


def broken(raw):
    entry = json.loads(raw)
    entry["said"]["text"] = "something else"
    return json.dumps(entry).encode()


DAMAGE = {
    "cut in half": lambda raw: raw[: len(raw) // 2],
    "empty": lambda raw: b"",
    "no JSON": lambda raw: b"\x00\xff" * 40,
    "another text under the same name": broken,
    "an answer to another question": lambda raw: raw.replace(request_digest(WHO, question(1)).encode(), b"0" * 64),
    "a field that nobody knows": lambda raw: raw.replace(b'"version":1', b'"version":1,"more":2'),
    "another version": lambda raw: raw.replace(b'"version":1', b'"version":2'),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_answer_is_asked_again_and_replaced(store, damage):
    ask_all(JournalledAsker(Script(), store, WHO), question(1))
    key = answer_key(request_digest(WHO, question(1)))
    store.put(key, damage(store.get(key)))
    assert find_answer(store, WHO, question(1)) is None
    [answer] = ask_all(JournalledAsker(Script("second"), store, WHO), question(1))
    assert answer.text.startswith("second")
    assert find_answer(store, WHO, question(1)).text == answer.text


def test_a_question_without_an_answer_is_not_filed(store):
    class Refusing:
        async def ask(self, request):
            raise Refused("no")

    with pytest.raises(Refused):
        ask_all(JournalledAsker(Refusing(), store, WHO), question(1))
    assert list(store.list("answers")) == []


def test_any_text_comes_back_as_it_was(store):
    text = "".join(map(chr, [0, 8, 0x2028, 0x1F9C0, 0xFEFF])) + '\\ud83d {"a": 1} %s {{ }} \r\n'

    class Odd:
        async def ask(self, request):
            return Answer(text, [text, {text: 0.1}], text, "length", Usage(), "")

    [said] = ask_all(JournalledAsker(Odd(), store, WHO), question(1))
    [kept] = ask_all(JournalledAsker(Odd(), store, WHO), question(1))
    assert (
        (kept.text, kept.data, kept.reasoning, kept.finish)
        == (said.text, said.data, said.reasoning, said.finish)
        == (
            text,
            [text, {text: 0.1}],
            text,
            "length",
        )
    )


class PowerCut(BaseException):
    """Nobody may catch it and go on."""


class CutStore:
    """Passes on to a real store; at its n-th operation the power goes, before or after it, and stays off. Notes what was created."""

    def __init__(self, inner, at, after, created):
        self.inner, self.left, self.after, self.created, self.off = inner, at, after, created, False

    def __getattr__(self, name):
        def operate(key, *rest):
            if self.off:
                raise PowerCut
            self.left -= 1
            cut = self.left == 0
            if cut and not self.after:
                self.off = True
                raise PowerCut
            result = getattr(self.inner, name)(key, *rest)
            if name == "put_if_absent" and result:
                self.created.append(key)
            if cut:
                self.off = True
                raise PowerCut
            return result

        return operate


def run_until_cut(store, script, requests, concurrency):
    """A process that asks everything; True when it came to its end."""

    async def run():
        asker, left = JournalledAsker(script, store, WHO), iter(requests)

        async def work():
            for request in left:
                await asker.ask(request)

        await asyncio.gather(*(work() for _ in range(concurrency)))

    try:
        asyncio.run(run())
    except PowerCut:
        return False
    return True


@pytest.mark.parametrize(
    ("corpora", "least"), [(24, 60), pytest.param(200, 500, marks=pytest.mark.long)], ids=["sixty power cuts", "five hundred power cuts"]
)
def test_killed_at_any_operation_no_filed_answer_is_asked_again_and_none_is_lost(tmp_path, corpora, least):
    kills = 0
    for seed in range(corpora):
        draw = random.Random(seed)
        inner = open_store(StoreConfig(uri=(tmp_path / f"store-{seed}").as_uri()))
        requests, created, finished = [question(number) for number in range(12)], [], False
        while not finished:
            script, before = Script(f"process {kills}"), set(created)
            cut = CutStore(inner, draw.randint(1, 14), draw.random() < 0.5, created)
            finished = run_until_cut(cut, script, requests, concurrency=draw.choice([1, 3]))
            kills += not finished
            asked = {answer_key(request_digest(WHO, request)) for request in requests if script.asked[request.prompt]}
            assert not asked & before
        assert len(created) == len(set(created)) == 12
        assert all(find_answer(inner, WHO, request) is not None for request in requests)
    assert kills >= least
