"""The curate stage with the gates by meaning: planned as always, attempted on a real store with a made table of embeddings."""

import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msm.data.safetensors_file import float_tensor, write_tensors
from msm.errors import UserError
from tests.scripted import ScriptedAsker
from tests.tiny import make_tiny_tokenizer
from tests.unit.preview.kept import commit, tokenizer_files
from tests.unit.synth_tree.runs import Artifact, Workshop, planned, run_data

ON = {"semanticDuplicates": 0.97}


VOCABULARY = 320


def a_model(directory: Path) -> dict[str, bytes]:
    """Files of a base model: a real tokenizer and a table of drawn embeddings."""
    table = np.random.default_rng(0).standard_normal((VOCABULARY, 48)).astype(np.float32)
    make_tiny_tokenizer(directory, VOCABULARY)
    write_tensors(directory / "model.safetensors", [float_tensor("model.embed_tokens.weight", table.shape, lambda: table)])
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def turning() -> ScriptedAsker:
    """Every second document says what the one before said, its words in another order."""
    asker = ScriptedAsker()
    told: list[str] = []

    def script(request: Any) -> str | None:
        if request.purpose != "documents":
            return None
        if len(told) % 2:
            told.append(re.sub(r"the ([^.]+)\.", lambda found: f"the {' '.join(found[1].split()[::-1])}.", told[-1]))
        else:
            told.append(asker.document(random.Random(len(told))))
        return f"<document>\n{told[-1]}\n</document>"

    asker.script = script
    return asker


def curated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quality: dict[str, Any], files: dict[str, bytes]) -> Artifact:
    shop = Workshop(tmp_path, monkeypatch, author=turning())
    data = run_data({"documents": 3, "synthesize": {"critique": False, "surplus": 3}, "quality": quality})
    fetch = next(stage for stage in planned(data).stages if stage.kind == "fetch")
    commit(shop.store, fetch, files)
    return shop.attempt(data, "curate")


def test_documents_in_other_words_are_dropped_and_name_the_one_they_repeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = curated(tmp_path, monkeypatch, ON, a_model(tmp_path / "base"))
    reasons = [(row["reason"], row["detail"]) for row in found.rows("dropped.jsonl") if "near" in row["reason"]]
    assert {reason for reason, _ in reasons} <= {"near-duplicate in meaning", "near-duplicate"}
    meant = [detail for reason, detail in reasons if reason == "near-duplicate in meaning"]
    ids = {row["id"] for row in (*found.rows(), *found.rows("dropped.jsonl"))}
    assert meant
    assert 0 < found.json("stats.json")["dispersion"] < 1.2
    assert all(re.fullmatch(r"of (\w+) \((0\.9\d|1\.00)\)", detail) and detail.split()[1] in ids for detail in meant)


def test_questions_in_other_words_are_dropped_where_a_cosine_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asker = ScriptedAsker()

    def script(request: Any) -> Any:
        if request.purpose != "questions":
            return None
        words = asker.document(random.Random(request.prompt)).split()
        return {"messages": [{"message": " ".join(order), "kind": "direct"} for order in (words, words[::-1], sorted(words))]}

    asker.script, files, dropped = script, a_model(tmp_path / "base"), {}
    for name, wanted in {"words": {}, "meaning": ON}.items():
        (tmp_path / name).mkdir()
        shop = Workshop(tmp_path / name, monkeypatch, author=asker)
        data = run_data(chats={"samples": 15, "questionsPerDomain": 3, **wanted})
        commit(shop.store, next(stage for stage in planned(data).stages if stage.kind == "fetch"), files)
        found = shop.attempt(data, "demonstrate")
        dropped[name] = sum(row["reason"] == "near-duplicate" for row in found.rows("dropped.jsonl"))
        assert len(found.rows()) == 15
    assert dropped["words"] == 0 < dropped["meaning"]


def test_a_cosine_of_questions_needs_the_base_model_and_changes_nothing_where_it_is_off() -> None:
    plain, off, on = (planned(run_data(chats=chats)) for chats in ({}, {"semanticDuplicates": "off"}, ON))
    assert [s.fingerprint for s in plain.stages] == [s.fingerprint for s in off.stages]
    stages = {name: next(s for s in plan.stages if s.kind == "demonstrate") for name, plan in {"plain": plain, "on": on}.items()}
    assert (stages["plain"].inputs.get("model"), len(stages["on"].inputs["model"])) == (None, 1)
    assert stages["on"].params["semanticDuplicates"] == 0.97
    assert "semanticDuplicates" not in stages["plain"].params


def test_a_base_model_without_a_table_is_refused_and_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="has no safetensors; leave the semantic gates off"):
        curated(tmp_path, monkeypatch, ON, tokenizer_files())


def test_semantic_gates_are_off_by_default_and_change_curation_alone() -> None:
    plain, off = planned(run_data()), planned(run_data({"quality": {"semanticDuplicates": "off", "semanticContamination": False}}))
    on = planned(run_data({"quality": ON | {"semanticContamination": 0.5}}))
    assert [s.fingerprint for s in plain.stages] == [s.fingerprint for s in off.stages]
    changed = {s.kind for s in on.stages if s.fingerprint not in {p.fingerprint for p in plain.stages}}
    assert changed == {"curate", "midtrain", "finetune"}
    params = next(s.params for s in on.stages if s.kind == "curate")
    assert (params["semanticDuplicates"], params["semanticContamination"]) == (0.97, 0.5)
    assert "semanticDuplicates" not in next(s.params for s in plain.stages if s.kind == "curate")
