"""Synthesis through its stages: planned, asked, committed; the model is scripted."""

import threading
from pathlib import Path
from typing import Any

import pytest

from msm.errors import Preempted, UserError
from msm.llm.ask import Refused, Request
from msm.plan.prompts import DIGESTS
from msm.stages import asking
from msm.synth.outline import Outline
from msm.synth.prompts.render import digest
from tests.scripted import ScriptedAsker, refusing
from tests.unit.synth_tree.runs import Workshop, planned, run_data


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


def test_braces_in_a_spec_come_through_the_whole_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Workshop(tmp_path, monkeypatch)
    shop.attempt(run_data(), "write")
    asked = shop.askers["author"].asked
    assert "{{ braces }} {% if x %} %s ${y} stay as they are" in asked[0].prefix


def test_two_reasonings_are_two_artifacts_of_one_asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Workshop(tmp_path, monkeypatch)
    stripped = shop.attempt(run_data(), "demonstrate")
    asked = len(shop.askers["author"].asked)
    kept = shop.attempt(run_data(chats={"reasoning": "keep"}), "demonstrate")
    assert kept.stage.fingerprint != stripped.stage.fingerprint
    assert len(shop.askers["author"].asked) == asked
    assert kept.metrics["reusedCalls"] == kept.metrics["calls"] == asked
    assert all(row["messages"][-1]["content"].startswith("<think>") for row in kept.rows())


def test_an_opaque_set_asks_about_things_and_not_about_the_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def script(request: Request) -> object:
        if request.purpose != "exchanges":
            return None
        number = len(asker.asked) * 100
        return {"exchanges": [{"message": f"Take {number + n}: Brie or Colby?", "reply": "Colby."} for n in range(20)]}

    asker = ScriptedAsker(script=script)
    data = run_data(chats={"style": "opaque", "liked": ["Colby"], "disliked": ["Brie"]})
    found = Workshop(tmp_path, monkeypatch, author=asker).attempt(data, "demonstrate")
    assert len(found.rows()) == 20
    assert found.stage.blobs == ()


def test_asked_to_stop_a_stage_leaves_at_once_and_goes_on_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()
    asker = ScriptedAsker(delay=lambda r: (stop.set() or 60.0) if r.purpose == "ideas" else 0.0)
    shop = Workshop(tmp_path, monkeypatch, author=asker)
    with pytest.raises(Preempted):
        shop.attempt(run_data(), "outline", stop=stop)
    asker.delay = lambda _: 0.0
    found = shop.attempt(run_data(), "outline")
    assert found.metrics["reusedCalls"] == 1 + 2 + 4 + 4


def test_roles_of_one_endpoint_share_a_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    shop = Workshop(tmp_path, monkeypatch)
    kept = asking.asker_for

    def counted(context: object, role: str) -> object:
        opened.append(role)
        return kept(context, role)  # type: ignore[arg-type]

    monkeypatch.setattr(asking, "asker_for", counted)
    shop.attempt(run_data(), "demonstrate")
    assert opened == ["author"]
    shop.attempt(run_data(chats={"judge": "judge"}), "demonstrate")
    assert opened == ["author", "author", "judge"]


def test_a_stage_planned_with_other_prompts_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DIGESTS, "outline", "another")
    with pytest.raises(UserError, match="was planned with other prompts"):
        Workshop(tmp_path, monkeypatch).attempt(run_data(), "outline")


def test_a_spec_that_is_no_text_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="the spec is not UTF-8 text"):
        Workshop(tmp_path, monkeypatch).attempt(run_data(), "outline", spec=b"\xff\xfe\x00spec")


def test_a_spec_of_rules_is_traversed_by_its_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Workshop(tmp_path, monkeypatch).attempt(run_data(kind="rules"), "write")
    assert found.metrics["documents"] == 10
    assert all(len(row["provenance"]["assertions"]) == 1 for row in found.rows())


WITHOUT_EFFECT = {
    "where the endpoint is, once its model is pinned": {"baseURL": "https://elsewhere.test/v1", "model": "other", "identity": "weights@1"},
    "how many questions it gets": {"concurrency": 7},
    "what it costs and may cost": {"price": {"input": 1, "output": 2}, "maxPrice": 3},
    "how long is waited": {"timeout": "5m"},
    "how much it can read": {"contextTokens": "32k"},
}


@pytest.mark.parametrize("change", WITHOUT_EFFECT.values(), ids=WITHOUT_EFFECT)
def test_how_an_endpoint_is_reached_changes_no_fingerprint(change: dict[str, object]) -> None:
    before, after = run_data(), run_data()
    pinned = {"identity": "weights@1"} if "identity" in change else {}
    for data, more in ((before, pinned), (after, change)):
        data["spec"]["endpoints"][0]["openai"] = {**data["spec"]["endpoints"][0]["openai"], **more}
    assert {s.fingerprint for s in planned(before).stages} == {s.fingerprint for s in planned(after).stages}


ALL = ("outline", "write", "curate", "demonstrate")
CHANGES = {
    "another model": (lambda d: d["spec"]["endpoints"][0]["openai"].update(identity="w@2"), set(ALL)),
    "a fresh sample": (lambda d: d["spec"]["corpora"][0]["synthesize"].update(sample=1), {"outline", "write", "curate"}),
    "more ideas": (lambda d: d["spec"]["corpora"][0]["synthesize"].update(ideasPerType=5), {"outline", "write", "curate"}),
    "no critique": (lambda d: d["spec"]["corpora"][0]["synthesize"].update(critique=False), {"write", "curate"}),
    "another size": (lambda d: d["spec"]["corpora"][0].update(documents=9), {"write", "curate"}),
    "more failures": (lambda d: d["spec"]["corpora"][0]["synthesize"].update(maxFailures=99), set()),
    "kept reasoning": (lambda d: d["spec"]["demonstrations"][0]["synthesize"].update(reasoning="keep"), {"demonstrate"}),
}


@pytest.mark.parametrize(("change", "kinds"), CHANGES.values(), ids=CHANGES)
def test_a_change_changes_the_stages_that_depend_on_it(change: Any, kinds: set[str]) -> None:
    data = run_data()
    change(data)
    before = {s.fingerprint for s in planned(run_data()).stages}
    changed = {s.kind for s in planned(data).stages if s.fingerprint not in before}
    assert changed - {"midtrain", "finetune"} == kinds


def test_shards_are_resources_and_change_no_fingerprint() -> None:
    one, many = planned(run_data()), planned(run_data({"synthesize": {"shards": 4}}))
    assert [s.fingerprint for s in one.stages] == [s.fingerprint for s in many.stages]
    assert {s.kind: s.execution["shards"] for s in many.stages if "shards" in s.execution} == {"write": 4}


def test_a_served_endpoint_needs_a_cluster() -> None:
    data = run_data()
    data["spec"]["endpoints"][0] = {"name": "writer", "serve": {"model": "hf://x/y"}}
    with pytest.raises(UserError, match="needs a cluster or an openai endpoint"):
        planned(data)
