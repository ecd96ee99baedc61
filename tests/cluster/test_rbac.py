"""The operator's rights, used with its own token: what must work works, what it has no need for is Forbidden."""

import time
from collections.abc import Iterator

import pytest

from tests.cluster import rbac
from tests.cluster.control_plane import Api, ControlPlane
from tests.cluster.runs import Object, full, path, small

HOME, ONE, OTHER = "msm-rights", "team-one", "team-two"
JOB = {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "stage", "image": "example.invalid/none:1"}]}}}
SELECTOR = {"podSelector": {}, "policyTypes": ["Ingress"]}

NEEDED = {
    "follow runs": ("list", "msmruns.modelspec.dev", ""),
    "follow runs, later": ("watch", "msmruns.modelspec.dev", ""),
    "set its finalizer": ("patch", "msmruns.modelspec.dev", ""),
    "delete finished runs": ("delete", "msmruns.modelspec.dev", ""),
    "write a status": ("patch", "msmruns.modelspec.dev", "status"),
    "block the deletion of owners": ("update", "msmruns.modelspec.dev", "finalizers"),
    "follow deployments": ("watch", "evaldeployments.modelspec.dev", ""),
    "make a training job": ("create", "pytorchjobs.kubeflow.org", ""),
    "stop a training job": ("delete", "pytorchjobs.kubeflow.org", ""),
    "make a job": ("create", "jobs.batch", ""),
    "serve a model": ("create", "inferenceservices.serving.kserve.io", ""),
    "say how it is served": ("patch", "servingruntimes.serving.kserve.io", ""),
    "wall a served model in": ("create", "networkpolicies.networking.k8s.io", ""),
    "make an account for it": ("create", "serviceaccounts", ""),
    "keep an address": ("patch", "services", ""),
    "see how pods end": ("watch", "pods", ""),
    "see whether a model is served": ("watch", "deployments.apps", ""),
    "read a named input": ("get", "configmaps", ""),
    "look for a named queue": ("get", "localqueues.kueue.x-k8s.io", ""),
    "tell what happened": ("create", "events.events.k8s.io", ""),
}
NOT_NEEDED = {
    "read a secret": ("get", "secrets", ""),
    "list secrets": ("list", "secrets", ""),
    "write a secret": ("create", "secrets", ""),
    "enter a pod": ("create", "pods", "exec"),
    "attach to a pod": ("create", "pods", "attach"),
    "read a pod's log": ("get", "pods", "log"),
    "make a pod": ("create", "pods", ""),
    "change a pod": ("patch", "pods", ""),
    "delete a pod": ("delete", "pods", ""),
    "evict a pod": ("create", "pods", "eviction"),
    "list all inputs": ("list", "configmaps", ""),
    "write an input": ("create", "configmaps", ""),
    "take a token": ("create", "serviceaccounts", "token"),
    "give rights": ("create", "roles.rbac.authorization.k8s.io", ""),
    "bind rights": ("create", "rolebindings.rbac.authorization.k8s.io", ""),
    "change a deployment": ("patch", "deployments.apps", ""),
    "make a run": ("create", "msmruns.modelspec.dev", ""),
    "change a definition": ("patch", "customresourcedefinitions.apiextensions.k8s.io", ""),
    "read nodes": ("get", "nodes", ""),
    "act for somebody": ("impersonate", "users", ""),
    "delete everything at once": ("deletecollection", "msmruns.modelspec.dev", ""),
}


@pytest.fixture(scope="module")
def plane(definitions: ControlPlane) -> ControlPlane:
    definitions.api.put(*({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in (ONE, OTHER)))
    for name in (ONE, OTHER):
        definitions.api.put(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys", "namespace": name}, "stringData": {"key": "canary"}},
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "specs", "namespace": name}, "data": {"rules.md": "Be kind."}},
        )
    return definitions


@pytest.fixture(scope="module")
def everywhere(plane: ControlPlane) -> Iterator[Api]:
    """The operator, in cluster mode."""
    yield Api(rbac.install(plane, HOME))
    for kind in ("clusterrolebinding", "clusterrole"):
        plane.api.kubectl("delete", kind, "msm-operator")


def may(api: Api, namespace: str, verb: str, resource: str, subresource: str) -> bool:
    """What the API server says of one's own rights."""
    plural, _, group = resource.partition(".")
    attributes = {"namespace": namespace, "verb": verb, "group": group, "resource": plural, "subresource": subresource}
    review: Object = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    reply = api.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
    assert reply.status == 201, reply.message
    return bool(reply.body["status"]["allowed"])


@pytest.mark.parametrize("right", NEEDED.values(), ids=NEEDED)
def test_the_operator_may(everywhere: Api, right: tuple[str, str, str]) -> None:
    assert may(everywhere, ONE, *right)


@pytest.mark.parametrize("right", NOT_NEEDED.values(), ids=NOT_NEEDED)
def test_the_operator_may_not(everywhere: Api, right: tuple[str, str, str]) -> None:
    assert not may(everywhere, ONE, *right)
    assert not may(everywhere, HOME, *right)


def test_no_rule_has_a_wildcard_and_none_is_about_rights() -> None:
    granted = [*rbac.rules()["operator"], *rbac.rules()["secretsOfRuns"], *rbac.rules()["lease"]]
    for rule in granted:
        words = {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
        assert "*" not in words
        assert not words & {"rbac.authorization.k8s.io", "impersonate", "escalate", "bind", "pods/exec"}


def test_children_are_made_owned_and_removed_with_the_operators_token(plane: ControlPlane, everywhere: Api, namespace: str) -> None:
    run = small("owner", namespace)
    made = plane.api.apply(path(run), run)
    owner = {
        "apiVersion": run["apiVersion"],
        "kind": "MSMRun",
        "name": "owner",
        "uid": made.body["metadata"]["uid"],
        "blockOwnerDeletion": True,
    }
    children: list[tuple[str, Object]] = [
        (f"/apis/batch/v1/namespaces/{namespace}/jobs/child", {"apiVersion": "batch/v1", "kind": "Job", "spec": JOB}),
        (f"/api/v1/namespaces/{namespace}/serviceaccounts/child", {"apiVersion": "v1", "kind": "ServiceAccount"}),
        (
            f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies/child",
            {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": SELECTOR},
        ),
        (
            f"/api/v1/namespaces/{namespace}/services/child",
            {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80}], "selector": {"app": "x"}}},
        ),
    ]
    for where, body in children:
        reply = everywhere.apply(where, body | {"metadata": {"name": "child", "ownerReferences": [owner]}})
        assert reply.status == 201, reply.message
    for where, _ in children:
        assert everywhere.request("DELETE", where).status in (200, 202)
    bare = {key: run[key] for key in ("apiVersion", "kind")} | {"metadata": {"name": "owner"}, "status": {"observedGeneration": 1}}
    assert everywhere.apply(path(run, "status"), bare).status == 200
    assert everywhere.apply(path(run), run | {"spec": {**run["spec"], "suspend": True}}).status == 200


def test_an_event_and_the_lease_are_written_with_the_operators_token(everywhere: Api) -> None:
    now = "2026-01-01T00:00:00.000000Z"
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "told", "namespace": ONE},
        "eventTime": now,
        "type": "Normal",
        "reason": "Accepted",
        "action": "Plan",
        "note": "9 stages",
        "reportingController": "modelspec.dev/operator",
        "reportingInstance": "a",
        "regarding": {"kind": "MSMRun", "name": "x", "namespace": ONE},
    }
    assert everywhere.request("POST", f"/apis/events.k8s.io/v1/namespaces/{ONE}/events", event).status == 201
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases"
    lease: Object = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {"holderIdentity": "a"}}
    assert everywhere.request("POST", leases, lease | {"metadata": {"name": "msm-operator"}}).status == 201
    held = everywhere.request("GET", f"{leases}/msm-operator").body
    assert everywhere.request("PUT", f"{leases}/msm-operator", held | {"spec": {"holderIdentity": "b"}}).status == 200
    assert everywhere.request("GET", f"{leases}/another").status == 403
    assert everywhere.request("POST", f"/apis/coordination.k8s.io/v1/namespaces/{ONE}/leases", lease).status == 403


def test_a_secret_is_forbidden_in_cluster_mode_whatever_a_run_says(everywhere: Api) -> None:
    for namespace in (ONE, OTHER, HOME, "kube-system"):
        reply = everywhere.request("GET", f"/api/v1/namespaces/{namespace}/secrets/keys")
        assert (reply.status, "canary" in str(reply.body)) == (403, False)


def test_in_namespaced_mode_rights_end_with_the_namespace(plane: ControlPlane) -> None:
    api = Api(rbac.install(plane, "msm-narrow", watched=[ONE]))
    _eventually_may(api, ONE, "get", "secrets", "")
    assert api.request("GET", f"/api/v1/namespaces/{ONE}/secrets/keys").status == 200
    assert api.request("GET", f"/api/v1/namespaces/{ONE}/secrets").status == 403
    assert api.request("GET", f"/api/v1/namespaces/{OTHER}/secrets/keys").status == 403
    assert api.request("GET", f"/api/v1/namespaces/{OTHER}/configmaps/specs").status == 403
    assert api.request("GET", f"/apis/modelspec.dev/v1alpha1/namespaces/{ONE}/msmruns").status == 200
    assert api.request("GET", f"/apis/modelspec.dev/v1alpha1/namespaces/{OTHER}/msmruns").status == 403
    assert api.request("GET", "/apis/modelspec.dev/v1alpha1/msmruns").status == 403


def _eventually_may(api: Api, namespace: str, *right: str) -> None:
    """The authorizer sees a new binding within a moment."""
    for _ in range(50):
        if may(api, namespace, *right):
            return
        time.sleep(0.1)
    raise AssertionError(f"never: {right}")


PEOPLE = {
    "view": {"list": True, "create": False, "deletecollection": False},
    "edit": {"list": True, "create": True, "deletecollection": False},
    "admin": {"list": True, "create": True, "deletecollection": True},
}


@pytest.mark.parametrize("role", PEOPLE)
def test_people_may_do_with_runs_what_they_may_do_with_the_namespace(
    plane: ControlPlane, everywhere: Api, namespace: str, role: str
) -> None:
    plane.api.kubectl("create", "rolebinding", "person", "-n", namespace, f"--clusterrole={role}", f"--user=a-{role}er")
    person = Api(plane.user(f"a-{role}er"))
    _eventually_may(person, namespace, "list", "msmruns.modelspec.dev", "")
    allowed = {verb: may(person, namespace, verb, "msmruns.modelspec.dev", "") for verb in PEOPLE[role]}
    assert allowed == PEOPLE[role]
    assert not may(person, namespace, "patch", "msmruns.modelspec.dev", "status")
    assert not may(person, OTHER, "list", "msmruns.modelspec.dev", "")


def test_an_editor_submits_and_reads_back_a_run(plane: ControlPlane, everywhere: Api, namespace: str) -> None:
    plane.api.kubectl("create", "rolebinding", "person", "-n", namespace, "--clusterrole=edit", "--user=editor")
    person = Api(plane.user("editor"))
    _eventually_may(person, namespace, "create", "msmruns.modelspec.dev", "")
    run = full("mine", namespace)
    assert person.apply(path(run), run).status == 201
    assert person.request("GET", path(run)).status == 200
    assert person.apply(path(run, "status"), {"apiVersion": run["apiVersion"], "kind": "MSMRun", "status": {}}).status == 403
