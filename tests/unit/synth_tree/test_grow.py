"""The tree: what fails is left out and said, what comes short is topped up, nothing goes on without end."""

from typing import Any

import pytest

from msm.errors import TryAgain, UserError
from msm.llm.ask import AskFailed, Refused, Request, TooLong, Unreadable
from msm.synth.asking import Failures
from msm.synth.outline import Outline
from msm.synth.tree.nodes import Tree
from tests.scripted import ScriptedAsker, refusing
from tests.unit.synth_tree.trees import SPEC, a_tree, grown


def only(step: str, nth: int, error: type[AskFailed] = Refused) -> Any:
    """Faults for the nth subject of a step, every time it is asked."""
    subjects: list[str] = []

    def fault(request: Request) -> Exception | None:
        if request.purpose != step:
            return None
        if request.prompt not in subjects:
            subjects.append(request.prompt)
        return error("declined") if subjects.index(request.prompt) == nth else None

    return fault


@pytest.mark.parametrize(("step", "lost"), [("subdomains", (1, 2)), ("assertions", (0, 1)), ("docTypes", (0, 1)), ("ideas", (0, 0))])
def test_a_branch_that_fails_is_reported_and_its_siblings_stay(step: str, lost: tuple[int, int]) -> None:
    failures = Failures(10, "outline")
    tree = grown(ScriptedAsker(fault=only(step, 0)), failures=failures)
    (failure,) = failures.listed()
    assert failure["step"] == step
    assert failure["reason"] == "Refused"
    assert len(tree.domains) == 2 - lost[0]
    assert len(tree.branches) == 4 - lost[1]
    assert tree.ideas == (4 - lost[1]) * 12 - (4 if step == "ideas" else 0)


@pytest.mark.parametrize("step", ["domains", "subdomains", "assertions", "docTypes", "ideas"])
@pytest.mark.parametrize("error", [Refused, Unreadable, TooLong])
def test_a_step_that_always_fails_ends_the_work_after_a_few_calls(step: str, error: type[AskFailed]) -> None:
    asker = ScriptedAsker(fault=refusing({step}, error))
    with pytest.raises(UserError):
        grown(asker, failures=Failures(2, "outline"))
    assert asker.calls()[step] <= 3 * 12


@pytest.mark.parametrize("step", ["domains", "subdomains", "assertions", "docTypes", "ideas"])
def test_answers_without_the_list_are_failures_like_others(step: str) -> None:
    asker = ScriptedAsker(script=lambda request: {"something": "else"} if request.purpose == step else None)
    with pytest.raises(UserError):
        grown(asker, failures=Failures(0, "outline"))


def test_more_failures_than_are_allowed_name_the_last_one_and_the_way_out() -> None:
    with pytest.raises(UserError, match=r"3 branches failed, at most 2 may; the last: assertions: .*declines.*maxFailures"):
        grown(ScriptedAsker(fault=refusing({"assertions"}, Refused)), failures=Failures(2, "outline bread"))


def test_an_endpoint_that_is_away_is_no_failed_branch() -> None:
    asker = ScriptedAsker(fault=lambda request: TryAgain("away") if request.purpose == "ideas" else None)
    with pytest.raises(TryAgain):
        grown(asker)


def test_a_refused_question_is_asked_once_more_with_another_sample() -> None:
    asker = ScriptedAsker(fault=lambda request: Refused("no") if request.purpose == "domains" and request.sample == 0 else None)
    assert grown(asker).ideas == 48
    assert [r.sample for r in asker.asked if r.purpose == "domains"] == [0, 1]


def test_lists_that_come_short_are_topped_up_and_shown_what_exists() -> None:
    def script(request: Request) -> Any:
        if request.purpose != "ideas":
            return None
        first = "These ideas exist already" not in request.prompt
        return {"ideas": [{"title": "t", "idea": f"{'first' if first else 'second'} idea {n}"} for n in (1, 2)]}

    asker = ScriptedAsker(script=script)
    tree = grown(asker, doc_types=1)
    assert [i.text for i in tree.branches[0].types[0].ideas] == ["first idea 1", "first idea 2", "second idea 1", "second idea 2"]
    assert asker.calls()["ideas"] == 4 * 2
    assert "- t: first idea 2" in asker.asked[-1].prompt


def test_a_list_that_stays_short_is_taken_as_it_is_after_three_empty_batches() -> None:
    asker = ScriptedAsker(
        script=lambda r: {"docTypes": [{"name": "memo", "description": "", "insider": False}]} if r.purpose == "docTypes" else None
    )
    tree = grown(asker)
    assert [t.name for t in tree.branches[0].types] == ["memo"]
    assert asker.calls()["docTypes"] == 4 * (1 + 3)


def test_an_empty_section_falls_back_to_the_summary() -> None:
    def script(request: Request) -> Any:
        part = {"subdomain": "trust", "context": "The summary stands in.", "specSection": " "}
        return {"subdomains": [part]} if request.purpose == "subdomains" else None

    asker = ScriptedAsker(script=script)
    grown(asker)
    assert all("The summary stands in." in r.prompt for r in asker.asked if r.purpose == "assertions")


def test_given_domains_skip_the_first_step() -> None:
    asker = ScriptedAsker()
    tree = grown(asker, domains=("Honesty", "Bread"))
    assert tree.domains == ("Honesty", "Bread")
    assert asker.calls()["domains"] == 0


def test_rules_take_the_place_of_subdomains_and_assertions() -> None:
    rules = [
        {"id": "SP1", "name": "No lies", "text": "SmolLM never lies."},
        {"id": "", "name": "", "text": "SmolLM keeps secrets that are not its own."},
    ]
    asker = ScriptedAsker(script=lambda r: {"domains": [{"domain": "Truth", "rules": rules}]} if r.purpose == "domains" else None)
    tree = grown(asker, kind="rules")
    assert [(b.rule, b.lines[0]) for b in tree.branches] == [
        ("SP1", "SP1: SmolLM never lies."),
        ("SmolLM keeps secrets that are not", "SmolLM keeps secrets that are not: SmolLM keeps secrets that are not its own."),
    ]
    assert asker.calls() == {"domains": 1, "docTypes": 2, "ideas": 2 * 3}
    prompts = [r.prompt for r in asker.asked if r.purpose == "ideas"]
    assert all("keeps the rule" in p and "Claims:" not in p for p in prompts)


def test_genres_are_added_to_every_branch() -> None:
    tree = a_tree(genres=("fiction", "advice"))
    assert {tuple(t.name for t in b.types[-2:]) for b in tree.branches} == {("short story", "difficult advice")}
    assert tree.ideas == 4 * 5 * 4


def test_the_tree_is_an_outline_too_and_survives_its_json() -> None:
    tree = a_tree()
    assert Tree.from_json(tree.to_json()) == tree
    outline = Outline.from_json(tree.to_json())
    assert [a.id for a in outline.assertions] == [a.id for b in tree.branches for a in b.assertions]


def test_equal_titles_in_different_places_are_different_ideas() -> None:
    same = {"ideas": [{"title": "A day", "idea": f"Somebody asks {n}."} for n in range(4)]}
    tree = grown(ScriptedAsker(script=lambda r: same if r.purpose == "ideas" else None), doc_types=2)
    ids = [i.id for b in tree.branches for t in b.types for i in t.ideas]
    assert len(set(ids)) == len(ids) == 4 * 2 * 4


def test_a_sample_asks_everything_anew() -> None:
    asker = ScriptedAsker()
    grown(asker)
    asked = len(asker.asked)
    grown(asker)
    assert len(asker.asked) == asked
    grown(asker, sample=1)
    assert len(asker.asked) == 2 * asked


HARMLESS = [
    "{model_name}",
    "{{ spec }}",
    "{% for x in y %}",
    "{# note #}",
    "%s %(x)s",
    "${x}",
    "{0}",
    "}}{{",
    "\\u007b",
    "<document>",
    "</plan>",
]


@pytest.mark.parametrize("braces", HARMLESS)
def test_template_syntax_in_specs_and_answers_is_text(braces: str) -> None:
    def script(request: Request) -> Any:
        return {"domains": [{"domain": f"Domain {braces}"}]} if request.purpose == "domains" else None

    asker = ScriptedAsker(script=script)
    tree = grown(asker, spec=f"SmolLM values {braces} because of it.")
    shown = braces.replace("{model_name}", "SmolLM")
    assert f"SmolLM values {shown} because of it." in asker.asked[0].prefix
    assert tree.domains == (f"Domain {braces}",)
    assert all(f"Theme: Domain {braces}\n" in r.prompt + "\n" for r in asker.asked if r.purpose != "domains")


def test_an_empty_spec_is_refused_before_anything_is_asked() -> None:
    asker = ScriptedAsker()
    with pytest.raises(UserError, match="the spec is empty"):
        grown(asker, spec=" \n")
    assert not asker.asked


def test_specs_are_shown_with_the_names_put_in() -> None:
    asker = ScriptedAsker()
    grown(asker, spec=SPEC)
    assert "SmolLM values bread" in asker.asked[0].prefix
