"""The whole chain with a model of a few million parameters: on this machine twice, on the cluster once, and compared.

On the cluster its midtraining has two machines with one process each, here one machine with two.
"""

import copy
from pathlib import Path
from typing import Any

from tests.cluster.control_plane.client import Object
from tests.e2e.cluster import SYSTEM, Cluster
from tests.e2e.embedded import Outcome, outcome, run_embedded
from tests.e2e.inputs import make_model, tiny_run
from tests.e2e.locked import check_locked, check_policies
from tests.e2e.record import Record
from tests.e2e.secrets_kept import check_secrets
from tests.e2e.tracked import check_tracked
from tests.e2e.user import apply, mirror
from tests.e2e.walls import check_walls
from tests.e2e.watch import TRAINED, Seen, watch

DETERMINISTIC = ("fetch", "outline", "write", "curate", "demonstrate")
LIMIT_SECONDS = 900.0
TWO = {"nodes": 2}


def machines(data: dict[str, Any], resources: dict[str, int]) -> dict[str, Any]:
    """A run whose midtraining has other resources, which is in no fingerprint."""
    changed = copy.deepcopy(data)
    changed["spec"]["training"]["midtrain"]["resources"] = resources
    return changed


def tiny(made: Cluster, record: Record, directory: Path) -> Outcome:
    """Run it everywhere; what the cluster made."""
    with record.step("model made and put into the bucket"):
        parameters = make_model(made, directory)
    record.number("parameters of the tiny model", f"{parameters / 1e6:.1f} M")
    data = tiny_run("tiny")
    with record.step("on this machine, twice"):
        here = [run_embedded(made, machines(data, {"processesPerNode": 2}), directory / name, name) for name in ("first", "second")]
    mirror(made, data, directory)
    with record.step("on the cluster"):
        apply(made, machines(data, TWO))
        seen = watch(made, "tiny", LIMIT_SECONDS)
    there = check_run(made, record, seen)
    pods = workers(seen)
    record.check(
        "a PyTorchJob of two pods trained, one rank each", {_rank(pod) for pod in pods} == {"0", "1"}, [_ended(pod) for pod in pods]
    )
    compare(record, here, there)
    check_tracked(made, record, "tiny", there)
    check_policies(made, record, seen)
    check_walls(made, record, seen.run["metadata"]["uid"])
    record.number("resident memory of the operator's largest pod", f"{max(map(made.node.memory_mib, made.pods(SYSTEM)))} MiB", "< 150 MiB")
    check_locked(made, record)
    check_secrets(made, record)
    return there


def check_run(made: Cluster, record: Record, seen: Seen) -> Outcome:
    """What must be true of every run that ended well."""
    name = seen.run["metadata"]["name"]
    record.check("the run succeeded", seen.succeeded, seen.why() if not seen.succeeded else "")
    record.number(f"{name}: from kubectl apply to the first pod Running", f"{seen.first_running or 0:.1f} s", "< 10 s")
    record.number(f"{name}: from committed inputs to the first progress of a training", f"{seen.first_step or 0:.1f} s", "< 60 s")
    owners = seen.owners()
    right = all(found == {"PyTorchJob" if kind in TRAINED else "Job"} for kind, found in owners.items())
    record.check("every stage ran in a pod of the right kind", owners and right, owners)
    record.check("progress moved in the status", len(seen.percentages) >= 3, seen.percentages)
    record.check("so did the time that is left", len(seen.remaining) >= 2, seen.remaining)
    record.check("no pod has rights at the API server", not any(_has_token(pod) for pod in seen.pods.values()), f"{len(seen.pods)} pods")
    return outcome(made.store(), seen.run["status"]["run"])


def compare(record: Record, here: list[Outcome], there: Outcome) -> None:
    """The cluster's artifacts beside this machine's."""
    one, two = here
    same = one.digests(*DETERMINISTIC) == there.digests(*DETERMINISTIC)
    record.check("contentDigests of deterministic stages are those of this machine", same, f"{len(there.digests(*DETERMINISTIC))} stages")
    trained = one.digests(*TRAINED)
    equal = sum(there.manifests[name].content_digest == digest for name, digest in trained.items())
    record.number("trained stages whose contentDigest is this machine's too", f"{equal} of {len(trained)}")
    spread = max(abs(value - two.margins()[key]) for key, value in one.margins().items())
    apart = max(min(abs(value - side.margins()[key]) for side in here) for key, value in there.margins().items())
    record.number("largest difference of a margin between two runs on this machine", f"{spread:.2g} nats")
    record.check("margins of the cluster are within that spread", apart <= max(spread, 1e-3), f"{apart:.2g} nats, with 0.001 for rounding")


def workers(seen: Seen) -> list[Object]:
    """Pods of a job with several machines."""
    return [pod for pod in seen.pods.values() if pod["metadata"]["labels"].get("training.kubeflow.org/replica-type") == "worker"]


def _rank(pod: Object) -> str:
    return str(pod["metadata"]["labels"].get("training.kubeflow.org/replica-index"))


def _ended(pod: Object) -> str:
    return f"{pod['metadata']['name']} {pod['status'].get('phase')}"


def _has_token(pod: Object) -> bool:
    return any("serviceAccountToken" in str(volume) for volume in pod["spec"].get("volumes", ()))
