"""From the run file and the environment to a connection; what may be said where."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from msm.api.inputs import Endpoint
from msm.errors import UserError
from msm.llm.ask import Refused, TooLong
from msm.llm.endpoint import connect, identity_of, key_variable
from msm.llm.failures import Circumstances, NoAnswer, NotTaken, Place, Setback, UnknownModel, judge_status
from msm.llm.price import per_million, units

PLACE = Place("spec.endpoints.author", "http://host/v1", "big", "the environment variable OPENAI_API_KEY")


def endpoint(**server):
    return Endpoint.model_validate({"name": "my-author", "openai": {"baseURL": "https://host:8000/v1/", "model": "big", **server}})


def test_an_endpoint_that_says_little_has_sane_limits():
    connection = connect(endpoint(), {})
    assert (connection.base_url, connection.model, connection.key) == ("https://host:8000/v1", "big", "")
    assert (connection.concurrency, connection.timeout, connection.cap) == (256, 600.0, None)
    assert connection.identity == "host:8000 big (unpinned)"


def test_what_is_said_is_used():
    price = {"input": 3, "cachedInput": 0.3, "output": 15}
    server = endpoint(concurrency=8, timeout="2m", price=price, maxPrice=20, identity="big@1234", contextTokens="32k")
    connection = connect(server, {})
    assert (connection.concurrency, connection.timeout, connection.cap) == (8, 120.0, units(20))
    assert (connection.price.input, connection.price.cached_input, connection.price.output) == (3 * 10**6, 3 * 10**5, 15 * 10**6)
    assert connection.identity == identity_of(server.openai) == "big@1234"
    assert server.openai.context_tokens == 32000


def test_cached_tokens_cost_as_much_as_others_unless_said():
    assert connect(endpoint(price={"input": 2}), {}).price.cached_input == per_million(2)


def test_limits_and_prices_change_no_identity():
    plain, rich = endpoint(), endpoint(concurrency=1, timeout=5, price={"input": 1}, maxPrice=1)
    assert identity_of(plain.openai) == identity_of(rich.openai)


def test_an_endpoint_may_have_a_key_of_its_own():
    assert key_variable("my-author") == "OPENAI_API_KEY_MY_AUTHOR"
    environ = {"OPENAI_API_KEY": "shared", "OPENAI_API_KEY_MY_AUTHOR": "own"}
    assert connect(endpoint(), environ).key == "own"
    assert connect(endpoint(), {"OPENAI_API_KEY": "shared"}).key == "shared"


def test_the_key_is_in_no_repr():
    assert "sk-secret" not in repr(connect(endpoint(), {"OPENAI_API_KEY": "sk-secret"}))


def test_the_secret_is_named_beside_the_variable():
    connection = connect(endpoint(apiKeySecretRef={"name": "keys", "key": "author"}), {})
    assert "OPENAI_API_KEY" in connection.place.key_source
    assert "key author of the secret keys" in connection.place.key_source


def test_a_model_that_the_platform_would_serve_needs_a_cluster():
    served = Endpoint.model_validate({"name": "author", "serve": {"model": "hf://org/model"}})
    with pytest.raises(UserError, match=r"spec\.endpoints\.author\.serve: needs a cluster"):
        connect(served, {})


WRONG = {
    "a cap without a price": {"maxPrice": 5},
    "no question at a time": {"concurrency": 0},
    "no time": {"timeout": 0},
    "a negative price": {"price": {"input": -1}},
    "a negative cap": {"price": {"input": 1}, "maxPrice": -1},
    "an unknown key": {"price": {"inputs": 1}},
}


@pytest.mark.parametrize("server", WRONG.values(), ids=WRONG)
def test_bad_settings_are_refused(server):
    with pytest.raises(ValidationError):
        endpoint(**server)


def test_importing_the_client_imports_no_client_library():
    heavy = ("openai", "aiohttp", "httpx2", "jsonschema", "json_repair", "torch")
    code = f"import sys, msm.llm.endpoint; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def error(message, code=None):
    return '{{"error": {{"message": "{}", "code": "{}"}}}}'.format(message, code or "")


LONG = "This model's maximum context length is 2048 tokens. However, you requested 2098 tokens."
STATUSES = {
    "400 for a question that is too long": (400, error(LONG), {}, TooLong, "maximum context length is 2048"),
    "the same, in vLLM's older words": (400, f'{{"object":"error","message":"{LONG}"}}', {}, TooLong, "2048"),
    "the same, while a schema was sent": (400, error(LONG), {"sent_schema": True}, TooLong, "2048"),
    "400 of a content filter": (400, error("The response was filtered", "content_filter"), {}, Refused, "filtered"),
    "400 when a schema was sent": (400, error("unknown field"), {"sent_schema": True}, NotTaken, "unknown field"),
    "400 before anything was answered": (400, error("temperature must be 1"), {}, UserError, "temperature must be 1"),
    "400 for one question of many": (400, error("odd"), {"ever_answered": True}, NoAnswer, "odd"),
    "400 for max_tokens": (400, error("Use 'max_completion_tokens' instead"), {}, NotTaken, "instead"),
    "401": (401, error("Incorrect API key provided: sk-secret"), {}, UserError, "OPENAI_API_KEY"),
    "402": (402, error("pay first"), {}, UserError, "pay first"),
    "403 before anything was answered": (403, error("no"), {}, UserError, "OPENAI_API_KEY"),
    "403 for one question of many": (403, error("flagged"), {"ever_answered": True}, Refused, "flagged"),
    "404 before anything was answered": (404, error("no such model"), {}, UnknownModel, "no such model"),
    "404 later, behind a gateway that restarts": (404, "nothing here", {"ever_answered": True}, Setback, "nothing here"),
    "413": (413, "too large", {}, TooLong, "too large"),
    "429": (429, error("slow down"), {"wait": 3.0}, Setback, "slow down"),
    "429 for want of credit": (429, error("quota", "insufficient_quota"), {}, UserError, "quota"),
    "500 with a page": (500, "<html>\\n<h1>it\\nbroke</h1>", {}, Setback, "it"),
    "a redirection": (302, "", {}, UserError, "/v1"),
    "nested too deeply to read": (500, "[" * 100_000, {}, Setback, "500"),
}


@pytest.mark.parametrize("case", STATUSES.values(), ids=STATUSES)
def test_what_a_status_means(case):
    status, body, seen, kind, words = case
    judged = judge_status(status, body, PLACE, Circumstances(**{"sent_schema": False, "ever_answered": False, "wait": None, **seen}))
    assert type(judged) is kind
    assert words in str(judged)
    assert "\n" not in str(judged)
    assert len(str(judged)) < 600
    assert "sk-secret" not in str(judged)
