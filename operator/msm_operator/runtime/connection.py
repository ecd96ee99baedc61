"""One HTTP exchange with the API server: the official client's configuration, authentication, TLS, proxy and connection pool.

Under `api`. From `kubernetes.aio` come `Configuration`, the kubeconfig and in-cluster loaders (with the token read again each
minute) and `RESTClientObject`; its generated methods and models are not used (docs/design/operator-runtime.md). Invariant: every
exchange has a time limit, and what fails leaves here as `errors.ApiError`.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from msm_operator.runtime.errors import Unavailable, error_of
from msm_operator.runtime.metrics import Metrics

if TYPE_CHECKING:
    from kubernetes.aio.client.configuration import Configuration

CONNECT_S = 10.0
USER_AGENT = "msm-operator"
POOL = 256
"""Connections at once; each watch holds one for good."""


async def configuration(kubeconfig: Path | None = None, context: str | None = None) -> "Configuration":
    """Where the server is and who we are: from `kubeconfig` where given, else from the pod's ServiceAccount.

    Importing the official client costs 2 to 3 s of CPU, which is why it happens here.
    """
    from kubernetes.aio import config
    from kubernetes.aio.client.configuration import Configuration

    loaders: Any = config
    chosen = Configuration()
    chosen.connection_pool_maxsize = POOL
    if kubeconfig is None:
        loaders.load_incluster_config(client_configuration=chosen)
    else:
        await loaders.load_kube_config(config_file=str(kubeconfig), context=context, client_configuration=chosen, persist_config=False)
    return chosen


class Connection:
    """A pool of connections to one API server with one identity; `replica` tells its requests from others' in audit logs."""

    def __init__(self, settings: "Configuration", metrics: Metrics, replica: str = "") -> None:
        from kubernetes.aio.client.rest import RESTClientObject

        settings.proxy = settings.proxy or _proxy_of_environment(settings.host)
        settings.client_session_kwargs = {"trust_env": False}  # else aiohttp asks a thread for proxies and netrc, twice a request
        self._settings: Any = settings
        self._agent = f"{USER_AGENT} ({replica})" if replica else USER_AGENT
        self._rest: Any = RESTClientObject(settings)
        self._requests = metrics.counter(
            "rest_client_requests_total", "Requests by HTTP status, method and host.", ("code", "method", "host")
        )
        self._latency = metrics.histogram("rest_client_request_duration_seconds", "Time to the answer's headers.", ("verb", "host"))

    async def close(self) -> None:
        """Close every connection."""
        await self._rest.close()

    @asynccontextmanager
    async def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: Any = None,
        limits: aiohttp.ClientTimeout,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to one request, its body yet unread; an answer ≥ 400 is raised. Within the block, reading may fail likewise."""
        what = f"{method} {path}"
        try:
            answer = await self._exchange(method, path, query, headers, body, limits)
            try:
                if answer.status >= 400:
                    raise error_of(answer.status, await answer.read(), answer.headers.get("Retry-After"), what)
                yield answer
            finally:
                answer.release()
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"{what}: {type(error).__name__}: {error}", why=type(error).__name__) from error

    async def _exchange(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: Any, limits: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        url = self._settings.host + quote(path) + ("?" + urlencode(query) if query else "")
        sent = {"User-Agent": self._agent, **headers}
        token = await self._settings.get_api_key_with_prefix("BearerToken", alias="authorization")
        if token:
            sent["Authorization"] = token
        begin, code = perf_counter(), "<error>"
        try:
            answer: aiohttp.ClientResponse = (
                await self._rest.request(method, url, headers=sent, body=body, _request_timeout=limits)
            ).response
            code = str(answer.status)
        finally:
            self._requests.inc(code, method, self._settings.host)
            self._latency.observe(perf_counter() - begin, method, self._settings.host)
        return answer


def _proxy_of_environment(host: str) -> str | None:
    """The proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY name for `host`; looked up once."""
    parts = urlsplit(host)
    if not parts.hostname or proxy_bypass(parts.hostname):
        return None
    return getproxies().get(parts.scheme)
