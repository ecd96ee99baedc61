"""Kubeconfigs that do not serve, and servers that do not answer; TLS and real refusals are tests/cluster/test_submit_*.py's."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from msm.cluster.connection import Where, connect
from msm.cluster.labels import ATTEMPT, CONTAINER, KIND, RUN_UID, STAGE, STAGE_NAME
from msm.errors import TryAgain, UserError
from tests.unit.cli.kept import msm


def kubeconfig(directory: Path, server: str = "http://127.0.0.1:1", current: str = "lab") -> Path:
    contexts = [
        {"name": "lab", "context": {"cluster": "c", "user": "u", "namespace": "team"}},
        {"name": "plain", "context": {"cluster": "c", "user": "u"}},
        {"name": "broken", "context": {"cluster": "nowhere", "user": "u"}},
    ]
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": current,
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": contexts,
    }
    path = directory / "config"
    path.write_text(yaml.safe_dump(config))
    return path


def test_the_context_says_server_and_namespace_unless_the_command_line_does(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path, "https://lab.example:6443/")
    places = [
        connect(Where(kubeconfig=file), {}).place,
        connect(Where("plain"), {"KUBECONFIG": str(file)}).place,
        connect(Where("plain", "mine", file), {}).place,
    ]
    assert [(p.context, p.namespace) for p in places] == [("lab", "team"), ("plain", "default"), ("plain", "mine")]
    assert {p.server for p in places} == {"https://lab.example:6443"}


MISTAKES = {
    "no such file": (lambda d: Where(kubeconfig=d / "none"), "does not exist; name one with --kubeconfig or KUBECONFIG"),
    "no such context": (lambda d: Where("lba", kubeconfig=kubeconfig(d)), "config has: broken, lab, plain; name one of these"),
    "no current context": (lambda d: Where(kubeconfig=kubeconfig(d, current="")), "is missing and the kubeconfig has no current one"),
    "a context without a cluster": (lambda d: Where("broken", kubeconfig=kubeconfig(d)), "context broken: cannot be used"),
}


@pytest.mark.parametrize("case", MISTAKES.values(), ids=MISTAKES)
def test_a_kubeconfig_that_does_not_serve_is_one_line(case: tuple, tmp_path: Path) -> None:
    make, said = case
    with pytest.raises(UserError) as found:
        connect(make(tmp_path), {})
    assert said in str(found.value)


@pytest.mark.parametrize("text", ["", "[", "just words", "- a\n- b", "contexts: 3", "contexts: [{name: x}]\ncurrent-context: x"])
def test_a_file_that_is_no_kubeconfig_is_the_users_mistake(text: str, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(UserError):
        connect(Where(kubeconfig=tmp_path / "config"), {})


def test_a_server_that_does_not_answer_is_worth_another_try(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(TryAgain) as found:
        connect(Where(kubeconfig=kubeconfig(tmp_path, server)), {}).send("GET", "/version")
    assert str(found.value) == f"the cluster at {server} (lab) does not answer: [Errno 111] Connection refused"


def test_a_command_without_an_answer_exits_with_75(tmp_path: Path) -> None:
    found = msm("status", "x", "--kubeconfig", str(kubeconfig(tmp_path)))
    assert (found.exit_code, found.stderr.startswith("error: the cluster at http://127.0.0.1:1 (lab) does not answer: ")) == (75, True)


def test_labels_are_the_operators() -> None:
    from msm_operator.backends import names
    from msm_operator.backends.pods import CONTAINER as THEIRS

    assert (RUN_UID, STAGE, KIND, ATTEMPT, STAGE_NAME) == (names.RUN_UID, names.STAGE, names.KIND, names.ATTEMPT, names.STAGE_NAME)
    assert CONTAINER == THEIRS


def test_the_official_client_is_imported_by_a_connection_alone() -> None:
    program = "import json, sys, msm.cli.steering, msm.cli.reading, msm.cli.submitting; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    rooms = {module.partition(".")[0] for module in json.loads(done.stdout)}
    assert "msm" in rooms
    assert not {"kubernetes", "torch", "minio", "mlflow", "rich"} & rooms
