"""What is said of a corpus as a whole, once for the page and the dataset card: each measure with name, value, what to compare it with.

Pure. Neighbours: `html` puts corpora side by side, `dataset_card` lists one. Invariant: where no judge looked, naturalness says so and
names what stands for it instead of showing a number that means something else.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from msm.report import words
from msm.report.parts import Corpus, Coverage, Reading, ScoreLine

NATURALNESS = "naturalness"
UNJUDGED = "no judge"
OTHERS = "others"
EXPLAINS = "has a sentence that names the model and gives a reason; 65 to 80% in released corpora"


DISPERSION = "0 is all alike; by the base model's embeddings, where quality.semanticDuplicates is set"
UNMEASURED = "not taken"


def dispersion(found: float | None) -> str:
    """Embedding dispersion as text; it is taken where curation had vectors."""
    return UNMEASURED if found is None else words.decimal(found)


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure: its name, what is better, and its value for a corpus as text."""

    name: str
    hint: str
    value: Callable[[Corpus], str]


def score(corpus: Corpus, axis: str) -> ScoreLine | None:
    """A judge's line on an axis, if there is one."""
    return next((line for line in corpus.scores if line.axis == axis), None)


def _read(of: Callable[[Reading], str]) -> Callable[[Corpus], str]:
    return lambda corpus: words.NOTHING if corpus.reading is None else of(corpus.reading)


def _judged(axis: str, without: str) -> Callable[[Corpus], str]:
    def said(corpus: Corpus) -> str:
        line = score(corpus, axis)
        return without if line is None else f"{line.median:g} (5% below {line.low:g})"

    return said


def _uncovered(corpus: Corpus) -> str:
    return words.NOTHING if corpus.coverage is None else str(len(uncovered(corpus.coverage)))


MEASURES: Sequence[Measure] = (
    Measure("documents", "", lambda corpus: words.count(corpus.documents)),
    Measure("tokens", "by the base model's tokenizer", lambda corpus: words.count(corpus.tokens)),
    Measure("words of a document", "5%, median, 95%", _read(lambda found: ", ".join(map(str, found.words)))),
    Measure("statements without a document", "0 covers the spec", _uncovered),
    Measure("names the model", "near 100%", _read(lambda found: words.percent(found.names))),
    Measure("explains", EXPLAINS, _read(lambda found: words.percent(found.attributes))),
    Measure("attribution, judged", "explained by a value, 0 to 10", _judged("attribution", words.NOTHING)),
    Measure("naturalness", "judged, 0 to 10; without a judge, openings and tics stand for it", _judged(NATURALNESS, UNJUDGED)),
    Measure("self-BLEU", "1 is all alike; about .4 in released corpora", _read(lambda found: words.decimal(found.self_bleu))),
    Measure("embedding dispersion", DISPERSION, _read(lambda found: dispersion(found.dispersion))),
    Measure("compression", "small is repetitive; about .37 in released corpora", _read(lambda found: words.decimal(found.compression))),
    Measure("distinct bigrams", "small is repetitive", _read(lambda found: words.percent(found.distinct_bigrams))),
    Measure("commonest opening", "share that begin with the same six words", _read(lambda found: words.percent(found.top_opening))),
    Measure("tics", "share with eight words that a tenth of all hold", _read(lambda found: words.percent(found.tics))),
    Measure("near-duplicates", "of those that passed the gates before; dropped", lambda corpus: words.percent(corpus.near_duplicates)),
    Measure("contaminated", "held an eval item; dropped", lambda corpus: words.count(corpus.contaminated)),
)
"""In the order in which they are shown."""


def uncovered(coverage: Coverage) -> list[str]:
    """Names of the statements that no kept document rests on."""
    return [statement.name for statement in coverage.statements if not statement.documents]


@dataclass(frozen=True, slots=True)
class Cell:
    """Documents, and how strong their place in a matrix is shown: 0 for none to 4 for the most."""

    documents: int
    shade: int


@dataclass(frozen=True, slots=True)
class Matrix:
    """Statements by genre."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, int, tuple[Cell, ...]], ...]


def matrix(coverage: Coverage, most: int = 8) -> Matrix:
    """The coverage with at most `most` genres, the rest as one column."""
    shown = coverage.genres[:most]
    lines = [(s.name, s.documents, _counts(s.genres[:most], s.documents)) for s in coverage.statements]
    with_rest = any(counts[-1] for _, _, counts in lines)
    top = max((count for _, _, counts in lines for count in counts[: len(shown)]), default=0)
    rows = tuple((name, total, tuple(_cells(counts if with_rest else counts[:-1], top))) for name, total, counts in lines)
    return Matrix((*shown, OTHERS) if with_rest else shown, rows)


def _counts(known: Sequence[int], total: int) -> list[int]:
    return [*known, total - sum(known)]


def _cells(counts: Sequence[int], top: int) -> Iterator[Cell]:
    for count in counts:
        yield Cell(count, 0 if not count else min(4, 1 + int(3 * count / max(1, top))))
