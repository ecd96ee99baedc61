"""Vectors without a network: order and spelling of a text do not count, words of one meaning do. The tables are made, not learned."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msm.data.safetensors_file import float_tensor, write_tensors
from msm.errors import UserError
from msm.synth.meaning import COLUMNS, DIMENSIONS, WINDOW, Meaning, dispersion, meaning_of, read_table, repeats, unit, weights

WORDS = 4000


def a_table(width=96, seed=0):
    """Tokens 2n and 2n + 1 mean nearly the same."""
    rng = np.random.default_rng(seed)
    meanings = rng.standard_normal((WORDS // 2, width)).astype(np.float32)
    return np.repeat(meanings, 2, axis=0) + 0.1 * rng.standard_normal((WORDS, width)).astype(np.float32)


MEANING = meaning_of(a_table())
TEXT = list(np.random.default_rng(1).integers(200, WORDS, 150))
OTHER = list(np.random.default_rng(2).integers(200, WORDS, 150))


def cosine(a, b):
    return float(MEANING.document(a) @ MEANING.document(b))


def test_equal_texts_and_turned_ones_are_the_same():
    assert cosine(TEXT, TEXT) == pytest.approx(1.0, abs=1e-5)
    assert cosine(TEXT, TEXT[::-1]) == pytest.approx(1.0, abs=1e-5)


def test_words_of_the_same_meaning_are_close_and_other_texts_are_not():
    assert cosine(TEXT, [token ^ 1 for token in TEXT]) > 0.9
    assert abs(cosine(TEXT, OTHER)) < 0.5


def test_common_tokens_hardly_count():
    assert weights(WORDS)[0] < 1e-3 * weights(WORDS)[-1]
    assert (np.diff(weights(WORDS)) >= 0).all()
    assert cosine(TEXT, [*TEXT, 0, 1, 2, 3]) > 0.999


@given(st.integers(2, 12), st.integers(0, 99))
def test_dispersion_is_the_mean_distance_of_two(count, seed):
    vectors = unit(np.random.default_rng(seed).standard_normal((count, 7)).astype(np.float32))
    pairs = [1 - float(vectors[a] @ vectors[b]) for a in range(count) for b in range(count) if a != b]
    assert dispersion(vectors) == pytest.approx(sum(pairs) / len(pairs), abs=1e-5)
    assert dispersion(np.stack([vectors[0]] * count)) == pytest.approx(0, abs=1e-5)
    assert dispersion(vectors[:1]) == 0


def test_an_empty_text_is_close_to_nothing():
    assert not MEANING.document([]).any()
    assert list(repeats(np.zeros((3, 8), dtype=np.float32), range(3), 0.5)) == [None] * 3
    assert MEANING.passages([]).shape == (1, MEANING.table.shape[1])


@pytest.mark.parametrize("before", [0, 5, 40, 93])
def test_a_passage_is_found_wherever_it_stands(before):
    item = OTHER[:16]
    text = [*TEXT[:before], *(token ^ 1 for token in item), *TEXT[before:]]
    asked = MEANING.document(item)
    assert (MEANING.passages(text) @ asked).max() > 0.55
    assert (MEANING.passages(TEXT) @ asked).max() < 0.5


def test_a_short_text_is_one_passage():
    assert MEANING.passages(TEXT[: WINDOW // 2]).shape[0] == 1


def test_a_wide_table_is_narrowed_and_says_the_same():
    wide = meaning_of(a_table(width=COLUMNS + 200))
    assert wide.table.shape == (WORDS, DIMENSIONS)
    assert float(wide.document(TEXT) @ wide.document([token ^ 1 for token in TEXT])) > 0.8
    assert abs(float(wide.document(TEXT) @ wide.document(OTHER))) < 0.5


def test_the_first_of_close_rows_is_named_with_the_cosine():
    vectors = unit(np.array([[1, 0], [0.9, 0.1], [0, 1], [1, 0.05]], dtype=np.float32))
    found = list(repeats(vectors, [0, 1, 2, 3], 0.9))
    assert [None if each is None else each[0] for each in found] == [None, 0, None, 0]
    assert found[1][1] == pytest.approx(0.9939, abs=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.3, 0.6, 0.9]), st.sampled_from([1, 7, 100]))
def test_tiles_find_what_comparing_all_pairs_finds(seed, threshold, batch):
    vectors = unit(np.random.default_rng(seed).standard_normal((40, 4)).astype(np.float32))
    rows = sorted(np.random.default_rng(seed + 1).choice(40, 30, replace=False).tolist())
    kept, expected = [], []
    for row in rows:
        first = next((other for other in kept if vectors[other] @ vectors[row] >= threshold), None)
        expected.append(first)
        if first is None:
            kept.append(row)
    assert [None if each is None else each[0] for each in repeats(vectors, rows, threshold, batch)] == expected


def test_a_table_is_read_from_safetensors_and_a_model_without_one_is_refused(tmp_path: Path):
    path = tmp_path / "model.safetensors"
    table = a_table(8)[:50]
    write_tensors(path, [float_tensor("model.embed_tokens.weight", table.shape, lambda: table)])
    assert np.array_equal(read_table(path), table)
    write_tensors(path, [float_tensor("other.weight", table.shape, lambda: table)])
    with pytest.raises(UserError, match=r"no table of input embeddings .*; leave the semantic gates off"):
        read_table(path)


def test_a_reduced_table_is_float32_and_finite():
    assert MEANING.table.dtype == np.float32
    assert np.isfinite(Meaning(MEANING.table).table).all()
