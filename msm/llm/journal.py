"""Answers that outlive the process that asked: each is one small object, filed under the digest of its question.

Neighbours: wraps any asker; the store keeps; `msm gc` removes old ones (`store.gc.ANSWERS_KEPT`). Invariant: an answer that was returned
is in the store, and of several processes that ask the same the first answer wins and all return it; a kill loses only what is in flight. An
object that does not say what its name and checksum promise is no answer: it is removed and the question asked again. The journal is a
cache, never an input: committed artifacts do not need it. Cost: one read a question, one creation an answer
(a millisecond each in a directory).
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from msm.llm.account import Account
from msm.llm.ask import Answer, Asker, Finish, Request, Usage
from msm.llm.digest import request_digest
from msm.store import ObjectNotFound, ObjectStore
from msm.store.artifacts import ANSWERS


class _Filed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Usage(_Filed):
    prompt: int
    completion: int
    cached: int


class _Said(_Filed):
    text: str
    data: JsonValue
    reasoning: str
    finish: Finish
    usage: _Usage


class _Entry(_Filed):
    """The object; `check` is the SHA-256 of `said` as it is written."""

    version: Literal[1] = 1
    digest: str
    model: str
    purpose: str
    said: _Said
    check: str


def answer_key(digest: str) -> str:
    """Where the answer to a question lies."""
    return f"{ANSWERS}/{digest[:2]}/{digest}.json"


def find_answer(store: ObjectStore, identity: str, request: Request) -> Answer | None:
    """The filed answer of a question, None when there is none or it is damaged; nothing is changed."""
    digest = request_digest(identity, request)
    return _read(store, digest)[1]


class JournalledAsker:
    """Answers from the store what was answered before, and files what is new. `identity` says which model `inner` asks."""

    def __init__(self, inner: Asker, store: ObjectStore, identity: str, account: Account | None = None) -> None:
        self.account = account or Account()
        self._inner, self._store, self.identity = inner, store, identity
        self._asking: dict[str, asyncio.Event] = {}

    async def ask(self, request: Request) -> Answer:
        """The answer; equal questions that are asked at the same time are asked once."""
        digest = request_digest(self.identity, request)
        async with self._alone(digest):
            found = await asyncio.to_thread(_take, self._store, digest)
            if found is not None:
                self._count(request)
                return found
            answer = replace(await self._inner.ask(request), digest=digest)
            return await asyncio.to_thread(_file, self._store, self.identity, request.purpose, answer)

    def _count(self, request: Request) -> None:
        totals = self.account.of(request.purpose)
        totals.asked += 1
        totals.reused += 1

    @asynccontextmanager
    async def _alone(self, digest: str) -> AsyncIterator[None]:
        """One question of this digest at a time in this process."""
        while digest in self._asking:
            await self._asking[digest].wait()
        self._asking[digest] = asyncio.Event()
        try:
            yield
        finally:
            self._asking.pop(digest).set()


def _take(store: ObjectStore, digest: str) -> Answer | None:
    """The filed answer; what is there and is none is removed."""
    present, answer = _read(store, digest)
    if present and answer is None:
        store.delete(answer_key(digest))
    return answer


def _file(store: ObjectStore, identity: str, purpose: str, answer: Answer) -> Answer:
    """File an answer; the one that is filed, which is another's when that was first."""
    data = _encode(identity, purpose, answer)
    while not store.put_if_absent(answer_key(answer.digest), data):
        first = _take(store, answer.digest)
        if first is not None:
            return first
    return answer


def _read(store: ObjectStore, digest: str) -> tuple[bool, Answer | None]:
    """(whether there is an object, the answer in it)."""
    try:
        raw = store.get(answer_key(digest))
    except ObjectNotFound:
        return False, None
    try:
        entry = _Entry.model_validate_json(raw)
    except ValidationError:
        return True, None
    if entry.digest != digest or entry.check != _checksum(entry.said):
        return True, None
    said = entry.said
    usage = Usage(said.usage.prompt, said.usage.completion, said.usage.cached)
    return True, Answer(said.text, said.data, said.reasoning, said.finish, usage, digest, reused=True)


def _encode(identity: str, purpose: str, answer: Answer) -> bytes:
    counted = _Usage(prompt=answer.usage.prompt, completion=answer.usage.completion, cached=answer.usage.cached)
    data: Any = answer.data
    said = _Said(text=answer.text, data=data, reasoning=answer.reasoning, finish=answer.finish, usage=counted)
    entry = _Entry(digest=answer.digest, model=identity, purpose=purpose, said=said, check=_checksum(said))
    return entry.model_dump_json().encode()


def _checksum(said: _Said) -> str:
    return hashlib.sha256(said.model_dump_json().encode()).hexdigest()
