"""A pilot is a small valid run whose first questions are those of the full one, and which leaves the full one alone."""

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msm.api import parse_run
from msm.llm.journal import JournalledAsker
from msm.plan import plan_pilot, plan_run
from msm.preview.asks import answers_of
from msm.preview.pilot import is_synthesised, not_piloted, pilot_of
from msm.preview.texts import texts_of
from msm.resolve.digests import text_identity
from tests.runs import example, resolution
from tests.scripted import ScriptedAsker
from tests.unit.synth_tree.runs import SPEC, Workshop, run_data

UNPINNED = "writer.test scribe (unpinned)"
SIZES = st.fixed_dictionaries(
    {"docTypes": st.integers(1, 1000), "ideasPerType": st.integers(1, 1000), "genres": st.sampled_from([[], ["fiction"]])}
)


@given(
    SIZES,
    st.integers(1, 10**5),
    st.integers(1, 10**5),
    st.integers(1, 10**4),
    st.integers(1, 1000),
    st.sampled_from(["documents", "tokens"]),
)
def test_a_pilot_asks_for_no_more_than_the_full_run(
    sizes: dict[str, Any], wanted: int, samples: int, each: int, documents: int, unit: str
) -> None:
    data = run_data({unit: wanted, "synthesize": sizes}, {"samples": samples, "questionsPerDomain": each})
    full = parse_run(copy.deepcopy(data))
    pilot = pilot_of(full, documents)
    assert full == parse_run(data)
    (corpus,), (chats,) = pilot.spec.corpora, pilot.spec.demonstrations
    assert corpus.synthesize is not None and chats.synthesize is not None and corpus.documents is not None
    assert corpus.documents <= documents
    assert corpus.synthesize.ideas_per_type <= sizes["ideasPerType"]
    assert corpus.synthesize.doc_types == sizes["docTypes"]
    least = 6 * (sizes["docTypes"] + len(sizes["genres"])) * corpus.synthesize.ideas_per_type
    assert least >= corpus.documents or corpus.synthesize.ideas_per_type == sizes["ideasPerType"]
    assert chats.synthesize.samples == min(samples, documents)
    assert pilot.spec.evals == ()
    assert pilot_of(full, documents) == pilot


def test_only_what_a_model_writes_and_an_arm_reads_is_piloted() -> None:
    data = run_data()
    spec = data["spec"]
    unread = {**spec["corpora"][0], "name": "unread"}
    home = {"name": "home", "modelSpec": "bread", "documents": 5, "compose": {}}
    spec["corpora"] += [unread, home]
    spec["demonstrations"].append({"name": "replayed", "replay": {"fromBase": 4}})
    spec["arms"].append({"name": "other", "midtrain": ["home"], "finetune": ["replayed"]})
    run = parse_run(data)
    assert [corpus.name for corpus in pilot_of(run, 20).spec.corpora] == ["bread"]
    assert list(not_piloted(run)) == [
        "home is composed offline: nothing to pilot",
        "replayed is answered by the base model: nothing to pilot",
    ]
    assert is_synthesised(run)
    assert not is_synthesised(parse_run(example()))


def test_evals_stay_only_where_documents_must_not_contain_their_items() -> None:
    data = run_data({"quality": {"decontaminate": ["kept"]}})
    items = {"source": {"path": "items.jsonl"}}
    data["spec"]["evals"] = [{"name": "kept", "items": items}, {"name": "other", "items": items}]
    assert [e.name for e in pilot_of(parse_run(data), 20).spec.evals] == ["kept"]


@pytest.mark.parametrize("whole_outline", [False, True])
def test_the_full_run_uses_what_a_pilot_was_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole_outline: bool) -> None:
    shop = Workshop(tmp_path, monkeypatch)
    shop.askers["author"] = JournalledAsker(ScriptedAsker(), shop.store, UNPINNED)  # type: ignore[assignment]
    data = run_data({"documents": 30, "synthesize": {"docTypes": 4, "ideasPerType": 6}})
    full = parse_run(data)
    pilot = pilot_of(full, 12, whole_outline)
    small = pilot.model_dump(mode="json", by_alias=True, exclude_none=True)
    shop.attempt(small, "write")
    found = resolution(modelSpecs__bread=text_identity(SPEC.encode()))
    plan, small_plan = plan_run(full, found), plan_pilot(pilot, found)
    texts = texts_of(full, tmp_path, shop.store)

    def digests(of: Any, kind: str) -> dict[str, set[str]]:
        (stage,) = (stage for stage in of.stages if stage.kind == kind)
        return {step: set(answers) for step, answers in answers_of(stage, of, shop.store, texts).items()}

    mine, theirs = digests(small_plan, "outline"), digests(plan, "outline")
    for step in ("domains", "subdomains", "assertions", "docTypes"):
        assert mine[step] == theirs[step] != set()
    assert (mine["ideas"] == theirs.get("ideas")) is whole_outline
    if whole_outline:
        assert plan.stages[1].fingerprint == small_plan.stages[1].fingerprint
        written, needed = digests(small_plan, "write")["documents"], digests(plan, "write")["documents"]
        assert len(written) == 12
        assert written <= needed
