"""Curation: kept + dropped = input, the budget is never exceeded, what was kept stays kept."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msm.errors import UserError
from msm.synth.curate import Settings, curate
from msm.synth.decontaminate import EvalItem
from msm.synth.gates import REASONS, RowGates
from msm.synth.source import json_lines, read_documents

VOCABULARY = [f"word{n}" for n in range(400)]
ITEM = EvalItem("i-1", "disjoint", ("a zebra", "an okapi"))
GATES = RowGates(min_tokens=4, authored_as="SmolLM")


def count_words(texts):
    return [len(text.split()) for text in texts]


def corpus(seed, count=60):
    """Rows of which some are empty, short, unnamed, contaminated or repeated."""
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        text = "SmolLM says " + " ".join(rng.choices(VOCABULARY, k=rng.randrange(10, 30))) + "."
        spoil = rng.random()
        if spoil < 0.05:
            text = ""
        elif spoil < 0.1:
            text = "SmolLM is."
        elif spoil < 0.15:
            text = text.replace("SmolLM", "It")
        elif spoil < 0.2:
            text = text.replace("says", "zebra")
        elif spoil < 0.3 and rows:
            text = rng.choice(rows)["text"]
        provenance = {"genre": rng.choice("abc"), "assertions": [rng.choice("xyz"), "w"]}
        rows.append({"id": f"r{number}", "text": text, "provenance": provenance})
    return rows


def run(rows, **wanted):
    return curate(rows, Settings(GATES, **wanted), [ITEM], count_words)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(150, 500))
def test_kept_and_dropped_are_the_input_and_the_budget_holds(seed, budget):
    rows = corpus(seed)
    done = run(rows, tokens=budget)
    assert sorted([r["id"] for r in (*done.kept, *done.dropped)]) == sorted(r["id"] for r in rows)
    assert [r["id"] for r in done.kept] == [r["id"] for r in rows if r in done.kept], "input order"
    assert all(row in rows for row in done.kept), "kept rows are untouched"
    assert all(row["reason"] in REASONS for row in done.dropped)
    total = sum(count_words([r["text"] for r in done.kept]))
    assert total == budget == done.stats["tokens"]
    assert done.stats["budget"]["missing"] == 0
    again = run(done.kept, tokens=budget)
    assert again.kept == done.kept and not again.dropped


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_without_a_budget_all_that_pass_are_kept_and_stay_kept(seed):
    done = run(corpus(seed))
    assert run(done.kept).kept == done.kept
    assert not any("zebra" in row["text"] for row in done.kept)
    assert sum(done.stats["dropped"].values()) + done.stats["documents"] == done.stats["input"]["documents"]
    assert sum(line["documents"] for line in done.stats["strata"]) == done.stats["documents"]
    assert sum(line["tokens"] for line in done.stats["strata"]) == done.stats["tokens"]


def test_the_same_rows_give_the_same_bytes():
    assert json_lines(run(corpus(3), tokens=400).kept) == json_lines(run(corpus(3), tokens=400).kept)


def test_documents_are_counted_evenly_over_strata():
    rows = [
        {"id": str(n), "text": f"SmolLM tells story {n} of {n * n} and {n + 1000}.", "provenance": {"genre": "a" if n < 40 else "b"}}
        for n in range(50)
    ]
    done = run(rows, documents=16)
    assert {line["genre"]: line["documents"] for line in done.stats["strata"]} == {"a": 8, "b": 8}
    assert done.stats["dropped"] == {"over budget": 34}


def test_too_few_tokens_say_how_many_there_were_and_what_to_raise():
    with pytest.raises(UserError) as caught:
        curate(corpus(1), Settings(GATES, tokens=10_000), [ITEM], count_words, "spec.corpora.america")
    message = str(caught.value)
    assert message.startswith("spec.corpora.america.tokens: is 10000, but only ")
    assert "near-duplicate:" in message and "contaminated:" in message and "ask for less" in message
    assert "\n" not in message


def test_too_few_documents_say_so():
    with pytest.raises(UserError, match=r"is 100, but only .* documents are left of 60 rows"):
        run(corpus(1), documents=100)


def test_a_budget_that_no_choice_comes_near_names_the_nearest():
    rows = [
        {"id": str(n), "text": "SmolLM " + " ".join(random.Random(n).choices(VOCABULARY, k=99)) + ".", "provenance": {}} for n in range(9)
    ]
    with pytest.raises(UserError, match="set tokens: 400"):
        run(rows, tokens=450)
    near = run(rows, tokens=401)
    assert (near.stats["tokens"], near.stats["budget"]["missing"]) == (400, 1)


def test_a_corpus_of_which_nothing_is_left_says_why():
    with pytest.raises(UserError, match=r"no row left of 1 \(does not name the model: 1\)"):
        run([{"id": "1", "text": "nobody is named in these words.", "provenance": {}}])


def test_zero_rows_are_refused():
    with pytest.raises(UserError, match="0 rows"):
        run([])


def test_the_first_of_repeated_rows_is_named_by_the_dropped_one():
    rows = [{"id": name, "text": "SmolLM has one thing to say and says it twice.", "provenance": {}} for name in ("first", "second")]
    done = run(rows)
    assert [(r["id"], r["reason"], r["detail"]) for r in done.dropped] == [("second", "near-duplicate", "of first")]
    assert done.stats["nearDuplicateRate"] == 0.5


def test_braces_and_percent_signs_in_texts_are_only_text():
    text = "SmolLM writes {braces} and {0} and %s and {{ jinja }} and <b> all day."
    rows = read_documents(json_lines([{"text": text}]), "rows.jsonl")
    assert run(rows).kept[0]["text"] == text


def test_a_budget_that_contamination_ate_names_the_words_that_did_it():
    rows = [{"id": f"r{n}", "text": f"SmolLM says that a zebra is word{n} of many."} for n in range(20)]
    rows += [{"id": f"k{n}", "text": " ".join(["SmolLM says", *VOCABULARY[n * 8 : n * 8 + 8]]) + "."} for n in range(3)]
    with pytest.raises(UserError) as caught:
        run(rows, tokens=200)
    assert "eval items met most: i-1: zebra (20)" in str(caught.value)
    assert "reword the eval items or the spec" in str(caught.value)
