"""A scripted OpenAI-compatible server: no model is behind it, and it says so in `/v1/models` and in every answer's `system_fingerprint`.

Content comes from a callable, faults from a plan, both functions of what was asked, so that a test decides everything. It counts what a
real server would count: tokens (a token is 4 bytes here), and whether the start of a prompt was seen before, in blocks like vLLM's prefix
cache. `running_llm_server` serves from a thread; `python -m tests.llm_server --latency 0.05` from a process of its own (for benchmarks).
"""

import argparse
import asyncio
import json
import os
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from enum import Enum
from time import time
from typing import Any

from msm.llm.connection import Connection
from msm.llm.failures import Place
from msm.llm.patience import Patience

MODEL = "scripted"
BYTES_PER_TOKEN = 4
BLOCK = 64
"""Bytes of a prefix-cache block: 16 of this server's tokens."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One chat completion as it came in; `number` counts them from 0, `path` and `headers` as sent (header names in small letters)."""

    number: int
    body: dict[str, Any]
    headers: dict[str, str]

    @property
    def prompt(self) -> str:
        """All messages in one text."""
        return "\n".join(str(message["content"]) for message in self.body["messages"])

    @property
    def last(self) -> str:
        return str(self.body["messages"][-1]["content"])


@dataclass(frozen=True, slots=True)
class Reply:
    """What the script says; `extra` goes into the message as it is (reasoning_content, refusal, …)."""

    text: str | None = "fine"
    finish: str | None = "stop"
    extra: dict[str, Any] = field(default_factory=dict)


class Fault(Enum):
    """What may go wrong with one request."""

    RATE = "429 without Retry-After"
    RATE_SECONDS = "429 with Retry-After in seconds"
    RATE_DATE = "429 with Retry-After as a date"
    UNAVAILABLE = "503"
    ERROR = "500 with an HTML page"
    GATEWAY = "502 with an HTML page"
    HANG = "no answer for ever"
    RESET = "connection reset before the answer"
    HALF = "half a body, then the end"
    GARBAGE = "200 whose body is no JSON"
    EMPTY = "200 without choices"
    ABORTED = "200 with finish_reason abort"
    REFUSAL = "200 with a refusal"
    FILTERED = "200 with finish_reason content_filter"
    TRUNCATED = "200 cut at max_tokens"


PASSING = (Fault.RATE, Fault.RATE_SECONDS, Fault.RATE_DATE, Fault.UNAVAILABLE, Fault.ERROR, Fault.GATEWAY, Fault.HANG, Fault.RESET)
PASSING += (Fault.HALF, Fault.GARBAGE, Fault.EMPTY, Fault.ABORTED)
"""Those that another try may not meet."""


def seeded_faults(seed: int, share: float, kinds: Sequence[Fault] = PASSING) -> Callable[[Asked], Fault | None]:
    """`share` of all calls fail, each in one of `kinds`, decided by seed and the call's number."""

    def plan(asked: Asked) -> Fault | None:
        draw = random.Random(f"{seed}/{asked.number}")
        return draw.choice(kinds) if draw.random() < share else None

    return plan


@dataclass
class Script:
    """What the server does; a test may change it while it runs."""

    content: Callable[[Asked], Reply] = lambda asked: Reply()
    faults: Callable[[Asked], Fault | None] = lambda asked: None
    latency: float = 0.0
    capacity: int = 1 << 30
    """Requests at a time; more are answered 429."""
    key: str | None = None
    takes_schema: bool = True
    takes: Callable[[Any], bool] = lambda schema: True
    """Which schemas it takes."""
    takes_max_tokens: bool = True
    ignores_schema_word: bool = False
    context: int = 1 << 30
    retry_after: float = 0.05
    count_prefix: bool = True
    remember: bool = True


class ScriptedServer:
    """State and counters; everything runs in one event loop."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[Asked] = []
        self.counts: Counter[str] = Counter()
        self.in_flight = self.most_in_flight = self.number = 0
        self.blocks: set[int] = set()
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.loop: asyncio.AbstractEventLoop | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def prefix_hit_rate(self) -> float:
        """Share of prompt bytes whose block had been seen, as vLLM's own metric counts it."""
        return self.counts["prefix_hits"] / max(1, self.counts["prefix_queries"])

    async def listen(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", self.port, backlog=4096, limit=1 << 24)
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """As a killed server: nobody listens, every connection is reset."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            _reset(writer)

    def down(self) -> None:
        """From another thread: as if it were killed."""
        asyncio.run_coroutine_threadsafe(self.shut(), self.loop).result(10)

    def up(self) -> None:
        """From another thread: listen again on the same port, with an empty prefix cache."""
        self.blocks.clear()
        asyncio.run_coroutine_threadsafe(self.listen(), self.loop).result(10)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.counts["connections"] += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError, TimeoutError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:]) if name}
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        if self.script.key is not None and headers.get("authorization") != f"Bearer {self.script.key}":
            said = {"error": {"message": f"Incorrect API key provided: {headers.get('authorization', '')}", "code": "invalid_api_key"}}
            return await _send(writer, 401, said)
        if method == "GET" and path.endswith("/v1/models"):
            return await _send(writer, 200, {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "a test script"}]})
        if not path.endswith("/v1/chat/completions"):
            return await _send(writer, 404, {"detail": "Not Found"})
        asked = Asked(self.number, json.loads(raw), headers)
        self.number += 1
        if self.script.remember:
            self.asked.append(asked)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._answer(asked, writer)
        finally:
            self.in_flight -= 1

    async def _answer(self, asked: Asked, writer: asyncio.StreamWriter) -> bool:
        script = self.script
        if self.in_flight > script.capacity:
            self.counts["over capacity"] += 1
            return await _send(writer, 429, _error("too many requests", "rate_limit"))
        fault = script.faults(asked)
        if fault is not None:
            self.counts[fault.value] += 1
        if fault is Fault.HANG:
            await asyncio.sleep(3600)
        if script.latency:
            await asyncio.sleep(script.latency)
        complaint = self._complaint(asked.body)
        if complaint is not None:
            return await _send(writer, *complaint)
        if fault in _STATUS:
            status, extra = _STATUS[fault]
            page: Any = _error("slow down", "rate_limit") if status == 429 else "<html><h1>it broke</h1></html>"
            return await _send(writer, status, page, extra(script.retry_after))
        if fault is Fault.RESET:
            _reset(writer)
            return False
        if fault is Fault.GARBAGE:
            return await _send(writer, 200, '{"id": "x", "choices": [{"mess')
        body = self._completion(asked, fault)
        if fault is Fault.HALF:
            return await _send_half(writer, body)
        return await _send(writer, 200, body)

    def _complaint(self, body: dict[str, Any]) -> tuple[int, Any] | None:
        """What a server says about a request it does not take."""
        script = self.script
        if body["model"] != MODEL:
            return 404, _error(f"The model `{body['model']}` does not exist.", "model_not_found")
        form = body.get("response_format")
        if form and not (script.takes_schema and script.takes(form["json_schema"]["schema"])):
            what = "extra field is not permitted" if script.ignores_schema_word else "response_format json_schema is not supported"
            return 400, _error(what, "bad_request")
        if "max_tokens" in body and not script.takes_max_tokens:
            return 400, _error("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", "unsupported_parameter")
        wanted = _tokens(_prompt(body)) + body.get("max_tokens", body.get("max_completion_tokens", 0))
        if wanted > script.context:
            said = f"This model's maximum context length is {script.context} tokens. However, you requested {wanted} tokens."
            return 400, _error(said, "context_length_exceeded")
        return None

    def _completion(self, asked: Asked, fault: Fault | None) -> dict[str, Any]:
        reply = Reply(text=None, finish="stop", extra={"refusal": "no"}) if fault is Fault.REFUSAL else self.script.content(asked)
        finish = {Fault.FILTERED: "content_filter", Fault.TRUNCATED: "length", Fault.ABORTED: "abort"}.get(fault, reply.finish)
        text = reply.text[: len(reply.text) // 2] if fault is Fault.TRUNCATED and reply.text else reply.text
        prompt, completion = _tokens(asked.prompt), _tokens(text or "")
        cached = self._prefix(asked.prompt.encode()) if self.script.count_prefix else 0
        self.counts["answered"] += 1
        self.counts["prompt_tokens"] += prompt
        self.counts["completion_tokens"] += completion
        choice = {"index": 0, "message": {"role": "assistant", "content": text, **reply.extra}, "finish_reason": finish}
        usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        usage["prompt_tokens_details"] = {"cached_tokens": cached}
        return {
            "id": f"scripted-{asked.number}",
            "object": "chat.completion",
            "created": 0,
            "model": MODEL,
            "system_fingerprint": "scripted: no model, a test's content",
            "choices": [] if fault is Fault.EMPTY else [choice],
            "usage": usage,
        }

    def _prefix(self, data: bytes) -> int:
        """Tokens of `data` that lie in blocks seen before, counted from the start up to the first new one."""
        chain, hits, running = 0, 0, True
        for start in range(0, len(data) - BLOCK + 1, BLOCK):
            chain = hash((chain, data[start : start + BLOCK]))
            running = running and chain in self.blocks
            hits += BLOCK if running else 0
            self.blocks.add(chain)
        self.counts["prefix_queries"] += len(data)
        self.counts["prefix_hits"] += hits
        return hits // BYTES_PER_TOKEN


_STATUS: dict[Fault | None, tuple[int, Callable[[float], dict[str, str]]]] = {
    Fault.RATE: (429, lambda wait: {}),
    Fault.RATE_SECONDS: (429, lambda wait: {"Retry-After": str(wait)}),
    Fault.RATE_DATE: (429, lambda wait: {"Retry-After": formatdate(time() + wait, usegmt=True)}),
    Fault.UNAVAILABLE: (503, lambda wait: {}),
    Fault.ERROR: (500, lambda wait: {}),
    Fault.GATEWAY: (502, lambda wait: {}),
}


def _tokens(text: str) -> int:
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def _prompt(body: dict[str, Any]) -> str:
    return "\n".join(str(message["content"]) for message in body["messages"])


def _error(message: str, code: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "code": code}}


def _head(status: int, body: bytes, headers: dict[str, str], kind: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", f"Content-Type: {kind}"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode()


async def _send(writer: asyncio.StreamWriter, status: int, body: Any, headers: dict[str, str] | None = None) -> bool:
    is_text = isinstance(body, str)
    data = body.encode() if is_text else json.dumps(body).encode()
    writer.write(_head(status, data, headers or {}, "text/html" if is_text and status != 200 else "application/json") + data)
    await writer.drain()
    return True


async def _send_half(writer: asyncio.StreamWriter, body: Any) -> bool:
    data = json.dumps(body).encode()
    writer.write(_head(200, data, {}, "application/json") + data[: len(data) // 2])
    await writer.drain()
    return False


def _reset(writer: asyncio.StreamWriter) -> None:
    """RST instead of FIN."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def connection_to(base_url: str, **changes: Any) -> Connection:
    """A connection as tests want it: impatient. Keywords are those of `Connection`."""
    place = Place(field="spec.endpoints.author", base_url=base_url, model=MODEL, key_source="the environment variable OPENAI_API_KEY")
    hasty = {"timeout": 10.0, "patience": Patience(seconds=3.0, tries=6, first=0.01, longest=0.05)}
    return Connection(place=place, identity="a script", **{**hasty, **changes})


@contextmanager
def running_llm_server(**script: Any) -> Iterator[ScriptedServer]:
    """A server in a thread of its own; keywords are those of `Script`."""
    server, ready = ScriptedServer(Script(**script)), threading.Event()
    stopping: list[asyncio.Event] = []

    async def serve() -> None:
        stopping.append(asyncio.Event())
        await server.listen()
        ready.set()
        await stopping[0].wait()
        await server.shut()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(10), "the scripted server did not start"
    try:
        yield server
    finally:
        server.loop.call_soon_threadsafe(stopping[0].set)
        thread.join(10)


async def _serve_for_ever(arguments: argparse.Namespace) -> None:
    text = "word " * (arguments.words - 1) + "end"
    script = Script(content=lambda asked: Reply(text), latency=arguments.latency, count_prefix=arguments.prefix, remember=False)
    server = ScriptedServer(script)
    await server.listen()
    print(server.base_url, flush=True)
    parent = os.getppid()
    while os.getppid() == parent:
        await asyncio.sleep(0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--words", type=int, default=50, help="words of each answer")
    parser.add_argument("--prefix", action="store_true", help="count prefix-cache hits")
    asyncio.run(_serve_for_ever(parser.parse_args()))


if __name__ == "__main__":
    main()
