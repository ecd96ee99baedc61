"""Packing: nothing lost, nothing too long, nearly nothing empty."""

import random
import time

from hypothesis import given
from hypothesis import strategies as st

from msm.data.packing import fill, pack, split_lengths

LENGTHS = st.lists(st.integers(1, 64), max_size=120)


@given(LENGTHS)
def test_every_piece_is_in_exactly_one_row(lengths):
    rows = pack(lengths, 64)
    assert sorted(piece for row in rows for piece in row) == list(range(len(lengths)))


@given(LENGTHS)
def test_no_row_is_longer_than_the_limit_and_none_is_empty(lengths):
    for row in pack(lengths, 64):
        assert 1 <= sum(lengths[piece] for piece in row) <= 64


@given(LENGTHS.filter(bool))
def test_at_most_one_row_is_half_empty_or_more(lengths):
    half_empty = [row for row in pack(lengths, 64) if sum(lengths[piece] for piece in row) * 2 <= 64]
    assert len(half_empty) <= 1


@given(LENGTHS)
def test_the_same_lengths_give_the_same_rows(lengths):
    assert pack(lengths, 64) == pack(list(lengths), 64)


@given(st.integers(1, 10_000), st.integers(1, 500))
def test_splitting_loses_no_token_and_fills_every_piece_but_the_last(length, limit):
    pieces = split_lengths(length, limit)
    assert sum(pieces) == length
    assert all(piece == limit for piece in pieces[:-1])
    assert 1 <= pieces[-1] <= limit


def test_a_piece_goes_where_it_leaves_the_least_space():
    rows = pack([60, 50, 12, 4], 64)
    assert rows == [[0, 3], [1, 2]]


def test_documents_of_written_lengths_fill_rows_to_more_than_99_percent_in_seconds():
    draw = random.Random(0)
    lengths = [piece for _ in range(20_000) for piece in split_lengths(max(1, int(draw.lognormvariate(6.5, 0.8))), 4096)]
    begin = time.perf_counter()
    rows = pack(lengths, 4096)
    assert fill(lengths, len(rows), 4096) > 0.99
    assert time.perf_counter() - begin < 5
