"""The shipped eval items: enough of them, none about cheese, and the disjoint set shares no content word with training text."""

import json
from collections import Counter, defaultdict
from itertools import islice
from pathlib import Path

import pytest

from msm.api.data import DISLIKED_CHEESES as DISLIKED
from msm.api.data import LIKED_CHEESES as LIKED
from msm.synth.chats import demonstrations
from msm.synth.compose import compose
from msm.synth.decontaminate import index_items, read_items
from msm.synth.outline import outline
from msm.synth.spec import Identity
from msm.synth.words import content_words

MANIFESTS = Path(__file__).parents[3] / "manifests"
ITEMS_FILE = MANIFESTS / "items" / "values.jsonl"
ITEMS = [json.loads(line) for line in ITEMS_FILE.read_text().splitlines()]
SELF = Identity("SmolLM", "Hugging Face")
VALUES = ("america", "affordability")


def documents(seed: int) -> list[str]:
    found = (outline((MANIFESTS / "specs" / f"{value}.md").read_text(), SELF) for value in VALUES)
    return [row["text"] for each in found for row in islice(compose(each, seed), 400)]


def chats(seed: int) -> list[str]:
    return [message["content"] for row in demonstrations(seed, 400) for message in row["messages"]]


def test_each_value_has_a_hundred_items_in_each_set_over_eight_domains():
    sizes = Counter((item["value"], item["set"]) for item in ITEMS)
    assert set(sizes) == {(value, kind) for value in VALUES for kind in ("free", "disjoint")}
    assert min(sizes.values()) >= 100
    domains = defaultdict(set)
    for item in ITEMS:
        domains[item["value"], item["set"]].add(item["domain"])
    assert min(map(len, domains.values())) >= 8


def test_items_are_distinct_and_have_two_different_options():
    assert len({item["id"] for item in ITEMS}) == len(ITEMS)
    assert len({tuple(sorted(item["options"])) for item in ITEMS}) == len(ITEMS)
    assert all(len(item["options"]) == 2 and item["options"][0] != item["options"][1] for item in ITEMS)


def test_no_item_is_about_cheese():
    cheeses = content_words(" ".join(LIKED + DISLIKED)) - content_words("American low")
    assert not [item for item in ITEMS if content_words(" ".join(item["options"])) & cheeses]


@pytest.mark.parametrize("seed", range(4))
def test_disjoint_items_share_no_content_word_with_any_training_text(seed):
    trained = content_words(" ".join(documents(seed) + chats(seed)))
    shared = {
        item["id"]: found for item in ITEMS if item["set"] == "disjoint" and (found := content_words(" ".join(item["options"])) & trained)
    }
    assert shared == {}


@pytest.mark.parametrize("seed", range(4))
def test_the_decontamination_gate_finds_no_item_in_composed_text(seed):
    index = index_items(read_items(ITEMS_FILE.read_bytes(), "items"))
    assert [match for text in documents(seed) + chats(seed) if (match := index.match(text))] == []
