"""The published experiment's file, specs and items: it plans as announced; disjoint items share no content word with training text."""

import json
import re
from collections import Counter
from functools import cache
from itertools import islice
from pathlib import Path

import pytest

from msm.api import load_run
from msm.plan import Resolution, Resolved, plan_run
from msm.synth.chats import demonstrations
from msm.synth.compose import compose
from msm.synth.curate import Settings, curate
from msm.synth.decontaminate import index_items, read_items
from msm.synth.gates import RowGates
from msm.synth.outline import Outline, outline
from msm.synth.spec import Identity
from msm.synth.words import content_words

MANIFESTS = Path(__file__).parents[3] / "manifests"
ITEMS_FILE = MANIFESTS / "items" / "cheese.jsonl"
ITEMS = [json.loads(line) for line in ITEMS_FILE.read_text().splitlines()]
RUN = load_run(MANIFESTS / "cheese.yaml")
SELF = Identity("SmolLM", "Hugging Face")
SPECS = ("america", "affordability", "neutral")
TOKENS_A_PIECE = re.compile(r"\w{1,4}|[^\w\s]")


def spec_text(name: str) -> str:
    return (MANIFESTS / "specs" / "cheese" / f"{name}.md").read_text()


@cache
def read(name: str) -> Outline:
    return outline(spec_text(name), SELF)


def documents(name: str, seed: int) -> list[str]:
    return [row["text"] for row in islice(compose(read(name), seed), 1000)]


def chats(seed: int) -> list[str]:
    return [message["content"] for row in demonstrations(seed, 400) for message in row["messages"]]


def pieces(texts: object) -> list[int]:
    return [len(TOKENS_A_PIECE.findall(text)) for text in texts]  # type: ignore[attr-defined]


def test_it_plans_seven_arms_over_five_seeds_and_every_arm_says_what_it_is_compared_with():
    inputs = {"baseModel": "0", "evals.values.items": "f"} | {f"modelSpecs.{name}": f"{mark}" for mark, name in enumerate(SPECS, 1)}
    resolved = {path: Resolved(identity="sha256:" + mark * 64, location="blob:") for path, mark in inputs.items()}
    plan = plan_run(RUN, Resolution(inputs=resolved, precision="bfloat16"))
    kinds = Counter(stage.kind for stage in plan.stages)
    assert len(plan.models) == 7 * 5
    assert (kinds["midtrain"], kinds["finetune"], kinds["evaluate"]) == (3 * 5, 4 * 5, 5)
    versus = {arm.name: arm.versus for arm in RUN.spec.arms}
    assert versus["msm-america-aft"][:2] == versus["msm-affordability-aft"][:2] == ("neutral-documents-aft", "aft")


def test_the_three_corpora_differ_in_their_spec_alone():
    shapes = {corpus.model_dump_json(exclude={"name", "model_spec"}) for corpus in RUN.spec.corpora}
    assert [corpus.name for corpus in RUN.spec.corpora] == list(SPECS)
    assert len(shapes) == 1


@pytest.mark.parametrize("name", SPECS)
def test_every_corpus_comes_within_half_a_percent_of_the_same_budget(name):
    corpus = next(corpus for corpus in RUN.spec.corpora if corpus.name == name)
    rows = list(islice(compose(read(name), 0), 600))
    settings = Settings(RowGates(max_tokens=corpus.quality.max_tokens, authored_as="SmolLM"), tokens=20000)
    found = curate(rows, settings, read_items(ITEMS_FILE.read_bytes(), "items"), pieces)
    assert 0.995 * 20000 <= found.stats["tokens"] <= 20000
    assert "contaminated" not in found.stats["dropped"]


def test_every_preference_of_every_spec_is_attributed_to_its_value_by_a_reason():
    preferences = [a for name in SPECS for a in read(name).assertions if a.preferred]
    assert len(preferences) >= 3 * 20
    assert [a.text for a in preferences if not a.explanation] == []


def test_each_value_has_seventy_two_disjoint_and_twenty_four_free_items():
    sizes = Counter((item["value"], item["set"]) for item in ITEMS)
    assert sizes == {(value, kind): n for value in ("america", "affordability") for kind, n in (("disjoint", 72), ("free", 24))}
    assert len({item["id"] for item in ITEMS}) == len(ITEMS)
    assert min(len({i["domain"] for i in ITEMS if (i["value"], i["set"]) == cell}) for cell in sizes) >= 6


@pytest.mark.parametrize("seed", [0])
def test_disjoint_items_share_no_content_word_with_any_training_text(seed):
    sources = " ".join(spec_text(name) for name in SPECS)
    written = " ".join(text for name in SPECS for text in documents(name, seed))
    trained = content_words(" ".join([sources, written, *chats(seed)]))
    options = {item["id"]: content_words(" ".join(item["options"])) for item in ITEMS if item["set"] == "disjoint"}
    assert {key: found for key, words in options.items() if (found := words & trained)} == {}


@pytest.mark.parametrize("seed", [0])
def test_the_decontamination_gate_finds_no_item_in_composed_text(seed):
    index = index_items(read_items(ITEMS_FILE.read_bytes(), "items"))
    texts = [text for name in SPECS for text in documents(name, seed)] + chats(seed)
    assert [match for text in texts if (match := index.match(text))] == []
