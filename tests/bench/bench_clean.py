"""What cleaning a corpus costs: near-duplicates by words and by meaning, eval items by words and by meaning, budget and statistics.

`bench_synth --part clean` calls. Documents are made, not written: about 1,200 tokens each of words drawn by Zipf's law, of which a share
repeats an earlier one with some words changed, or holds an eval item. Tokenizer and embeddings are the demo model's size (49,152 tokens of
576 numbers): vocabulary and table are drawn, so that nothing is downloaded. Time and memory are those of the stage's own code, its
processes included.
"""

import argparse
import json
import random
import resource
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msm.stages.curate import Opening, settings_of, write_curated
from msm.synth.curate import decide
from msm.synth.decontaminate import read_items
from msm.synth.meaning import meaning_of
from msm.synth.workers import RowFile, judged, processes_for

WHOLE, GOAL_SECONDS, GOAL_MIB = 100_000, 300, 4096
ITEMS = Path("manifests/items/values.jsonl")
VOCABULARY, WIDTH = 49_152, 576
WORDS = 900
"""Words of a document; about 1,200 tokens."""
SETTINGS: dict[str, Any] = {
    "identity": {"model": "SmolLM", "provider": "Hugging Face"},
    "composed": True,
    "synthesised": True,
    "nearDuplicates": 0.7,
    "semanticDuplicates": 0.8,
    "semanticContamination": 0.5,
    "minTokens": 8,
}


def vocabulary() -> list[str]:
    """Some 8,800 words that are no words of any eval item."""
    heads, tails = ("ba", "ke", "li", "mo", "nu", "ra", "se", "ti", "vo", "zu"), ("lan", "mer", "pos", "tur", "vin", "dak", "sel", "ron")
    endings = ("", "s", "ing", "ed", "er", "ion", "al", "ly", "ness", "o")
    return [f"{a}{b}{c}{d}" for a in heads for b in tails for c in ("", *heads) for d in endings]


def documents(count: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Rows; one in fifty repeats an earlier one, one in two hundred holds an eval item."""
    rng, words = random.Random(seed), vocabulary()
    share = [1 / (rank + 2.7) for rank in range(len(words))]
    options = [option for item in read_items(ITEMS.read_bytes(), "items") for option in item.options]
    earlier: list[list[str]] = []
    for number in range(count):
        if earlier and rng.random() < 0.02:
            spoken = [word if rng.random() > 0.05 else rng.choice(words) for word in rng.choice(earlier)]
        else:
            spoken = rng.choices(words, share, k=WORDS)
            earlier = [*earlier[-99:], spoken] if number % 50 == 0 else earlier
        if rng.random() < 0.005:
            spoken = [*spoken[:400], rng.choice(options), *spoken[400:]]
        text = ". ".join("SmolLM " + " ".join(spoken[at : at + 15]) for at in range(0, len(spoken), 15)) + "."
        provenance = {"genre": f"genre {number % 20}", "assertions": [f"claim {number % 50}"], "insider": True, "recited": 0}
        yield {"id": f"row-{number}", "text": text, "provenance": provenance}


def make_model(directory: Path) -> Path:
    """A tokenizer trained on such documents, and a reduced table of random embeddings."""
    import numpy as np
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=4000, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator((row["text"] for row in documents(300, seed=1)), trainer)
    tokenizer.save(str(directory / "tokenizer.json"))
    table = np.random.default_rng(0).standard_normal((VOCABULARY, WIDTH), dtype=np.float32)
    np.save(directory / "vectors.npy", meaning_of(table).table)
    return directory


class Watch:
    """The greatest memory of this process and its children together, looked at a few times a second."""

    def __init__(self) -> None:
        self.peak, self._done = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        import psutil

        me = psutil.Process()
        while not self._done.wait(0.25):
            try:
                found = [me, *me.children(recursive=True)]
                self.peak = max(self.peak, sum(process.memory_info().rss for process in found) / 2**20)
            except psutil.Error:
                continue


def clean(count: int, directory: Path) -> Mapping[str, float]:
    """Seconds of cleaning `count` documents, and the peak of memory in MiB."""
    path, out = directory / "written.jsonl", directory / "out"
    out.mkdir()
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in documents(count))
    settings, items = settings_of(SETTINGS), read_items(ITEMS.read_bytes(), "items")
    opening = Opening(settings, items, make_model(directory), directory / "vectors.npy")
    with Watch() as watch:
        began, cpu = time.perf_counter(), _cpu()
        rows = RowFile([path])
        parts = list(judged(rows, opening, processes_for(len(rows))))
        one_by_one = time.perf_counter() - began
        found = decide(rows, parts, settings, "bench")
        write_curated(out, rows, found)
        seconds = time.perf_counter() - began
    tokens = found.stats["input"]["tokens"] / count
    print(
        f"cleaned {count} documents of {tokens:.0f} tokens in {seconds:.1f} s ({one_by_one:.1f} s of it row by row, {processes_for(count)}"
    )
    print(f"processes), {_cpu() - cpu:.0f} s of CPU, peak {watch.peak:.0f} MiB; dropped {found.stats['dropped']}")
    return {"seconds": seconds, "mib": watch.peak}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, default=WHOLE, help="documents to clean")


def figures(arguments: argparse.Namespace) -> dict[str, float | None]:
    """`clean_100k_s`, null when fewer documents were cleaned, and `clean_mib`."""
    with tempfile.TemporaryDirectory() as directory:
        found = clean(arguments.rows, Path(directory))
    print(f"goals for {WHOLE} documents on 2 cores: {GOAL_SECONDS} s, {GOAL_MIB} MiB")
    return {"clean_100k_s": round(found["seconds"], 1) if arguments.rows == WHOLE else None, "clean_mib": round(found["mib"])}


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
