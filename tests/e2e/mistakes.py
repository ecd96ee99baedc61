"""Bad input on a real node, each in a namespace of its own: it ends in a reason of the status, or an error of helm, that says what to mend.

Needs the tiny model in the bucket, and the artifacts of the tiny run, so that only the stage that is to fail is made anew. Neighbours: the
same and more on a control plane without pods in tests/cluster. Cost: a minute, most of it the patience that the operator has by design.
"""

import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.cluster.control_plane.binaries import program
from tests.cluster.control_plane.client import Object
from tests.e2e.cluster import CHART, SYSTEM, Cluster, namespace_of
from tests.e2e.inputs import tiny_run
from tests.e2e.record import Record
from tests.e2e.user import apply

LIMIT_SECONDS = 240.0
Run = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong, and what has to be said about it."""

    what: str
    reason: str
    words: str
    """What the message names: the field, the object or the place."""
    spoil: Callable[[Run], None] = lambda run: None
    objects: tuple[Object, ...] = ()
    keys: Mapping[str, str] | None = None
    """The store's credential in the run's namespace; None is the right one, empty is no Secret."""


def _scratch(volume: Mapping[str, Any]) -> Callable[[Run], None]:
    return lambda run: run["spec"].update(execution={"scratch": dict(volume)})


def _midtrain(**fields: Any) -> Callable[[Run], None]:
    return lambda run: run["spec"]["training"]["midtrain"].update(fields)


IMAGE = "registry.example.invalid/trainer:1"
NO_PODS: Object = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
MISTAKES = {
    "no-secret": Mistake("the run's namespace has no Secret of the store", "ContainerConfig", "msm-store", keys={}),
    "wrong-secret": Mistake(
        "the Secret holds a wrong key",
        "InvalidInput",
        "AWS_SECRET_ACCESS_KEY",
        keys={"AWS_ACCESS_KEY_ID": "e2e", "AWS_SECRET_ACCESS_KEY": "wrong"},
    ),
    "other-store": Mistake(
        "the run names a store that is not the installation's",
        "InvalidSpec",
        "nobody-made-it",
        lambda run: run["spec"].update(storage={"uri": "s3://nobody-made-it/x"}),
    ),
    "no-image": Mistake(
        "an image cannot be pulled",
        "ImagePull",
        IMAGE,
        _midtrain(podTemplate={"spec": {"containers": [{"name": "pytorch", "image": IMAGE, "imagePullPolicy": "Always"}]}}),
    ),
    "no-gpu": Mistake("no node has a GPU", "Unschedulable", "nvidia.com/gpu", _midtrain(resources={"gpusPerNode": 1})),
    "no-quota": Mistake("a quota allows no pod", "Silent", "ResourceQuota", objects=(NO_PODS,)),
    "no-volume": Mistake(
        "the scratch volume's claim does not exist",
        "Unschedulable",
        "nothing",
        _scratch({"persistentVolumeClaim": {"claimName": "nothing"}}),
    ),
    "full-volume": Mistake(
        "the scratch volume is full", "InvalidInput", "no space left", _scratch({"emptyDir": {"medium": "Memory", "sizeLimit": "64Ki"}})
    ),
}

REFUSED = (
    ("a value of the wrong type", "operator.replicas=two", "/operator/replicas"),
    ("a bucket that is not there", "store.uri=s3://nobody-made-it/x", "failed  store.uri"),
    ("the name of a Secret that is not there", "store.secretName=nothing", "failed  store.secretName"),
)
"""What is wrong, `--set` of it, and what helm names: by the schema, or by the preflight that runs before anything is changed."""


def mistakes(made: Cluster, record: Record) -> None:
    """All runs at once, then helm."""
    for name, one in MISTAKES.items():
        make(made, name, one)
    deadline = time.monotonic() + LIMIT_SECONDS
    for name, one in MISTAKES.items():
        found = wait_said(made, name, one, deadline)
        record.check(f"{one.what}: {one.reason}", one.words in found.get(one.reason, ""), found.get(one.reason, found))
    for what, value, words in REFUSED:
        line = next((line for line in upgrade(made, value).splitlines() if words in line), "")
        record.check(f"helm upgrade with {what}: it ends with {words}", line, line)
    for name in MISTAKES:
        made.api.kubectl("delete", "namespace", name, "--wait=false")


def make(made: Cluster, name: str, one: Mistake) -> None:
    """The namespace with what is wrong in it, and the run."""
    namespace, secret = namespace_of(name, made)
    if one.keys is not None:
        secret["stringData"] = dict(one.keys)
    placed = [{**each, "metadata": {**each["metadata"], "namespace": name}} for each in one.objects]
    made.api.put(namespace, *([secret] if one.keys != {} else []), *placed)
    run = tiny_run(name)
    run["spec"]["training"]["midtrain"] = {**run["spec"]["training"]["midtrain"], "learningRate": 1e-4 * (1 + list(MISTAKES).index(name))}
    one.spoil(run)
    apply(made, run, name)


def wait_said(made: Cluster, name: str, one: Mistake, deadline: float) -> dict[str, str]:
    """Reason -> message, as soon as the wanted one is among them; what there is when time is up."""
    while True:
        found = said(made.api.get("msmrun", name, f"--namespace={name}").get("status", {}))
        if one.words in found.get(one.reason, "") or time.monotonic() > deadline:
            return found
        time.sleep(1)


def said(status: Object) -> dict[str, str]:
    """Every reason in a status with its message: of conditions, of stages, of how attempts ended."""
    stages = status.get("stages", [])
    places = [*status.get("conditions", []), *stages, *(stage["last"] for stage in stages if "last" in stage)]
    return {one["reason"]: str(one["message"]) for one in places if one.get("reason") and one.get("message")}


def upgrade(made: Cluster, value: str) -> str:
    """What helm says to a value that it refuses; empty when it takes it."""
    command = [program("helm"), "upgrade", "msm", CHART, f"--namespace={SYSTEM}", "--reuse-values", "--set", value, "--timeout=3m"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=made.environment, check=False)
    return done.stderr.replace("\\n", "\n") if done.returncode else ""
