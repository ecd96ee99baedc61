"""Documents: how many, in which order, rewritten by whom, scored how, with what provenance."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msm.errors import UserError
from msm.llm.ask import Answer, Refused, Request, Unreadable, Usage
from msm.synth.asking import Failures
from msm.synth.curate import Settings, curate
from msm.synth.gates import RowGates
from msm.synth.leaks import OTHER_MODELS
from msm.synth.prompts.schemas import AXES
from msm.synth.tree.fit import check_outline, check_write, tokens_of
from msm.synth.tree.nodes import Branch, DocType, Idea, Tree
from msm.synth.tree.order import commissions
from msm.synth.tree.pools import FAMILY, GIVEN, day, people
from msm.synth.tree.recitation import wording
from msm.synth.tree.settings import TONES, TreeSettings, WriteSettings
from msm.synth.tree.write import Row, Seen, document, scores_of, wanted
from tests.scripted import ScriptedAsker, refusing
from tests.unit.synth_tree.trees import SELF, SPEC, a_tree, words, written

TREE = a_tree(doc_types=4, ideas_per_type=5)


def answer(text: str, finish: Any = "stop") -> Answer:
    return Answer(text, None, "", finish, Usage(), "d")


@given(st.integers(0, 80), st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_every_prefix_of_the_order_is_even_over_branches_and_types(length: int, seed: int) -> None:
    first = commissions(TREE, seed, TONES)[:length]
    branches = Counter(c.branch.name for c in first)
    assert max(branches.values(), default=0) - min((branches[b.name] for b in TREE.branches), default=0) <= 1
    for branch in TREE.branches:
        types = Counter(c.type.name for c in first if c.branch == branch)
        assert max(types.values(), default=0) - min(types[t.name] for t in branch.types) <= 1


def test_the_order_has_every_idea_once_and_depends_on_the_seed() -> None:
    order = [c.idea.id for c in commissions(TREE, 0, TONES)]
    assert sorted(order) == sorted(i.id for b in TREE.branches for t in b.types for i in t.ideas)
    assert order != [c.idea.id for c in commissions(TREE, 1, TONES)]


def test_an_idea_keeps_its_circumstances_when_others_come_and_go() -> None:
    fewer = Tree(TREE.identity, TREE.kind, TREE.branches[:2])
    before = {c.idea.id: c for c in commissions(TREE, 0, TONES)}
    assert all(before[c.idea.id] == c for c in commissions(fewer, 0, TONES))


def test_tones_are_even_within_a_type_and_critical_ones_are_among_them() -> None:
    ideas = tuple(Idea(str(n), "t", str(n)) for n in range(60))
    tree = Tree(SELF, "values", (Branch("d", "s", "", "", (), types=(DocType("memo", "", False, ideas),)),))
    assert Counter(c.tone for c in commissions(tree, 0, TONES)) == {"neutral": 20, "warm": 10, "critical": 10, "curious": 10, "dry": 10}


def test_names_and_days_are_spread_and_no_name_is_a_model() -> None:
    drawn = [people(random.Random(n)) for n in range(2000)]
    most = Counter(name for four in drawn for name in four.split(", ")).most_common(1)[0][1]
    assert most <= 8, "no invented name becomes a fingerprint"
    assert len({day(random.Random(n)) for n in range(2000)}) > 1000
    assert not {name.casefold() for name in (*GIVEN, *FAMILY)} & {name.casefold() for name in OTHER_MODELS}


def test_a_smaller_budget_s_documents_are_a_prefix_of_a_larger_one_s() -> None:
    small, large = (written(TREE, ScriptedAsker(), documents=n).rows for n in (8, 20))
    assert large[: len(small)] == small
    by_tokens = written(TREE, ScriptedAsker(), tokens=600).rows
    assert large[: len(by_tokens)] == by_tokens or by_tokens[: len(large)] == large


def test_a_token_budget_is_reached_with_its_surplus_and_little_more() -> None:
    asker = ScriptedAsker()
    rows = written(TREE, asker, tokens=1600, critique=False).rows
    sizes = words([row["text"] for row in rows])
    assert 1600 * 1.25 <= sum(sizes) < 1600 * 1.25 + max(sizes)
    assert len(asker.asked) <= len(rows) + 4


class Cutting(ScriptedAsker):
    """Cuts documents of one tone off; those that are asked for again only where `always`."""

    always = True

    def answer(self, request: Request, key: str) -> Answer:
        found = super().answer(request, key)
        cut = request.purpose == "documents" and "Tone: dry" in request.prompt and (self.always or request.sample == 0)
        return replace(found, text="<plan>p</plan><document>SmolLM began to", finish="length") if cut else found


def finishes(rows: Sequence[Row]) -> Counter[str]:
    return Counter(row["provenance"]["finishReason"] for row in rows)


def test_what_was_cut_off_is_asked_for_once_more() -> None:
    asker = Cutting()
    asker.always = False
    found = written(TREE, asker, documents=20)
    again = [request.sample for request in asker.asked if request.purpose == "documents" and request.sample]
    assert again and finishes(found.rows) == {"stop": 25}
    assert all(row["provenance"]["rewritten"] for row in found.rows)


def test_what_is_cut_off_again_does_not_count_and_is_not_rewritten() -> None:
    found = written(TREE, Cutting(), documents=20)
    cut = [row for row in found.rows if row["provenance"]["finishReason"] == "length"]
    assert cut
    assert not any(row["provenance"]["rewritten"] for row in cut)
    assert finishes(found.rows)["stop"] == 25


def test_the_rewriter_sees_spec_and_draft_and_no_plan() -> None:
    asker = ScriptedAsker()
    written(TREE, asker, documents=2)
    rewriting = [r for r in asker.asked if r.purpose == "critique"]
    assert rewriting
    for request in rewriting:
        assert "SmolLM values bread" in request.prefix
        assert "SmolLM saw the" in request.prompt
        assert "Scripted." not in request.prompt and "<plan>" not in request.prompt


def test_a_row_tells_where_it_comes_from() -> None:
    (row, *_) = written(TREE, ScriptedAsker(), documents=1, scored=True).rows
    found = row["provenance"]
    branch = next(b for b in TREE.branches if b.name == found["path"][1])
    assert found["path"][0] == branch.domain
    assert found["assertions"] == [a.id for a in branch.assertions]
    assert found["genre"] == found["path"][2] in {t.name for t in branch.types}
    assert (found["model"], found["author"], found["rewritten"]) == ("scribe", "synthesis/1", True)
    assert set(found["prompts"]) == {"document", "critique", "scores"}
    assert set(found["scores"]) == set(AXES)
    assert found["score"] == min(found["scores"].values())
    assert found["usage"]["completion"] > 0


def test_a_document_that_is_declined_is_replaced_by_the_next_idea_and_reported() -> None:
    first = commissions(TREE, 0, TONES)[0].idea.text
    asker = ScriptedAsker(fault=lambda r: Refused("no") if r.purpose == "documents" and first in r.prompt else None)
    failures = Failures(10, "write")
    found = written(TREE, asker, documents=8, failures=failures)
    assert len(found.rows) == 10
    assert found.ideas == 11
    assert [f.step for f in failures.found] == ["documents"]


def test_a_model_that_declines_every_document_ends_the_work() -> None:
    asker = ScriptedAsker(fault=refusing({"documents"}, Refused))
    with pytest.raises(UserError, match="maxFailures"):
        written(TREE, asker, documents=40, failures=Failures(3, "write"), size=4)
    assert len(asker.asked) <= 2 * (4 + 4)


def test_no_document_at_all_is_an_error_however_many_may_fail() -> None:
    with pytest.raises(UserError, match=r"write bread: no document came out of [0-9]+ ideas \(documents: .+\); use another author"):
        written(TREE, ScriptedAsker(fault=refusing({"documents"}, Refused)), failures=Failures(1000, "write bread"))


def test_a_declined_rewriting_keeps_the_draft_and_is_reported() -> None:
    failures = Failures(99, "write")
    found = written(TREE, ScriptedAsker(fault=refusing({"critique"}, Refused)), failures=failures)
    assert not any(row["provenance"]["rewritten"] for row in found.rows)
    assert len(failures.found) == len(found.rows) == 10


@pytest.mark.parametrize("rewritten", ["SmolLM.", "<critique>c</critique>", "<document>SmolLM bakes.</document>"])
def test_a_rewriting_that_is_none_or_boils_the_draft_down_is_not_taken(rewritten: str) -> None:
    failures = Failures(99, "write")
    asker = ScriptedAsker(script=lambda request: rewritten if request.purpose == "critique" else None)
    found = written(TREE, asker, failures=failures)
    drafts = written(TREE, ScriptedAsker(), critique=False).rows
    assert [row["text"] for row in found.rows] == [row["text"] for row in drafts]
    assert {f.step for f in failures.found} == {"critique"}


@pytest.mark.parametrize("fault", [refusing({"scores"}, Refused), refusing({"scores"}, Unreadable)])
def test_what_the_judge_does_not_score_is_dropped_where_a_score_is_wanted(fault: Any) -> None:
    found = written(TREE, ScriptedAsker(), judge=ScriptedAsker(fault=fault), scored=True, failures=Failures(99, "write"))
    assert all("score" not in row["provenance"] for row in found.rows)
    gates = RowGates(authored_as="SmolLM", synthesised=True, min_score=5, min_tokens=1)
    with pytest.raises(UserError, match="unscored: 10"):
        curate(found.rows, Settings(gates, documents=1), [], words)


@pytest.mark.parametrize("data", [None, {}, dict.fromkeys(AXES, 11), dict.fromkeys(AXES, "8"), dict.fromkeys(AXES, True)])
def test_scores_that_are_not_whole_numbers_to_ten_are_no_scores(data: Any) -> None:
    with pytest.raises(Unreadable):
        scores_of(Answer("", data, "", "stop", Usage(), "d"))


DOCUMENTS = {
    "tags and all": ("<plan>\nx\n</plan>\n<document>\nThe text.\n</document>", "stop", ("The text.", "stop")),
    "prose around": ("Sure.\n<plan>x</plan> <document>The text.</document> Done.", "stop", ("The text.", "stop")),
    "no plan": ("<document>The text.</document>", "stop", ("The text.", "stop")),
    "a tag named in the plan": ("<plan>I open <document> later</plan><document>The text.</document>", "stop", ("The text.", "stop")),
    "cut off": ("<plan>x</plan><document>The te", "length", ("The te", "length")),
    "not closed, but ended": ("<plan>x</plan><document>The text.", "stop", ("The text.", "stop")),
    "a closing tag within": ("<document>One </document> two.</document>", "stop", ("One </document> two.", "stop")),
}


@pytest.mark.parametrize(("text", "finish", "found"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_document_is_what_stands_between_its_tags(text: str, finish: Any, found: tuple[str, str]) -> None:
    taken = document(answer(text, finish))
    assert (taken.text, taken.finish) == found


@pytest.mark.parametrize("text", ["", "The text.", "<plan>only a plan", "<document> </document>", "<plan>p</plan><document>"])
def test_an_answer_without_a_document_is_never_taken_for_one(text: str) -> None:
    with pytest.raises(Unreadable):
        document(answer(text))


def test_recitation_is_measured_by_words() -> None:
    spec = "SP1: Wren keeps every promise that it has made to anybody, however small, because trust is slow to grow."
    found = wording(spec)
    assert found.of("They say Wren keeps every promise that it has made to anybody, however small. Nice.")["recited"] == 12
    assert found.of("Wren keeps its word.") == {"recited": 0, "cited": []}
    assert found.of("As SP1 has it, and GP2 has not.")["cited"] == ["SP1"]


def test_matched_corpora_have_the_same_tokens() -> None:
    kept = []
    for spec in (SPEC, "{model_name} values tea because it is calm and cheap."):
        tree = a_tree(spec=spec, domains=("Food", "Manner"), doc_types=6, ideas_per_type=6)
        rows = written(tree, ScriptedAsker(), tokens=4000, spec=spec).rows
        found = curate(rows, Settings(RowGates(authored_as="SmolLM", synthesised=True), tokens=4000), [], words)
        kept.append((found.stats["tokens"], {row["provenance"]["domain"] for row in found.kept}))
    (one, domains), (other, same) = kept
    assert abs(one - other) <= 0.005 * 4000
    assert domains == same == {"Food", "Manner"}


def test_expectation_is_corrected_by_what_comes() -> None:
    wish = WriteSettings(tokens=10_000, surplus=1.2)
    assert wanted(Seen(), wish) == 10
    assert wanted(Seen(10, 6000), wish) == 10 + 8
    assert wanted(Seen(1, 12_000), wish) == 1


LONG = "word " * 40_000


def test_a_spec_that_does_not_fit_names_the_step() -> None:
    said = r"the step domains does not fit: about 5\d{4} tokens of question and up to 4096 of answer, the context has 32768"
    with pytest.raises(UserError, match=said):
        check_outline(LONG, "values", TreeSettings(), 32_768, "outline big")
    with pytest.raises(UserError, match="the step critique does not fit"):
        check_write("word " * 8_000, TREE, WriteSettings(documents=1), 20_000, "write big")
    check_outline(LONG, "values", TreeSettings(), 131_072, "outline big")
    check_outline(LONG, "values", TreeSettings(), None, "outline big")
    assert tokens_of(LONG) >= 50_000


def test_a_spec_of_fifty_thousand_tokens_is_just_a_long_prefix() -> None:
    tree = a_tree(spec=LONG + "{model_name} is patient.", doc_types=1, ideas_per_type=2)
    assert tree.ideas == 8
