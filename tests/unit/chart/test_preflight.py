"""What the preflight thinks of what it sees: the kubelet's words on images, the kinds that are served, the store, MLflow."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from msm.errors import TryAgain, UserError
from msm.store import StoreConfig
from msm_operator.preflight.findings import controller_finding, image_findings, verdict
from msm_operator.preflight.outside import secret_findings, store_findings, tracking_findings
from msm_operator.preflight.settings import Settings, settings_of
from tests.unit.operator_msmrun.cluster import FakeClock

Object = dict[str, Any]
IMAGE = "registry.example.com/msm-trainer:1"
BASE = {
    "POD_NAMESPACE": "msm-system",
    "MSM_PREFLIGHT_SECONDS": "30",
    "MSM_PREFLIGHT_IMAGES": "trainer",
    "MSM_PREFLIGHT_REQUIRED": "training",
}


def settings(tmp_path: Path, **more: str) -> Settings:
    found = settings_of({**BASE, **more})
    keys = StoreConfig(f"file://{tmp_path}/store", access_key="a", secret_key="b")
    return replace(found, store=keys) if found.store is None else found


def pod(state: Object | None, **status: Any) -> Object:
    """A pod that tries the image."""
    statuses = [{"name": "trainer", "state": state, "restartCount": 0, **status}] if state is not None else []
    return {
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "trainer", "image": IMAGE}]},
        "status": {"containerStatuses": statuses},
    }


def waiting(reason: str, message: str = "") -> Object:
    return {"waiting": {"reason": reason, "message": message}}


UNPLACED = {**pod(None), "status": {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}]}}
SEEN: dict[str, tuple[list[Object], float, str | None, str]] = {
    "an image that starts is there": ([pod({"running": {}})], 1, "ok", "starts"),
    "one that has started and ended is there": ([pod({"terminated": {"exitCode": 0, "reason": "Completed"}})], 1, "ok", "starts"),
    "a failed pull is tried again": ([pod(waiting("ErrImagePull", "no such host"))], 5, None, ""),
    "a pull that goes on failing is told with its words": (
        [pod(waiting("ErrImagePull", "manifest unknown"))],
        16,
        "failed",
        "cannot be pulled: manifest unknown; correct registry, repository, tag or digest",
    ),
    "so is one that backs off": ([pod(waiting("ImagePullBackOff", "Back-off pulling image"))], 20, "failed", "images.pullSecrets"),
    "a name that is none": ([pod(waiting("InvalidImageName", "couldn't parse"))], 1, "failed", "InvalidImageName"),
    "an image that only a node could have": ([pod(waiting("ErrImageNeverPull"))], 1, "failed", "pullPolicy"),
    "an image that is being pulled is waited for": ([pod(waiting("ContainerCreating"))], 10, None, ""),
    "and believed in after a while": ([pod(waiting("ContainerCreating"))], 31, "ok", "is being pulled"),
    "an image without python": ([pod({"terminated": {"reason": "StartError", "message": "no such file"}})], 1, "failed", "no python"),
    "one that crashed at once has been pulled": ([pod(waiting("CrashLoopBackOff"), restartCount=2)], 1, "ok", "starts"),
    "no node": ([UNPLACED], 31, "warning", "0/1 nodes are available"),
    "no node yet": ([UNPLACED], 5, None, ""),
    "no pod": ([], 31, "warning", "no pod could be made"),
    "a pod of the last try is not asked": ([{**pod({"running": {}}), "metadata": {"deletionTimestamp": "x"}}], 5, None, ""),
}


@pytest.mark.parametrize(("pods", "waited", "level", "words"), SEEN.values(), ids=SEEN)
def test_an_image(pods: list[Object], waited: float, level: str | None, words: str) -> None:
    found = image_findings(pods, ("trainer",), waited)
    assert [one.level for one in found] == ([] if level is None else [level])
    assert all(one.about == "images.trainer" and words in one.text for one in found)


def test_a_required_controller_that_is_missing_is_named_with_what_to_install() -> None:
    found = controller_finding("training", set(), {"training"})
    assert found.level == "failed" and found.about == "preflight.required"
    assert "pytorchjobs.kubeflow.org" in found.text and "install the training operator" in found.text
    assert controller_finding("serving", set(), {"training"}).level == "warning"
    assert controller_finding("queues", {"workloads"}, {"queues"}).level == "ok"


def test_a_store_that_takes_a_probe_is_fine_and_keeps_nothing(tmp_path: Path) -> None:
    (found,) = store_findings(settings(tmp_path), FakeClock())
    assert found.level == "ok"
    assert not list((tmp_path / "store").glob("preflight/*"))


def test_a_missing_secret_is_named_with_the_command_that_makes_it() -> None:
    (found,) = store_findings(settings_of({**BASE, "MSM_STORE_URI": "s3://b/p", "AWS_ACCESS_KEY_ID": "a"}), FakeClock())
    assert (found.level, found.about) == ("failed", "store.secretName")
    assert "no Secret msm-store with AWS_SECRET_ACCESS_KEY in namespace msm-system" in found.text
    assert "create secret generic msm-store" in found.text and "AWS_ACCESS_KEY_ID" in found.text


def test_a_missing_authority_is_named(tmp_path: Path) -> None:
    keys = {"MSM_STORE_URI": "s3://b/p", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    (found,) = store_findings(settings_of({**BASE, **keys, "MSM_STORE_CA_FILE": str(tmp_path / "ca.crt")}), FakeClock())
    assert found.about == "store.caConfigMap"


REFUSALS = {
    "wrong key": (UserError("s3://b/p", "refuses these credentials (AccessDenied)"), "store.secretName"),
    "no bucket": (UserError("s3://b/p", "there is no such bucket (NoSuchBucket)"), "store.uri"),
    "another authority": (UserError("https://s3", "its certificate is not trusted here"), "store.caConfigMap"),
    "an address that is none": (UserError("s3", "is no address"), "store.endpoint"),
    "no conditional put": (UserError("s3://b/p", "its server cannot do what the store needs"), "store.uri"),
    "silence": (TryAgain("s3://b/p: does not answer"), "store.endpoint"),
}


@pytest.mark.parametrize(("error", "about"), REFUSALS.values(), ids=REFUSALS)
def test_what_the_store_has_against_us_is_told_of_a_value_of_the_chart(tmp_path: Path, error: Exception, about: str) -> None:
    def opener(_: StoreConfig) -> Any:
        raise error

    clock = FakeClock()
    began = clock.monotonic()
    (found,) = store_findings(settings(tmp_path), clock, opener)
    assert (found.level, found.about) == ("failed", about) and str(error) in found.text
    assert (clock.monotonic() - began >= 25) == isinstance(error, TryAgain), "silence is asked again, a refusal is not"


@contextmanager
def answering(status: int, text: str) -> Iterator[str]:
    """A fake MLflow that says one thing; its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


ANSWERS = {
    "MLflow": (200, '{"experiments": []}', "ok", "tracking.uri", "answers"),
    "MLflow that does not know its name": (
        403,
        "Invalid Host header - possible DNS rebinding attack detected",
        "failed",
        "tracking.uri",
        "--allowed-hosts 127.0.0.1:",
    ),
    "MLflow with other users": (401, "", "failed", "tracking.secretName", "refuses the credentials"),
    "MLflow in trouble": (503, "", "warning", "tracking.uri", "503"),
    "something else": (404, "nginx", "failed", "tracking.uri", "is no MLflow"),
}


@pytest.mark.parametrize(("status", "text", "level", "about", "words"), ANSWERS.values(), ids=ANSWERS)
def test_mlflow(status: int, text: str, level: str, about: str, words: str) -> None:
    with answering(status, text) as uri:
        (found,) = tracking_findings(settings_of({**BASE, "MSM_TRACKING_URI": uri, "MLFLOW_TRACKING_TOKEN": "canary"}))
    assert (found.level, found.about) == (level, about) and words in found.text and "canary" not in str(found)


def test_a_silent_mlflow_holds_nothing_up() -> None:
    (found,) = tracking_findings(settings_of({**BASE, "MSM_TRACKING_URI": "http://127.0.0.1:1"}))
    assert found.level == "warning" and "Connection refused" in found.text


def test_a_missing_secret_of_mlflow_is_named() -> None:
    (found,) = secret_findings(settings_of({**BASE, "MSM_TRACKING_SECRET": "mlflow"}))
    assert found.about == "tracking.secretName" and "mlflow" in found.text
    assert secret_findings(settings_of({**BASE, "MSM_TRACKING_SECRET": "mlflow", "MLFLOW_TRACKING_USERNAME": "u"})) == []


def test_the_last_line_says_whether_anything_is_installed() -> None:
    bad, good = controller_finding("training", set(), {"training"}), controller_finding("queues", {"workloads"}, set())
    assert "1 of 2 failed" in verdict([bad, good])
    assert verdict([good]) == "everything that runs need is there"


@pytest.mark.parametrize("wrong", [{"POD_NAMESPACE": ""}, {"MSM_PREFLIGHT_SECONDS": "soon"}])
def test_a_setting_that_is_none_is_named(wrong: dict[str, str]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        settings_of({**BASE, **wrong})
