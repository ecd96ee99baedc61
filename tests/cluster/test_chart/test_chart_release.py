"""helm install, upgrade and uninstall on a real control plane: what is made, what is kept, and what helm says when it does not work."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from tests.cluster import rbac
from tests.cluster.control_plane import Refused
from tests.cluster.runs import small
from tests.cluster.test_chart.release import HOME, Kubelet, Release

Object = dict[str, Any]
DEFINITIONS = ("msmruns.modelspec.dev", "evaldeployments.modelspec.dev")


def test_it_is_installed_with_everything_ready_and_no_hook_left(release: Release) -> None:
    said = release.install("--wait")
    assert "kubectl -n msm-system rollout status deployment/msm-operator" in said
    (output,) = release.said.values()
    assert "everything that runs need is there" in output or "nothing that runs need is missing" in output
    for line in ("PyTorchJob is served", "can be read and written", "images.trainer: registry.example.com/msm-trainer:1 starts"):
        assert line in output
    assert release.get("deployment", "msm-operator")["status"]["readyReplicas"] == 2
    assert release.names("replicaset") == [n for n in release.names("replicaset") if n.startswith("msm-operator")]
    assert release.names("job") == [] and "msm-preflight" not in release.names("serviceaccount")
    assert "msm-preflight" not in release.names("role")
    events = release.plane.api.get("events", "-n", HOME)["items"]
    assert not [e["message"] for e in events if "PodSecurity" in e.get("message", "")], "the namespace enforces `restricted`"


def test_definitions_and_runs_outlive_the_release_and_meet_the_next_one(release: Release) -> None:
    release.install()
    release.plane.api.put(small("kept", "team"))
    assert release.helm("uninstall", "msm").returncode == 0
    api = release.plane.api
    assert api.get("msmrun", "kept", "-n", "team")["metadata"]["name"] == "kept"
    assert release.names("deployment") == []
    again = release.try_install()
    assert again.returncode == 0, again.stdout
    uid = api.get("crd", DEFINITIONS[0])["metadata"]["uid"]
    release.helm("uninstall", "msm")
    other = Release(release.plane, release.s3, release.directory, name="other", bucket=release.bucket)
    refused = other.try_install()
    assert refused.returncode != 0 and "invalid ownership metadata" in refused.stdout
    other.install()
    assert api.get("crd", DEFINITIONS[0])["metadata"]["uid"] == uid
    assert other.helm("uninstall", "other").returncode == 0
    api.kubectl("delete", "msmrun", "kept", "-n", "team")


def older_chart(directory: Path) -> Path:
    """This chart with a definition that has no columns yet."""
    chart = directory / "older"
    shutil.copytree(rbac.CHART, chart)
    file = chart / "files" / "crds" / "msmruns.yaml"
    definition = yaml.safe_load(file.read_text(encoding="utf-8"))
    del definition["spec"]["versions"][0]["additionalPrinterColumns"]
    file.write_text(yaml.safe_dump(definition), encoding="utf-8")
    return chart


def test_an_upgrade_brings_new_definitions_and_rolls_one_pod_after_the_other(release: Release, tmp_path: Path) -> None:
    older = replace(release, chart=older_chart(tmp_path))
    older.install("--wait")
    api = release.plane.api
    assert "additionalPrinterColumns" not in api.get("crd", DEFINITIONS[0])["spec"]["versions"][0]
    release.install("--wait", verb=("upgrade",), operator={"leaseSeconds": 20}, images={"operator": {"tag": "2"}})
    assert api.get("crd", DEFINITIONS[0])["spec"]["versions"][0]["additionalPrinterColumns"]
    deployment = release.get("deployment", "msm-operator")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example.com/msm-operator:2"
    assert deployment["status"]["readyReplicas"] == 2
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_a_definition_that_was_changed_by_hand_is_named_and_can_be_taken_back(release: Release) -> None:
    release.install()
    api = release.plane.api
    without = [{"op": "remove", "path": "/spec/versions/0/additionalPrinterColumns"}]
    api.kubectl("patch", "crd", DEFINITIONS[0], "--type=json", "-p", json.dumps(without))
    refused = release.try_install(verb=("upgrade",))
    assert refused.returncode != 0 and 'conflict with "kubectl-patch"' in refused.stdout
    release.install("--force-conflicts", verb=("upgrade",))
    assert api.get("crd", DEFINITIONS[0])["spec"]["versions"][0]["additionalPrinterColumns"]


def test_a_missing_secret_ends_helm_before_anything_is_made(release: Release) -> None:
    release.plane.api.kubectl("delete", "secret", "msm-store", "-n", HOME)
    done = release.try_install("--take-ownership")
    assert done.returncode != 0 and "pre-install" in done.stdout
    (output,) = release.said.values()
    assert "failed  store.secretName: there is no Secret msm-store" in output
    assert "kubectl -n msm-system create secret generic msm-store" in output
    assert release.names("deployment") == []


def test_a_wrong_key_and_a_bucket_that_is_not_there_are_told_apart(release: Release) -> None:
    release.credentials(HOME, AWS_SECRET_ACCESS_KEY="wrong-canary")
    assert release.try_install("--take-ownership").returncode != 0
    (output,) = release.said.values()
    assert "failed  store.secretName" in output and "refuses these credentials" in output and "wrong-canary" not in output
    release.credentials(HOME)
    release.said.clear()
    done = release.try_install("--take-ownership", "--replace", store={"uri": "s3://nobody-made-this/store"})
    assert done.returncode != 0
    (output,) = release.said.values()
    assert "failed  store.uri" in output and "no such bucket" in output


def test_a_missing_controller_is_named_with_what_to_install(release: Release) -> None:
    done = release.try_install("--take-ownership", preflight={"required": ["training", "serving"]})
    assert done.returncode != 0
    (output,) = release.said.values()
    assert "inferenceservices.serving.kserve.io (KServe)" in output and "take serving out of preflight.required" in output


def test_an_image_that_cannot_be_pulled_is_told_in_the_kubelets_words(release: Release) -> None:
    pulled = Kubelet(release)

    def act() -> None:
        for pod in release.plane.api.get("pods", "-n", HOME, "-l", "modelspec.dev/preflight=images")["items"]:
            waiting = {"reason": "ErrImagePull", "message": "registry.example.com/msm-trainer:1: not found"}
            status = {"name": "trainer", "image": "", "imageID": "", "ready": False, "restartCount": 0, "state": {"waiting": waiting}}
            said = {"status": {"containerStatuses": [status]}}
            path = f"/api/v1/namespaces/{HOME}/pods/{pod['metadata']['name']}/status"
            release.plane.api.request("PATCH", path, said, content="application/merge-patch+json")
        pulled.turn()

    done = release.try_install("--take-ownership", act=act)
    assert done.returncode != 0
    (output,) = release.said.values()
    assert "failed  images.trainer: registry.example.com/msm-trainer:1 cannot be pulled" in output and "not found" in output


def test_helm_3_installs_and_helm_4_upgrades_it(release: Release) -> None:
    release.install("--wait", helm="helm3")
    release.install("--wait", verb=("upgrade",), operator={"leaseSeconds": 20})
    assert release.operator_environment()["MSM_LEASE_SECONDS"] == "20"


def test_the_definitions_cannot_be_removed_by_an_upgrade_without_them(release: Release) -> None:
    release.install()
    release.install(verb=("upgrade",), crds={"install": False})
    try:
        release.plane.api.get("crd", DEFINITIONS[0])
    except Refused as error:
        raise AssertionError("the definitions went, and all runs with them") from error
