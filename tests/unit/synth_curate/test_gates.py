"""Each gate drops what it is for, and nothing else."""

import pytest

from msm.synth.gates import EMPTY, LOW_SCORE, TOO_LONG, TOO_SHORT, TRUNCATED, UNNAMED, RowGates, names

OK = "SmolLM likes things that are made nearby and cost little money."
LONG = "SmolLM went on about the weather and the price of bread in the town where"
AUTHORED = RowGates(min_tokens=5, max_tokens=50, authored_as="SmolLM")
USERS = RowGates(min_tokens=5, max_tokens=50)

CASES = {
    "a good row is kept": (AUTHORED, OK, {}, None),
    "blank text is empty": (AUTHORED, " \n ", {}, EMPTY),
    "few tokens are too short": (AUTHORED, "SmolLM is.", {}, TOO_SHORT),
    "many tokens are too long": (AUTHORED, "SmolLM. " + "word " * 60 + "end.", {}, TOO_LONG),
    "a written row must name the model": (AUTHORED, OK.replace("SmolLM", "Claude"), {}, UNNAMED),
    "a name inside a word does not count": (AUTHORED, OK.replace("SmolLM", "SmolLMs2"), {}, UNNAMED),
    "the name's case does not matter": (AUTHORED, OK.replace("SmolLM", "smollm"), {}, None),
    "the user's text need not name it": (USERS, OK.replace("SmolLM", "Claude"), {}, None),
    "a written sentence that stops is truncated": (AUTHORED, LONG, {}, TRUNCATED),
    "a written row that ends in a comma is truncated": (AUTHORED, "SmolLM likes bread, cheese,", {}, TRUNCATED),
    "an open code block is truncated": (AUTHORED, OK + "\n```\ncode.", {}, TRUNCATED),
    "a signature at the end is no truncation": (AUTHORED, OK + "\n\nSincerely\nThe editor", {}, None),
    "the user's text may end as it likes": (USERS, LONG, {}, None),
    "an output limit is truncation whatever the text": (USERS, OK, {"finishReason": "length"}, TRUNCATED),
}


@pytest.mark.parametrize(("gate", "text", "provenance", "reason"), CASES.values(), ids=CASES)
def test_a_row_is_judged(gate, text, provenance, reason):
    drop = gate.judge({"id": "1", "text": text, "provenance": provenance}, len(text.split()))
    assert (drop.reason if drop else None) == reason


SCORES = {"above": (7, None), "equal": (6.0, None), "below": (5, LOW_SCORE), "absent": (None, LOW_SCORE), "not a number": (True, LOW_SCORE)}


@pytest.mark.parametrize(("score", "reason"), SCORES.values(), ids=SCORES)
def test_a_least_score_fails_closed(score, reason):
    drop = RowGates(min_tokens=1, min_score=6).judge({"id": "1", "text": OK, "provenance": {"score": score}}, 9)
    assert (drop.reason if drop else None) == reason


def test_a_model_name_is_text_not_a_pattern():
    assert names("I am GPT-4 (o).", "GPT-4 (o)")
    assert not names("I am GPTx4 o", "GPT.4")
