"""What the gates by meaning tell apart, by a model's own embeddings: `python -m tests.bench.bench_meaning MODEL_DIRECTORY`.

The texts are `tests/unit/synth_curate/meanings.json`, written by hand: each with a light rewording, one in wholly other words, and another
text of the same claim and kind; and eval items retold in a sentence, which is put between two texts. Prints quantiles of cosines, for texts
and for pairs of them joined (length), and what common thresholds find and spoil.
"""

import json
import sys
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from msm.data.tokens import load_tokenizer
from msm.synth.meaning import Meaning, meaning_of, read_table

TEXTS = Path("tests/unit/synth_curate/meanings.json")
Vectors = Callable[[str], Any]


def shown(name: str, found: list[float], *thresholds: float) -> None:
    shares = ", ".join(f">= {at}: {np.mean(np.array(found) >= at):.3f}" for at in thresholds)
    print(f"{name:42s} n {len(found):4d}  min {min(found):.2f}  median {np.median(found):.2f}  max {max(found):.2f}  {shares}")


def different(rows: list[dict[str, str]], vector: Vectors) -> Iterator[float]:
    vectors = [[vector(row[kind]) for kind in ("text", "near", "same", "other")] for row in rows]
    for row in vectors:
        yield from (float(row[place] @ row[3]) for place in range(3))
    for one, two in combinations(vectors, 2):
        yield from (float(a @ b) for a in one for b in two)


def joined(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Neighbours of one domain as one text."""
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return [{kind: f"{a[kind]} {b[kind]}" for kind in ("text", "near", "same", "other")} for a, b in pairs]


def main() -> None:
    model = Path(sys.argv[1])
    tokenizer, meaning = load_tokenizer(model), meaning_of(read_table(model / "model.safetensors"))

    def ids(text: str) -> list[int]:
        return tokenizer.encode_documents([text])[0]

    def vector(text: str) -> Any:
        return meaning.document(ids(text))

    given = json.loads(TEXTS.read_text(encoding="utf-8"))
    for name, rows in (("", given["documents"]), ("joined: ", joined(given["documents"]))):
        for kind in ("near", "same"):
            shown(f"{name}{kind}", [float(vector(row["text"]) @ vector(row[kind])) for row in rows], 0.75, 0.8, 0.85)
        shown(f"{name}different texts", list(different(rows, vector)), 0.75, 0.8, 0.85)
    show_items(given, meaning, ids)


def show_items(given: dict[str, Any], meaning: Meaning, ids: Callable[[str], list[int]]) -> None:
    rows, items = given["documents"], given["items"]

    def closest(text: str, item: dict[str, Any]) -> float:
        return float((meaning.passages(ids(text)) @ meaning.document(ids(" or ".join(item["options"])))).max())

    for kind in ("rephrased", "near"):
        texts = [f"{rows[n]['text']} {item[kind]} {rows[n + 1]['other']}" for n, item in enumerate(items)]
        shown(f"item {kind} in a document", [closest(text, item) for text, item in zip(texts, items, strict=True)], 0.4, 0.5)
    every = [row[kind] for row in rows for kind in ("text", "near", "same", "other")]
    shown("item against documents without it", [max(closest(text, item) for item in items) for text in every], 0.4, 0.5)


if __name__ == "__main__":
    main()
