"""Where a secret must not be: logs, status, events, MLflow, artifacts. The store's own key, made anew for each call, is what is looked for.

Invariant: what could not be read counts as found, so that an empty search never passes.
"""

from collections.abc import Iterator

from msm.store import open_store
from tests.e2e.cluster import RUNS, SYSTEM, Cluster
from tests.e2e.record import Record

KINDS = "msmruns,evaldeployments,jobs,pytorchjobs,pods,configmaps,services,events,networkpolicies,serviceaccounts,inferenceservices"
LARGEST = 64 << 20


def check_secrets(made: Cluster, record: Record) -> None:
    """Look everywhere for the store's secret key."""
    secret = made.secret_key.encode()
    places = {
        "logs of pods that are there": list(pod_logs(made)),
        "logs of the node's components": [path.read_bytes() for path in made.node.layout.logs.glob("*.log")],
        "objects of the API server": [made.api.kubectl("get", KINDS, "--all-namespaces", "-o", "json").encode()],
        "MLflow's database": [(made.node.layout.directory / "data/mlflow/mlflow.db").read_bytes()],
        "the store": list(stored(made)),
    }
    for place, found in places.items():
        where = f"{len(found)} texts, {sum(map(len, found)):,} bytes"
        record.check(f"the store's key is not in {place}", found and all(secret not in text for text in found), where)


def pod_logs(made: Cluster) -> Iterator[bytes]:
    """What pods of the installation and of the runs said."""
    for namespace in (SYSTEM, RUNS):
        for pod in made.pods(namespace):
            name = pod["metadata"]["name"]
            yield made.api.kubectl_result("logs", name, f"--namespace={namespace}", "--all-containers", "--tail=-1").stdout.encode()


def stored(made: Cluster) -> Iterator[bytes]:
    """Every object of the platform's store that is not as large as weights."""
    store = open_store(made.store())
    for entry in store.list(""):
        if entry.size <= LARGEST:
            yield store.get(entry.key)
