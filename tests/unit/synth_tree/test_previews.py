"""What a preview says of a synthesis, before and while it is made."""

from pathlib import Path

import pytest

from msm.api import parse_run
from msm.llm.journal import JournalledAsker
from msm.plan import Plan
from msm.preview.forecast import forecast
from msm.preview.report import Forecast
from tests.scripted import ScriptedAsker
from tests.unit.synth_tree.runs import SPEC, Workshop, planned, run_data

UNPINNED = "writer.test scribe (unpinned)"


def foreseen(shop: Workshop, data: dict[str, object]) -> Forecast:
    plan: Plan = planned(data)
    return forecast(parse_run(data), "uid", plan, shop.store, shop.path)


def of(found: Forecast, kind: str) -> dict[str, tuple[tuple[int, int], int]]:
    (stage,) = (s for s in found.stages if s.kind == kind)
    return {a.step: (a.calls, a.answered) for a in stage.asks}


def test_calls_are_ranges_until_the_outline_is_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Workshop(tmp_path, monkeypatch)
    before = foreseen(shop, run_data({"documents": 100}))
    assert of(before, "outline")["domains"] == ((1, 1), 0)
    assert of(before, "outline")["ideas"] == ((18, 180), 0)
    assert of(before, "write")["documents"] == ((72, 125), 0)
    assert any("asks domains 1, subdomains 3-10" in line for line in before.assumptions)
    shop.attempt(run_data({"documents": 100}), "outline")
    after = foreseen(shop, run_data({"documents": 100}))
    assert of(after, "outline") == {}
    assert of(after, "write") == {"documents": ((48, 48), 0), "critique": ((48, 48), 0)}
    assert after.totals.calls == 96 + sum(high for (_, high), _ in of(after, "demonstrate").values())


def test_answers_that_are_filed_are_counted_and_an_edited_spec_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Workshop(tmp_path, monkeypatch)
    journalled = JournalledAsker(ScriptedAsker(), shop.store, UNPINNED)
    shop.askers["author"] = journalled  # type: ignore[assignment]
    shop.attempt(run_data(), "write")
    larger = foreseen(shop, run_data({"documents": 16}))
    assert of(larger, "write") == {"documents": ((20, 20), 10), "critique": ((20, 20), 10)}
    edited = run_data(source={"inline": SPEC + "{model_name} bakes."})
    found = forecast(parse_run(edited), "uid", planned(edited, SPEC + "{model_name} bakes."), shop.store, tmp_path)
    assert {answered for _, answered in of(found, "outline").values()} == {0}


def test_a_change_of_one_step_leaves_the_answers_of_the_steps_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Workshop(tmp_path, monkeypatch)
    shop.askers["author"] = JournalledAsker(ScriptedAsker(), shop.store, UNPINNED)  # type: ignore[assignment]
    shop.attempt(run_data(), "outline")
    more = of(foreseen(shop, run_data({"synthesize": {"ideasPerType": 6}})), "outline")
    assert {step: answered for step, (_, answered) in more.items()} == {
        "domains": 1,
        "subdomains": 2,
        "assertions": 4,
        "docTypes": 4,
        "ideas": 0,
    }


def test_prices_and_what_does_not_fit_are_said_before_anything_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Workshop(tmp_path, monkeypatch)
    data = run_data()
    data["spec"]["endpoints"][0]["openai"] = {
        **data["spec"]["endpoints"][0]["openai"],
        "price": {"input": 1.0, "output": 10.0},
        "contextTokens": 16000,
    }
    found = foreseen(shop, data)
    assert found.totals.price > 0
    assert any("the step subdomains does not fit" in warning for warning in found.warnings)
    assert any("(unpinned): set the endpoint's identity" in warning for warning in found.warnings)


def test_a_cap_below_the_least_price_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Workshop(tmp_path, monkeypatch)
    data = run_data({"documents": 100})
    price = {"input": 5.0, "cachedInput": 0.0, "output": 10.0}
    server = data["spec"]["endpoints"][0]["openai"]

    def said(cap: float) -> list[str]:
        server.update({"price": price, "maxPrice": cap})
        return [warning for warning in foreseen(shop, data).warnings if "maxPrice" in warning]

    assert [warning.split(" will cost ")[0] for warning in said(0)] == ["outline bread", "write bread", "demonstrate talk"]
    (dear,) = said(0.5)
    assert dear.startswith("write bread will cost 2.")
    assert "its maxPrice is 0.50: it would stop half-way, keeping every answer; raise maxPrice or ask for less" in dear
    assert said(1000) == []


def test_too_few_or_far_too_many_ideas_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Workshop(tmp_path, monkeypatch)
    few = foreseen(shop, run_data({"documents": 1000}))
    assert any("wants about 1250 documents and has at most 720 ideas" in warning for warning in few.warnings)
    many = foreseen(shop, run_data({"documents": 8}))
    assert any("wants about 10 documents of 72 ideas or more" in warning for warning in many.warnings)
    assert any("tokens/s" in line for line in many.assumptions)
