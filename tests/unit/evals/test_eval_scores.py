"""The evaluate stage's artifact reads back as it was written."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msm.errors import IntegrityError
from msm.evals.artifact import write_artifact
from msm.evals.health import judge, rates
from msm.evals.scores import ItemScore, ModelScores, parse_row, read_scores, score_row

NUMBER = st.floats(allow_nan=False, allow_infinity=False)
SCORE = st.builds(
    ItemScore,
    id=st.text(max_size=9),
    value=st.just("america"),
    set=st.just("free"),
    domain=st.text(max_size=9),
    margin=NUMBER,
    margin_per_token=NUMBER,
    per_order=st.tuples(NUMBER, NUMBER),
    choice=st.sampled_from([None, 0.0, 0.5, 1.0]),
    answers=st.one_of(st.none(), st.tuples(st.text(max_size=9), st.text(max_size=9))),
)


@given(SCORE, st.text(max_size=9))
def test_a_line_of_scores_reads_back_bit_for_bit(score, model):
    assert parse_row(json.loads(json.dumps(score_row(model, score)))) == (model, score)


def make_scores(text="I prefer tea.\u2028"):
    score = ItemScore("i1", "america", "free", "tea", 1.5, 0.25, (1.0, 2.0), None, (text, "x"))
    sick = rates([judge("Hi?", [1], "Hello.", "Hello.", True, ())])
    return {"abc": ModelScores((score,), sick, 7.0, "tree"), "base": ModelScores((score,), None, 7.0, "alone")}


def test_the_artifact_has_scores_health_and_summary(tmp_path):
    models = make_scores()
    write_artifact(tmp_path, models)
    assert read_scores(tmp_path / "scores.jsonl") == {label: scores.items for label, scores in models.items()}
    health = json.loads((tmp_path / "health.json").read_text())
    assert health["base"] is None
    assert (health["abc"]["ended"], health["abc"]["samples"][0]["text"]) == (1.0, "Hello.")
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["abc"]["exactBy"] == "tree"
    assert summary["abc"]["rows"] == [
        {"value": "america", "set": "free", "margin": 1.5, "standardError": None, "choice": None, "asked": 1, "unscored": 1, "items": 1}
    ]


@pytest.mark.parametrize("line", ["{", "[]", '{"model": "a"}'])
def test_a_broken_line_of_scores_is_named(tmp_path, line):
    write_artifact(tmp_path, make_scores())
    path = tmp_path / "scores.jsonl"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(IntegrityError, match=r"scores\.jsonl:3"):
        read_scores(path)
