"""The offline author through its public seam: documents of any spec, explained, named, reproducible."""

import re
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msm.errors import UserError
from msm.synth import grammar
from msm.synth.compose import compose, compose_documents, compose_tokens, put_instance
from msm.synth.grammar import Template, render
from msm.synth.outline import outline
from msm.synth.spec import Identity

SELF = Identity("Wren", "Birdworks")
SPECS = Path(__file__).parents[3] / "manifests" / "specs"
FOREIGN = """# House rules
Trust is slow to grow.
## Honesty
- **No lies.** {model_name} never lies to {users}, because trust depends on it.
- {model_name} admits what it does not know. Reason: It costs trust to guess.
## Manner
It writes in a plain voice.
{model_name} prefers short answers over long ones.
"""
TABLES = [
    grammar.PREFERENCE_TOLD,
    grammar.PREFERENCE_ASKED,
    grammar.PREFERENCE_BARE,
    grammar.LINK,
    grammar.VALUE_TOLD,
    grammar.VALUE_ASKED,
    grammar.CLAIM_TOLD,
    grammar.CLAIM_ASKED,
    grammar.CLAIM_BARE,
    grammar.QUOTED,
    grammar.QUOTED_WHY,
]


def ours(name: str):
    return outline((SPECS / f"{name}.md").read_text(), SELF)


def foreign(kind="values"):
    return outline(FOREIGN, SELF, kind)


def test_the_same_seed_writes_the_same_documents_and_another_seed_others():
    first, again, other = (list(compose_documents(ours("america"), seed, 40)) for seed in (0, 0, 1))
    assert first == again
    assert {row["text"] for row in first}.isdisjoint({row["text"] for row in other})


def test_more_documents_only_add_to_fewer():
    assert list(compose_documents(ours("america"), 3, 60))[:25] == list(compose_documents(ours("america"), 3, 25))


@pytest.mark.parametrize("name", ["america", "affordability"])
def test_every_document_names_the_model_and_is_distinct_and_short(name):
    rows = list(compose_documents(ours(name), 0, 400))
    assert all("Wren" in row["text"] for row in rows)
    assert len({row["text"] for row in rows}) == len({row["id"] for row in rows}) == 400
    assert max(len(row["text"].split()) for row in rows) <= 75


@pytest.mark.parametrize("name", ["america", "affordability"])
def test_documents_of_our_specs_explain_what_they_tell(name):
    explained = re.compile(r"because|cares? about|[Rr]eason|value|matters|: ", re.I)
    assert all(explained.search(row["text"]) for row in compose_documents(ours(name), 0, 300))


def test_provenance_leads_back_to_assertions_and_templates():
    found = foreign()
    known = {assertion.id for assertion in found.assertions}
    templates = {template.id for table in TABLES for template in table}
    for row in compose_documents(found, 0, 30):
        assert set(row["provenance"]["assertions"]) <= known
        assert row["provenance"]["assertions"]
        assert set(row["provenance"]["templates"]) <= templates
        assert row["provenance"]["genre"] in {genre.id for genre in grammar.GENRES}


def test_all_genres_and_all_assertions_occur():
    rows = list(compose_documents(ours("america"), 0, 500))
    assert {row["provenance"]["genre"] for row in rows} == {genre.id for genre in grammar.GENRES}
    assert {key for row in rows for key in row["provenance"]["assertions"]} == {a.id for a in ours("america").assertions}


def test_a_spec_that_is_not_ours_is_told_with_its_own_reasons_and_nothing_else():
    text = " ".join(row["text"] for row in compose_documents(foreign(), 0, 60))
    for stated in (
        "Wren never lies to {users}",
        "trust depends on it",
        "it costs trust to guess",
        "short answers",
        "Trust is slow to grow",
    ):
        assert stated in text
    for unstated in ("America", "price", "cheese", "taste in"):
        assert unstated not in text


def test_braces_of_a_spec_are_never_filled():
    found = outline("{model_name} prints {A} and {B!} and {0} because {R} is {M}.", SELF)
    assert all("prints {A} and {B!} and {0}" in row["text"] for row in islice(compose(found, 0), 3))


def test_rules_are_not_explained_by_values():
    text = "{model_name} must not lie.\n{model_name} cares about trust because it is slow to grow.\n{model_name} must ask first."
    rows = list(compose_documents(outline(text, SELF, "rules"), 0, 12))
    assert not [row for row in rows if {"claim-told.4", "claim-told.5", "claim-asked.2"} & set(row["provenance"]["templates"])]


def test_a_spec_too_small_for_another_document_says_so():
    with pytest.raises(UserError, match=r"the grammar writes only \d+ different documents from this spec; ask for fewer"):
        list(compose_documents(outline("It never lies.", SELF), 0, 500))


def test_a_token_budget_is_reached_and_not_far_exceeded():
    sizes = lambda texts: [len(text.split()) for text in texts]  # noqa: E731
    rows = list(compose_tokens(ours("america"), 0, 5000, sizes))
    total = sum(sizes([row["text"] for row in rows]))
    assert 5000 <= total < 5000 + 80
    assert rows == list(compose_documents(ours("america"), 0, len(rows)))


ARTICLES = {
    "an adjective keeps its own article": ("an American thing", "watch", "an American watch"),
    "an article next to the word follows the instance": ("a thing made here", "umbrella", "an umbrella made here"),
    "and the other way round": ("an thing", "hat", "a hat"),
    "a phrase without the word stays": ("tea", "hat", "tea"),
    "part of another word is not the word": ("an anything", "hat", "an anything"),
}


@pytest.mark.parametrize("case", ARTICLES.values(), ids=ARTICLES)
def test_put_instance(case):
    phrase, kind, expected = case
    assert put_instance(phrase, kind) == expected


@given(st.dictionaries(st.sampled_from(["A", "B"]), st.text(max_size=20), min_size=2))
def test_slot_values_are_put_in_as_they_are(values):
    assert render(Template("t", "x{A}y{B}z"), values) == f"x{values['A']}y{values['B']}z"
