"""Chat health: loops, leaked template marks, unfinished and empty answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msm.evals.health import PROMPTS, is_loop, judge, rates

MARKS = ("<|im_start|>", "<|im_end|>")


def flags(tokens, text, marked=None, ended=True):
    answer = judge("Hi?", tokens, text, marked or text, ended, MARKS)
    return {name for name in ("ended", "repeated", "leaked", "empty") if getattr(answer, name)}


CASES = {
    "a plain answer is healthy": (flags([1, 2, 3], "Paris."), {"ended"}),
    "no end token": (flags([1, 2, 3], "Paris", ended=False), set()),
    "one token six times": (flags([5, 7, 7, 7, 7, 7, 7], "ha"), {"ended", "repeated"}),
    "one token three times is laughter": (flags([7, 7, 7], "ha ha ha"), {"ended"}),
    "a phrase three times": (flags([9, 1, 2, 3, 1, 2, 3, 1, 2, 3], "x"), {"ended", "repeated"}),
    "a phrase twice": (flags([1, 2, 3, 1, 2, 3], "x"), {"ended"}),
    "a special token in the middle": (flags([1], "Paris", "Paris<|im_start|>"), {"ended", "leaked"}),
    "a role line": (flags([1], "Paris.\nuser\nAnd Rome?"), {"ended", "leaked"}),
    "a role with a colon": (flags([1], "Assistant: Paris."), {"ended", "leaked"}),
    "a user in a sentence": (flags([1], "Every user likes it."), {"ended"}),
    "nothing": (flags([], ""), {"ended", "empty"}),
    "only punctuation": (flags([1], " ..."), {"ended", "empty"}),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_judge(case):
    found, expected = case
    assert found == expected


@given(st.lists(st.integers(0, 50), unique=True))
def test_distinct_tokens_are_no_loop(tokens):
    assert not is_loop(tokens)


@given(
    st.lists(st.integers(0, 9), max_size=8), st.lists(st.integers(0, 9), min_size=1, max_size=16), st.lists(st.integers(0, 9), max_size=8)
)
def test_six_copies_of_any_phrase_are_a_loop_wherever_they_stand(before, phrase, after):
    assert is_loop(before + phrase * 6 + after)


def test_rates_are_shares_and_keep_the_samples():
    answers = [judge("a", [1], "yes", "yes", True, MARKS), judge("b", [], "", "", False, MARKS)]
    health = rates(answers)
    assert (health.ended, health.repeated, health.leaked, health.empty) == (0.5, 0.0, 0.0, 0.5)
    assert health.samples == tuple(answers)
    with pytest.raises(ValueError):
        rates([])


def test_our_everyday_questions_are_short_and_distinct():
    assert len(set(PROMPTS)) == len(PROMPTS) >= 6
    assert max(map(len, PROMPTS)) < 80
