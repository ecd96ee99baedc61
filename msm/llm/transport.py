"""One HTTP exchange with an OpenAI-compatible server: bytes there, bytes back, and every way in which that fails, by name.

Neighbours: `client` sends through it and knows no client library; `failures` says what statuses mean. Invariant: an exchange ends within
its timeout, and no foreign exception leaves. The openai package is used with its own retries off, over its aiohttp transport: httpx's pool
looks at every connection for every request, which at 1,000 in flight costs 7 ms of CPU each, against 1 ms (docs/benchmarks.md). A transport
belongs to the event loop it was opened in. Cost: importing openai takes a second, at the first use.
"""

import asyncio
import json
from typing import TYPE_CHECKING

from msm.errors import UserError
from msm.llm.connection import Connection
from msm.llm.failures import Circumstances, Setback, UnknownModel, judge_status
from msm.llm.pace import Pace
from msm.llm.patience import retry_after

if TYPE_CHECKING:
    import openai

KEEP_IDLE = 3.0
"""Seconds an idle connection is kept: less than servers do (uvicorn, in which vLLM runs, closes after 5), or tries meet a closing one."""
LOOK_UP = 20.0
"""Seconds to wait for the list of models."""


class Transport:
    """Connections to one endpoint; `ever_answered` once it gave a completion."""

    def __init__(self, connection: Connection, pace: Pace) -> None:
        self._connection, self._pace = connection, pace
        self._client = _open_client(connection)
        self.ever_answered = False

    async def complete(self, body: bytes, sent_schema: bool) -> bytes:
        """The body of a 200.

        Raises:
            Setback: another try may help.
            NotTaken: the server does not take a field.
            AskFailed, UserError: see `ask.Asker`.
        """
        import openai

        try:
            async with asyncio.timeout(self._connection.timeout):
                answer = await self._post(body)
        except TimeoutError:
            said = f"no answer within {self._connection.timeout:g} s"
            raise Setback("slow", said, may_be_billed=True) from None
        except openai.APIStatusError as error:
            wait = retry_after({name.lower(): value for name, value in error.response.headers.items()}, self._pace.clock.now())
            seen = Circumstances(sent_schema, self.ever_answered, wait)
            judged = judge_status(error.status_code, self._without_key(error.response.text), self._connection.place, seen)
        else:
            self.ever_answered = True
            return answer
        raise await self._name_models(judged) if isinstance(judged, UnknownModel) else judged

    async def is_alive(self) -> bool:
        """Whether the server lists its models."""
        return await self._models() is not None

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def _post(self, body: bytes) -> bytes:
        import aiohttp
        import httpx2
        import openai

        try:
            response = await self._client.post("/chat/completions", content=body, cast_to=httpx2.Response)
        except (openai.APIConnectionError, httpx2.HTTPError, aiohttp.ClientError, OSError) as error:
            raise _broken_off(error) from error
        return response.content

    async def _models(self) -> list[str] | None:
        """Names that the server lists, None when it does not."""
        import httpx2
        import openai

        try:
            async with asyncio.timeout(LOOK_UP):
                response = await self._client.get("/models", cast_to=httpx2.Response)
            return [str(model["id"]) for model in json.loads(response.content)["data"]]
        except (openai.OpenAIError, TimeoutError, OSError, ValueError, KeyError, TypeError):
            return None

    async def _name_models(self, missing: UnknownModel) -> UserError:
        place = self._connection.place
        models = await self._models()
        if models is None:
            said = f"{place.base_url} answered {missing}, and lists no models"
            return UserError(f"{place.field}.baseURL", said, "give the address up to and including /v1")
        said = f'{place.base_url} has no model "{place.model}"; it has: {", ".join(models[:20]) or "none"}'
        return UserError(f"{place.field}.model", said, "name one of these, or serve the model that you want")

    def _without_key(self, text: str) -> str:
        return text.replace(self._connection.key, "(key)") if self._connection.key else text


def _open_client(connection: Connection) -> "openai.AsyncOpenAI":
    import httpx2
    import openai

    limits = httpx2.Limits(max_connections=connection.concurrency, keepalive_expiry=KEEP_IDLE)
    carrier = openai.DefaultAioHttpClient(limits=limits, timeout=httpx2.Timeout(None, connect=min(10.0, connection.timeout)))
    key = connection.key or "none"
    return openai.AsyncOpenAI(base_url=connection.base_url, api_key=key, max_retries=0, timeout=None, http_client=carrier)


def _broken_off(error: BaseException) -> Setback:
    """Nobody there, or gone in the middle: aiohttp's exception under the others says which."""
    import aiohttp
    import httpx2

    chain = list(_causes(error))
    said = " ".join(str(chain[-1]).split())[:200] or type(chain[-1]).__name__
    if any(isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | httpx2.ConnectError) for cause in chain):
        return Setback("away", f"cannot connect: {said}")
    return Setback("cut", f"connection lost: {said}", may_be_billed=True)


def _causes(error: BaseException | None) -> "list[BaseException]":
    chain: list[BaseException] = []
    while error is not None and len(chain) < 10:
        chain.append(error)
        error = error.__cause__
    return chain
