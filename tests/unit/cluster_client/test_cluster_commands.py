"""The commands, on a scripted cluster and a real file store: what they print, and their exit codes."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import Result

from msm.cli.main import app
from msm.local.status import Phase, State
from tests.unit.cli.kept import Kept, kept, msm, some_results
from tests.unit.cluster_client.scripted_cluster import (
    ACCEPTED,
    FAILED,
    REFUSED,
    RUNNING,
    SUCCEEDED,
    SUSPENDED,
    FakeClock,
    ScriptedCluster,
    refusal,
    run_object,
    silence,
    turn,
)

__all__ = ["kept"]
HERE = ("--context", "lab")
ROW = {
    "name": "midtrain america seed 0",
    "kind": "midtrain",
    "fingerprint": "f" * 16,
    "state": "running",
    "percentage": 40,
    "step": 20,
    "attempts": 1,
}
STATUS = {"run": "cheese-uidofcheese", "plan": {"digest": "d", "total": 5, "done": 2}, "progress": {"percentage": 41}, "stages": [ROW]}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScriptedCluster:
    """Every connection leads here; time passes by being slept."""
    scripted = ScriptedCluster()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("msm.cluster.connection.connect", lambda where, environ: scripted)
    monkeypatch.setattr("msm.clock.SystemClock", FakeClock)
    for name in ("MSM_STORE_URI", "MSM_HOME", "KUBECONFIG", "MSM_STORE_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    return scripted


def as_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/local/bin/kubectl-msm"])


def test_status_shows_the_resource_where_no_store_is_named(cluster: ScriptedCluster) -> None:
    cluster.runs["cheese"] = run_object("cheese", ACCEPTED, RUNNING, **STATUS)
    found = msm("status", "cheese", *HERE)
    assert found.exit_code == 0, found.output
    assert found.stdout.splitlines()[0] == "cheese-uidofcheese  Running  41%  2 of 5 stages done  ETA -"
    assert "midtrain america seed 0" in found.stdout


def test_status_says_what_is_wrong_outside(cluster: ScriptedCluster) -> None:
    store = ("StoreAvailable", "False", "Unreachable", "s3://bucket does not answer")
    cluster.runs["cheese"] = run_object("cheese", ACCEPTED, RUNNING, store, **STATUS)
    assert "StoreAvailable is False: Unreachable: s3://bucket does not answer" in msm("status", "cheese", *HERE).stdout


STANDINGS = {
    "nobody has seen it": ((), "cheese  New  the operator has not seen it yet\n"),
    "it was refused": ((REFUSED,), f"cheese  Refused\n{REFUSED[2]}: {REFUSED[3]}\n"),
    "it is suspended": ((ACCEPTED, SUSPENDED), "cheese  Suspended  `msm resume` continues\n"),
    "it failed": ((ACCEPTED, FAILED), f"cheese  Failed\n{FAILED[2]}: {FAILED[3]}\n"),
    "it succeeded": ((ACCEPTED, SUCCEEDED), "cheese  Succeeded\n"),
}


@pytest.mark.parametrize("case", STANDINGS.values(), ids=STANDINGS)
def test_status_says_where_a_run_stands_and_why(case: tuple, cluster: ScriptedCluster) -> None:
    conditions, said = case
    cluster.runs["cheese"] = run_object("cheese", *conditions)
    assert msm("status", "cheese", *HERE).stdout == said


def with_store(cluster: ScriptedCluster, kept: Kept, *conditions: tuple[str, str, str, str]) -> None:
    """The run of `kept`, executed by the cluster, its store named by the run."""
    plan = {"digest": kept.plan.digest, "total": len(kept.plan.stages), "done": 1}
    cluster.runs["example"] = run_object("example", *conditions, run=kept.uid, plan=plan, progress={"percentage": 10})
    cluster.runs["example"]["spec"]["storage"] = {"uri": kept.store.uri}


def test_status_has_the_stores_details_with_the_local_commands_table(cluster: ScriptedCluster, kept: Kept) -> None:
    with_store(cluster, kept, ACCEPTED, RUNNING)
    kept.keep_status(kept.status(midtrain=State.RUNNING))
    local, remote = msm("status", "example").stdout.splitlines(), msm("status", "example", *HERE).stdout.splitlines()
    assert remote[0] == f"{kept.uid}  Running  10%  1 of {len(kept.plan.stages)} stages done  ETA -"
    assert remote[1:] == local[1:]
    document = json.loads(msm("status", "example", *HERE, "--json").stdout)
    here = json.loads(msm("status", "example", "--json").stdout)
    assert set(here) - {"started", "updated"} <= set(document)
    assert document["stages"] == here["stages"]
    assert (document["namespace"], document["context"]) == ("team", "lab")


def test_a_store_that_has_another_plan_is_not_believed(cluster: ScriptedCluster, kept: Kept) -> None:
    with_store(cluster, kept, ACCEPTED, RUNNING)
    kept.keep_status(kept.status(midtrain=State.RUNNING))
    cluster.runs["example"]["status"]["plan"]["digest"] = "another"
    found = msm("status", "example", *HERE)
    assert found.exit_code == 0
    assert f"without details from the store: {kept.store.uri}: has another plan of {kept.uid} in runs/" in found.stdout
    assert msm("results", "example", *HERE).exit_code == 2


def test_a_file_names_its_run_and_its_namespace(cluster: ScriptedCluster, kept: Kept) -> None:
    cluster.runs["example"] = run_object("example", ACCEPTED, RUNNING, **STATUS)
    assert msm("status", "run.yaml", *HERE).exit_code == 0
    data = yaml.safe_load(Path("run.yaml").read_text())
    data["metadata"]["namespace"] = "theirs"
    Path("run.yaml").write_text(yaml.safe_dump(data))
    found = msm("status", "run.yaml", *HERE, "-n", "mine")
    assert (found.exit_code, found.stderr) == (
        2,
        'error: --namespace: is "mine", and run.yaml says metadata.namespace: theirs; remove one of them\n',
    )


def test_an_unknown_run_is_answered_with_those_that_there_are(cluster: ScriptedCluster) -> None:
    cluster.runs = {"a": run_object("a"), "b": run_object("b", ACCEPTED, run="b-0123")}
    found = msm("status", "chese", *HERE)
    assert found.exit_code == 2
    assert found.stderr == (
        'error: run: "chese" is no run in namespace team of lab, which has: a, b; name one of these, or another --namespace or --context\n'
    )
    assert msm("status", "b-0123", *HERE).stdout.startswith("b-0123  Running")


def test_without_a_target_the_namespaces_runs_are_listed(cluster: ScriptedCluster) -> None:
    assert msm("status", *HERE).stdout == "no runs in namespace team; `msm submit FILE --context lab` makes one\n"
    cluster.runs = {"a": run_object("a"), "cheese": run_object("cheese", ACCEPTED, RUNNING, **STATUS)}
    lines = msm("status", *HERE).stdout.splitlines()
    assert [line.split() for line in lines[1:]] == [["a", "New", "0"], ["cheese", "Running", "2/5", "41", "-"]]
    assert [r["phase"] for r in json.loads(msm("status", *HERE, "--json").stdout)["runs"]] == ["New", "Running"]


def test_watching_prints_a_line_when_something_turned_and_ends_with_the_run(cluster: ScriptedCluster) -> None:
    cluster.runs["cheese"] = run_object()
    cluster.turns = [
        turn(),
        turn(),
        turn(ACCEPTED, RUNNING, **STATUS),
        turn(ACCEPTED, RUNNING, **STATUS),
        turn(ACCEPTED, SUCCEEDED, run="cheese-1", plan={"total": 5, "done": 5}, progress={"percentage": 100}),
    ]
    found = msm("status", "cheese", "-w", *HERE)
    assert found.exit_code == 0
    assert found.stdout.splitlines() == [
        "cheese  New  the operator has not seen it yet",
        "cheese-uidofcheese  Running  41%  2 of 5 stages done  ETA -",
        "cheese-1  Succeeded  100%  5 of 5 stages done",
    ]


WAITS: dict[str, tuple[list, tuple[str, ...], int, str]] = {
    "it succeeds": ([turn(ACCEPTED, RUNNING), turn(ACCEPTED, SUCCEEDED)], (), 0, ""),
    "it is accepted": ([turn(), turn(ACCEPTED, RUNNING)], ("--for", "accepted"), 0, ""),
    "it fails": (
        [turn(ACCEPTED, RUNNING), turn(ACCEPTED, FAILED)],
        (),
        1,
        f"error: cheese: Failed: {FAILED[2]}: {FAILED[3]}; `msm logs cheese --context lab` says more\n",
    ),
    "it is not accepted": ([turn(), turn(REFUSED)], (), 2, f"error: cheese: was not accepted: {REFUSED[2]}: {REFUSED[3]}\n"),
    "it takes too long": (
        [turn(ACCEPTED, RUNNING, **STATUS)],
        ("--timeout", "10s"),
        2,
        "error: cheese: is not succeeded after 10s: cheese-uidofcheese  Running  41%  2 of 5 stages done  ETA -; it goes on, "
        "`msm status cheese --context lab` shows it\n",
    ),
    "it is deleted": ([turn(ACCEPTED, RUNNING), lambda runs: runs.clear()], (), 1, "error: cheese: was deleted\n"),
    "another takes its name": (
        [turn(ACCEPTED, RUNNING), lambda runs: runs["cheese"]["metadata"].update(uid="other")],
        (),
        1,
        "error: cheese: was deleted\n",
    ),
    "the time is none": ([], ("--timeout", "soon"), 2, 'error: --timeout: "soon" is not a duration'),
    "what is waited for is nothing": ([], ("--for", "christmas"), 2, ""),
}


@pytest.mark.parametrize("case", WAITS.values(), ids=WAITS)
def test_wait_exits_with_0_1_or_2(case: tuple, cluster: ScriptedCluster) -> None:
    turns, arguments, code, said = case
    cluster.runs["cheese"] = run_object()
    cluster.turns = list(turns)
    found = msm("wait", "cheese", *arguments, *HERE)
    assert found.exit_code == code, found.output
    assert found.stderr.startswith(said)
    if code == 0:
        assert found.stdout.splitlines()[-1] == f"cheese: {'accepted' if arguments else 'succeeded'}"


def test_wait_goes_on_when_the_cluster_is_away_and_exits_with_2_when_it_never_answers(cluster: ScriptedCluster) -> None:
    cluster.runs["cheese"] = run_object("cheese", ACCEPTED, SUCCEEDED)
    gets = "GET /apis/modelspec.dev/v1alpha1/namespaces/team/msmruns/cheese"
    cluster.turns = [lambda runs: cluster.faults.extend([(gets, silence())] * 3)]
    assert msm("wait", "cheese", *HERE).exit_code == 0
    cluster.faults = [(gets, silence())]
    assert msm("wait", "cheese", *HERE).exit_code == 2


def test_wait_as_json_is_one_document(cluster: ScriptedCluster) -> None:
    cluster.runs["cheese"] = run_object("cheese", ACCEPTED, FAILED)
    found = msm("wait", "cheese", *HERE, "--json")
    assert json.loads(found.stdout) == {
        "run": "cheese",
        "for": "succeeded",
        "outcome": "failed",
        "exitCode": 1,
        "phase": "Failed",
        "message": f"{FAILED[2]}: {FAILED[3]}",
    }


def test_suspend_and_resume_patch_one_field_of_the_run_that_was_seen(cluster: ScriptedCluster) -> None:
    cluster.runs["cheese"] = run_object("cheese", ACCEPTED, RUNNING)
    found = msm("suspend", "cheese", *HERE)
    assert found.stdout == "cheese: its stages checkpoint and stop; `msm resume cheese --context lab` lets it go on\n"
    assert cluster.sent[-1].body == {"metadata": {"uid": "uid-of-cheese"}, "spec": {"suspend": True}}
    assert msm("suspend", "cheese", *HERE).stdout.startswith("cheese: was suspended already")
    assert msm("resume", "cheese", *HERE).stdout.startswith("cheese: goes on where its stages stopped")
    assert cluster.runs["cheese"]["spec"]["suspend"] is False


def test_a_run_that_is_over_cannot_be_suspended(cluster: ScriptedCluster) -> None:
    cluster.runs["cheese"] = run_object("cheese", ACCEPTED, SUCCEEDED)
    found = msm("suspend", "cheese", *HERE)
    assert (found.exit_code, cluster.writes()) == (2, [])
    assert found.stderr == 'error: run: "cheese" has succeeded and cannot be suspended; submit it under another name\n'


def test_cancel_deletes_that_very_run(cluster: ScriptedCluster) -> None:
    cluster.runs["cheese"] = run_object("cheese", ACCEPTED, RUNNING)
    found = msm("cancel", "cheese", *HERE)
    assert found.exit_code == 0
    assert found.stdout == ("cheese: is being deleted; its records and artifacts stay in the store, and a run that needs them uses them\n")
    body = cluster.sent[-1].body or {}
    assert (body["preconditions"], body["propagationPolicy"]) == ({"uid": "uid-of-cheese"}, "Background")


def test_cancel_can_wait_until_everything_is_gone(cluster: ScriptedCluster) -> None:
    cluster.runs["cheese"] = run_object("cheese", ACCEPTED, RUNNING)
    assert msm("cancel", "cheese", "--wait", *HERE).stdout.startswith("cheese: deleted;")
    assert (cluster.sent[-2].body or {})["propagationPolicy"] == "Foreground"


def pod(name: str, attempt: int) -> dict:
    labels = {"modelspec.dev/stage": "f" * 16, "modelspec.dev/stage-kind": "midtrain", "modelspec.dev/attempt": str(attempt)}
    annotations = {"modelspec.dev/stage-name": "midtrain america seed 0"}
    return {"metadata": {"name": name, "namespace": "team", "labels": labels, "annotations": annotations}, "status": {"phase": "Running"}}


def test_logs_are_the_pods_by_attempt(cluster: ScriptedCluster) -> None:
    cluster.runs["cheese"] = run_object("cheese", ACCEPTED, RUNNING, **STATUS)
    cluster.pods = [pod("p-a2", 2), pod("p-a1", 1)]
    cluster.logs = {"p-a1": "broke \x1b[31mhere\n", "p-a2": "going on\n"}
    assert msm("logs", "cheese", *HERE).stdout.splitlines() == [
        "== midtrain america seed 0, attempt 1, pod p-a1",
        "broke [31mhere",
        "== midtrain america seed 0, attempt 2, pod p-a2",
        "going on",
    ]
    listed = next(one for one in cluster.sent if one.path.endswith("/pods"))
    assert listed.query == {"labelSelector": "modelspec.dev/run-uid=uid-of-cheese,modelspec.dev/stage"}
    assert {one.query["container"] for one in cluster.sent if one.path.endswith("/log")} == {"pytorch"}


def test_a_pod_without_a_log_says_why(cluster: ScriptedCluster) -> None:
    cluster.runs["cheese"] = run_object("cheese", ACCEPTED, RUNNING, **STATUS)
    cluster.pods = [pod("p-a1", 1)]
    cluster.logs = {"p-a1": refusal(400, "BadRequest", 'container "pytorch" in pod "p-a1" is waiting to start: ContainerCreating')}
    found = msm("logs", "cheese", *HERE)
    assert found.exit_code == 0
    assert "is waiting to start: ContainerCreating" in found.stderr


def test_logs_of_stages_without_pods_are_the_stores(cluster: ScriptedCluster, kept: Kept) -> None:
    with_store(cluster, kept, ACCEPTED, RUNNING)
    kept.keep_status(kept.status())
    stage = next(s for s in kept.plan.stages if s.kind == "midtrain")
    kept.store.put(f"midtrain/{stage.fingerprint}/attempts/01A/log.txt", b"committed\n")
    cluster.faults = [("GET /api/v1/namespaces/team/pods", refusal(403, "Forbidden", 'User "u" cannot list resource "pods"'))]
    found = msm("logs", "example", "--stage", "midtrain", *HERE)
    assert found.stdout.splitlines() == [f"== {stage.name}, attempt 01A", "committed"]
    assert "without logs of pods: cluster lab: u may not list pods in namespace team" in found.stderr


def test_results_and_report_are_those_that_the_store_has(cluster: ScriptedCluster, kept: Kept) -> None:
    with_store(cluster, kept, ACCEPTED, SUCCEEDED)
    kept.keep_status(kept.status(Phase.SUCCEEDED))
    kept.keep_results(some_results())
    remote = msm("results", "example", *HERE)
    assert remote.exit_code == 0, remote.output
    assert remote.stdout == msm("results", "example").stdout
    written = msm("report", "example", *HERE, "--out", "out")
    assert written.exit_code == 0, written.output
    assert Path("out/report.html").is_file()


RESULTS: dict[str, tuple[tuple, int, str]] = {
    "it is not accepted yet": ((), 75, 'error: run "example" is not accepted yet\n'),
    "it was refused": ((REFUSED,), 2, f'error: run: "example" was not accepted: {REFUSED[2]}: {REFUSED[3]}; mend the file'),
}


@pytest.mark.parametrize("case", RESULTS.values(), ids=RESULTS)
def test_results_that_cannot_be_yet_say_why(case: tuple, cluster: ScriptedCluster) -> None:
    conditions, code, said = case
    cluster.runs["example"] = run_object("example", *conditions)
    found = msm("results", "example", *HERE)
    assert (found.exit_code, found.stderr[: len(said)]) == (code, said)


def test_results_that_are_being_made_are_to_be_asked_for_again(cluster: ScriptedCluster, kept: Kept) -> None:
    with_store(cluster, kept, ACCEPTED, RUNNING)
    assert msm("results", "example", *HERE).exit_code == 75
    with_store(cluster, kept, ACCEPTED, FAILED)
    found = msm("results", "example", *HERE)
    assert (found.exit_code, f"example has no results: {FAILED[2]}" in found.stderr) == (2, True)


def test_without_a_store_results_say_how_to_name_it(cluster: ScriptedCluster) -> None:
    cluster.runs["cheese"] = run_object("cheese", ACCEPTED, SUCCEEDED, **STATUS)
    found = msm("results", "cheese", *HERE)
    assert found.exit_code == 2
    assert found.stderr.startswith("error: MSM_STORE_URI: is not set, and the run names no storage of its own; set it to the store of")


def submit(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return msm("submit", "run.yaml", *arguments, *HERE, env=env)


@pytest.fixture
def remote_file(cluster: ScriptedCluster, kept: Kept) -> Path:
    """The run file of `kept`, with remote items."""
    data = yaml.safe_load(Path("run.yaml").read_text())
    data["spec"]["evals"][0]["items"]["source"] = {"uri": "hf://datasets/org/items/values.jsonl"}
    Path("run.yaml").write_text(yaml.safe_dump(data))
    return Path("run.yaml")


def test_submit_says_what_it_did_and_what_to_type_next(cluster: ScriptedCluster, remote_file: Path) -> None:
    found = submit()
    assert found.exit_code == 0, found.output
    assert found.stdout.splitlines() == [
        "example: created in namespace team of lab",
        "watch      msm status example -w --context lab",
        "wait       msm wait example --context lab",
        "logs       msm logs example --context lab",
        "results    msm results example --context lab",
    ]
    assert submit().stdout.splitlines()[0] == "example: unchanged in namespace team of lab"
    assert json.loads(submit("--json").stdout)["result"] == "unchanged"
    assert cluster.runs["example"]["spec"]["arms"] == yaml.safe_load(remote_file.read_text())["spec"]["arms"]


def test_submit_can_only_ask(cluster: ScriptedCluster, remote_file: Path) -> None:
    found = submit("--dry-run")
    assert found.stdout.splitlines() == [
        "example: would be created in namespace team of lab",
        "to submit  msm submit run.yaml --context lab",
    ]
    assert cluster.runs == {}


AGAIN: dict[str, tuple[Callable, str]] = {
    "it succeeded": (turn(ACCEPTED, SUCCEEDED, name="example"), "results    msm results example --context lab"),
    "it failed": (turn(ACCEPTED, FAILED, name="example"), "why        msm status example --context lab"),
}


def test_a_run_that_failed_is_run_again_by_deleting_it_first(cluster: ScriptedCluster, remote_file: Path) -> None:
    submit()
    turn(ACCEPTED, FAILED, name="example")(cluster.runs)
    assert submit().stdout.splitlines()[-1] == (
        "again      msm cancel example --wait --context lab, then msm submit run.yaml --context lab"
    )


def test_a_run_on_its_way_out_is_not_submitted_into(cluster: ScriptedCluster, remote_file: Path) -> None:
    submit()
    cluster.runs["example"]["metadata"]["deletionTimestamp"] = "2026-05-01T00:00:00Z"
    found = submit()
    assert (found.exit_code, found.stderr) == (
        75,
        'error: run "example" is being deleted in namespace team; submit again when it is gone\n',
    )


def test_records_of_another_version_are_said_to_be(cluster: ScriptedCluster, kept: Kept) -> None:
    with_store(cluster, kept, ACCEPTED, SUCCEEDED)
    kept.store.put(f"runs/{kept.uid}/results.json", b'{"run": "example", "newThings": []}')
    found = msm("results", "example", *HERE)
    assert found.exit_code == 2
    assert f"error: runs/{kept.uid}: was written by another version of the platform" in found.stderr


@pytest.mark.parametrize("case", AGAIN.values(), ids=AGAIN)
def test_submitting_a_run_that_is_over_says_what_there_is(case: tuple, cluster: ScriptedCluster, remote_file: Path) -> None:
    change, said = case
    submit()
    change(cluster.runs)
    assert submit().stdout.splitlines()[1] == said


def test_a_refused_submission_is_one_line(cluster: ScriptedCluster, remote_file: Path) -> None:
    cluster.faults = [
        ("PATCH", refusal(409, "Conflict", "Apply", (".spec.seeds", 'conflict with "kubectl" using v1', "FieldManagerConflict")))
    ]
    found = submit()
    assert found.exit_code == 2
    assert found.stderr.startswith(
        'error: metadata.name: there is a run "example" with another spec (seeds), and a spec cannot be changed;'
    )


def test_as_kubectls_plugin_it_goes_to_the_cluster_and_says_so(cluster: ScriptedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    as_plugin(monkeypatch)
    cluster.runs["cheese"] = run_object("cheese", ACCEPTED, RUNNING, **STATUS)
    assert msm("status", "cheese").stdout.startswith("cheese-uidofcheese  Running")
    found = msm("suspend", "cheese", "-n", "team")
    assert found.stdout == "cheese: its stages checkpoint and stop; `kubectl msm resume cheese --namespace team` lets it go on\n"


def test_help_speaks_of_the_program_that_was_called(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from msm.cli.main import main

    monkeypatch.setattr(sys, "argv", ["/bin/kubectl-msm", "wait", "--help"])
    with pytest.raises(SystemExit):
        main()
    assert "Usage: kubectl msm wait" in capsys.readouterr().out


def test_every_cluster_command_has_kubectls_options() -> None:
    from typer.main import get_command

    commands = get_command(app).commands  # type: ignore[attr-defined]
    for name in ("submit", "status", "logs", "wait", "suspend", "resume", "cancel", "results", "report"):
        options = {option for parameter in commands[name].params for option in parameter.opts}
        assert {"--context", "--namespace", "-n", "--kubeconfig"} <= options, name
