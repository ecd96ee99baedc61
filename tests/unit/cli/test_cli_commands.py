import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from msm.errors import IntegrityError, TryAgain, UserError
from msm.local.status import Phase, State
from msm.store import StoreConfig, open_store
from tests.unit.cli.kept import Kept, msm, small_example

LONG_AGO = datetime(2026, 5, 1, tzinfo=UTC)


def test_a_valid_file_is_said_to_be_valid(kept: Kept) -> None:
    found = msm("validate", "run.yaml")
    assert (found.exit_code, found.stdout) == (0, "run.yaml: valid; example compares 2 arms, 1 seed, 1 eval\n")
    assert json.loads(msm("validate", "run.yaml", "--json").stdout) == {"valid": True, "run": "example", "arms": 2, "seeds": 1, "evals": 1}


def test_a_mistake_is_one_line_on_stderr_and_exit_code_2(kept: Kept) -> None:
    data = small_example()
    data["spec"]["arms"][1]["midtrain"] = ["amerika"]
    Path("run.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    found = msm("validate", "run.yaml")
    assert found.exit_code == 2
    assert found.stdout == ""
    assert found.stderr.startswith('error: run.yaml: spec.arms[1].midtrain[0]: no corpus named "amerika"; this run has: america, thrift')
    assert found.stderr.count("\n") == 1


def test_a_mistake_with_json_is_also_a_document(kept: Kept) -> None:
    found = msm("validate", "nowhere.yaml", "--json")
    said = json.loads(found.stdout)["error"]
    assert (said["reason"], said["field"], said["exitCode"]) == ("InvalidInput", "nowhere.yaml", 2)


ERRORS = {
    "the user's mistake": (UserError("spec.x", "is wrong", "mend it"), 2, "error: spec.x: is wrong; mend it\n"),
    "an outage": (TryAgain("the store does not answer"), 75, "error: the store does not answer\n"),
    "damage": (IntegrityError("blob: wrong\ndigest"), 1, "error: blob: wrong digest\n"),
    "an interruption": (KeyboardInterrupt(), 130, "interrupted\n"),
}


@pytest.mark.parametrize("case", ERRORS.values(), ids=ERRORS)
def test_errors_become_exit_codes_without_a_traceback(case: tuple, kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    error, code, line = case

    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr("msm.cli.planning.validate", broken)
    found = msm("validate", "run.yaml")
    assert (found.exit_code, found.stderr) == (code, line)


def test_a_defect_shows_its_traceback_and_says_that_it_is_one(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("msm.cli.planning.validate", lambda *_: 1 // 0)
    found = msm("validate", "run.yaml")
    assert found.exit_code == 1
    assert "Traceback" in found.stderr
    assert found.stderr.splitlines()[-1].startswith("error: this is a defect of msm, not of your run (ZeroDivisionError)")


@pytest.mark.parametrize("arguments", [("rum",), ("run",), ("gc", "--grase", "1h"), ("results",)])
def test_a_command_line_that_is_none_exits_with_2(arguments: tuple[str, ...], kept: Kept) -> None:
    assert msm(*arguments).exit_code == 2


def test_status_shows_the_stages_and_who_is_at_work(kept: Kept) -> None:
    kept.keep_status(kept.status(midtrain=State.RUNNING))
    found = msm("status", "example")
    assert found.exit_code == 0, found.output
    assert found.stdout.splitlines()[0].startswith(f"{kept.uid}  Running  ")
    assert "ETA" in found.stdout.splitlines()[0]
    assert "midtrain america seed 0" in found.stdout


def test_a_running_status_that_is_old_is_not_believed(kept: Kept) -> None:
    kept.keep_status(kept.status(updated=LONG_AGO, midtrain=State.RUNNING))
    assert "nobody is at work on it since 2026-05-01 00:00 UTC" in msm("status", "example").stdout
    assert json.loads(msm("status", "example", "--json").stdout)["atWork"] is False
    assert "Interrupted" in msm("status").stdout


def test_status_as_json_carries_stages_and_estimates(kept: Kept) -> None:
    kept.keep_status(kept.status(midtrain=State.RUNNING))
    document = json.loads(msm("status", kept.uid, "--json").stdout)
    assert document["phase"] == "Running"
    assert {"percentage", "estimatedRemainingSeconds", "atWork"} <= set(document)
    assert {s["state"] for s in document["stages"]} == {"done", "running"}


def test_a_run_that_was_never_started_says_so(kept: Kept) -> None:
    found = msm("status", "example")
    assert found.exit_code == 2
    assert "has not been started" in found.stderr


def test_status_without_a_target_lists_runs_and_makes_no_store(kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.keep_status(kept.status(Phase.SUCCEEDED, LONG_AGO))
    assert kept.uid in msm("status").stdout
    (run,) = json.loads(msm("status", "--json").stdout)["runs"]
    assert (run["uid"], run["phase"], run["done"]) == (kept.uid, "Succeeded", len(kept.plan.stages))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert msm("status").stdout == "no runs here; `msm run FILE` makes one\n"
    assert not (tmp_path / "elsewhere" / ".msm").exists()


def test_another_store_can_be_named(kept: Kept, tmp_path: Path) -> None:
    other = open_store(StoreConfig(f"file://{tmp_path}/other"))
    other.put("runs/another-1/plan.json", kept.plan.model_dump_json(by_alias=True).encode())
    assert [r["uid"] for r in json.loads(msm("status", "--store", other.uri, "--json").stdout)["runs"]] == ["another-1"]


def test_an_unknown_run_is_answered_with_those_there_are(kept: Kept) -> None:
    found = msm("results", "exmaple")
    assert found.exit_code == 2
    assert kept.uid in found.stderr


def test_results_that_are_being_made_are_to_be_asked_for_again(kept: Kept) -> None:
    kept.keep_status(kept.status(evaluate=State.RUNNING))
    assert msm("results", "example").exit_code == 75
    kept.keep_status(kept.status(Phase.FAILED, LONG_AGO, evaluate=State.FAILED))
    found = msm("results", "example")
    assert found.exit_code == 2
    assert "`msm run example` makes them" in found.stderr


def test_logs_of_a_stage_come_from_everywhere_they_are_kept(kept: Kept) -> None:
    kept.keep_status(kept.status())
    stage = next(s for s in kept.plan.stages if s.kind == "midtrain")
    short = f"midtrain-{stage.fingerprint[:12]}"
    kept.store.put(f"midtrain/{stage.fingerprint}/attempts/01A/log.txt", b"committed\n")
    kept.store.put(f"runs/{kept.uid}/logs/{short}-0.log", b"broke \x1b[31mhere\n")
    live = Path(f".msm/scratch/{short}-2/logs/x/y/0")
    live.mkdir(parents=True)
    (live / "stderr.log").write_text("going on\n")
    found = msm("logs", "example", "--stage", "midtrain")
    assert found.stdout.splitlines() == [
        "== midtrain america seed 0, attempt 01A",
        "committed",
        "== midtrain america seed 0, failed attempt 0",
        "broke [31mhere",
        "== midtrain america seed 0, now running",
        "going on",
    ]
    assert json.loads(msm("logs", "example", "--json").stdout)["logs"][0]["text"] == "committed\n"


def test_a_stage_that_is_none_is_answered_with_those_there_are(kept: Kept) -> None:
    kept.keep_status(kept.status())
    found = msm("logs", "example", "--stage", "midtrian")
    assert found.exit_code == 2
    assert "midtrain america seed 0" in found.stderr


def test_gc_says_what_would_go_and_then_deletes_it(kept: Kept) -> None:
    from msm.store.blobs import put_blob

    put_blob(kept.store, b"nobody refers to this")
    plan = json.loads(msm("gc", "--grace", "0s", "--dry-run", "--json").stdout)
    assert plan["dryRun"] is True and len(plan["deleted"]) == 1
    done = json.loads(msm("gc", "--grace", "0s", "--json").stdout)
    assert done["deleted"] == plan["deleted"]
    assert json.loads(msm("gc", "--grace", "0s", "--json").stdout)["deleted"] == []


def test_gc_keeps_what_is_younger_than_its_grace(kept: Kept) -> None:
    from msm.store.blobs import put_blob

    put_blob(kept.store, b"just put here")
    assert "freed 0 bytes" in msm("gc").stdout


def test_gc_refuses_a_grace_that_is_none_and_a_store_that_is_not_there(kept: Kept, tmp_path: Path) -> None:
    assert 'error: --grace: "soon" is not a duration' in msm("gc", "--grace", "soon").stderr
    found = msm("gc", "--store", f"file://{tmp_path}/nowhere")
    assert found.exit_code == 2
    assert not (tmp_path / "nowhere").exists()


def test_models_without_a_database_say_so_and_make_none(kept: Kept) -> None:
    found = msm("models", "example")
    assert found.exit_code == 2
    assert "nothing is registered" in found.stderr
    assert not Path(".msm/mlflow.db").exists()


def test_models_are_listed_with_lineage(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    from msm.tracking.models import ModelRow

    rows = [
        ModelRow(1, ("msm-america-aft",), 0, "midtrain", (), None, "a" * 64, "file:///x"),
        ModelRow(2, ("msm-america-aft",), 0, "finetune", ("candidate",), 1, "b" * 64, "file:///y"),
    ]
    Path(".msm/mlflow.db").write_bytes(b"")
    monkeypatch.setattr("msm.tracking.client.open_client", lambda *_: None)
    monkeypatch.setattr("msm.tracking.models.list_models", lambda client, name: rows)
    (model,) = json.loads(msm("models", "run.yaml", "--json").stdout)["models"]
    assert model["name"] == "example"
    assert [(v["version"], v["parent"], v["aliases"]) for v in model["versions"]] == [(1, None, []), (2, 1, ["candidate"])]
    assert "candidate" in msm("models", "example").stdout


def test_sync_hands_over_the_run_and_says_what_mlflow_shows(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("msm.local.session.sync_tracking", lambda accepted, clock: seen.append(accepted.uid) or "MLflow shows 5 runs")
    found = msm("track", "sync", "example")
    assert (found.exit_code, found.stdout, seen) == (0, "MLflow shows 5 runs\n", [kept.uid])


def test_the_version_is_told() -> None:
    found = msm("--version")
    assert found.exit_code == 0
    assert found.stdout.startswith("msm ")
