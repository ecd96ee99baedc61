"""The first of several near-equal rows is kept."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msm.synth.duplicates import PERMUTATIONS, RECALL, SHINGLE, bands, near_duplicates
from msm.synth.words import words

BASE = "the old mill by the river grinds flour for the whole valley and its baker sells bread to every house on market days in autumn"


def jaccard(a, b):
    def triples(text):
        w = words(text)
        return {tuple(w[i : i + SHINGLE]) for i in range(max(1, len(w) - SHINGLE + 1))}

    return len(triples(a) & triples(b)) / len(triples(a) | triples(b))


CASES = {
    "equal texts repeat the first": ([BASE, BASE, BASE], 0.7, [None, 0, 0]),
    "case and punctuation are no difference": ([BASE, BASE.upper() + "!"], 1.0, [None, 0]),
    "one word changed is a near-duplicate": ([BASE, BASE.replace("autumn", "spring")], 0.7, [None, 0]),
    "one word changed is not equal": ([BASE, BASE.replace("autumn", "spring")], 1.0, [None, None]),
    "other texts are kept": ([BASE, "a quite different text about the sea and its ships"], 0.3, [None, None]),
    "short texts are compared whole": (["go on", "go on", "go off"], 0.7, [None, 0, None]),
    "empty texts are equal": (["", "..."], 0.7, [None, 0]),
    "no text": ([], 0.7, []),
}


@pytest.mark.parametrize(("texts", "threshold", "repeats"), CASES.values(), ids=CASES)
def test_repeats_are_found(texts, threshold, repeats):
    assert near_duplicates(texts, threshold) == repeats


def test_a_dropped_row_does_not_drop_others():
    near = BASE.replace("autumn", "spring")
    nearer = near.replace("the old mill", "one old mill")
    assert jaccard(BASE, nearer) < 0.85 <= jaccard(near, nearer)
    assert near_duplicates([BASE, near, nearer], 0.85) == [None, 0, None]


@pytest.mark.parametrize("threshold", [0.2, 0.3, 0.5, 0.7, 0.9, 1.0])
def test_the_sketch_proposes_pairs_at_the_threshold(threshold):
    rows = PERMUTATIONS // bands(threshold)
    assert 1 - (1 - threshold**rows) ** bands(threshold) >= RECALL or rows == 1


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.3, 0.5, 0.7, 0.9]))
def test_what_is_kept_agrees_with_comparing_all_pairs(seed, threshold):
    rng = random.Random(seed)
    texts = []
    for _ in range(30):
        text = (rng.choice(texts) if texts and rng.random() < 0.6 else " ".join(rng.choices("abcdefghijklmnop", k=40))).split()
        for _ in range(rng.randrange(4)):
            text[rng.randrange(len(text))] = rng.choice("qrstuvwxyz")
        texts.append(" ".join(text))
    kept, expected = [], []
    for number, text in enumerate(texts):
        repeated = next((k for k in kept if jaccard(texts[k], text) >= threshold), None)
        expected.append(repeated)
        if repeated is None:
            kept.append(number)
    found = near_duplicates(texts, threshold)
    assert sum(a != b for a, b in zip(found, expected, strict=True)) == 0
