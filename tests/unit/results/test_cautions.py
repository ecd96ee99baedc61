from dataclasses import replace
from typing import Any

import pytest

from msm.api import parse_run
from msm.evals.statistics import Effect
from msm.report.asked import ItemSet
from msm.results.cautions import Seen, broken_chat, cautions, no_control, one_seed, only_shared_words, shared_words, unpinned
from tests.finished import finish, run_data

HEALTHY = {"ended": 1.0, "repeated": 0.0, "leaked": 0.0, "empty": 0.0}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """A finished run with nothing to say against it."""
    surveyed = finish(tmp_path_factory.mktemp("run")).survey()
    return Seen(surveyed.run, surveyed.plan, surveyed.artifacts.manifests, (), (), surveyed.scores, (), {})


def group(set_: str, shared: int | None, items: int = 10) -> ItemSet:
    return ItemSet(eval="values", value="america", set=set_, items=items, shared=shared, shared_words=("american", "flag"))


def effect(set_: str, low: float, high: float, versus: str = "aft", arm: str = "msm-america-aft") -> Effect:
    return Effect(f"values.america.{set_}.margin", arm, versus, (low + high) / 2, low, high, 0.95, 2, 10)


def with_base(uri: str, **more: Any) -> dict[str, Any]:
    data = run_data()
    data["spec"]["baseModel"] |= {"uri": uri, **more}
    return data


def texts(found: Any) -> list[str]:
    return [caution.text for caution in found]


SHARED = {
    "most items of a free set share words": ((group("free", 8),), "america.free 8 of 10 (american, flag)"),
    "few items share words": ((group("free", 4),), None),
    "not known before the texts are there": ((group("free", None),), None),
    "a disjoint set that shares words is no disjoint set": ((group("disjoint", 1),), "items called disjoint that do share"),
    "a disjoint set that shares none": ((group("disjoint", 0),), None),
}


@pytest.mark.parametrize("case", SHARED.values(), ids=SHARED)
def test_shared_words(seen: Seen, case: tuple[tuple[ItemSet, ...], str | None]) -> None:
    found = texts(shared_words(replace(seen, sets=case[0])))
    assert (case[1] is None and found == []) or (case[1] is not None and case[1] in found[0])


BOTH = (group("free", 8), group("disjoint", 0))
CARRIED = {
    "a rise on free items alone is words": (BOTH, (effect("free", 1, 2), effect("disjoint", -1, 1)), "none on items that share none"),
    "a rise on disjoint items too is not": (BOTH, (effect("free", 1, 2), effect("disjoint", 0.1, 1)), None),
    "no rise is not": (BOTH, (effect("free", -1, 1), effect("disjoint", -1, 1)), None),
    "a fall is not": (BOTH, (effect("free", -2, -1), effect("disjoint", -1, 1)), None),
    "without other items nothing can tell": ((group("free", 8),), (effect("free", 1, 2),), "that only items which share words"),
    "only the first control is spoken of": (
        BOTH,
        (effect("free", -1, 1, "neutral"), effect("disjoint", -1, 1, "neutral"), effect("free", 1, 2), effect("disjoint", -1, 1)),
        None,
    ),
    "a control's own rise says nothing about a value": (
        BOTH,
        (
            effect("free", 1, 2, "baseline", "aft"),
            effect("disjoint", -1, 1, "baseline", "aft"),
            effect("free", -1, 1),
            effect("disjoint", -1, 1),
        ),
        None,
    ),
}


@pytest.mark.parametrize("case", CARRIED.values(), ids=CARRIED)
def test_only_shared_words(seen: Seen, case: tuple[Any, Any, str | None]) -> None:
    found = texts(only_shared_words(replace(seen, sets=case[0], effects=case[1])))
    assert (case[2] is None and found == []) or (case[2] is not None and case[2] in found[0])


PINNED = {
    "a hub model without revision": (with_base("hf://org/name"), True),
    "a hub model at a revision": (with_base("hf://org/name", revision="abc"), False),
    "a wheel without digest": (with_base("pypi://llm==0.1"), True),
    "a wheel with its digest": (with_base(f"pypi://llm==0.1#sha256={'a' * 64}"), False),
    "a file, whose digest is its identity": (with_base("file:///models/base"), False),
}


@pytest.mark.parametrize("case", PINNED.values(), ids=PINNED)
def test_unpinned(seen: Seen, case: tuple[dict[str, Any], bool]) -> None:
    assert bool(texts(unpinned(replace(seen, run=parse_run(case[0]))))) is case[1]


HEALTH = {
    "a healthy model": (HEALTHY, False),
    "one that does not end its turns": ({**HEALTHY, "ended": 0.3}, True),
    "one that loops": ({**HEALTHY, "repeated": 0.6}, True),
    "one that leaks template marks": ({**HEALTHY, "leaked": 0.8}, True),
}


@pytest.mark.parametrize("case", HEALTH.values(), ids=HEALTH)
def test_broken_chat(seen: Seen, case: tuple[dict[str, float], bool]) -> None:
    model = next(m for m in seen.plan.models if m.arm == "aft" and m.seed == 1)
    found = texts(broken_chat(replace(seen, health={("values", 1, model.model.fingerprint): case[0]})))
    assert bool(found) is case[1]
    assert not found or found[0].startswith("aft seed 1: its chat format is damaged")


def test_a_midtrained_arm_that_nothing_is_compared_with(seen: Seen) -> None:
    assert "msm-america" in texts(no_control(seen))[0]
    assert texts(no_control(replace(seen, scores=()))) == [], "before there are scores nothing is compared"


def test_one_seed(seen: Seen) -> None:
    assert texts(one_seed(seen)) == []
    assert texts(one_seed(replace(seen, run=parse_run(run_data(seeds=[3]))))) != []


def test_every_caution_says_what_to_do(seen: Seen) -> None:
    found = cautions(replace(seen, sets=BOTH, missing=seen.plan.stages[:6], run=parse_run(run_data(seeds=[3]))))
    assert [c.kind for c in found][:1] == ["unfinished"]
    assert all(c.advice and not c.text.endswith(".") for c in found)
    assert "and 2 more" in found[0].text
