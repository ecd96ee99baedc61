"""The executor's decisions, with a scripted launcher: a fake that stands in for processes to end them as a test wants."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from msm.clock import SystemClock
from msm.errors import TryAgain
from msm.local.executor import Executor
from msm.local.process import StageProcess
from msm.local.status import Phase, RunStatus, State
from msm.plan import Plan, Stage
from msm.stages.contract import ATTEMPT_FILE, Termination, read_termination, reserve_termination, write_termination
from msm.store import ObjectStore, StoreConfig, open_store
from msm.store.artifacts import begin_attempt
from msm.store.progress import Progress, read_progress
from tests.runs import example, plan


class FastClock(SystemClock):
    """Time that passes when somebody sleeps; a pass of the executor takes ten seconds."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@dataclass
class ScriptedLauncher:
    """A fake: an attempt ends when it is looked at, with the code that the script has for it; code 0 commits an empty artifact."""

    store: ObjectStore
    clock: FastClock
    scratch: Path
    script: dict[str, list[int | None]] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    endless: frozenset[str] = frozenset()
    stopped: list[str] = field(default_factory=list)

    def start(self, stage: Stage, number: int, now: datetime) -> StageProcess:
        self.started.append(stage.name)
        scratch = self.scratch / f"{stage.fingerprint[:8]}-{number}"
        scratch.mkdir(parents=True)
        return StageProcess(stage, now, stage.name, scratch, scratch, -1)

    def ended(self, process: StageProcess) -> bool:
        self.clock.sleep(10)
        name = process.stage.name
        if name in self.endless and name not in self.stopped:
            return False
        codes = self.script.get(name, [0])
        code = 143 if name in self.stopped else codes.pop(0) if codes else 0
        if code == 0:
            commit(self.store, process.stage, self.clock)
        if code is not None:
            write_termination(process.scratch / "termination.json", Termination(code, "Because", "why"))
        return True

    def ask_to_stop(self, process: StageProcess, monotonic: float) -> None:
        self.stopped.append(process.stage.name)

    def kill(self, process: StageProcess) -> None:
        raise AssertionError("an attempt that stops when asked must not be killed")

    def forget(self, process: StageProcess) -> None:
        pass


def commit(store: ObjectStore, stage: Stage, clock: FastClock) -> None:
    attempt = begin_attempt(store, stage.kind, stage.fingerprint, clock)
    attempt.commit(kind_version=stage.version, inputs={}, params=stage.params, versions={}, metrics={})


@dataclass
class Bench:
    executor: Executor
    launcher: ScriptedLauncher
    seen: list[RunStatus]

    @property
    def plan(self) -> Plan:
        return self.executor.plan


Make = Callable[..., Bench]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setattr("msm.local.executor.PASS_SECONDS", 0.0)

    def make(parallelism: int = 1, retries: int = 2, **script: list[int | None]) -> Bench:
        store, clock, seen = open_store(StoreConfig(f"file://{tmp_path}/store")), FastClock(), list[RunStatus]()
        named = {name.replace("_", " "): codes for name, codes in script.items()}
        launcher = ScriptedLauncher(store, clock, tmp_path / "scratch", named)
        executor = Executor("uid", plan(example()), store, launcher, clock, seen.append, retries, parallelism=parallelism)
        return Bench(executor, launcher, seen)

    return make


def state_of(status: RunStatus, name: str) -> State:
    return next(s.state for s in status.stages if s.name == name)


def test_everything_needed_is_run_once_in_an_order_that_respects_inputs(bench: Make) -> None:
    b = bench()
    status = b.executor.run()
    assert status.phase is Phase.SUCCEEDED
    assert sorted(b.launcher.started) == sorted(s.name for s in b.plan.stages)
    order = {name: i for i, name in enumerate(b.launcher.started)}
    names = {s.fingerprint: s.name for s in b.plan.stages}
    assert all(order[names[ref.fingerprint]] < order[s.name] for s in b.plan.stages for ref in s.needs)


def test_a_second_call_starts_nothing_and_says_that_everything_was_reused(bench: Make) -> None:
    bench().executor.run()
    again = bench()
    status = again.executor.run()
    assert again.launcher.started == []
    assert status.phase is Phase.SUCCEEDED
    assert all(s.reused for s in status.stages)


def test_a_fault_is_retried_and_a_kill_counts_as_one(bench: Make) -> None:
    b = bench(fetch_base_model=[1, None])
    assert b.executor.run().phase is Phase.SUCCEEDED
    assert b.launcher.started.count("fetch base model") == 3


def test_faults_above_the_limit_fail_the_run_and_say_why(bench: Make) -> None:
    b = bench(fetch_base_model=[1, 1, 1, 1])
    status = b.executor.run()
    assert status.phase is Phase.FAILED
    assert "RetriesExhausted" in status.message
    assert "why" in status.message


def test_the_users_mistake_is_not_retried_and_what_does_not_depend_on_it_still_runs(bench: Make) -> None:
    b = bench(outline_america=[2])
    status = b.executor.run()
    assert status.phase is Phase.FAILED
    assert b.launcher.started.count("outline america") == 1
    assert state_of(status, "midtrain america seed 0") is State.BLOCKED
    assert state_of(status, "midtrain thrift seed 0") is State.DONE
    assert "outline america: InvalidInput: why" in status.message


def test_exit_code_zero_without_a_manifest_is_a_fault(bench: Make) -> None:
    b = bench()
    b.launcher.script["outline thrift"] = [99, 0]
    assert b.executor.run().phase is Phase.SUCCEEDED
    assert b.launcher.started.count("outline thrift") == 2


def test_as_many_stages_run_at_a_time_as_parallelism_says(bench: Make) -> None:
    b = bench(parallelism=3)
    assert b.executor.run().phase is Phase.SUCCEEDED
    most = max(sum(s.state is State.RUNNING for s in status.stages) for status in b.seen)
    assert most == 3


def test_asked_to_stop_it_stops_what_runs_and_says_suspended(bench: Make) -> None:
    b = bench()
    b.launcher.endless = frozenset({"fetch base model"})
    stop = threading.Event()
    b.executor.stop = stop
    b.executor.report = lambda status: stop.set() if state_of(status, "fetch base model") is State.RUNNING else None
    status = b.executor.run()
    assert status.phase is Phase.SUSPENDED
    assert "fetch base model" in b.launcher.stopped


def test_a_stage_that_another_executor_works_on_is_followed_until_it_falls_silent(bench: Make) -> None:
    b = bench()
    stage = next(s for s in b.plan.stages if s.kind == "fetch")
    clock = b.launcher.clock
    other = begin_attempt(b.executor.store, stage.kind, stage.fingerprint, clock)
    other.write_progress(Progress(attempt=other.id, heartbeat=clock.now(), step=4, total_steps=10, percentage=40.0))

    def report(status: RunStatus) -> None:
        b.seen.append(status)
        clock.sleep(1)

    b.executor.report = report
    assert b.executor.run().phase is Phase.SUCCEEDED
    followed = [s for s in b.seen if state_of(s, "fetch base model") is State.FOLLOWING]
    assert followed
    assert b.launcher.started.count("fetch base model") == 1
    assert b.launcher.started.index("fetch base model") > 0, "what does not need the followed stage goes first"


class JumpingClock(FastClock):
    """A clock that people set: the hour jumps, the monotonic second does not."""

    def __init__(self) -> None:
        super().__init__()
        self.jump = timedelta()

    def now(self) -> datetime:
        return self.time + self.jump

    def monotonic(self) -> float:
        return self.time.timestamp()


def with_clock(b: Bench, clock: FastClock) -> Bench:
    b.executor.clock = b.launcher.clock = clock
    return b


def test_a_clock_that_is_set_back_by_an_hour_does_not_delay_a_retry(bench: Make) -> None:
    clock = JumpingClock()
    b = with_clock(bench(fetch_base_model=[1, 1, 0]), clock)
    ends: list[float] = []

    def report(status: RunStatus) -> None:
        attempts = next(s.attempts for s in status.stages if s.name == "fetch base model")
        clock.jump = timedelta(hours=-1) * attempts
        clock.sleep(1)
        ends.append(clock.monotonic())

    b.executor.report = report
    assert b.executor.run().phase is Phase.SUCCEEDED
    assert ends[-1] - ends[0] < 600


def test_a_living_attempt_whose_clock_is_set_back_is_followed_and_not_taken_over(bench: Make) -> None:
    clock = JumpingClock()
    b = with_clock(bench(), clock)
    stage = next(s for s in b.plan.stages if s.kind == "fetch")
    other = begin_attempt(b.executor.store, stage.kind, stage.fingerprint, clock)
    began, hour = clock.monotonic(), clock.now()

    def beat() -> None:
        """Every second; after 20 of them its hour is an hour less; after 120 it commits."""
        passed = clock.monotonic() - began
        at = hour + timedelta(seconds=passed) - (timedelta(hours=1) if passed > 20 else timedelta())
        if passed > 120:
            commit(b.executor.store, stage, clock)
        else:
            other.write_progress(Progress(attempt=other.id, heartbeat=at, step=1, total_steps=2, percentage=50.0))

    def report(status: RunStatus) -> None:
        b.seen.append(status)
        clock.sleep(1)
        if state_of(status, "fetch base model") is State.FOLLOWING:
            beat()

    beat()
    b.executor.report = report
    assert b.executor.run().phase is Phase.SUCCEEDED
    assert b.launcher.started.count("fetch base model") == 0, "it was alive all the time"


@dataclass
class SilentStore:
    """A fault injector: a store that does not answer between two moments of a clock."""

    inner: ObjectStore
    clock: FastClock
    silent: tuple[float, float]

    def __getattr__(self, name: str) -> object:
        since, until = self.silent
        if name != "uri" and since <= self.clock.monotonic() < until:
            raise TryAgain("store does not answer")
        return getattr(self.inner, name)


def silence(b: Bench, after: float, seconds: float) -> None:
    begin = b.launcher.clock.monotonic() + after
    b.executor.store = SilentStore(b.executor.store, b.launcher.clock, (begin, begin + seconds))  # type: ignore[assignment]
    b.executor.report = lambda status: b.launcher.clock.sleep(1)
    b.executor.stop = Waiting(b.launcher.clock)


class Waiting(threading.Event):
    """Waiting takes a second of the test's time and none of ours."""

    def __init__(self, clock: FastClock) -> None:
        super().__init__()
        self.clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        self.clock.sleep(1)
        return self.is_set()


@pytest.mark.parametrize("after", [1, 5, 15, 26, 43])
def test_a_store_that_is_silent_for_minutes_costs_the_wait_and_no_attempt(after: int, bench: Make) -> None:
    b = bench()
    silence(b, after, 300)
    status = b.executor.run()
    assert status.phase is Phase.SUCCEEDED
    assert sorted(b.launcher.started) == sorted(s.name for s in b.plan.stages)
    assert all(s.attempts == 1 for s in status.stages)


def test_a_store_that_stays_silent_ends_the_run_as_try_again(bench: Make) -> None:
    b = bench()
    silence(b, 15, 3600)
    with pytest.raises(TryAgain, match="does not answer"):
        b.executor.run()


def test_asked_to_stop_while_the_store_is_silent_it_stops(bench: Make) -> None:
    b = bench()
    silence(b, 15, 3600)
    begin = b.launcher.clock.monotonic()
    b.executor.stop.is_set = lambda: b.launcher.clock.monotonic() > begin + 60  # type: ignore[method-assign]
    assert b.executor.run().phase is Phase.SUSPENDED


def test_last_words_fit_into_the_room_that_was_set_aside_for_them(tmp_path: Path) -> None:
    path, record = tmp_path / "termination.json", Termination(2, "InvalidInput", "no space – left", "work")
    reserve_termination(path)
    assert read_termination(path) is None
    size = path.stat().st_size
    write_termination(path, record)
    assert path.stat().st_size == size
    assert read_termination(path) == record
    write_termination(path, Termination(1, "Fault", "x" * 5000))
    assert read_termination(path) == Termination(1, "Fault", "x" * 5000)


def test_the_beats_of_an_own_attempt_that_was_killed_are_not_followed(bench: Make) -> None:
    b = bench(fetch_base_model=[None, 0])
    start = b.launcher.start

    def start_and_beat(stage: Stage, number: int, now: datetime) -> StageProcess:
        attempt = begin_attempt(b.executor.store, stage.kind, stage.fingerprint, b.launcher.clock)
        ahead = b.launcher.clock.now() + timedelta(seconds=10)
        attempt.write_progress(Progress(attempt=attempt.id, heartbeat=ahead, step=number, total_steps=9))
        process = start(stage, number, now)
        (process.scratch / ATTEMPT_FILE).write_text(attempt.id)
        return process

    b.launcher.start = start_and_beat  # type: ignore[method-assign]
    status = b.executor.run()
    assert status.phase is Phase.SUCCEEDED
    first, *_ = read_progress(b.executor.store, "fetch", next(s.fingerprint for s in b.plan.stages if s.kind == "fetch"))
    assert first.ended, "others need not wait for it either"
    assert not any(s.state is State.FOLLOWING for seen in b.seen for s in seen.stages)
    assert any(state_of(seen, "fetch base model") is State.WAITING for seen in b.seen)
    assert next(s.step for s in status.stages if s.name == "fetch base model") == 2, "the progress shown is that of the last attempt"
