"""From an endpoint in the run file to an asker: address, key from the environment, identity, limits, journal.

Neighbours: stages call `open_asker` inside their event loop; previews use `connect` and `identity_of` alone. Invariant: concurrency,
timeout, price and maxPrice say how one asks and not what is answered, so they enter no fingerprint and no digest. Cost: none until asked.
"""

import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from msm.api.inputs import Endpoint, OpenAI
from msm.api.inputs import Price as PriceList
from msm.errors import UserError
from msm.llm.account import Account
from msm.llm.client import open_openai
from msm.llm.connection import Connection
from msm.llm.failures import Place
from msm.llm.journal import JournalledAsker
from msm.llm.ledger import Ledger
from msm.llm.price import Price, per_million, units
from msm.store import ObjectStore

KEY_VARIABLE = "OPENAI_API_KEY"


@dataclass(frozen=True, slots=True)
class OpenAsker:
    """An asker that is ready, and what it counts."""

    asker: JournalledAsker
    account: Account


def identity_of(endpoint: OpenAI) -> str:
    """What answers are filed under: the stated identity, else host and model name, marked as unpinned."""
    return endpoint.identity or f"{urlsplit(endpoint.base_url).netloc} {endpoint.model} (unpinned)"


def key_variable(name: str) -> str:
    """The environment variable of one endpoint's own key; `OPENAI_API_KEY` serves all that have none."""
    return f"{KEY_VARIABLE}_{name.upper().replace('-', '_')}"


def connect(endpoint: Endpoint, environ: Mapping[str, str]) -> Connection:
    """What the client must know.

    Raises:
        UserError: the endpoint is one that the platform would have to serve.
    """
    server, field = endpoint.openai, f"spec.endpoints.{endpoint.name}"
    if server is None:
        raise UserError(f"{field}.serve", "needs a cluster", "give an openai endpoint here, for instance of a vLLM that you started")
    own = key_variable(endpoint.name)
    reference = server.api_key_secret_ref
    source = f"the environment variable {KEY_VARIABLE} (or {own}, for this endpoint alone)"
    if reference is not None:
        source += f"; in a cluster key {reference.key} of the secret {reference.name}"
    return Connection(
        place=Place(field=field, base_url=server.base_url.rstrip("/"), model=server.model, key_source=source),
        identity=identity_of(server),
        key=environ.get(own) or environ.get(KEY_VARIABLE, ""),
        concurrency=server.concurrency,
        timeout=float(server.timeout),
        price=_price(server.price),
        cap=None if server.max_price is None else units(server.max_price),
    )


@asynccontextmanager
async def open_asker(
    endpoint: Endpoint, environ: Mapping[str, str], store: ObjectStore, rng: random.Random | None = None, scope: str | None = None
) -> AsyncIterator[OpenAsker]:
    """A journalled asker for the running event loop; its connections are closed at the end.

    `scope` names the work that maxPrice is for, such as a stage's fingerprint: all its processes, also those that were killed, share the
    cap. Without it the cap is this process's own.
    """
    connection, account = connect(endpoint, environ), Account()
    purse = None if scope is None or connection.cap is None else Ledger(store, f"{scope}/{endpoint.name}")
    async with open_openai(connection, rng, account=account, purse=purse) as inner:
        yield OpenAsker(JournalledAsker(inner, store, connection.identity, account), account)


def _price(listed: PriceList | None) -> Price:
    if listed is None:
        return Price()
    cached = listed.input if listed.cached_input is None else listed.cached_input
    return Price(input=per_million(listed.input), cached_input=per_million(cached), output=per_million(listed.output))
