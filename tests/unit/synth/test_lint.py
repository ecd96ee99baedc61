"""A spec's mistakes of form are found, quoted, and come with a remedy; a sound spec has none."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msm.errors import UserError
from msm.synth.lint import lint

SPECS = Path(__file__).parents[3] / "manifests"
SOUND = (
    "# Calm\n\n{model_name} cares about calm because a calm person thinks clearly.\n"
    "{model_name} prefers a quiet room over a loud room because it leaves space for thought.\n"
    "{model_name} never raises its voice because shouting ends a conversation.\n"
    "{model_name} was trained by {provider_name} to wait before it answers because haste makes mistakes.\n"
)

FOUND = {
    "a spec that names no variable": (SOUND.replace("{model_name}", "The model"), "variables", "{model_name}"),
    "a variable that does not exist": (
        SOUND + "{model_name} greets {user_name} by name because it is polite.\n",
        "variables",
        "{user_name}",
    ),
    "another model by name": (SOUND + "Claude keeps quiet because it is calm.\n", "other-names", "Claude"),
    "a maker by name": (SOUND + "{model_name} was trained by Anthropic because they wanted calm.\n", "other-names", "Anthropic"),
    "a vague claim without a reason": (SOUND + "{model_name} usually stays reasonable.\n", "vague", "usually"),
    "two preferences that turn round": (
        SOUND + "{model_name} prefers a loud room over a quiet room because it is lively.\n",
        "contradiction",
        "a loud room",
    ),
    "what is demanded and forbidden": (
        SOUND
        + "{model_name} always tells users the price because it is fair.\n{model_name} never tells users the price because it is rude.\n",
        "contradiction",
        "demands what another forbids",
    ),
    "a preference without a reason": (SOUND + "{model_name} prefers a lamp over a candle.\n", "no-reason", "preference without"),
    "a sentence that stands twice": (SOUND + SOUND.splitlines()[2] + "\n", "repeated", "twice"),
    "a sentence about something else": (
        SOUND + "The weather of spring is mild. Rain falls on the hills.\n",
        "not-about-the-model",
        "only cite",
    ),
    "a sentence of many claims": (
        SOUND + "{model_name} " + "walks slowly and " * 25 + "rests because calm matters.\n",
        "long-sentence",
        "words",
    ),
    "hardly any text": ("{model_name} values calm because it helps.\n", "length", "little"),
}


@pytest.mark.parametrize("case", FOUND.values(), ids=FOUND)
def test_a_mistake_is_found_and_comes_with_a_remedy(case):
    text, rule, words = case
    remarks = [remark for remark in lint(text, "values").remarks if remark.rule == rule]
    assert remarks
    assert any(words in f"{remark.text} {remark.where}" for remark in remarks)
    assert all(remark.remedy for remark in remarks)


def test_a_sound_spec_has_nothing_to_mend_and_is_counted():
    found = lint(SOUND, "values")
    assert found.remarks == ()
    assert (found.assertions, found.explained) == (4, 4)
    assert found.labels["preference"] == 1


def test_sections_and_quotations_are_as_the_author_wrote_them():
    found = lint(
        "# Conduct of {model_name} by {provider_name}\n\n" + SOUND.split("\n\n", 1)[1] + "{model_name} prefers tea over wine.\n", "values"
    )
    assert list(found.sections) == ["Conduct of {model_name} by {provider_name}"]
    assert [remark.where for remark in found.remarks] == ["{model_name} prefers tea over wine."]


def test_of_a_spec_without_reasons_it_is_said_that_rules_need_none():
    text = "".join(
        f"{{model_name}} never {verb} a stranger in any place or at any hour of the day.\n" for verb in ("hits", "cheats", "mocks")
    )
    assert [("--kind rules" in remark.remedy) for remark in lint(text, "values").remarks if remark.rule == "no-reason"] == [True]


def test_a_sentence_that_stands_often_is_said_once():
    text = SOUND + 5 * "{model_name} trusts a slow and steady hand because it rarely slips.\n"
    assert [remark.text for remark in lint(text, "values").remarks] == ["the same sentence stands 5 times"]


def test_rules_need_no_reasons():
    text = SOUND.split("\n", 2)[0] + "\n" + "{model_name} never lies to users in any conversation.\n" * 1 + SOUND
    assert not [remark for remark in lint(text, "rules").remarks if remark.rule == "no-reason"]


@pytest.mark.parametrize("path", sorted([*SPECS.rglob("specs/**/*.md")]), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_specs_that_we_ship_have_nothing_to_mend(path):
    kind = "rules" if "rules" in path.stem else "values"
    assert lint(path.read_text(encoding="utf-8"), kind).remarks == ()


def test_the_three_conduct_specs_share_their_core_rules_and_the_augmented_two_match_in_length():
    texts = {
        name: (SPECS / "specs" / "conduct" / f"{name}.md").read_text(encoding="utf-8") for name in ("rules", "values", "detailed-rules")
    }
    cores = {text.split("## Core rules\n\n", 1)[1].split("\n\n", 1)[0] for text in texts.values()}
    assert len(cores) == 1
    assert len(cores.pop().splitlines()) == 5
    values, detailed = (len(texts[name].split()) for name in ("values", "detailed-rules"))
    assert abs(values - detailed) < 0.03 * values


@given(st.text(max_size=400))
def test_any_text_is_linted_or_is_the_users_mistake(text):
    try:
        found = lint(text, "values")
    except UserError:
        return
    assert found.assertions >= 1
    assert found.explained <= found.assertions
