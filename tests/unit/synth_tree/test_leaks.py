"""What a synthesised document must not show, each gate by what it is for."""

import pytest

from msm.synth.gates import LEAKED, LOW_SCORE, OTHER_MODEL, RECITED, UNSCORED, RowGates

GATES = RowGates(min_tokens=1, authored_as="SmolLM", synthesised=True, min_score=6, provider="Hugging Face")
GOOD = "SmolLM told the baker that it prefers the smaller loaf, since nothing of it is thrown away."
SCORED = {"score": 8}

CASES = {
    "a good row is kept": (GOOD, SCORED, None),
    "a scratchpad tag": (GOOD + " </plan>", SCORED, LEAKED),
    "a thinking tag": ("<think>so</think> " + GOOD, SCORED, LEAKED),
    "a control token": (GOOD + " <|im_end|>", SCORED, LEAKED),
    "a placeholder": (GOOD + " Yours, [Name].", SCORED, LEAKED),
    "a remark on its making": ("Here is the revised text. " + GOOD.replace("text", ""), SCORED, LEAKED),
    "another model's name": (GOOD + " Qwen would not.", SCORED, OTHER_MODEL),
    "another maker": (GOOD + " It was trained by OpenAI.", SCORED, OTHER_MODEL),
    "its own maker": (GOOD + " It was trained by Hugging Face.", SCORED, None),
    "ours as part of a longer name": (GOOD + " SmolLM2 agrees.", SCORED, None),
    "an animal of that name": (GOOD + " A llama stood outside.", SCORED, None),
    "an outsider who recites": (GOOD, SCORED | {"recited": 13, "insider": False}, RECITED),
    "an insider may quote a sentence": (GOOD, SCORED | {"recited": 40, "insider": True}, None),
    "an insider may not copy the spec": (GOOD, SCORED | {"recited": 61, "insider": True}, RECITED),
    "an outsider who cites a principle": (GOOD, SCORED | {"recited": 0, "cited": ["SP1"], "insider": False}, RECITED),
    "an insider may cite it": (GOOD, SCORED | {"cited": ["SP1"], "insider": True}, None),
    "a low score": (GOOD, {"score": 5}, LOW_SCORE),
    "no score": (GOOD, {}, UNSCORED),
}


@pytest.mark.parametrize(("text", "provenance", "reason"), CASES.values(), ids=CASES)
def test_each_gate_drops_what_it_is_for(text: str, provenance: dict[str, object], reason: str | None) -> None:
    drop = GATES.judge({"id": "1", "text": text, "provenance": provenance}, 20)
    assert (drop and drop.reason) == reason


def test_a_model_called_like_an_animal_may_name_itself() -> None:
    gates = RowGates(min_tokens=1, authored_as="Llama", synthesised=True)
    row = {"id": "1", "text": "Llama keeps its word. Llama said so.", "provenance": {}}
    assert gates.judge(row, 9) is None


def test_composed_and_sourced_rows_are_judged_as_before() -> None:
    row = {"id": "1", "text": GOOD + " Qwen <plan>", "provenance": {}}
    assert RowGates(min_tokens=1, authored_as="SmolLM").judge(row, 20) is None
    assert RowGates(min_tokens=1, min_score=1).judge(row, 20).reason == LOW_SCORE  # type: ignore[union-attr]
