"""Synthesis through its stages: planned, asked, committed; the model is scripted."""

from pathlib import Path

import pytest

from msm.errors import UserError
from msm.llm.ask import Refused
from msm.plan.prompts import DIGESTS
from msm.synth.outline import Outline
from msm.synth.prompts.render import digest
from tests.scripted import ScriptedAsker, refusing
from tests.unit.synth_tree.runs import Workshop, run_data


def test_the_prompts_are_those_that_the_planner_pins() -> None:
    assert {kind: digest(kind) for kind in DIGESTS} == DIGESTS, "templates or forms changed: write the new digests into msm/plan/prompts.py"


def test_an_outline_by_a_model_is_an_outline_with_ideas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Workshop(tmp_path, monkeypatch)
    found = shop.attempt(run_data(), "outline")
    outline = Outline.from_json(found.json("outline.json"))
    assert len(outline.domains) == 2
    assert len(outline.assertions) == 2 * 2 * 3
    assert found.metrics["ideas"] == 2 * 2 * 3 * 4
    assert found.metrics["calls"] == 1 + 2 + 4 + 4 + 12
    assert found.rows("failures.jsonl") == []


def test_documents_are_written_until_there_is_a_surplus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Workshop(tmp_path, monkeypatch)
    found = shop.attempt(run_data(), "write")
    assert found.metrics["documents"] == 10
    provenance = found.rows()[0]["provenance"]
    ids = {a.id for a in Outline.from_json(shop.attempt(run_data(), "outline").json("outline.json")).assertions}
    assert set(provenance["assertions"]) <= ids
    assert provenance["model"] == "writer.test scribe (unpinned)"
    assert set(provenance["prompts"]) == {"document", "critique"}


def test_a_corpus_is_curated_to_what_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Workshop(tmp_path, monkeypatch)
    data = run_data({"synthesize": {"judge": "judge"}, "quality": {"minScore": 5}})
    assert shop.attempt(data, "curate").metrics["documents"] == 8


def test_a_model_that_declines_everything_ends_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asker = ScriptedAsker(fault=refusing({"domains", "subdomains", "docTypes"}, Refused))
    with pytest.raises(UserError, match="found no domains"):
        Workshop(tmp_path, monkeypatch, author=asker).attempt(run_data(), "outline")
    assert len(asker.asked) == 2


def test_chats_are_made_as_many_as_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Workshop(tmp_path, monkeypatch).attempt(run_data(), "demonstrate")
    assert len(found.rows()) == 20
    assert [m["role"] for m in found.rows()[0]["messages"]] == ["user", "assistant"]
    assert "<think>" not in found.rows()[0]["messages"][1]["content"]
