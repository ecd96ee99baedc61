import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from msm.cli.running import failure_code
from msm.local.accept import Accepted
from msm.local.status import Phase, RunStatus, State
from msm.local.workspace import Workspace
from tests.unit.cli.kept import Kept, msm, some_results, stage

Session = Callable[[Accepted, Callable[[RunStatus], None], threading.Event, Any], RunStatus]


@pytest.fixture
def session(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> Callable[[Session], None]:
    """Replaces the session by a function, to inject what it may report."""

    def replace(run_local: Session) -> None:
        accepted = Accepted(kept.run, kept.uid, kept.plan, kept.store, Workspace(kept.directory / ".msm"), frozen_before=False)
        monkeypatch.setattr("msm.local.accept.accept", lambda *_: accepted)
        monkeypatch.setattr("msm.local.session.run_local", run_local)

    return replace


def reporting(*statuses: RunStatus) -> Session:
    def run_local(_: Accepted, report: Callable[[RunStatus], None], stop: threading.Event, clock: Any) -> RunStatus:
        for status in statuses:
            report(status)
        return statuses[-1]

    return run_local


def executed(kept: Kept, **changes: Any) -> RunStatus:
    done = kept.status(Phase.SUCCEEDED)
    stages = tuple(s.model_copy(update={"attempts": 1 if s.kind == "evaluate" else 0, "seconds": 9.0}) for s in done.stages)
    return done.model_copy(update={"stages": stages, **changes})


def test_a_run_that_succeeds_ends_with_the_table_and_the_next_commands(kept: Kept, session: Callable[[Session], None]) -> None:
    kept.keep_results(some_results())
    session(reporting(kept.status(evaluate=State.RUNNING), executed(kept)))
    found = msm("run", "run.yaml")
    assert found.exit_code == 0, found.output
    for part in (
        "4.20 ± 0.20",
        "excludes 0",
        "The spec moved it.",
        f"runs/{kept.uid}/",
        "--backend-store-uri sqlite:///",
        "results run.yaml --json",
    ):
        assert part in found.stdout
    assert f"{len(kept.plan.stages) - 1} of {len(kept.plan.stages)} stages; 1 ran" in found.stdout


def test_a_run_that_had_nothing_to_do_says_so(kept: Kept, session: Callable[[Session], None]) -> None:
    session(reporting(kept.status(Phase.SUCCEEDED)))
    assert f"{len(kept.plan.stages)} of {len(kept.plan.stages)} stages; nothing had to run" in msm("run", "run.yaml").stdout


def test_json_is_one_document_on_stdout_and_progress_on_stderr(kept: Kept, session: Callable[[Session], None]) -> None:
    kept.keep_results(some_results())
    session(reporting(kept.status(evaluate=State.RUNNING), executed(kept, notes=("MLflow: not reachable",))))
    found = msm("run", "run.yaml", "--json")
    document = json.loads(found.stdout)
    assert (document["phase"], document["uid"], document["notes"]) == ("Succeeded", kept.uid, ["MLflow: not reachable"])
    assert document["effects"][0]["arm"] == "msm-america-aft"
    assert "evaluate values seed 0: running" in found.stderr


def test_what_the_session_notes_is_told_on_stderr(kept: Kept, session: Callable[[Session], None]) -> None:
    session(reporting(executed(kept, notes=("MLflow: not reachable since 12:00:00 UTC",))))
    assert "MLflow: not reachable since 12:00:00 UTC" in msm("run", "run.yaml").stderr


def test_a_failed_run_names_stage_reason_and_log(kept: Kept, session: Callable[[Session], None]) -> None:
    status = kept.status(Phase.FAILED, midtrain=State.FAILED, evaluate=State.BLOCKED)
    failed = tuple(
        s.model_copy(update={"message": "InvalidInput: rows.jsonl:3: bad"}) if s.state is State.FAILED else s for s in status.stages
    )
    session(reporting(status.model_copy(update={"stages": failed})))
    found = msm("run", "run.yaml")
    assert found.exit_code == 2
    assert "error: midtrain america seed 0: InvalidInput: rows.jsonl:3: bad" in found.stderr
    assert 'logs run.yaml --stage "midtrain america seed 0"' in found.stderr
    assert "1 stages that need them did not run" in found.stderr


FAILURES = {
    "the user's mistake": (("InvalidInput: bad",), 2),
    "a fault": (("RetriesExhausted: 4 faults",), 1),
    "a fault beside a mistake": (("InvalidInput: bad", "RetriesExhausted: 4 faults"), 1),
    "nothing known": ((), 1),
}


@pytest.mark.parametrize("case", FAILURES.values(), ids=FAILURES)
def test_the_exit_code_of_a_failed_run_says_whose_move_it_is(case: tuple[tuple[str, ...], int]) -> None:
    messages, code = case
    assert failure_code([stage(state=State.FAILED, message=message) for message in messages]) == code


def pressing(kept: Kept, signals: tuple[int, ...], waits: float = 5.0) -> Session:
    def run_local(_: Accepted, report: Callable[[RunStatus], None], stop: threading.Event, clock: Any) -> RunStatus:
        report(kept.status(evaluate=State.RUNNING))
        for number in signals:
            signal.raise_signal(number)
            assert stop.wait(waits)
            clock.sleep(0.5)
        suspended = kept.status(Phase.SUSPENDED, evaluate=State.PENDING)
        report(suspended)
        return suspended

    return run_local


def test_ctrl_c_checkpoints_and_says_how_to_go_on(kept: Kept, session: Callable[[Session], None]) -> None:
    session(pressing(kept, (signal.SIGINT,)))
    found = msm("run", "run.yaml")
    assert found.exit_code == 130
    assert "stopping: stages are checkpointing; press again to kill" in found.stdout
    assert "run run.yaml` continues" in found.stderr


def test_sigterm_does_the_same_with_its_own_code(kept: Kept, session: Callable[[Session], None]) -> None:
    session(pressing(kept, (signal.SIGTERM,)))
    assert msm("run", "run.yaml").exit_code == 143


def test_the_second_ctrl_c_kills(kept: Kept, session: Callable[[Session], None], monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    monkeypatch.setattr("msm.cli.interrupt.kill_descendants", killed.append)
    session(pressing(kept, (signal.SIGINT, signal.SIGINT)))
    found = msm("run", "run.yaml")
    assert found.exit_code == 130
    assert len(killed) == 1
    assert "killed; what was checkpointed is kept" in found.stderr


def test_a_run_file_that_cannot_be_accepted_is_the_users_mistake(kept: Kept) -> None:
    Path("run.yaml").write_text("spec: [", encoding="utf-8")
    found = msm("run", "run.yaml")
    assert found.exit_code == 2
    assert found.stderr.startswith("error: run.yaml:")
