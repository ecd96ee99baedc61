"""One API server with one identity: the official client's kubeconfig, authentication, TLS and proxy, and plain requests over it.

Under `runs` and `pods`, which take any `Requests`. Generated methods and models are not used: objects stay dicts, so that a newer server's
fields pass. Invariant: every request has a time limit and is sent once; a silence is TryAgain, a kubeconfig that does not serve is a
UserError. Cost: importing the official client takes a second or two, once a command that needs it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from msm.errors import TryAgain, UserError

DEFAULT_KUBECONFIG = "~/.kube/config"
CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
JSON = "application/json"
APPLY_PATCH = "application/apply-patch+yaml"
MERGE_PATCH = "application/merge-patch+json"


@dataclass(frozen=True, slots=True)
class Where:
    """What the command line says of the cluster; None leaves it to the kubeconfig."""

    context: str | None = None
    namespace: str | None = None
    kubeconfig: Path | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where requests go: the kubeconfig's context, its namespace (or the one that was asked for) and the server's address."""

    context: str
    namespace: str
    server: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server answered: HTTP status, body, texts of its Warning headers."""

    status: int
    body: bytes
    warnings: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """The body as a JSON object; empty when it is none, as a proxy's page is."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


class Requests(Protocol):
    """What the rest of this room needs of a connection."""

    @property
    def place(self) -> Place:
        """Where requests go."""
        ...

    def send(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None, content: str = JSON
    ) -> Answer:
        """One request, sent once.

        Raises:
            TryAgain: there was no answer; UserError: the server is not the one that the kubeconfig trusts.
        """
        ...


class Connection:
    """`Requests` over an `ApiClient` of the official client."""

    def __init__(self, client: Any, place: Place) -> None:
        self._client = client
        self._place = place

    @property
    def place(self) -> Place:
        """Where requests go."""
        return self._place

    def send(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None, content: str = JSON
    ) -> Answer:
        """One request, sent once."""
        from urllib3 import Timeout
        from urllib3.exceptions import HTTPError, SSLError

        headers = {"Accept": JSON, "Content-Type": content, "User-Agent": "msm"}
        self._client.update_params_for_auth(headers, [], ["BearerToken"], path, method, None)
        url = self._place.server + quote(path) + (f"?{urlencode(query)}" if query else "")
        data = None if body is None else json.dumps(body).encode()
        limits = Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
        try:
            reply = self._client.rest_client.pool_manager.request(
                method, url, body=data, headers=headers, timeout=limits, retries=False, redirect=False
            )
        except SSLError as error:
            raise self._untrusted(error) from error
        except HTTPError as error:
            raise TryAgain(f"the cluster at {self._place.server} ({self._place.context}) does not answer: {_short(error)}") from error
        return Answer(reply.status, reply.data, tuple(_warning(text) for text in reply.headers.getlist("Warning")))

    def _untrusted(self, error: Exception) -> UserError:
        problem = f"there is no trusted connection with {self._place.server}: {_short(error)}"
        return UserError(f"context {self._place.context}", problem, "check certificate-authority-data and server in the kubeconfig")


def _short(error: Exception) -> str:
    """The end of a urllib3 message, which begins with objects of its own."""
    return str(error).rpartition(": ")[2] or type(error).__name__


def _warning(header: str) -> str:
    """The text of a Warning header: `299 - "text"`."""
    return header.split('"', 1)[1].rsplit('"', 1)[0].replace('\\"', '"') if header.count('"') >= 2 else header


def connect(where: Where, environ: Mapping[str, str]) -> Connection:
    """A connection with the context that was asked for, or the kubeconfig's current one.

    Raises:
        UserError: there is no kubeconfig, it has no such context, or its credentials cannot be used.
    """
    files = str(where.kubeconfig or environ.get("KUBECONFIG") or DEFAULT_KUBECONFIG)
    config = _read(files)
    context, namespace = _chosen(config, where.context, files)
    client = _client(files, context)
    return Connection(client, Place(context, where.namespace or namespace or "default", str(client.configuration.host).rstrip("/")))


def _read(files: str) -> dict[str, Any]:
    """The merged kubeconfig as plain data."""
    from kubernetes.config import kube_config
    from kubernetes.config.config_exception import ConfigException
    from yaml import YAMLError

    untyped: Any = kube_config
    try:
        merged = untyped.KubeConfigMerger(files).config
    except (ConfigException, YAMLError, OSError, AttributeError, KeyError, TypeError) as error:
        raise UserError("kubeconfig", f"{files} cannot be used ({error})", "check the file, or name another with --kubeconfig") from error
    if merged is None:
        raise UserError("kubeconfig", f"{files} does not exist", "name one with --kubeconfig or KUBECONFIG")
    contexts = {node.value["name"]: dict(node.value.get("context") or {}) for node in merged.value["contexts"]}
    return {"contexts": contexts, "current": merged.value.get("current-context") or ""}


def _chosen(config: Mapping[str, Any], wanted: str | None, files: str) -> tuple[str, str | None]:
    """The context's name and its namespace."""
    name, contexts = wanted or config["current"], config["contexts"]
    has = f"{files} has: {', '.join(sorted(contexts)) or 'none'}"
    if not name:
        raise UserError("--context", f"is missing and the kubeconfig has no current one; {has}", "name one of these")
    if name not in contexts:
        raise UserError("--context", f'there is no context "{name}"; {has}', "name one of these")
    return name, contexts[name].get("namespace")


def _client(files: str, context: str) -> Any:
    from kubernetes import config
    from kubernetes.config.config_exception import ConfigException

    untyped: Any = config
    try:
        return untyped.new_client_from_config(config_file=files, context=context, persist_config=False)
    except (ConfigException, OSError, ValueError) as error:
        raise UserError(f"context {context}", f"cannot be used ({error})", "check its user and cluster in the kubeconfig") from error
