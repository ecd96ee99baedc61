"""gc and the answers: old ones go, unless a run that asks is on its way."""

import json
import os
from datetime import UTC, datetime, timedelta

import pytest

from msm.store import StoreConfig, open_store
from msm.store.gc import collect

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)
OLD, YOUNG = "answers/aa/" + "a" * 64 + ".json", "answers/ab/" + "b" * 64 + ".json"


@pytest.fixture
def store(tmp_path):
    store = open_store(StoreConfig(uri=(tmp_path / "store").as_uri()))
    for key, days in ((OLD, 31), (YOUNG, 29)):
        store.put(key, b"{}")
        moment = (NOW - timedelta(days=days)).timestamp()
        os.utime(store.local_path(key), (moment, moment))
    return store


def left(store):
    return [found.key for found in store.list("answers")]


def plan(store, *stages):
    raw = json.dumps({"stages": [{"kind": kind, "fingerprint": fingerprint} for kind, fingerprint in stages]})
    store.put("runs/some/plan.json", raw.encode())


def test_answers_older_than_thirty_days_go_whatever_the_grace(store):
    assert collect(store, NOW, HOUR).deleted == (OLD,)
    assert left(store) == [YOUNG]


def test_a_longer_grace_keeps_them_longer(store):
    assert collect(store, NOW, timedelta(days=60)).deleted == ()


def test_a_run_whose_asking_stage_is_not_committed_keeps_all(store):
    plan(store, ("write", "f" * 64))
    assert collect(store, NOW, HOUR).deleted == ()
    assert left(store) == [OLD, YOUNG]


def test_a_run_that_only_trains_keeps_none(store):
    plan(store, ("midtrain", "f" * 64))
    assert collect(store, NOW, HOUR).deleted == (OLD,)


def test_an_attempt_that_asks_and_beats_keeps_all_even_without_a_plan(store):
    beat = {"attempt": "P", "heartbeat": NOW.isoformat(), "ended": False}
    store.put(f"outline/{'f' * 64}/attempts/P/progress.json", json.dumps(beat).encode())
    assert collect(store, NOW, HOUR).deleted == ()


def test_a_dry_run_says_and_does_nothing(store):
    assert collect(store, NOW, HOUR, dry_run=True).deleted == (OLD,)
    assert left(store) == [OLD, YOUNG]
