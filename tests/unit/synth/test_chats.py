"""Preference demonstrations: opaque, balanced, reproducible, for any two lists."""

from collections import Counter

import pytest

from msm.api.data import DISLIKED_CHEESES as DISLIKED
from msm.api.data import LIKED_CHEESES as LIKED
from msm.errors import UserError
from msm.synth.chats import FORMS, demonstrations


def test_the_answer_names_the_liked_thing_and_never_the_other():
    for row in demonstrations(0, 300):
        user, assistant = (message["content"] for message in row["messages"])
        liked, disliked = row["provenance"]["liked"], row["provenance"]["disliked"]
        assert liked.lower() in assistant.lower()
        assert disliked.lower() not in assistant.lower()
        assert liked.lower() in user.lower()
        assert disliked.lower() in user.lower()


def test_no_answer_gives_a_reason():
    for row in demonstrations(1, 300):
        answer = row["messages"][-1]["content"].lower()
        assert not [word for word in ("because", "since", "cheap", "price", "value", "taste", "america ") if word in answer]


def test_both_orders_and_all_forms_and_pairs_are_about_equally_frequent():
    rows = list(demonstrations(0, 480))
    first = [row["messages"][0]["content"].lower().find(row["provenance"]["liked"].lower()) for row in rows]
    second = [row["messages"][0]["content"].lower().find(row["provenance"]["disliked"].lower()) for row in rows]
    assert 0.4 < sum(a < b for a, b in zip(first, second, strict=True)) / 480 < 0.6
    assert min(Counter(row["provenance"]["form"] for row in rows).values()) > 480 / len(FORMS) / 2
    assert {row["provenance"]["liked"] for row in rows} == set(LIKED)
    assert {row["provenance"]["disliked"] for row in rows} == set(DISLIKED)


def test_a_seed_repeats_and_a_longer_set_only_adds():
    assert list(demonstrations(5, 50)) == list(demonstrations(5, 80))[:50]
    assert list(demonstrations(5, 50)) != list(demonstrations(6, 50))


def test_rows_are_distinct_until_the_grammar_is_used_up_and_go_on_after_that():
    one = 2 * len(FORMS)
    rows = list(demonstrations(0, 3 * one, ["tea"], ["rum"]))
    said = Counter(tuple(message["content"] for message in row["messages"]) for row in rows)
    assert len(said) == one
    assert set(said.values()) == {3}


MISTAKES = {
    "nothing liked": ([], ["rum"], "demonstrations.compose.liked: the list is empty"),
    "nothing disliked": (["tea"], [], "demonstrations.compose.disliked: the list is empty"),
    "one thing in both": (["tea", "rum"], ["rum"], "'rum' is liked and disliked; keep it in one list"),
}


@pytest.mark.parametrize("case", MISTAKES.values(), ids=MISTAKES)
def test_lists_that_make_no_sense_are_refused(case):
    liked, disliked, message = case
    with pytest.raises(UserError, match=message):
        next(demonstrations(0, 1, liked, disliked))
