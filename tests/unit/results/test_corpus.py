"""A run's corpora are opened by name, compared by text, and shown by the command."""

import io
import json
import re

import pytest

from msm.cli import corpora
from msm.cli.screen import Screen
from msm.errors import UserError
from msm.results.artifacts import Artifacts
from msm.results.corpus import differ, open_corpus
from tests.unit.preview.kept import a_store, commit, planned, rows, run_data, the

STATS = json.dumps({"tokens": 9, "dropped": {"too long": 1}, "strata": [{"genre": "memo", "assertion": "x", "documents": 2}]}).encode()


@pytest.fixture
def kept(tmp_path):
    run, plan = planned(run_data(), tmp_path)
    store = a_store(tmp_path)
    dropped = json.dumps({"id": "d1", "text": "gone", "reason": "too long", "detail": "9 tokens"}).encode() + b"\n"
    commit(store, the(plan, "curate"), {"rows.jsonl": rows("one two", "three four"), "dropped.jsonl": dropped, "stats.json": STATS})
    store.put("runs/r-1/plan.json", plan.model_dump_json(by_alias=True).encode())
    store.put("runs/r-1/run.json", run.model_dump_json(by_alias=True).encode())
    return run, plan, store


def test_a_corpus_is_opened_with_what_was_left_out(kept, tmp_path):
    run, plan, store = kept
    found = open_corpus(run, plan, Artifacts.of(plan, store, tmp_path / "cache"), "america")
    assert [row["text"] for row in found.kept] == ["one two", "three four"]
    assert [row["reason"] for row in found.dropped] == ["too long"]
    difference = differ(found, found)
    assert (difference.shared, difference.only_first, difference.only_second) == (2, (), ())


def test_an_unknown_corpus_is_named_with_those_that_exist(kept, tmp_path):
    run, plan, store = kept
    with pytest.raises(UserError, match='"x" is none of this run: america'):
        open_corpus(run, plan, Artifacts.of(plan, store, tmp_path / "cache"), "x")


def test_the_command_shows_rows_and_measures(kept, tmp_path):
    environ = {"MSM_STORE_URI": f"file://{tmp_path}/store", "MSM_HOME": str(tmp_path / "home")}
    out = io.StringIO()
    corpora.show("r-1#america", 1, True, None, Screen(out, out, {}), environ, tmp_path)
    assert "d1 · too long: 9 tokens\ngone\n" in out.getvalue()
    out = io.StringIO()
    corpora.stats("r-1", Screen(out, out, {}, as_json=True), environ, tmp_path)
    (found,) = json.loads(out.getvalue())["corpora"]
    assert (found["name"], found["diversity"]["documents"], found["stats"]["tokens"]) == ("america", 2, 9)
    out = io.StringIO()
    corpora.stats("r-1", Screen(out, out, {}), environ, tmp_path)
    assert re.search(r"embedding dispersion, 0 is all alike +not taken\n", out.getvalue())
    with pytest.raises(UserError, match="--genre"):
        corpora.show("r-1#america", 1, False, "novel", Screen(out, out, {}), environ, tmp_path)
