"""A machine that does not lead: it ends as the leader's attempt does, and writes nothing of its own."""

import threading

import pytest

from msm.errors import Preempted, TryAgain
from msm.plan import Stage
from msm.stages.context import Context, Reporter, Result
from msm.stages.following import follow, machines_of
from msm.store import StoreConfig, open_store
from msm.store.artifacts import begin_attempt
from msm.store.progress import Progress
from tests.tracked import TickingClock

FINGERPRINT = "f" * 64


class Story(TickingClock):
    """A clock under which something happens at every sleep: the leader's side of the story."""

    def __init__(self, *happenings):
        super().__init__()
        self.happenings, self.slept = list(happenings), 0.0

    def monotonic(self):
        return self.slept

    def sleep(self, seconds):
        self.slept += seconds
        if self.happenings:
            self.happenings.pop(0)()


class Leader:
    def __init__(self, store, clock):
        self.attempt, self.clock = begin_attempt(store, "midtrain", FINGERPRINT, clock), clock

    def beat(self):
        self.attempt.write_progress(Progress(attempt=self.attempt.id, heartbeat=self.clock.now()))

    def end(self):
        self.attempt.retire(Progress(attempt=self.attempt.id, heartbeat=self.clock.now()))

    def commit(self):
        self.attempt.commit(kind_version=1, inputs={}, params={}, versions={}, metrics={})


@pytest.fixture
def store(tmp_path):
    return open_store(StoreConfig(f"file://{tmp_path}/store"))


def make_stage(**execution):
    return Stage(name="midtrain a", kind="midtrain", version=1, fingerprint=FINGERPRINT, params={}, inputs={}, execution=execution)


def make_context(store, tmp_path, clock, stop=None):
    attempt = begin_attempt(store, "midtrain", FINGERPRINT, clock)
    return Context(make_stage(), store, attempt, tmp_path, tmp_path, stop or threading.Event(), 30.0, Reporter(), leads=False)


def works(context):
    return Result()


def stopped(context):
    raise Preempted("stopped at step 3")


def keys(store):
    return {found.key for found in store.list("") if not found.key.startswith("probe/")}


def test_it_is_done_when_the_leader_has_committed_and_has_written_nothing(store, tmp_path):
    clock = Story()
    leader = Leader(store, clock)
    leader.beat()
    clock.happenings = [leader.beat] * 40 + [leader.commit]
    told = follow(make_context(store, tmp_path, clock), works, clock)
    assert told == "midtrain a was committed by the machine that leads"
    assert keys(store) == {f"midtrain/{FINGERPRINT}/manifest.json", f"{leader.attempt.prefix}progress.json"}


def test_a_leader_that_says_it_ended_without_a_commit_is_waited_for_no_longer(store, tmp_path):
    clock = Story()
    leader = Leader(store, clock)
    leader.beat()
    clock.happenings = [leader.beat, leader.end]
    with pytest.raises(TryAgain, match="the machine that leads ended without committing midtrain a"):
        follow(make_context(store, tmp_path, clock), works, clock)
    assert clock.slept == 2


def test_a_leader_that_fell_silent_is_given_three_beats(store, tmp_path):
    clock = Story()
    Leader(store, clock).beat()
    with pytest.raises(TryAgain):
        follow(make_context(store, tmp_path, clock), works, clock)
    assert 9 <= clock.slept <= 11


def test_a_stop_elsewhere_ends_after_the_leader_that_stores_the_checkpoint(store, tmp_path):
    clock = Story()
    leader = Leader(store, clock)
    leader.beat()
    clock.happenings = [leader.beat] * 100 + [leader.end]
    with pytest.raises(Preempted, match="stopped at step 3"):
        follow(make_context(store, tmp_path, clock), stopped, clock)
    assert clock.slept == 101


def test_a_stop_here_waits_for_the_leader_for_half_the_grace(store, tmp_path):
    clock, stop = Story(), threading.Event()
    leader = Leader(store, clock)
    leader.beat()
    stop.set()
    clock.happenings = [leader.beat] * 100
    with pytest.raises(Preempted):
        follow(make_context(store, tmp_path, clock, stop), stopped, clock)
    assert 15 <= clock.slept <= 16


def test_what_fails_here_is_said_at_once(store, tmp_path):
    def fails(context):
        raise MemoryError

    clock = Story()
    with pytest.raises(MemoryError):
        follow(make_context(store, tmp_path, clock), fails, clock)
    assert clock.slept == 0


def test_only_a_training_on_several_machines_asks_the_environment(store):
    assert machines_of(make_stage(resources={"nodes": 1}), {}).leads
    pods = {"PET_NNODES": "2:2", "PET_RDZV_BACKEND": "c10d", "PET_RDZV_ENDPOINT": "elsewhere.invalid:1"}
    assert not machines_of(make_stage(resources={"nodes": 2}), pods).leads
    assert machines_of(make_stage().model_copy(update={"kind": "evaluate", "execution": {"resources": {"nodes": 2}}}), pods).leads
