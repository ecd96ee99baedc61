"""What the NetworkPolicies of a run let through, tried: pods that are marked as a run's, and pods that are not, ask places.

Neighbours: `enforcer` makes policies hold; the run whose wall is tried is there until it is deleted. Invariant: each place that must be
refused is asked by a pod outside of the wall too, which must reach it, so that a dead address never passes as a refused one.
"""

import json
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from msm_operator.backends.names import RUN_UID
from tests.cluster.control_plane.client import Object
from tests.e2e import archives
from tests.e2e.cluster import RUNS, Cluster
from tests.e2e.record import Broken, Record

PORT = 8000
SECONDS = 90.0
LISTEN = f"import http.server; http.server.ThreadingHTTPServer(('', {PORT}), http.server.BaseHTTPRequestHandler).serve_forever()"
ASK = """
import json, socket, sys
def reached(place):
    host, port = place.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), 4).close()
    except OSError:
        return False
    return True
print(json.dumps({place: reached(place) for place in sys.argv[1:]}))
"""
ALLOWED = {"its store": "s3.stores.svc.cluster.local:8333", "its MLflow": "mlflow.stores.svc.cluster.local:5000"}


def check_walls(made: Cluster, record: Record, uid: str) -> None:
    """Ask from inside and outside of the wall around a run's pods."""
    mark = {RUN_UID: uid}
    with outside() as port, listening(made, "walls-own", mark) as own, listening(made, "walls-other", {}) as other:
        refused = {"a pod of nobody": f"{other}:{PORT}", "an address outside the cluster": f"{made.node.layout.outside}:{port}"}
        pod = f"{own}:{PORT}"
        inside = asked(made, "walls-inside", mark, [pod, *ALLOWED.values(), *refused.values()])
        stranger = asked(made, "walls-stranger", {}, [pod, *refused.values()])
    for what, place in {"a pod of the same run": pod, **ALLOWED}.items():
        record.check(f"a run's pod reaches {what}", inside[place], place)
    for what, place in refused.items():
        record.check(f"a run's pod does not reach {what}", not inside[place] and stranger[place], f"{place}; a pod without a wall does")
    record.check("nobody else's pod reaches a run's pod", not stranger[pod] and inside[pod], f"{pod}; one of the same run does")


@contextmanager
def outside() -> Iterator[int]:
    """A server in the test process; its port."""
    with socketserver.ThreadingTCPServer(("0.0.0.0", 0), socketserver.BaseRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@contextmanager
def listening(made: Cluster, name: str, labels: dict[str, str]) -> Iterator[str]:
    """A pod that listens; its address."""
    made.api.put(pod(name, labels, LISTEN))
    found = wait_phase(made, name, "Running")
    yield str(found["status"]["podIP"])
    made.api.kubectl("delete", "pod", name, f"--namespace={RUNS}", "--grace-period=0", "--force")


def asked(made: Cluster, name: str, labels: dict[str, str], places: list[str]) -> dict[str, bool]:
    """Which places a pod with these labels reaches."""
    made.api.put(pod(name, labels, ASK, *places))
    wait_phase(made, name, "Succeeded")
    said = made.api.kubectl("logs", name, f"--namespace={RUNS}")
    made.api.kubectl("delete", "pod", name, f"--namespace={RUNS}", "--grace-period=0", "--force")
    return {str(place): bool(reached) for place, reached in json.loads(said).items()}


def wait_phase(made: Cluster, name: str, phase: str) -> Object:
    """The pod once it is there.

    Raises:
        Broken: it is not in time, or failed.
    """
    deadline = time.monotonic() + SECONDS
    while True:
        found = made.api.get("pod", name, f"--namespace={RUNS}")
        if found["status"].get("phase") == phase:
            return found
        if time.monotonic() > deadline or found["status"].get("phase") == "Failed":
            raise Broken(f"pod {name} is not {phase}: {json.dumps(found['status'])[:600]}")
        time.sleep(0.5)


def pod(name: str, labels: dict[str, str], program: str, *arguments: str) -> dict[str, Any]:
    """A pod as `restricted` wants it, of the trainer's image."""
    container = {
        "name": "python",
        "image": archives.built()["trainer"].reference,
        "imagePullPolicy": "Never",
        "command": ["python", "-c", program, *arguments],
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": RUNS, "labels": labels}, "spec": spec}
