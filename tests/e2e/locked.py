"""What pods of runs may do, tried: Pod Security, rights at the API server, other runs' secrets; and that their wall is there.

Neighbours: `walls` tries what the wall lets through.
"""

from typing import Any

from tests.e2e.cluster import RUNS, Cluster
from tests.e2e.record import Record
from tests.e2e.watch import Seen

PLAIN: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "plain", "namespace": RUNS},
    "spec": {"containers": [{"name": "c", "image": "example.invalid/plain:1"}]},
}


def check_locked(made: Cluster, record: Record) -> None:
    """The namespace refuses what is not restricted; the default account may nothing."""
    reply = made.api.request("POST", f"/api/v1/namespaces/{RUNS}/pods", PLAIN, dryRun="All")
    record.check("the runs' namespace refuses a pod that is not restricted", reply.status == 403, reply.message[:120])
    account = f"--as=system:serviceaccount:{RUNS}:default"
    allowed = made.api.kubectl_result("auth", "can-i", "get", "secrets", f"--namespace={RUNS}", account).stdout.strip()
    record.check("the account of run pods may read no secret", allowed == "no", allowed)


def check_policies(made: Cluster, record: Record, seen: Seen) -> None:
    """What the operator rendered for a run; asked while it is there."""
    uid = seen.run["metadata"]["uid"]
    found = made.api.get("networkpolicies", f"--namespace={RUNS}", f"--selector=modelspec.dev/run-uid={uid}")["items"]
    types = {kind for policy in found for kind in policy["spec"]["policyTypes"]}
    record.check("the run has NetworkPolicies for both directions", types == {"Ingress", "Egress"}, len(found))
