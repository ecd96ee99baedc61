"""One HTTP exchange with an OpenAI-compatible server: bytes there, bytes back, and every way in which that fails, by name.

Neighbours: `client` sends through it and knows no client library; `failures` says what statuses mean. Invariant: an exchange ends within
its timeout, and no foreign exception leaves. The openai package gives address, headers, key and connections (its aiohttp transport: httpx's
own pool looks at every connection for every request, 7 ms of CPU each at 1,000 in flight). A completion goes straight to those connections:
the package's request machinery costs as much again as the HTTP library, and its retries and models of answers are not wanted here
(docs/benchmarks.md). A transport belongs to the event loop it was opened in. Cost: importing openai takes a second, at the first use.
"""

import asyncio
from typing import TYPE_CHECKING

from msm.errors import UserError
from msm.llm.connection import Connection
from msm.llm.failures import Circumstances, Setback, UnknownModel, judge_status
from msm.llm.pace import Pace
from msm.llm.patience import retry_after

if TYPE_CHECKING:
    import httpx2
    import openai

KEEP_IDLE = 3.0
"""Seconds an idle connection is kept: less than servers do (uvicorn, in which vLLM runs, closes after 5), or tries meet a closing one."""
CONNECT = 10.0
"""Seconds to wait for a connection."""
LOOK_UP = 20.0
"""Seconds to wait for the list of models."""


class Transport:
    """Connections to one endpoint; `ever_answered` once it gave a completion."""

    def __init__(self, connection: Connection, pace: Pace) -> None:
        import httpx2

        self._connection, self._pace = connection, pace
        self._carrier = _open_carrier(connection)
        self._client = _open_client(connection, self._carrier)
        self._address = httpx2.URL(f"{connection.base_url}/chat/completions")
        self._headers = _headers(self._client)
        self._patience = {"timeout": httpx2.Timeout(None, connect=min(CONNECT, connection.timeout)).as_dict()}
        self.ever_answered = False

    async def complete(self, body: bytes, sent_schema: bool) -> bytes:
        """The body of a 200.

        Raises:
            Setback: another try may help.
            NotTaken: the server does not take a field.
            AskFailed, UserError: see `ask.Asker`.
        """
        try:
            async with asyncio.timeout(self._connection.timeout):
                response = await self._post(body)
        except TimeoutError:
            said = f"no answer within {self._connection.timeout:g} s"
            raise Setback("slow", said, may_be_billed=True) from None
        if response.status_code != 200:
            judged = self._judge(response, sent_schema)
            raise await self._name_models(judged) if isinstance(judged, UnknownModel) else judged
        self.ever_answered = True
        return response.content

    async def is_alive(self) -> bool:
        """Whether the server lists its models."""
        return await self._models() is not None

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def _post(self, body: bytes) -> "httpx2.Response":
        import aiohttp
        import httpx2

        request = httpx2.Request("POST", self._address, headers=self._headers, content=body, extensions=self._patience)
        try:
            return await self._carrier.send(request)
        except (httpx2.HTTPError, aiohttp.ClientError, OSError) as error:
            raise _broken_off(error) from error

    def _judge(self, response: "httpx2.Response", sent_schema: bool) -> Exception:
        wait = retry_after({name.lower(): value for name, value in response.headers.items()}, self._pace.clock.now())
        said = response.text.replace(self._connection.key, "(key)") if self._connection.key else response.text
        return judge_status(response.status_code, said, self._connection.place, Circumstances(sent_schema, self.ever_answered, wait))

    async def _models(self) -> list[str] | None:
        """Names that the server lists, None when it does not."""
        import aiohttp
        import openai

        try:
            async with asyncio.timeout(LOOK_UP):
                return [str(model.id) for model in (await self._client.models.list()).data]
        except (openai.OpenAIError, aiohttp.ClientError, TimeoutError, OSError, ValueError, TypeError, AttributeError):
            return None

    async def _name_models(self, missing: UnknownModel) -> UserError:
        place = self._connection.place
        models = await self._models()
        if models is None:
            said = f"{place.base_url} answered {missing}, and lists no models"
            return UserError(f"{place.field}.baseURL", said, "give the address up to and including /v1")
        said = f'{place.base_url} has no model "{place.model}"; it has: {", ".join(models[:20]) or "none"}'
        return UserError(f"{place.field}.model", said, "name one of these, or serve the model that you want")


def _open_carrier(connection: Connection) -> "httpx2.AsyncClient":
    import httpx2
    import openai

    limits = httpx2.Limits(max_connections=connection.concurrency, keepalive_expiry=KEEP_IDLE)
    return openai.DefaultAioHttpClient(limits=limits, timeout=None)


def _open_client(connection: Connection, carrier: "httpx2.AsyncClient") -> "openai.AsyncOpenAI":
    import openai

    key = connection.key or "none"
    return openai.AsyncOpenAI(base_url=connection.base_url, api_key=key, max_retries=0, timeout=None, http_client=carrier)


def _headers(client: "openai.AsyncOpenAI") -> list[tuple[str, str]]:
    """What the package sends with each request, key included, but for its telemetry."""
    said = {**client.default_headers, **client.auth_headers}
    return [(name, value) for name, value in said.items() if isinstance(value, str) and not name.startswith("X-Stainless")]


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
