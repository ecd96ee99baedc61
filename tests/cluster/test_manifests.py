"""The manifests of this repository, given to the real API server as a user gives them, with strict validation."""

from pathlib import Path
from typing import Any

import pytest

from msm.api import parse_run
from tests.cluster.control_plane import Api, ControlPlane
from tests.cluster.runs import try_create
from tests.manifests import FILES, ON_A_CLUSTER, Object, objects, ours

UPLOAD = "a file of a laptop, which a cluster cannot read; type `msm submit FILE`, which uploads it"
NO_OBJECTS = "first-try/values.yaml"
NEEDS = {"kueue.x-k8s.io": "kueue", "serving.kserve.io": "kserve"}
"""API group -> the fixture that installs it."""


def manifests() -> list[str]:
    return [name for name in FILES if name != NO_OBJECTS]


@pytest.fixture
def ready(definitions: ControlPlane, request: pytest.FixtureRequest) -> ControlPlane:
    """The control plane with whatever the manifest's kinds need, and the namespaces that it names."""
    everything = objects(FILES[request.getfixturevalue("name")])
    for group in {one["apiVersion"].partition("/")[0] for one in everything} & set(NEEDS):
        request.getfixturevalue(NEEDS[group])
    for namespace in {one["metadata"].get("namespace") for one in everything} - {None}:
        definitions.api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    return definitions


def where(file: Path, namespace: str) -> list[str]:
    """A namespace to apply into, for a manifest that names none."""
    return [] if any("namespace" in one["metadata"] for one in objects(file)) else ["-n", namespace]


def on_laptop(one: Any) -> bool:
    """Whether anything in it is a file of a laptop."""
    if isinstance(one, dict):
        return "path" in one or any(on_laptop(value) for value in one.values())
    if isinstance(one, list):
        return any(on_laptop(value) for value in one)
    return isinstance(one, str) and one.startswith("file:")


def uploaded(one: Any, root: Path) -> Any:
    """The same object with what lies on a laptop as a cluster could read it."""
    if isinstance(one, list):
        return [uploaded(value, root) for value in one]
    if not isinstance(one, dict):
        return one
    if "path" in one:
        file = root / one["path"]
        return {"inline": file.read_text(encoding="utf-8")} if file.suffix == ".md" else {"uri": f"s3://bucket/{file.name}"}
    return {key: uploaded(value, root) for key, value in one.items()}


@pytest.mark.parametrize("name", [f"{name}.yaml" for name in ON_A_CLUSTER])
def test_kubectl_apply_takes_it_as_it_is(ready: ControlPlane, api: Api, namespace: str, name: str) -> None:
    """Without --server-side, as most people type it: the copy that kubectl keeps in an annotation has to fit too."""
    file = FILES[name]
    done = api.kubectl_result("apply", "--dry-run=server", "--validate=strict", *where(file, namespace), "-f", str(file))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(objects(file))


@pytest.mark.parametrize("name", manifests())
def test_a_manifest_is_taken_or_told_what_to_type(ready: ControlPlane, api: Api, namespace: str, name: str) -> None:
    file = FILES[name]
    asked = ("apply", "--server-side", "--dry-run=server", "--validate=strict", *where(file, namespace), "-f", str(file))
    done = api.kubectl_result(*asked)
    if any(on_laptop(one) for one in ours(file)):
        assert done.returncode != 0
        assert UPLOAD in done.stderr
    else:
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", [name for name in manifests() if any(one["kind"] == "MSMRun" for one in ours(FILES[name]))])
def test_a_run_is_kept_as_it_was_meant(definitions: ControlPlane, api: Api, namespace: str, name: str) -> None:
    for one in ours(FILES[name]):
        sent = uploaded({**one, "metadata": {**one["metadata"], "namespace": namespace}}, FILES[name].parent)
        reply = try_create(api, sent)
        assert reply.status == 201, reply.message
        assert as_run(reply.body) == parse_run(sent)


def as_run(stored: Object) -> Any:
    """The run in an object of the API server."""
    metadata = {key: stored["metadata"][key] for key in ("name", "namespace")}
    return parse_run({"apiVersion": stored["apiVersion"], "kind": stored["kind"], "metadata": metadata, "spec": stored["spec"]})
