"""`msm` against the real API server, without an operator: submitting, steering, and every refusal in its own words."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import Result

from msm.cluster.connection import Where, connect
from msm.cluster.refusals import error_of
from msm.cluster.runs import apply_run
from msm.errors import UserError
from msm.store import open_store
from msm.store.blobs import get_blob
from tests.cluster.control_plane import Api, ControlPlane
from tests.cluster.control_plane.binaries import program
from tests.cluster.runs import Object, path, small
from tests.s3 import S3Server, running_s3
from tests.unit.cli.kept import msm

MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"
READER = [{"apiGroups": ["modelspec.dev"], "resources": ["msmruns"], "verbs": ["get", "list"]}]


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("submit-s3")) as server:
        server.make_bucket("submitted")
        yield server


class Cluster:
    """A namespace of the real cluster and the command line that leads to it."""

    def __init__(self, plane: ControlPlane, namespace: str, env: dict[str, str]) -> None:
        self.plane, self.namespace, self.env = plane, namespace, env

    @property
    def api(self) -> Api:
        return self.plane.api

    def msm(self, *arguments: str, **env: str) -> Result:
        return msm(*arguments, "--namespace", self.namespace, env={**self.env, **env})

    def get(self, name: str) -> Object:
        return self.api.request("GET", path(small(name, self.namespace))).body

    def say(self, name: str, *conditions: tuple[str, str, str, str], **status: object) -> None:
        """Write a status, as an operator would."""
        now = "2026-05-01T00:00:00Z"
        told = [{"type": t, "status": s, "reason": r, "message": m, "lastTransitionTime": now} for t, s, r, m in conditions]
        body = {**{k: small(name, self.namespace)[k] for k in ("apiVersion", "kind")}, "metadata": {"name": name}}
        reply = self.api.apply(path(small(name, self.namespace), "status"), {**body, "status": {**status, "conditions": told}}, "operator")
        assert reply.status == 200, reply.body


@pytest.fixture
def cluster(definitions: ControlPlane, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.chdir(tmp_path)
    for name in ("MSM_STORE_URI", "MSM_HOME", "MSM_STORE_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    return Cluster(definitions, namespace, {"KUBECONFIG": str(definitions.kubeconfig)})


def written(name: str, change: Callable[[Object], None] = lambda spec: None) -> str:
    """A small run file in the working directory."""
    data = small(name, "unused")
    del data["metadata"]["namespace"]
    change(data["spec"])
    Path(f"{name}.yaml").write_text(yaml.safe_dump(data))
    return f"{name}.yaml"


def with_store(s3: S3Server) -> dict[str, str]:
    return s3.config("submitted", "prefix").to_environ()


def test_local_files_are_blobs_of_the_store_before_the_run_is_there(cluster: Cluster, s3: S3Server) -> None:
    Path("spec.md").write_text("SmolLM is patient.")
    file = written("local", lambda spec: spec.update(modelSpecs=[{"name": "patience", "source": {"path": "spec.md"}}]))
    found = cluster.msm("submit", file, **with_store(s3))
    assert found.exit_code == 0, found.output
    uri = cluster.get("local")["spec"]["modelSpecs"][0]["source"]["uri"]
    assert uri.startswith("s3://submitted/prefix/blobs/sha256/")
    assert get_blob(open_store(s3.config("submitted", "prefix")), uri.rsplit("/", 1)[1]) == b"SmolLM is patient."
    assert f"local: created in namespace {cluster.namespace} of test" in found.stdout


def test_the_same_file_twice_changes_nothing(cluster: Cluster) -> None:
    file = written("twice")
    assert cluster.msm("submit", file).exit_code == 0
    before = cluster.get("twice")["metadata"]
    found = cluster.msm("submit", file)
    assert found.stdout.startswith(f"twice: unchanged in namespace {cluster.namespace}")
    after = cluster.get("twice")["metadata"]
    assert after["resourceVersion"] == before["resourceVersion"]
    assert [m["manager"] for m in after["managedFields"]] == ["msm"]


@pytest.mark.parametrize("file", ["demo.yaml", "cheese.yaml", "examples/repair.yaml"])
def test_every_manifest_would_be_taken(cluster: Cluster, s3: S3Server, file: str) -> None:
    found = cluster.msm("submit", str(MANIFESTS / file), "--dry-run", "--json", **with_store(s3))
    assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    assert (document["result"], document["dryRun"]) == ("created", True)
    assert bool(document["uploads"]) == (file != "demo.yaml"), "the demo has its texts inside"
    assert cluster.api.get("msmruns", "-n", cluster.namespace)["items"] == []


def test_another_spec_under_the_same_name_is_refused_with_what_to_do(cluster: Cluster) -> None:
    cluster.msm("submit", written("same"))
    file = written("same", lambda spec: spec.update(seeds=[0, 1], registry={"model": "x"}))
    found = cluster.msm("submit", file)
    assert found.exit_code == 2
    assert found.stderr == (
        'error: metadata.name: there is a run "same" with another spec (seeds, registry), and a spec cannot be changed; '
        "give this one another name, or delete that one: `msm cancel same`; finished stages stay\n"
    )


def test_a_run_that_kubectl_applied_is_taken_over_when_it_is_the_same_and_refused_when_not(cluster: Cluster) -> None:
    file = written("theirs", lambda spec: spec.update(seeds=[0]))
    cluster.api.kubectl("apply", "-f", file, "-n", cluster.namespace)
    assert cluster.msm("submit", file).exit_code == 0
    found = cluster.msm("submit", written("theirs", lambda spec: spec.update(seeds=[3])))
    assert found.exit_code == 2
    assert 'there is a run "theirs" with another spec (seeds)' in found.stderr


def test_suspending_and_resuming_is_one_field(cluster: Cluster) -> None:
    cluster.msm("submit", written("still"))
    assert cluster.msm("suspend", "still").exit_code == 0
    assert cluster.get("still")["spec"]["suspend"] is True
    again = cluster.msm("submit", "still.yaml")
    assert again.exit_code == 0
    assert "suspended  msm resume still --context test" in again.stdout
    explicit = cluster.msm("submit", written("still", lambda spec: spec.update(suspend=False)))
    assert explicit.exit_code == 2
    assert 'spec.suspend: was set by "msm" to another value than the file has; remove it from the file' in explicit.stderr
    assert cluster.msm("resume", "still").exit_code == 0
    assert cluster.get("still")["spec"]["suspend"] is False


def test_what_a_rule_of_the_definition_refuses_names_the_field(cluster: Cluster) -> None:
    found = cluster.msm("submit", written("wrong", lambda spec: spec.update(tracking={"uri": "sqlite:///here.db"})))
    assert found.exit_code == 2
    assert found.stderr.startswith("error: spec.tracking.uri: uri must be an http(s) address of a tracking server in a cluster")
    assert cluster.api.get("msmruns", "-n", cluster.namespace)["items"] == []


def test_a_number_that_yaml_takes_for_text_is_one_and_kubectl_agrees(cluster: Cluster) -> None:
    file = written("rate", lambda spec: spec.update(training={"midtrain": {"learningRate": 0.0001, "checkpointEvery": "5m"}}))
    text = Path(file).read_text()
    assert "learningRate: 0.0001" in text
    Path(file).write_text(text.replace("learningRate: 0.0001", "learningRate: 1e-4"))
    cluster.api.kubectl("apply", "-f", file, "-n", cluster.namespace)
    found = cluster.msm("submit", file)
    assert found.exit_code == 0, found.output
    midtrain = cluster.get("rate")["spec"]["training"]["midtrain"]
    assert (midtrain["learningRate"], midtrain["checkpointEvery"]) == (0.0001, "5m")


def test_a_key_that_the_definition_lacks_is_refused_not_dropped(cluster: Cluster) -> None:
    """What a newer `msm` would send to an older chart."""
    body = small("newer", cluster.namespace, trainig={})
    with pytest.raises(
        UserError, match=r"^spec\.trainig: unknown key for the cluster's version of MSMRun; remove it, or upgrade the chart$"
    ):
        apply_run(connect(Where(namespace=cluster.namespace, kubeconfig=cluster.plane.kubeconfig), {}), body)


def test_a_namespace_that_is_not_there_is_said(cluster: Cluster) -> None:
    found = msm("submit", written("lost"), "--namespace", "nowhere", env=cluster.env)
    assert (found.exit_code, found.stderr) == (2, 'error: --namespace: test has no namespace "nowhere"; name one that it has\n')


def test_without_the_definitions_the_chart_is_named(definitions: ControlPlane) -> None:
    """A group that the server does not have: what it says of MSMRun where the chart is not installed."""
    requests = connect(Where(kubeconfig=definitions.kubeconfig), {})
    answer = requests.send("GET", "/apis/nothing.modelspec.dev/v1alpha1/namespaces/default/msmruns/x")
    assert "the platform is not installed there; install the chart" in str(error_of(answer, requests.place))


def test_status_wait_and_list_follow_the_resource(cluster: Cluster) -> None:
    cluster.msm("submit", written("seen"))
    assert cluster.msm("status", "seen").stdout == "seen  New  the operator has not seen it yet\n"
    planned = ("Accepted", "True", "Planned", "")
    row = {"name": "finetune aft seed 0", "kind": "finetune", "fingerprint": "f" * 16, "state": "running", "percentage": 50}
    more = {"run": "seen-1", "plan": {"digest": "d", "total": 4, "done": 2, "arms": 1}, "progress": {"percentage": 60}}
    cluster.say("seen", planned, ("Progressing", "True", "StagesRunning", "finetune aft seed 0"), stages=[row], **more)
    assert cluster.msm("status", "seen.yaml").stdout.splitlines()[0] == "seen-1  Running  60%  2 of 4 stages done  ETA -"
    assert cluster.msm("status").stdout.splitlines()[1].split() == ["seen", "Running", "2/4", "60", "-"]
    assert cluster.msm("wait", "seen", "--timeout", "1s").exit_code == 2
    end = threading.Timer(1.0, lambda: cluster.say("seen", planned, ("Succeeded", "True", "AllCommitted", "done")))
    end.start()
    assert cluster.msm("wait", "seen", "--timeout", "60s").exit_code == 0
    end.join()
    cluster.say("seen", planned, ("Failed", "True", "StagesFailed", "finetune: 4 faults"))
    found = cluster.msm("wait", "seen")
    assert (found.exit_code, "error: seen: Failed: StagesFailed: finetune: 4 faults" in found.stderr) == (1, True)
    cluster.say("seen", ("Accepted", "False", "InvalidSpec", "spec.arms: no"))
    assert cluster.msm("wait", "seen").exit_code == 2


def test_cancel_deletes_and_can_wait(cluster: Cluster) -> None:
    cluster.msm("submit", written("gone"))
    found = cluster.msm("cancel", "gone", "--wait", "--timeout", "60s")
    assert found.stdout.startswith("gone: deleted; its records and artifacts stay in the store")
    assert cluster.get("gone")["code"] == 404
    assert cluster.msm("cancel", "gone").exit_code == 2


def test_logs_of_a_pod_on_a_node_that_gives_none_say_so(cluster: Cluster, fake_nodes: ControlPlane) -> None:
    cluster.msm("submit", written("quiet"))
    uid = cluster.get("quiet")["metadata"]["uid"]
    labels = {"modelspec.dev/run-uid": uid, "modelspec.dev/stage": "f" * 16, "modelspec.dev/stage-kind": "evaluate"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "quiet-a1", "namespace": cluster.namespace, "labels": labels | {"modelspec.dev/attempt": "1"}},
        "spec": {"containers": [{"name": "pytorch", "image": "example.invalid/none:1"}], "nodeSelector": {"never": "there"}},
    }
    cluster.api.put(pod)
    found = cluster.msm("logs", "quiet")
    assert found.exit_code == 0, found.output
    assert "attempt 1, pod quiet-a1: no log:" in found.stderr or "== evaluate" in found.stdout


def grant(cluster: Cluster, name: str, rules: list[Object]) -> dict[str, str]:
    """The environment of a ServiceAccount with these rights in the namespace."""
    meta = {"name": name, "namespace": cluster.namespace}
    rbac = "rbac.authorization.k8s.io"
    subject = {"kind": "ServiceAccount", "name": name, "namespace": cluster.namespace}
    binding = {"roleRef": {"apiGroup": rbac, "kind": "Role", "name": name}, "subjects": [subject]}
    cluster.api.put(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": meta, "rules": rules},
        {"apiVersion": f"{rbac}/v1", "kind": "RoleBinding", "metadata": meta, **binding},
    )
    return {"KUBECONFIG": str(cluster.plane.service_account(cluster.namespace, name))}


def test_who_may_not_is_told_what_role_to_ask_for(cluster: Cluster) -> None:
    file = written("mine")
    nobody, reader = grant(cluster, "nobody", []), grant(cluster, "reader", READER)
    me = f"system:serviceaccount:{cluster.namespace}"
    expected = {
        ("status", "mine"): (nobody, "nobody", "get", "view"),
        ("status",): (nobody, "nobody", "list", "view"),
        ("submit", file): (reader, "reader", "patch", "edit"),
    }
    for arguments, (env, who, verb, role) in expected.items():
        found = cluster.msm(*arguments, **env)
        assert (found.exit_code, found.stderr) == (
            2,
            f"error: cluster test: {me}:{who} may not {verb} msmruns in namespace {cluster.namespace}; "
            f'ask its administrator for the role "{role}" in that namespace\n',
        )
    cluster.msm("submit", file)
    found = cluster.msm("suspend", "mine", **reader)
    assert (found.exit_code, f"{me}:reader may not patch msmruns" in found.stderr) == (2, True)
    found = cluster.msm("logs", "mine", **reader)
    assert (found.exit_code, f"without logs of pods: cluster test: {me}:reader may not list pods" in found.stderr) == (0, True)


def changed_kubeconfig(cluster: Cluster, change: Callable[[Object], None]) -> dict[str, str]:
    config = yaml.safe_load(cluster.plane.kubeconfig.read_text())
    change(config)
    Path("kubeconfig").write_text(yaml.safe_dump(config))
    return {"KUBECONFIG": str(Path("kubeconfig").resolve())}


def test_a_stranger_and_a_server_that_is_not_the_one_are_told_apart(cluster: Cluster) -> None:
    stranger = changed_kubeconfig(cluster, lambda config: config["users"][0].update(user={"token": "made-up"}))
    found = cluster.msm("status", "x", **stranger)
    assert (found.exit_code, "the cluster does not know who you are" in found.stderr) == (2, True)
    other = changed_kubeconfig(cluster, lambda config: config["clusters"][0]["cluster"].pop("certificate-authority-data"))
    found = cluster.msm("status", "x", **other)
    assert found.exit_code == 2
    assert found.stderr.startswith("error: context test: there is no trusted connection with https://127.0.0.1:")


@pytest.mark.slow
def test_waiting_survives_a_restart_of_the_api_server(cluster: Cluster) -> None:
    cluster.msm("submit", written("patient"))
    found: list[Result] = []
    waiting = threading.Thread(target=lambda: found.append(cluster.msm("wait", "patient", "--for", "accepted", "--timeout", "120s")))
    waiting.start()
    time.sleep(1)
    cluster.plane.restart_api_server(kill=True)
    cluster.say("patient", ("Accepted", "True", "Planned", ""))
    waiting.join(150)
    assert found[0].exit_code == 0, found[0].output


@pytest.fixture
def plugin(tmp_path: Path) -> dict[str, str]:
    """The console script `kubectl-msm` on the PATH, and what it needs to run."""
    script = tmp_path / "bin" / "kubectl-msm"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\nfrom msm.cli.main import main\n\nmain()\n")
    script.chmod(0o755)
    root = str(Path(__file__).resolve().parents[2])
    return {"PATH": f"{script.parent}:{os.environ['PATH']}", "PYTHONPATH": root}


def test_kubectl_finds_the_plugin_and_passes_its_own_flags_on(
    cluster: Cluster, plugin: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**plugin, "HOME": str(Path.cwd()), **cluster.env}.items():
        monkeypatch.setenv(name, value)
    assert "kubectl-msm" in kubectl("plugin", "list")
    cluster.msm("submit", written("plugged"))
    said = kubectl("msm", "status", "plugged", "--context", "test", "-n", cluster.namespace)
    assert said == "plugged  New  the operator has not seen it yet\n"
    assert kubectl("msm", "suspend", "plugged", "-n", cluster.namespace) == (
        f"plugged: its stages checkpoint and stop; `kubectl msm resume plugged --namespace {cluster.namespace}` lets it go on\n"
    )
    assert kubectl("msm", "wait", "--help").split()[:4] == ["Usage:", "kubectl", "msm", "wait"]


def kubectl(*arguments: str) -> str:
    done = subprocess.run([str(program("kubectl")), *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
