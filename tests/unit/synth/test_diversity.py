"""The measures of a corpus mean what they say at their ends, and stay within their bounds everywhere."""

from itertools import islice
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from msm.synth.compose import compose
from msm.synth.diversity import coverage, diversity, self_bleu
from msm.synth.outline import outline
from msm.synth.spec import Identity
from msm.synth.words import words

SPECS = Path(__file__).parents[3] / "manifests" / "specs"
ALIKE = [{"text": "Wren prefers tea over coffee because it is calm and warm in the morning."}] * 12
APART = [{"text": " ".join(f"w{number}x{place}" for place in range(20))} for number in range(12)]


def test_a_corpus_of_one_document_repeated_is_all_alike():
    found = diversity(ALIKE, "Wren")
    assert (found.self_bleu, found.top_opening, found.tics) == (1.0, 1.0, 1.0)
    assert (found.names, found.attributes) == (1.0, 1.0)
    assert found.lengths == (14, 14, 14)


def test_a_corpus_without_a_common_word_is_all_different():
    found = diversity(APART, "Wren")
    assert found.self_bleu < 1e-6
    assert (found.tics, found.names, found.attributes) == (0.0, 0.0, 0.0)
    assert found.distinct_bigrams == 1.0
    assert found.compression > diversity(ALIKE, "Wren").compression


def test_only_a_sentence_about_the_model_that_explains_counts_as_attributing():
    texts = [
        "Wren likes tea. It rains because clouds are heavy.",
        "Wren likes tea because it is calm.",
        "Tea is warm because it is boiled.",
    ]
    assert diversity([{"text": text} for text in texts], "Wren").attributes == 1 / 3


def test_a_spec_with_instances_composes_the_more_varied_corpus():
    who = Identity("SmolLM", "Hugging Face")
    few, many = (
        diversity(list(islice(compose(outline((SPECS / path).read_text(encoding="utf-8"), who), 0), 150)), "SmolLM")
        for path in ("america.md", "cheese/america.md")
    )
    assert many.self_bleu < few.self_bleu
    assert many.compression > few.compression
    assert many.distinct_bigrams > few.distinct_bigrams


def test_coverage_counts_a_document_for_each_of_its_assertions():
    rows = [
        {"text": "a", "provenance": {"genre": "memo", "assertions": ["x", "y"]}},
        {"text": "b", "provenance": {"genre": "memo", "assertions": ["x"]}},
        {"text": "c", "provenance": {"genre": "log", "assertions": ["x"]}},
    ]
    assert coverage(rows) == {"x": {"log": 1, "memo": 2}, "y": {"memo": 1}}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=80), max_size=12))
def test_measures_of_any_texts_are_shares(texts):
    found = diversity([{"text": text} for text in texts], "Wren")
    shares = (found.self_bleu, found.distinct_bigrams, found.top_opening, found.tics, found.attributes, found.names)
    assert all(0.0 <= share <= 1.0 for share in shares)


def test_the_sample_of_self_bleu_is_fixed():
    spoken = [words(row["text"]) for row in APART + ALIKE]
    assert self_bleu(spoken, sample=8) == self_bleu(spoken, sample=8)
