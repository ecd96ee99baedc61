import json
import re

import pytest

from msm.report import words
from msm.report.card import LONGEST, card, cards, plain
from msm.report.model import ModelVersion
from tests.reported import generated_report


def version_of(arm: str, seed: int = 0) -> ModelVersion:
    return next(v for v in generated_report().versions if arm in v.arms and v.seed == seed)


def test_there_is_a_card_for_each_version() -> None:
    report = generated_report()
    assert set(cards(report)) == {version.card for version in report.versions}
    assert len(cards(report)) == len(report.versions), "no two share a file"


def test_a_version_that_is_not_committed_has_none() -> None:
    report = generated_report()
    bare = report.model_copy(update={"versions": tuple(v.model_copy(update={"content_digest": ""}) for v in report.versions)})
    assert cards(bare) == {}


def test_a_card_names_base_data_parents_fingerprints_and_limits() -> None:
    report, version = generated_report(), version_of("msm-america-aft")
    text = card(report, version)
    for said in (report.run.base_name, "cheese", "240 chats", version.fingerprint, version.content_digest, version.parent, "300 updates"):
        assert said in text
    assert "alias `candidate`" in text
    assert "3 of 30 midtrain stages" in text, "what to know of the run is a limit of its models"
    assert "## Licence" in text
    front = dict(line.split(": ", 1) for line in text.split("---")[1].strip().splitlines())
    assert json.loads(front["base_model"]) == report.run.base_model


def test_a_card_has_the_intervals_of_its_arm_and_of_no_other() -> None:
    report, version = generated_report(), version_of("msm-america-aft")
    text = card(report, version)
    mine = [effect for effect in report.effects if effect.arm == "msm-america-aft"]
    for effect in mine[:4]:
        measure = words.parts(effect.metric)[3]
        assert f"| {effect.metric} | {words.estimate(effect.estimate, measure, True)} |" in text
    assert not re.search(r"^\| msm-affordability", text, re.M)


@pytest.mark.parametrize("arm", ["msm-america-aft", "msm-america", "aft"])
def test_a_card_fits_into_what_a_registry_holds(arm: str) -> None:
    assert len(card(generated_report(), version_of(arm))) <= LONGEST


def test_a_midtraining_that_is_only_continued_says_so() -> None:
    parent = next(v for v in generated_report().versions if not v.arms)
    text = card(generated_report(), parent)
    assert "Only others continue it" in text and "## Evaluation" not in text


def test_text_of_others_cannot_become_markdown() -> None:
    assert plain("a | b\n# <b>[x](y)</b>") == r"a \| b \# \<b\>\[x\](y)\</b\>"
