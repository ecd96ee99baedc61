"""How a test speaks to the API server: kubectl as a user does, and plain requests where hundreds are sent.

Invariant: neither retries; what the API server says is what the test sees. Cost: kubectl about 0.15 s of CPU a call, a request about 2 ms.
"""

import base64
import json
import os
import ssl
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
import yaml

from tests.cluster.control_plane.binaries import program

Object = dict[str, Any]
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
DISCOVERED_SECONDS = 30.0


class Refused(Exception):
    """kubectl exited with an error, or the API server did not take an object; the text is what was said."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the API server answered: HTTP status, decoded body, and the texts of its Warning headers."""

    status: int
    body: Object
    warnings: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        """What a Status object says; empty for other objects."""
        return str(self.body.get("message", "")) if self.body.get("kind") == "Status" else ""


class Api:
    """One identity at one API server; made from a kubeconfig file."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        config = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        self.server: str = config["clusters"][0]["cluster"]["server"]
        self._user: Mapping[str, str] = config["users"][0]["user"]
        authority = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
        self._kinds: dict[tuple[str, str], _Kind] = {}
        self._http = urllib3.PoolManager(ssl_context=self._context(authority), maxsize=16, retries=False)

    def request(self, method: str, path: str, body: Object | None = None, *, content: str = "application/json", **query: str) -> Reply:
        """One request; `query` are URL parameters such as dryRun="All"."""
        headers = {"Accept": "application/json", "Content-Type": content}
        if "token" in self._user:
            headers["Authorization"] = f"Bearer {self._user['token']}"
        url = f"{self.server}{path}" + (f"?{'&'.join(f'{key}={value}' for key, value in query.items())}" if query else "")
        reply = self._http.request(method, url, body=None if body is None else json.dumps(body).encode(), headers=headers)
        decoded = json.loads(reply.data) if reply.data[:1] == b"{" else {"raw": reply.data.decode(errors="replace")}
        return Reply(reply.status, decoded, tuple(reply.headers.getlist("Warning")))

    def apply(self, path: str, body: Object, manager: str = "test", **query: str) -> Reply:
        """Server-side apply of one object at its own path."""
        return self.request("PATCH", path, body, content=APPLY, fieldManager=manager, force="true", **query)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """What a kubectl command prints.

        Raises:
            Refused: it exited with an error.
        """
        done = self.kubectl_result(*arguments, stdin=stdin)
        if done.returncode:
            raise Refused(f"kubectl {' '.join(arguments)}: {done.stderr.strip()[:4000]}")
        return done.stdout

    def kubectl_result(self, *arguments: str, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
        """A kubectl command that may fail; its discovery cache stays beside the kubeconfig."""
        command = [str(program("kubectl")), f"--kubeconfig={self.kubeconfig}", *arguments]
        environment = {**os.environ, "HOME": str(self.kubeconfig.parent)}
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, env=environment)

    def get(self, *arguments: str) -> Object:
        """An object or list, by what one types after `kubectl get`."""
        found: Object = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        return found

    def put(self, *objects: Object) -> None:
        """Make objects be as given, by server-side apply, one after the other; kinds that were installed a moment ago are waited for.

        Raises:
            Refused: the API server did not take one.
        """
        for one in objects:
            reply = self.apply(self.path(one), one)
            if reply.status not in (200, 201):
                raise Refused(f"{one['kind']} {one['metadata']['name']}: {reply.status} {reply.message}")

    def path(self, one: Object) -> str:
        """Where an object is, by what the API server says of its kind."""
        version, kind, metadata = str(one["apiVersion"]), str(one["kind"]), one["metadata"]
        found = self._kinds.get((version, kind)) or self._discover(version, kind)
        namespace = f"namespaces/{metadata.get('namespace', 'default')}/" if found.namespaced else ""
        return f"{_root(version)}/{namespace}{found.plural}/{metadata['name']}"

    def _discover(self, version: str, kind: str) -> "_Kind":
        deadline = time.monotonic() + DISCOVERED_SECONDS
        while time.monotonic() < deadline:
            for one in self.request("GET", _root(version)).body.get("resources", ()):
                if "/" not in one["name"]:
                    self._kinds[version, one["kind"]] = _Kind(one["name"], one["namespaced"])
            if (version, kind) in self._kinds:
                return self._kinds[version, kind]
            time.sleep(0.1)
        raise Refused(f"the API server knows no {kind} of {version}")

    def _context(self, authority: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=authority)
        if "client-certificate" in self._user:
            context.load_cert_chain(self._user["client-certificate"], self._user["client-key"])
        return context


@dataclass(frozen=True, slots=True)
class _Kind:
    """How the API server addresses a kind."""

    plural: str
    namespaced: bool


def _root(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"
