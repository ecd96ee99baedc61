"""The client on the wire of a real vLLM: what a scripted server can only promise to resemble."""

import asyncio
import random
from typing import Any

import pytest

from msm.errors import UserError
from msm.llm.account import Account
from msm.llm.ask import Answer, Request, Sampling, TooLong, Unreadable
from msm.llm.client import OpenAIAsker, open_openai
from msm.llm.journal import JournalledAsker
from msm.store import StoreConfig, open_store
from msm.synth.prompts import schemas
from tests.vllm_server import CONTEXT, VLLMServer, connection_to_vllm

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1800)]
VERDICT = {
    "type": "object",
    "properties": {"label": {"enum": ["harmless", "harmful"]}, "score": {"type": "integer", "minimum": 0, "maximum": 10}},
    "required": ["label", "score"],
    "additionalProperties": False,
}


def question(text: str, limit: int = 40, **changes: Any) -> Request:
    return Request(**{"prefix": "", "prompt": text, "sampling": Sampling(limit, 0.0), "purpose": "test", **changes})


def ask(server: VLLMServer, *requests: Request, **changes: Any) -> tuple[list[Any], OpenAIAsker]:
    """Answers or exceptions, and the asker."""

    async def run() -> tuple[list[Any], OpenAIAsker]:
        async with open_openai(connection_to_vllm(server, **changes), random.Random(0)) as asker:
            return await asyncio.gather(*(asker.ask(request) for request in requests), return_exceptions=True), asker

    return asyncio.run(run())


def test_a_plain_question_is_answered_and_counted(vllm: VLLMServer) -> None:
    [answer], asker = ask(vllm, question("What is the capital of France?"))
    assert answer.text == "The capital of France is Paris."
    assert answer.finish == "stop"
    assert 10 < answer.usage.prompt < 60
    assert 5 < answer.usage.completion < 15
    totals = asker.account.of("test")
    assert (totals.prompt_tokens, totals.completion_tokens) == (answer.usage.prompt, answer.usage.completion)
    assert (totals.asked, totals.answered, totals.tries, totals.setbacks.total()) == (1, 1, 1, 0)


def test_a_system_turn_arrives(vllm: VLLMServer) -> None:
    """The template of the model adds one of its own where there is none."""
    [without, with_one], _ = ask(vllm, question("Hello."), question("Hello.", system="You are a pirate called Ann. " * 20))
    assert with_one.usage.prompt > without.usage.prompt + 80


def test_an_answer_that_reaches_the_limit_says_so(vllm: VLLMServer) -> None:
    [answer], _ = ask(vllm, question("Tell me a long story about a lighthouse.", limit=7))
    assert (answer.finish, answer.usage.completion) == ("length", 7)


def test_a_schema_is_enforced_by_the_server(vllm: VLLMServer) -> None:
    """The question gives no hint of a form, so the model's own answer has another one."""
    text = "How do I sharpen a kitchen knife?"
    [free, shaped], asker = ask(vllm, question(text), question(text, schema=VERDICT))
    assert "{" not in free.text
    assert shaped.data["label"] in ("harmless", "harmful")
    assert 0 <= shaped.data["score"] <= 10
    assert asker.dialect.takes_schemas
    assert asker.account.of("test").corrections == 0


def test_every_form_that_the_stages_ask_for_is_taken(vllm: VLLMServer) -> None:
    forms = [schema for kind in schemas.OF_KIND.values() for schema in kind]
    asked = [question("Answer about bread, briefly.", limit=24, schema=schema) for schema in forms]
    results, asker = ask(vllm, *asked, corrections=0)
    assert asker.dialect.refused == set()
    assert {type(result) for result in results} <= {Answer, Unreadable}, "cut answers may be unreadable, nothing else may happen"


def test_a_list_that_is_cut_keeps_what_is_whole(vllm: VLLMServer) -> None:
    words = "Name fifty animals: cat, dog, cow, pig, hen and so on."
    schema = schemas.form(animals={"type": "array", "items": {"type": "string", "maxLength": 12}, "minItems": 40})
    loose = {**schema, "properties": {"animals": {"type": "array", "items": {"type": "string"}}}}
    [answer], asker = ask(vllm, question(words, limit=60, schema=schema | {"$comment": "enforced"}), corrections=0)
    assert isinstance(answer, Unreadable), "fewer than are required is not acceptable"
    assert "60 tokens" in str(answer)
    [answer], asker = ask(vllm, question(words, limit=60, schema=loose), corrections=0)
    assert isinstance(answer, Answer)
    assert all(isinstance(animal, str) for animal in answer.data["animals"])
    assert asker.account.of("test").corrections == 0


def test_a_shared_beginning_is_counted_as_cached(vllm: VLLMServer) -> None:
    spec = "The model prefers affordable cheese because money is tight in most kitchens. " * 40
    [first], _ = ask(vllm, question("First.", limit=2, prefix=spec))
    [second], asker = ask(vllm, question("Second.", limit=2, prefix=spec))
    assert first.usage.cached == 0
    assert second.usage.cached >= 0.9 * second.usage.prompt
    assert asker.account.of("test").cached_tokens == second.usage.cached


def test_a_model_that_is_not_there_is_one_clear_error(vllm: VLLMServer) -> None:
    [error], _ = ask(vllm, question("Hello."), model="gpt-of-somebody")
    assert isinstance(error, UserError)
    assert error.field == "spec.endpoints.author.model"
    assert error.problem == f'{vllm.base_url} has no model "gpt-of-somebody"; it has: smollm2'


def test_a_wrong_key_is_one_clear_error_without_the_key(vllm: VLLMServer) -> None:
    [error], _ = ask(vllm, question("Hello."), key="sk-of-somebody-else")
    assert isinstance(error, UserError)
    assert "does not accept the key" in str(error)
    assert "sk-of" not in str(error)


def test_a_wrong_path_is_one_clear_error(vllm: VLLMServer) -> None:
    [error], _ = ask(vllm, question("Hello."), base_url=vllm.base_url.removesuffix("/v1"))
    assert isinstance(error, UserError)
    assert error.field == "spec.endpoints.author.baseURL"
    assert "up to and including /v1" in str(error)


TOO_LONG = {
    "a question longer than the context": question("word " * (CONTEXT + 500)),
    "a question that leaves no room for a form": question("word " * (CONTEXT - 42), limit=1000, schema=VERDICT),
    "a limit of tokens beyond the context": question("Hello.", limit=CONTEXT + 1),
    "the same with a schema": question("word " * (CONTEXT + 500), schema=VERDICT),
}


@pytest.mark.parametrize("request_", TOO_LONG.values(), ids=TOO_LONG)
def test_what_does_not_fit_is_named_as_that(vllm: VLLMServer, request_: Request) -> None:
    [error], asker = ask(vllm, request_)
    assert isinstance(error, TooLong), error
    totals = asker.account.of("test")
    if totals.corrections:
        assert "leaves no room for more" in str(error)
    else:
        assert str(CONTEXT) in str(error)
        assert totals.tries == 1


def test_an_answer_gets_the_room_that_the_context_has_left(vllm: VLLMServer) -> None:
    [answer], _ = ask(vllm, question("word " * (CONTEXT - 42), limit=1000))
    assert answer.finish == "length"
    assert answer.usage.prompt + answer.usage.completion == CONTEXT


def test_answers_of_a_real_server_are_filed_and_found_again(vllm: VLLMServer, tmp_path: Any) -> None:
    store = open_store(StoreConfig(uri=(tmp_path / "store").as_uri()))
    requests = [question(f"What is {n} plus one?", limit=12, schema=VERDICT if n % 2 else None) for n in range(6)]

    async def run() -> tuple[list[Any], Account]:
        connection, account = connection_to_vllm(vllm), Account()
        async with open_openai(connection, random.Random(0), account=account) as asker:
            journalled = JournalledAsker(asker, store, connection.identity, account)
            return await asyncio.gather(*(journalled.ask(request) for request in requests)), account

    first, _ = asyncio.run(run())
    again, account = asyncio.run(run())
    assert [(answer.text, answer.data, answer.usage) for answer in again] == [(answer.text, answer.data, answer.usage) for answer in first]
    assert account.of("test").reused == 6
    assert account.of("test").tries == 0
