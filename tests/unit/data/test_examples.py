"""From rows to pieces and batches: no token lost, order by seed alone, labels never across documents."""

import json
import random
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msm.data.batches import IGNORED, BatchPlan, collate, epoch_order, micro_batches, rows_per_update
from msm.data.examples import Piece, load_corpus, pack_pieces, row_lengths
from msm.data.tokens import count_tokens, load_tokenizer
from msm.errors import UserError
from msm.train.counting import count
from tests.tiny import TEXT, make_tiny_tokenizer, write_chats, write_documents


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_tiny_tokenizer(tmp_path_factory.mktemp("tiny"))


def corpus_of(lengths, limit=32):
    return pack_pieces([Piece(array("i", range(length)), b"\x01" * length) for length in lengths], limit)


def test_all_tokens_of_all_documents_and_their_separators_are_trained_on(model, tmp_path):
    texts = [TEXT, "Short.", TEXT * 2, "a <|endoftext|> b"]
    path = write_documents(tmp_path / "rows.jsonl", texts)
    corpus = load_corpus("midtrain", [path], model, 48)
    tokenizer = load_tokenizer(model)
    expected = [number for ids in tokenizer.encode_documents(texts) for number in [*ids, tokenizer.separator]]
    assert [number for piece in corpus.pieces for number in piece.ids] == expected
    assert max(len(piece.ids) for piece in corpus.pieces) == 48
    assert sorted(piece for row in corpus.rows for piece in row) == list(range(len(corpus.pieces)))


def test_a_control_token_in_a_document_is_only_text(model):
    tokenizer = load_tokenizer(model)
    [ids] = tokenizer.encode_documents(["a <|endoftext|> b"])
    assert tokenizer.separator not in ids
    assert tokenizer.plain.decode(ids, skip_special_tokens=False) == "a <|endoftext|> b"


def test_a_chat_longer_than_max_length_is_refused_by_line_and_length(model, tmp_path):
    path = write_chats(tmp_path / "chats.jsonl", [[("user", "Hi"), ("assistant", "Hi")], [("user", TEXT), ("assistant", TEXT)]])
    with pytest.raises(UserError, match=r"chats.jsonl:2: the chat has \d+ tokens, more than maxLength 64") as caught:
        load_corpus("finetune", [path], model, 64)
    assert "raise maxLength" in caught.value.fix


def test_preview_counts_what_training_does(model, tmp_path):
    draw = random.Random(1)
    texts = [" ".join(draw.choices(TEXT.split(), k=draw.randint(1, 90))) for _ in range(60)]
    path = write_documents(tmp_path / "rows.jsonl", texts)
    corpus = load_corpus("midtrain", [path], model, 64)
    counted = count(row_lengths("midtrain", [path], model), 64, 128, epochs=3)
    assert (counted.tokens, counted.rows, counted.fill) == (3 * corpus.tokens, len(corpus.rows), corpus.fill)
    assert counted.updates == BatchPlan(len(corpus.rows), rows_per_update(128, 64), 3, seed=5).updates
    assert [length + 1 for length in count_tokens(model / "tokenizer.json", texts)] == row_lengths("midtrain", [path], model)


@given(st.integers(1, 60), st.integers(1, 9), st.integers(0, 3), st.integers(0, 5))
def test_each_epoch_has_every_row_once_in_updates_of_nearly_equal_size(rows, per_update, seed, epoch):
    plan = BatchPlan(rows, per_update, epoch + 1, seed)
    updates = [plan.rows_of(epoch * plan.updates_per_epoch + number) for number in range(plan.updates_per_epoch)]
    assert sorted(row for update in updates for row in update) == list(range(rows))
    assert max(map(len, updates)) <= per_update
    assert max(map(len, updates)) - min(map(len, updates)) <= 1


def test_the_order_is_a_function_of_seed_and_epoch_and_is_pinned():
    assert epoch_order(7, 0, 8) == epoch_order(7, 0, 8)
    assert len({epoch_order(seed, epoch, 20) for seed in range(3) for epoch in range(3)}) == 9
    assert epoch_order(0, 0, 8) == (2, 0, 3, 4, 5, 6, 7, 1)


@given(st.lists(st.integers(0, 99), min_size=1, max_size=20, unique=True), st.integers(1, 4), st.integers(1, 5))
def test_ranks_share_an_update_without_loss_and_in_equal_steps(rows, world, micro):
    shares = [micro_batches(rows, rank, world, micro) for rank in range(world)]
    assert sorted(row for share in shares for batch in share for row in batch) == sorted(rows)
    assert len({len(share) for share in shares}) == 1


@given(st.lists(st.integers(1, 32), min_size=1, max_size=12))
def test_positions_restart_and_labels_never_cross_a_document(lengths):
    corpus = corpus_of(lengths)
    batch = collate(corpus, range(len(corpus.rows)), filler=0)
    for row, ids, positions, labels in zip(corpus.rows, batch.ids, batch.positions, batch.labels, strict=True):
        at = 0
        for length in (len(corpus.pieces[piece].ids) for piece in row):
            assert positions[at : at + length] == list(range(length))
            assert labels[at : at + length] == [*ids[at + 1 : at + length], IGNORED]
            at += length
        assert set(labels[at:]) <= {IGNORED}
        assert positions[at:] == list(range(len(ids) - at))
    assert batch.tokens == sum(lengths)
    assert sum(label != IGNORED for labels in batch.labels for label in labels) == sum(
        corpus.row_targets(row) for row in range(len(corpus.rows))
    )


def test_a_rank_with_nothing_to_do_gets_a_row_without_labels():
    batch = collate(corpus_of([5, 30]), [], filler=0)
    assert batch.tokens == 0
    assert {label for labels in batch.labels for label in labels} == {IGNORED}


def test_the_separator_falls_back_to_eos_and_is_refused_when_there_is_none(tmp_path):
    make_tiny_tokenizer(tmp_path)
    state = json.loads((tmp_path / "tokenizer.json").read_text())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] != "<|endoftext|>"]
    state["model"]["vocab"]["<|gone|>"] = state["model"]["vocab"].pop("<|endoftext|>")
    (tmp_path / "tokenizer.json").write_text(json.dumps(state))
    assert load_tokenizer(tmp_path).separator == 2
    (tmp_path / "tokenizer_config.json").unlink()
    with pytest.raises(UserError, match="nor an eos_token is in the vocabulary"):
        load_tokenizer(tmp_path)
