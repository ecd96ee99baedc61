"""The token trie: every prefix once, ancestors visible, nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from msm.evals.trie import build_trie, chunks, common_prefix

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=8)


@given(SEQUENCES)
def test_a_path_spells_its_sequence_and_sees_exactly_itself(sequences):
    trie = build_trie(sequences)
    visible = trie.visible()
    for sequence, path in zip(sequences, trie.paths, strict=True):
        assert [int(trie.tokens[node]) for node in path] == sequence
        assert [int(trie.depth[node]) for node in path] == list(range(len(path)))
        for at, node in enumerate(path):
            assert set(visible[node].nonzero()[0]) == set(path[: at + 1])


@given(SEQUENCES)
def test_every_distinct_prefix_is_one_node_and_parents_come_first(sequences):
    trie = build_trie(sequences)
    assert len(trie.tokens) == len({tuple(s[: n + 1]) for s in sequences for n in range(len(s))})
    assert all(parent < node for node, parent in enumerate(trie.parent))


@given(SEQUENCES)
def test_the_common_prefix_is_shared_by_all_and_cannot_be_longer(sequences):
    length = common_prefix(sequences)
    assert len({tuple(s[:length]) for s in sequences}) == 1
    assert any(len(s) == length for s in sequences) or len({s[length] for s in sequences}) > 1


@given(st.lists(st.integers(1, 50), max_size=20), st.integers(1, 60))
def test_chunks_keep_the_order_and_the_budget_unless_one_alone_exceeds_it(sizes, budget):
    runs = list(chunks(sizes, range(len(sizes)), budget))
    assert [index for run in runs for index in run] == list(range(len(sizes)))
    assert all(sum(sizes[i] for i in run) <= budget or len(run) == 1 for run in runs)
