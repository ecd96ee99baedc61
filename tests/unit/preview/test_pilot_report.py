"""A pilot's findings: what passed and why not, and a full spend that is scaled from what the pilot took."""

from pathlib import Path
from typing import Any

import pytest

from msm.api import parse_run
from msm.cli.pilot_tables import _verdict
from msm.errors import IntegrityError, UserError
from msm.llm.ask import Request
from msm.llm.journal import JournalledAsker
from msm.plan import plan_pilot, plan_run
from msm.preview.pilot import pilot_of
from msm.preview.pilot_report import PilotReport, pilot_report
from msm.preview.projection import StepProjection
from msm.resolve.digests import text_identity
from msm.store.blobs import put_blob
from tests.runs import resolution
from tests.scripted import ScriptedAsker
from tests.unit.preview.kept import commit, tokenizer_files
from tests.unit.synth_tree.runs import SPEC, Workshop, run_data

UNPINNED = "writer.test scribe (unpinned)"
PRICE = {"input": 1.0, "output": 10.0}


def piloted(shop: Workshop, data: dict[str, Any], documents: int, asker: ScriptedAsker | None = None) -> PilotReport:
    """The pilot of a run, its stages attempted one by one; what is given up is reported as an executor would."""
    data["spec"]["endpoints"][0]["openai"] |= {"price": PRICE, "concurrency": 40}
    shop.askers["author"] = JournalledAsker(asker or ScriptedAsker(), shop.store, UNPINNED)  # type: ignore[assignment]
    full, found = parse_run(data), resolution(modelSpecs__bread=text_identity(SPEC.encode()))
    put_blob(shop.store, SPEC.encode())
    plan, messages = plan_pilot(pilot_of(full, documents), found), {}
    commit(shop.store, plan.stages[0], tokenizer_files())
    for stage in plan.stages[1:]:
        try:
            shop._run(stage, None)
        except UserError as error:
            messages[stage.name] = f"InvalidInput: {error}"
        except IntegrityError:
            continue
    return pilot_report(full, "uid", plan_run(full, found), plan, shop.store, shop.path, shop.path / "cache", messages)


def step(found: PilotReport, stage: str, name: str) -> StepProjection:
    (one,) = (s for projected in found.stages if projected.name == stage for s in projected.steps if s.step == name)
    return one


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    return Workshop(tmp_path, monkeypatch)


def test_the_full_spend_is_scaled_from_the_pilots_answers(shop: Workshop) -> None:
    data = run_data({"documents": 30, "quality": {"minScore": 1}}, {"samples": 60, "questionsPerDomain": 12})
    found = piloted(shop, data, 8)
    documents, dialogues = found.parts
    assert (documents.made, documents.passed, documents.message) == (8, 8, "")
    assert (dialogues.made, dialogues.passed) == (10, 10), "two questions of each of the full run's five topics"
    assert documents.tokens_each is not None
    assert documents.tokens_each[1] <= documents.tokens_each[0] <= documents.tokens_each[2]
    writing = step(found, "write bread", "documents")
    assert (writing.calls, writing.answered, writing.measured) == ((38, 38), 0, 8)
    assert writing.completion_tokens[0] < writing.completion_tokens[1] < 2 * writing.completion_tokens[0]
    ideas = step(found, "outline bread", "ideas")
    assert ideas.calls == (12, 12), "the tree's shape is known: four branches of three types"
    assert step(found, "outline bread", "domains").answered == 1
    answers = step(found, "demonstrate talk", "answers")
    assert answers.calls[0] == 60 < answers.calls[1]
    assert (found.reused, found.calls[0]) == (1 + 2 + 4 + 4 + 1, sum(s.calls[0] - s.answered for p in found.stages for s in p.steps))
    assert found.price is not None
    tokens = sum(s.prompt_tokens[1] * PRICE["input"] + s.completion_tokens[1] * PRICE["output"] for p in found.stages for s in p.steps)
    assert found.price[1] == pytest.approx(tokens / 10**6)


def test_a_tree_with_too_few_ideas_is_found_before_the_spend(shop: Workshop) -> None:
    found = piloted(shop, run_data({"tokens": "100k"}), 6)
    (writing,) = (stage for stage in found.stages if stage.name == "write bread")
    assert step(found, "write bread", "documents").calls == (48, 48)
    assert 0 < writing.missing[0] < writing.missing[1]


def test_documents_of_which_none_passes_are_shown_with_their_reason(shop: Workshop) -> None:
    def harsh(request: Request) -> Any:
        return dict.fromkeys(request.schema["properties"], 3) if request.schema and request.purpose == "scores" else None

    found = piloted(shop, run_data({"quality": {"minScore": 9}}), 5, ScriptedAsker(script=harsh))
    documents = found.parts[0]
    assert (documents.made, documents.passed, documents.dropped) == (5, 0, {"low score": 5})
    assert "has no row left of 5" in documents.message
    assert documents.scores["naturalness"] == (3.0, 3.0, 3.0)
    assert all(row["reason"] == "low score" and row["text"] for row in documents.dropped_rows)
    assert list(_verdict(documents)) == [
        "surplus 1.25 is enough while 80% pass: nothing passes; mend the spec, the gates or the author first"
    ]


def test_what_an_outline_could_not_find_leaves_a_message_and_no_numbers(shop: Workshop) -> None:
    def silent(request: Request) -> Any:
        return {"domains": []} if request.purpose == "domains" else None

    found = piloted(shop, run_data(), 5, ScriptedAsker(script=silent))
    documents = found.parts[0]
    assert (documents.made, documents.tokens_each) == (0, None)
    assert documents.message.startswith("outline bread: InvalidInput")
    assert step(found, "write bread", "documents").measured == 0
