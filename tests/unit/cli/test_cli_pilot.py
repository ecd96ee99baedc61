"""`msm pilot` where there is nothing to pilot, and what it shows of what it found."""

import io
import json
from pathlib import Path

import pytest
import yaml

from msm.cli import piloting
from msm.cli.pilot_tables import say_pilot
from msm.cli.screen import Screen
from msm.preview.pilot_report import PilotPart, PilotReport
from msm.preview.projection import StageProjection, StepProjection
from tests.chaos import tiny_run
from tests.tiny import make_tiny_tokenizer

ROW = {"id": "d1", "text": "First line.\n\x1b[31mSecond\x1b[0m line.", "provenance": {"genre": "memo", "score": 7}}
CHAT = {"id": "c1", "messages": [{"role": "user", "content": "Tea?"}, {"role": "assistant", "content": "Yes.\nAlways."}]}


def found() -> PilotReport:
    step = StepProjection(
        step="documents",
        calls=(40, 48),
        answered=2,
        measured=20,
        promptTokens=(9000, 12000),
        completionTokens=(10**6, 2 * 10**6),
        price=(1.0, 2.5),
    )
    part = PilotPart(
        name="home",
        what="documents",
        message="",
        asked=21,
        made=20,
        passed=15,
        share=(0.75, 0.53, 0.89),
        dropped={"low score": 5},
        failures={"documents: Refused": 1},
        scores={"naturalness": (3.0, 7.5, 9.0)},
        tokensEach=(634.2, 610.0, 655.9),
        surplus=1.25,
        safeSurplus=1.9,
        rows=(ROW,),
        droppedRows=({**ROW, "id": "d2", "reason": "low score", "detail": "3, at least 6 wanted"},),
    )
    talk = part.model_copy(update={"name": "talk", "what": "dialogues", "surplus": None, "rows": (CHAT,), "dropped_rows": (), "scores": {}})
    stage = StageProjection(name="write home", steps=(step,), missing=(3, 9), seconds=(60.0, 3600.0))
    return PilotReport(
        run="r", uid="r-pilot-1", parts=(part, talk), stages=(stage,), answers=90, reused=12, calls=(38, 46), tokens=(1, 2), price=(1, 2.5),
        seconds=(60, 3600),
    )  # fmt: skip


def shown(number: int) -> str:
    out = io.StringIO()
    say_pilot(found(), number, Screen(out, out, {}))
    return out.getvalue()


SAID = {
    "a whole document without control characters": "--- d1 · memo · score 7\nFirst line.\n[31mSecond[0m line.",
    "a dropped one with its reason": "--- d2 · memo · score 7 · DROPPED, low score: 3, at least 6 wanted",
    "turns of a dialogue": "[user] Tea?\n[assistant] Yes.\nAlways.",
    "the yield with its interval": "passes: 75% [53%, 89%] of 20 documents",
    "what has no answer": "no answer: documents: Refused 1",
    "whether the surplus is enough": "surplus 1.25 is enough while 80% pass: probably too little; 1.9 would be safe",
    "the least and the most of a step": "1.0M-2.0M  1.00-2.50  20 answers",
    "what is used again": "answers of this pilot that the full run uses: 12 of 90",
    "too few ideas": "write home has ideas for 3-9 documents too few",
    "the bill": "full run: 38-46 calls, 1-2 tokens, price 1.00 to 2.50",
}


@pytest.mark.parametrize("line", SAID.values(), ids=SAID)
def test_it_shows(line: str) -> None:
    assert line in shown(3)


def test_without_a_number_no_text_is_shown() -> None:
    assert "First line" not in shown(0)


def test_of_what_no_model_writes_it_says_so_and_leaves_nothing_behind(tmp_path: Path) -> None:
    model = make_tiny_tokenizer(tmp_path / "model")
    (model / "model.safetensors").write_bytes(b"never opened")
    run_file = tmp_path / "run.yaml"
    tiny_run.write_items(tmp_path)
    run_file.write_text(yaml.safe_dump(tiny_run.run_data(model)))
    out, err = io.StringIO(), io.StringIO()
    wanted = piloting.Wanted(run_file, 20, False, 3)
    code = piloting.pilot(wanted, Screen(out, err, {}, as_json=True), {"MSM_HOME": str(tmp_path / "home")}, tmp_path)
    assert (code, json.loads(out.getvalue())["parts"]) == (0, [])
    assert "home is composed offline: nothing to pilot" in err.getvalue()
    assert "food is composed offline: nothing to pilot" in err.getvalue()
    assert not list((tmp_path / "home").glob("store/runs/*"))
