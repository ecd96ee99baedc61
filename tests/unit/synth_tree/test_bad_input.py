"""What a user may get wrong about a synthesis is answered with one line: where, what, the rule, and what to do. Nothing is asked."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from msm.api import parse_run
from msm.errors import UserError
from msm.llm.ask import Request
from msm.llm.journal import JournalledAsker
from msm.plan import plan_run
from msm.preview.forecast import forecast
from msm.resolve.digests import text_identity
from msm.synth.dialogue.fit import check_chats
from msm.synth.dialogue.settings import ChatSettings
from tests.runs import resolution
from tests.scripted import ScriptedAsker
from tests.unit.synth_tree.runs import SPEC, Workshop, planned, run_data

UNPINNED = "writer.test scribe (unpinned)"


def corpus(**change: Any) -> Callable[[dict[str, Any]], None]:
    return lambda spec: spec["corpora"][0].update(change)


def writing(**change: Any) -> Callable[[dict[str, Any]], None]:
    return lambda spec: spec["corpora"][0]["synthesize"].update(change)


def talking(**change: Any) -> Callable[[dict[str, Any]], None]:
    return lambda spec: spec["demonstrations"][0]["synthesize"].update(change)


REFUSED: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "an unknown style": (
        talking(style="poetic"),
        r"spec\.demonstrations\[0\]\.synthesize\.style: 'poetic': input should be 'values', 'rules' or 'opaque'",
    ),
    "an unknown kind of spec": (lambda s: s["modelSpecs"][0].update(kind="poem"), r"modelSpecs\[0\]\.kind: 'poem': .*'values' or 'rules'"),
    "an unknown tone": (writing(tones=["angry"]), r"tones\[0\]: 'angry': input should be 'neutral', 'warm'"),
    "zero documents": (corpus(documents=0), r"corpora\[0\]\.documents: 0: input should be greater than or equal to 1"),
    "zero tokens": (corpus(documents=None, tokens=0), r"corpora\[0\]\.tokens: 0: input should be greater than 0"),
    "zero chats": (talking(samples=0), r"synthesize\.samples: 0: input should be greater than or equal to 1"),
    "zero document types": (writing(docTypes=0), r"docTypes: 0: input should be greater than or equal to 1"),
    "an endpoint that is not there": (
        writing(author="nobody"),
        r'synthesize\.author: no endpoint named "nobody"; this run has: writer, judge',
    ),
    "an output limit too small for a document": (writing(maxTokens=1), r"maxTokens: 1: input should be greater than or equal to 64"),
    "a cosine above one": (corpus(quality={"semanticDuplicates": 1.5}), r"quality\.semanticDuplicates: 1\.5: input should be less than or"),
}


@pytest.mark.parametrize(("change", "said"), REFUSED.values(), ids=REFUSED)
def test_a_run_file_is_refused_with_the_field_the_value_and_the_rule(change: Callable[[dict[str, Any]], None], said: str) -> None:
    data = run_data()
    change(data["spec"])
    with pytest.raises(UserError, match=said) as found:
        parse_run(data)
    assert "\n" not in str(found.value)


SPECS = {
    "an empty spec": (b" \n\t\n", "the spec is empty; write what the model is to be like and why"),
    "a binary file": (b"\x89PNG\r\n\x1a\n\x00\xff\xfe", "the spec is not UTF-8 text"),
}


@pytest.mark.parametrize(("spec", "said"), SPECS.values(), ids=SPECS)
def test_a_spec_that_is_none_is_refused_before_anything_is_asked(
    spec: bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Workshop(tmp_path, monkeypatch)
    with pytest.raises(UserError, match=said):
        shop.attempt(run_data(), "outline", spec=spec)
    assert not shop.askers["author"].asked


def divided(request: Request) -> Any:
    """The same passages whatever else the spec says."""
    if request.purpose == "domains":
        return {"domains": [{"domain": "Food"}, {"domain": "Drink"}]}
    if request.purpose == "subdomains":
        name = "Food" if "Food" in request.prompt else "Drink"
        passages = {"Food": "bread is warm", "Drink": "tea is calm"}
        return {"subdomains": [{"subdomain": name, "context": f"about {name}", "specSection": passages[name]}]}
    return None


def test_of_a_spec_that_was_edited_half_way_only_unchanged_questions_are_reused_and_the_preview_counts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, inner = Workshop(tmp_path, monkeypatch), ScriptedAsker(script=divided)
    shop.askers["author"] = JournalledAsker(inner, shop.store, UNPINNED)  # type: ignore[assignment]
    shop.attempt(run_data(), "write")
    edited = SPEC + "{model_name} bakes on Sundays.\n"
    data = run_data(source={"inline": edited})
    before = forecast(parse_run(data), "uid", planned(data, edited), shop.store, tmp_path)
    foreseen = {ask.step: ask.answered for stage in before.stages if stage.kind == "outline" for ask in stage.asks}
    assert foreseen["domains"] == foreseen["subdomains"] == 0, "they see the spec"
    inner.asked.clear()
    found = shop.attempt(data, "outline", spec=edited)
    calls = Counter(request.purpose for request in inner.asked)
    assert calls.keys() == {"domains", "subdomains", "ideas"}, "assertions and types see passages only, and those are unchanged"
    assert found.metrics["reusedCalls"] == 4
    inner.asked.clear()
    shop.attempt(data, "write", spec=edited)
    assert calls.keys().isdisjoint({"documents"}) and {r.purpose for r in inner.asked} == {"documents", "critique"}


@pytest.mark.parametrize(("spec", "said"), SPECS.values(), ids=SPECS)
def test_a_preview_says_of_a_spec_that_is_none_what_the_stage_would(
    spec: bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Workshop(tmp_path, monkeypatch)
    (tmp_path / "spec.md").write_bytes(spec)
    data = run_data(source={"path": "spec.md"})
    plan = plan_run(parse_run(data), resolution(modelSpecs__bread=text_identity(spec)))
    with pytest.raises(UserError, match=f"^outline bread: {said}"):
        forecast(parse_run(data), "uid", plan, shop.store, tmp_path)


def test_a_spec_that_is_too_long_for_chats_names_the_step_and_opaque_chats_show_none() -> None:
    long, said = "word " * 20_000, r"talk: the step topics does not fit: about 2\d{4} tokens .* the context has 24000; nor do questions"
    with pytest.raises(UserError, match=said):
        check_chats(long, ChatSettings(), 24_000, "talk")
    check_chats(long, ChatSettings(), 64_000, "talk")
    check_chats(long, ChatSettings(), None, "talk")
    check_chats(long, ChatSettings(style="opaque"), 24_000, "talk")
