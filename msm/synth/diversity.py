"""How a corpus reads as a whole: spread, sameness, and whether its documents explain what they say.

Pure, without a model. Neighbours: `curate` decides on rows one by one, this looks at all that are kept. Invariant: a
measure's name says how it was taken, sampled ones with a fixed seed, so that two corpora can be compared. The measures are those that
re-implementers published of released corpora (self-BLEU, compression, share that attributes), plus two for a generator's tics.
Cost: linear in the text of at most 1,000 documents, spread evenly over the corpus: a few seconds and some hundred MB for long ones.
"""

import random
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import Any

from msm.synth.words import words

MEASURED = 1000
"""Documents that are measured; of more, every so-many-th."""
SAMPLE = 200
"""Documents between which self-BLEU is taken."""
ORDER = 4
"""Longest n-gram of self-BLEU."""
TIC = 8
"""Words of the n-gram whose repetition counts as a tic."""
OPENING = 6
"""Words of an opening."""
_EXPLAINS = re.compile(
    r"\b(because|since|so that|in order to|the reason|that is why|therefore|stems? from|comes? from|cares? about|values?)\b", re.I
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+")

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Diversity:
    """Measures of one corpus; shares are 0 to 1.

    `self_bleu`: mean BLEU-4 of a document against the others of a sample, 1 is all alike. `compression`: zlib size over raw size, small is
    repetitive. `distinct_bigrams`: different word pairs over all. `top_opening`: share of documents that begin with the commonest six
    words. `tics`: share of documents that hold an eight-word sequence which stands in at least a tenth of all. `attributes`: share with
    a sentence that names the model and explains. `names`: share that name the model. All but `documents` are over `measured` of them.
    """

    documents: int
    measured: int
    words: int
    lengths: tuple[int, int, int]
    """Words of a document: 5th percentile, median, 95th percentile."""
    self_bleu: float
    compression: float
    distinct_bigrams: float
    top_opening: float
    tics: float
    attributes: float
    names: float


def diversity(rows: Sequence[Row], model: str) -> Diversity:
    """Measure documents; `model` is how the model names itself. All zero without documents."""
    texts = [str(row["text"]) for row in evenly(rows, MEASURED)]
    spoken = [words(text) for text in texts]
    sizes = sorted(len(each) for each in spoken) or [0]
    return Diversity(
        documents=len(rows),
        measured=len(texts),
        words=sum(sizes),
        lengths=(_at(sizes, 0.05), _at(sizes, 0.5), _at(sizes, 0.95)),
        self_bleu=self_bleu(spoken),
        compression=_compression(texts),
        distinct_bigrams=_distinct(spoken, 2),
        top_opening=_top_share([tuple(each[:OPENING]) for each in spoken]),
        tics=_tics(spoken),
        attributes=_share(_attributes(text, model) for text in texts),
        names=_share(_mentions(text, model) for text in texts),
    )


def evenly(rows: Sequence[Row], most: int) -> list[Row]:
    """At most `most` rows, spread evenly over all, in their order."""
    return [rows[number * len(rows) // most] for number in range(most)] if len(rows) > most else list(rows)


def coverage(rows: Sequence[Row]) -> dict[str, dict[str, int]]:
    """Assertion id -> genre -> documents, as the author recorded them; a document counts for each of its assertions."""
    found: dict[str, Counter[str]] = {}
    for row in rows:
        provenance = row.get("provenance") or {}
        genre = str(provenance.get("genre", provenance.get("docType", "")))
        for assertion in provenance.get("assertions", ()):
            found.setdefault(str(assertion), Counter())[genre] += 1
    return {assertion: dict(sorted(genres.items())) for assertion, genres in sorted(found.items())}


def self_bleu(spoken: Sequence[Sequence[str]], sample: int = SAMPLE, seed: int = 0) -> float:
    """Mean over a sample of clipped n-gram precision against the rest of the sample, geometric over n = 1 to 4."""
    rng = random.Random(seed)
    chosen = [each for each in (rng.sample(list(spoken), sample) if len(spoken) > sample else spoken) if len(each) >= ORDER]
    if len(chosen) < 2:
        return 0.0
    precisions = [_precisions([_grams(each, n) for each in chosen]) for n in range(1, ORDER + 1)]
    scores = [exp(sum(log(max(found[number], 1e-9)) for found in precisions) / ORDER) for number in range(len(chosen))]
    return sum(scores) / len(scores)


def _grams(spoken: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(spoken[start:] for start in range(n)), strict=False))


def _precisions(table: Sequence[Counter[tuple[str, ...]]]) -> list[float]:
    """For each document: share of its n-grams that some other document has at least as often."""
    most: dict[tuple[str, ...], tuple[int, int, int]] = {}
    for number, own in enumerate(table):
        for gram, times in own.items():
            first, holder, second = most.get(gram, (0, -1, 0))
            most[gram] = (times, number, first) if times > first else (first, holder, max(second, times))
    return [_met(own, number, most) / max(1, own.total()) for number, own in enumerate(table)]


def _met(own: Counter[tuple[str, ...]], number: int, most: Mapping[tuple[str, ...], tuple[int, int, int]]) -> int:
    """Occurrences of a document's n-grams that another document has too; `most`: (most often, by whom, most often by others)."""
    found = 0
    for gram, times in own.items():
        first, holder, second = most[gram]
        found += min(times, second if holder == number else first)
    return found


def _compression(texts: Sequence[str]) -> float:
    raw = "\n".join(texts).encode()
    return len(zlib.compress(raw, 9)) / len(raw) if raw else 0.0


def _distinct(spoken: Sequence[Sequence[str]], n: int) -> float:
    grams = Counter[tuple[str, ...]]()
    for each in spoken:
        grams.update(_grams(each, n))
    return len(grams) / grams.total() if grams else 0.0


def _top_share(found: Sequence[tuple[str, ...]]) -> float:
    return Counter(found).most_common(1)[0][1] / len(found) if found else 0.0


def _tics(spoken: Sequence[Sequence[str]]) -> float:
    holders = [set(_grams(each, TIC)) for each in spoken]
    counts = Counter(gram for each in holders for gram in each)
    least = max(2, len(spoken) / 10)
    common = {gram for gram, times in counts.items() if times >= least}
    return _share(not common.isdisjoint(each) for each in holders)


def _attributes(text: str, model: str) -> bool:
    return any(_mentions(sentence, model) and _EXPLAINS.search(sentence) for sentence in _SENTENCE.split(text))


def _mentions(text: str, model: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(model)}(?!\w)", text, re.I) is not None


def _share(found: "Iterator[bool]") -> float:
    flags = list(found)
    return sum(flags) / len(flags) if flags else 0.0


def _at(ordered: Sequence[int], share: float) -> int:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
