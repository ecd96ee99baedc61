from itertools import pairwise
from pathlib import Path

import pytest

from msm.api import parse_run
from msm.errors import UserError
from msm.tracking import TrackingConfig, tracking_config, ui_command
from msm.tracking.client import one_line, settings
from tests.runs import example

STATE = Path("/home/me/work/.msm")


def configured(tracking: dict[str, object] | None, **environ: str) -> TrackingConfig:
    data = example()
    if tracking is not None:
        data["spec"]["tracking"] = tracking
    return tracking_config(parse_run(data), STATE, environ)


CASES = {
    "a run that names nothing is tracked in a file of the state directory": (None, {}, "sqlite:////home/me/work/.msm/mlflow.db", "example"),
    "the run file's server is used": ({"uri": "http://mlflow:5000/"}, {}, "http://mlflow:5000", "example"),
    "the run file's experiment is used": ({"experiment": "dairy"}, {}, "sqlite:////home/me/work/.msm/mlflow.db", "dairy"),
    "an installation's default is used": (None, {"MSM_TRACKING_URI": "https://ml.example"}, "https://ml.example", "example"),
    "the run file wins over the installation": ({"uri": "http://a"}, {"MSM_TRACKING_URI": "http://b"}, "http://a", "example"),
    "a relative sqlite path starts beside the state directory": (
        {"uri": "sqlite:///t/x.db"},
        {},
        "sqlite:////home/me/work/t/x.db",
        "example",
    ),
    "an absolute sqlite path stays": ({"uri": "sqlite:////data/x.db"}, {}, "sqlite:////data/x.db", "example"),
}


@pytest.mark.parametrize(("tracking", "environ", "uri", "experiment"), CASES.values(), ids=CASES)
def test_tracking_config(tracking, environ, uri, experiment):
    config = configured(tracking, **environ)
    assert (config.uri, config.experiment) == (uri, experiment)


def test_artifacts_of_a_local_file_lie_beside_it_and_a_server_decides_itself():
    assert configured(None).artifacts == STATE / "mlartifacts"
    assert configured({"uri": "http://mlflow:5000"}).artifacts is None


MISTAKES = {
    "a directory is no tracking address": "./mlruns",
    "a file address is no tracking address": "file:///mlruns",
    "a scheme without a host is refused": "http://",
    "a database server's address is refused": "postgresql://me:hunter2@db/mlflow",
    "a password in the address is refused": "https://me:hunter2@mlflow.example",
    "a token in the query is refused": "https://mlflow.example/?token=hunter2",
}


@pytest.mark.parametrize("uri", MISTAKES.values(), ids=MISTAKES)
def test_a_wrong_address_is_the_users_mistake_and_never_repeats_a_secret(uri):
    with pytest.raises(UserError) as caught:
        configured({"uri": uri})
    assert str(caught.value).startswith("spec.tracking.uri: ")
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_command_for_a_file_can_be_pasted_into_a_shell():
    config = TrackingConfig("sqlite:////my files/mlflow.db", "e", Path("/my files/mlartifacts"))
    command = ui_command(config, ".venv/bin/mlflow")
    assert command.endswith("bin/mlflow ui --workers 1 --backend-store-uri 'sqlite:////my files/mlflow.db'")
    assert "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false" in command


def test_a_server_is_opened_by_its_address():
    assert ui_command(TrackingConfig("http://mlflow:5000", "e")) == "http://mlflow:5000"


def test_mlflow_is_told_to_wait_once_and_not_to_report_home():
    told = settings({"PATH": "/bin", "MLFLOW_DISABLE_TELEMETRY": "false"})
    assert (told["MLFLOW_HTTP_REQUEST_TIMEOUT"], told["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]) == ("10", "0")
    assert told["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert "PATH" not in told


def test_the_users_own_waits_and_credentials_stand():
    own = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "33", "MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "hunter2"}
    assert own.items() <= settings(own).items()


def raised(*errors: Exception) -> Exception:
    """The first error, led to by the others."""
    for error, cause in pairwise(errors):
        error.__cause__ = cause
    return errors[0]


LINES = {
    "a wrapped refusal says what the system said": (
        raised(RuntimeError("API request failed"), ValueError("retries"), ConnectionRefusedError(111, "Connection refused")),
        "Connection refused",
    ),
    "a wrapped timeout says so": (raised(RuntimeError("API request failed"), TimeoutError("timed out")), "no answer in time"),
    "any other error is its own first line": (raised(RuntimeError("bad\nworse"), ValueError("x")), "bad"),
    "an error without a text is its name": (KeyError(), "KeyError"),
    "a long text is cut": (RuntimeError("x" * 999), "x" * 299 + "…"),
}


@pytest.mark.parametrize(("error", "line"), LINES.values(), ids=LINES)
def test_one_line(error, line):
    assert one_line(error) == line
