"""What is said of a corpus as a whole: the measures, the matrix, the dataset card."""

import json

from hypothesis import given
from hypothesis import strategies as st

from msm.report.dataset_card import dataset_card, dataset_cards
from msm.report.html import render
from msm.report.measures import MEASURES, OTHERS, matrix, uncovered
from msm.report.parts import Corpus, Coverage, Statement
from tests.reported import EVIL, generated_report


def corpus(name: str = "america") -> Corpus:
    return next(corpus for corpus in generated_report().corpora if corpus.name == name)


def said(of: Corpus) -> dict[str, str]:
    return {measure.name: measure.value(of) for measure in MEASURES}


def test_every_corpus_has_a_card_in_the_form_of_dataset_hubs() -> None:
    report = generated_report()
    assert set(dataset_cards(report)) == {f"{corpus.name}/README.md" for corpus in report.corpora}
    text = dataset_card(report, corpus())
    front = dict(line.split(": ", 1) for line in text.split("---")[1].strip().splitlines())
    assert json.loads(front["size_categories"]) == ["n<1K"]
    assert json.loads(front["tags"]) == ["model-spec-midtraining", "synthetic"]
    for part in ("260 documents (24,000 tokens)", "| explains | 71% |", "2 of 12 statements", "| too long | 40 |", corpus().content_digest):
        assert part in text


def test_foreign_text_is_text_in_a_card() -> None:
    for text in dataset_cards(generated_report()).values():
        assert EVIL not in text
        assert "<script" not in text.replace("\\<", "")


def test_without_a_judge_naturalness_says_so() -> None:
    assert said(corpus())["naturalness"] == "8.5 (5% below 6)"
    assert said(corpus("neutral"))["naturalness"] == "no judge"
    assert said(corpus("neutral").model_copy(update={"reading": None}))["self-BLEU"] == "–"


def test_statements_without_a_document_are_counted() -> None:
    found = corpus().coverage
    assert found is not None
    assert len(uncovered(found)) == int(said(corpus())["statements without a document"]) == 2


@given(
    st.lists(st.tuples(st.lists(st.integers(0, 50), min_size=5, max_size=5), st.integers(0, 9)), min_size=1, max_size=8), st.integers(1, 6)
)
def test_a_row_of_the_matrix_adds_up_to_its_documents(lines: list[tuple[list[int], int]], most: int) -> None:
    genres = tuple("abcde")
    statements = tuple(Statement(id=str(n), name=str(n), documents=sum(c) + more, genres=tuple(c)) for n, (c, more) in enumerate(lines))
    found = matrix(Coverage(genres=genres, statements=statements), most)
    for _, total, cells in found.rows:
        assert sum(cell.documents for cell in cells) == total
        assert len(cells) == len(found.columns)
        assert all((cell.shade == 0) == (cell.documents == 0) and cell.shade <= 4 for cell in cells)
    assert found.columns[: min(most, 5)] == genres[:most]
    assert (OTHERS in found.columns) == any(sum(c[:most]) < sum(c) + more for c, more in lines)


def test_the_page_puts_the_corpora_side_by_side_and_links_their_cards() -> None:
    page = render(generated_report())
    assert page.count('class="sides"') == 1
    assert all(f'href="corpora/{name}/README.md"' in page for name in ("america", "affordability", "neutral"))
    assert "Coverage: kept documents by statement of the spec and genre (12 statements)" in page
