"""Rows in processes: the result does not depend on how many there are, and none outlives its work."""

import json
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from msm.errors import MSMError
from msm.synth.curate import Settings, curate, decide
from msm.synth.gates import RowGates
from msm.synth.judge import Semantics
from msm.synth.meaning import Meaning
from msm.synth.workers import THREADS, RowFile, judged, processes_for
from tests.unit.synth_curate.openings import GATES, ITEM, TABLE, Opening, count_words, letters
from tests.unit.synth_curate.test_curate import corpus


@pytest.fixture
def rows(tmp_path: Path) -> RowFile:
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for path, seed in zip(paths, (1, 2), strict=True):
        path.write_text("".join(json.dumps({**row, "id": f"{seed}-{row['id']}"}) + "\n" for row in corpus(seed, 150)))
    return RowFile(paths)


def test_rows_of_several_files_are_one_sequence(rows):
    assert len(rows) == 300
    assert rows[0]["id"] == "1-r0" and rows[299]["id"] == "2-r149"
    assert [row["id"] for row in rows[149:151]] == ["1-r149", "2-r0"]
    assert [json.loads(line)["id"] for line in rows.lines([3, 7, 200])] == ["1-r3", "1-r7", "2-r50"]


@pytest.mark.slow
def test_how_many_processes_there_are_changes_nothing(rows):
    one, many = (list(judged(rows, Opening(True), number)) for number in (1, 2))
    for a, b in zip(one, many, strict=True):
        assert (a.ids, a.strata, a.tokens, a.drops) == (b.ids, b.strata, b.tokens, b.drops)
        assert np.array_equal(a.sketches, b.sketches) and np.array_equal(a.vectors, b.vectors)
    wanted = Settings(GATES, tokens=400)
    assert decide(rows, one, wanted, "c").drops == decide(rows, many, wanted, "c").drops
    assert not multiprocessing.active_children()


def test_a_file_is_decided_on_as_rows_in_memory_are(rows):
    wanted = Settings(GATES, tokens=400)
    from_file, in_memory = decide(rows, list(judged(rows, Opening(), 1)), wanted, "c"), curate(list(rows), wanted, [ITEM], count_words)
    assert from_file.stats == in_memory.stats
    assert [rows[n]["id"] for n in from_file.drops] == [row["id"] for row in in_memory.dropped]


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "said"), [("killed", "was killed"), ("no table", "ValueError: no table")])
def test_a_process_that_fails_is_an_error_and_no_short_result(rows, fault, said):
    with pytest.raises(MSMError, match=said):
        list(judged(rows, Opening(fault=fault), 2))
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_each_process_computes_on_one_thread_and_ours_on_as_many_as_before(rows, monkeypatch):
    monkeypatch.setenv(THREADS[0], "2")
    monkeypatch.delenv(THREADS[1], raising=False)
    with pytest.raises(MSMError, match="1, 1, 1"):
        list(judged(rows, Opening(fault="threads"), 2))
    assert (os.environ[THREADS[0]], os.environ.get(THREADS[1])) == ("2", None)


def test_who_looks_may_end_it(rows):
    seen = []

    def look(done: int) -> None:
        seen.append(done)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(judged(rows, Opening(), 1, look))
    assert seen == [128]


def test_few_rows_need_no_processes():
    assert processes_for(10) == 1
    assert 1 <= processes_for(10**6) <= 16


def test_a_row_in_other_words_is_dropped_with_its_reason_and_the_row_it_repeats():
    rows = [
        {"id": "first", "text": "SmolLM bakes bread at dawn in the old mill.", "provenance": {}},
        {"id": "turned", "text": "At dawn, in the old mill, SmolLM bakes bread.", "provenance": {}},
        {"id": "else", "text": "SmolLM 0123 4567 8989 ZZZZ QQQQ WWWW.", "provenance": {}},
    ]
    semantics = Semantics(Meaning(TABLE), letters)
    wanted = Settings(RowGates(), semantic_duplicates=0.95)
    found = curate(rows, wanted, [], count_words, semantics=semantics)
    assert [(row["id"], row["reason"]) for row in found.dropped] == [("turned", "near-duplicate in meaning")]
    assert found.dropped[0]["detail"].startswith("of first (0.9") or found.dropped[0]["detail"].startswith("of first (1.0")
    assert found.stats["nearDuplicateRate"] == pytest.approx(1 / 3)
    assert len(curate(rows, Settings(RowGates()), [], count_words, semantics=semantics).kept) == 3, "off by default"
    assert curate(found.kept, wanted, [], count_words, semantics=semantics).kept == found.kept
