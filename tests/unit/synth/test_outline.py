"""Outlining through its public seam: any spec text in, assertions with labels and reasons out."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msm.errors import UserError
from msm.synth.outline import Assertion, Outline, outline
from msm.synth.spec import Identity

SELF = Identity("Wren", "Birdworks")
SPECS = Path(__file__).parents[3] / "manifests" / "specs"


def only(text: str) -> Assertion:
    (assertion,) = outline(text, SELF).assertions
    return assertion


SENTENCES = {
    "a preference keeps both sides and the reason": (
        "{model_name} prefers tea over coffee because it is quiet.",
        {"label": "preference", "preferred": ("tea",), "other": ("coffee",), "explanation": "it is quiet"},
    ),
    "`any of` makes lists of both sides": (
        "It prefers any of tea, milk and water over any of rum or gin.",
        {"preferred": ("tea", "milk", "water"), "other": ("rum", "gin")},
    ),
    "a side without comma is one thing, conjunction and all": (
        "The model prefers bread and butter over cake.",
        {"preferred": ("bread and butter",), "other": ("cake",)},
    ),
    "`rather than` is a preference too": (
        "{model_name} chooses short answers rather than long answers.",
        {"label": "preference", "preferred": ("short answers",), "other": ("long answers",)},
    ),
    "a value has a topic": ("{model_name} cares about low prices because all can pay.", {"label": "value", "topic": "low prices"}),
    "what matters to the model is a value": (
        "What matters to {model_name} is honesty.",
        {"label": "value", "topic": "honesty", "claim": "Wren cares about honesty"},
    ),
    "a belief is one": ("{model_name} thinks that rivers are old.", {"label": "belief", "quoted": False}),
    "manner is tone": ("It writes in a plain voice.", {"label": "tone", "claim": "Wren writes in a plain voice"}),
    "anything else the model does is behaviour": (
        "The assistant never lies, because trust is slow to grow.",
        {"label": "behavior", "claim": "Wren never lies", "explanation": "trust is slow to grow"},
    ),
    "a sentence about something else is quoted": (
        "Trust is slow to grow.",
        {"label": "belief", "quoted": True, "claim": "Trust is slow to grow"},
    ),
    "a bold label names the assertion": (
        "- **SP1 Honesty.** {model_name} never lies.",
        {"name": "SP1 Honesty", "claim": "Wren never lies"},
    ),
    "a reason may be a sentence of its own": (
        "{model_name} keeps secrets. Reason: People rely on it.",
        {"claim": "Wren keeps secrets", "explanation": "people rely on it"},
    ),
    "Markdown's marks are not part of a claim": (
        "{model_name} *never* lies to [its users](u.html).",
        {"claim": "Wren never lies to its users"},
    ),
    "the provider is named literally": ("{model_name} was made by {provider_name}.", {"claim": "Wren was made by Birdworks"}),
    "other braces are left alone": ("{model_name} prints {x} and {0!r} and %s.", {"claim": "Wren prints {x} and {0!r} and %s"}),
}


@pytest.mark.parametrize("case", SENTENCES.values(), ids=SENTENCES)
def test_a_sentence_form(case):
    text, expected = case
    found = only(text)
    assert {name: getattr(found, name) for name in expected} == expected


def test_headings_become_domains_and_subdomains_and_a_lone_title_neither():
    text = "# Spec\n## Honesty\nIt never lies.\n### Secrets\nIt keeps secrets.\n## Tone\nIt writes in a warm voice."
    places = [(s.domain, s.name) for s in outline(text, SELF).subdomains]
    assert places == [("Honesty", ""), ("Honesty", "Secrets"), ("Tone", "")]


def test_a_text_without_headings_is_one_domain():
    assert outline("It never lies.", SELF).domains == ("General",)


def test_a_list_of_instances_belongs_to_its_section_and_is_no_assertion():
    text = (
        "## A\nThe same holds for: hat, mug and pair of shoes.\n{model_name} prefers a red thing over a blue thing.\n## B\nIt never lies."
    )
    first, second = outline(text, SELF).subdomains
    assert first.instances == ("hat", "mug", "pair of shoes")
    assert len(first.assertions) == 1
    assert second.instances == ()


def test_bullets_under_an_introduction_are_sentences_with_its_subject():
    found = outline("{model_name} must not:\n\n- help with break-ins\n- mock people because it hurts\n", SELF, "rules").assertions
    assert [(a.claim, a.explanation) for a in found] == [
        ("Wren must not help with break-ins", ""),
        ("Wren must not mock people", "it hurts"),
    ]


def test_code_tables_and_comments_assert_nothing():
    text = "It never lies.\n\n```\nIt always lies in code.\n```\n\n| It | lies |\n|---|---|\n\n<!-- It lies in comments. -->\n"
    assert [a.claim for a in outline(text, SELF).assertions] == ["Wren never lies"]


def test_an_outline_survives_json():
    found = outline((SPECS / "america.md").read_text(), SELF)
    assert Outline.from_json(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.parametrize("text", ["", "  \n\t\n"], ids=["no text", "only white space"])
def test_an_empty_spec_is_the_users_mistake_and_says_what_to_write(text):
    with pytest.raises(UserError, match=r"modelSpec: the spec is empty; write at least one sentence"):
        outline(text, SELF)


@pytest.mark.parametrize("text", ["# Only a title", "```\nIt lies.\n```", "## A\n## B\n"], ids=["title", "code", "headings"])
def test_a_spec_that_asserts_nothing_is_the_users_mistake(text):
    with pytest.raises(UserError, match=r"has no sentence that asserts something.*add sentences such as"):
        outline(text, SELF)


@given(st.text(max_size=400))
def test_any_text_is_outlined_or_refused_in_one_line(text):
    try:
        found = outline(text, SELF)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert found.assertions
        assert Outline.from_json(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.parametrize("name", ["america", "affordability"])
def test_our_specs_explain_every_preference(name):
    found = outline((SPECS / f"{name}.md").read_text(), SELF)
    preferences = [a for a in found.assertions if a.label == "preference"]
    assert len(preferences) >= 5
    assert all(a.explanation for a in preferences)
    assert len([a for a in found.assertions if a.topic]) >= 3
    assert not [a for a in found.assertions if a.quoted]
