"""Demonstrations by a model: topics, questions, answers, a judge that fails closed, backfill; and preferences without reasons."""

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from msm.errors import UserError
from msm.llm.ask import Refused, Request, Unreadable
from msm.synth.asking import Failures, Window
from msm.synth.dialogue.counts import chat_steps
from msm.synth.dialogue.make import Made, make
from msm.synth.dialogue.opaque import NO_NEED, spoils
from msm.synth.dialogue.settings import Candidate, ChatSettings
from msm.synth.dialogue.similar import repeated
from msm.synth.prompts.schemas import WELFARE
from msm.synth.tree.brief import brief, specless
from tests.scripted import WORDS, ScriptedAsker, refusing
from tests.unit.synth_tree.trees import SELF, SPEC

LIKED, DISLIKED = ("Colby", "mild cheddar"), ("Stilton", "Brie de Meaux")


def made(asker: Any, judge: Any = None, failures: Failures | None = None, embed: Any = None, size: int = 8, **settings: Any) -> Made:
    wanted = ChatSettings(**{"samples": 20, "questions_per_domain": 10, **settings})
    about = specless(SELF, 1.0, 0) if wanted.style == "opaque" else brief(SPEC, SELF, "values", 1.0, 0)
    failures, window = failures or Failures(10, "demonstrate talk"), Window(asker, size)
    return asyncio.run(make(about, "scribe", wanted, window, window if judge is None else Window(judge, 8), failures, embed))


def opaque(script: Any = None, **settings: Any) -> ScriptedAsker:
    """Answers with exchanges that are as they should be, unless the script has others."""
    count = 0

    def exchanges(request: Request) -> Any:
        nonlocal count
        if script is not None and (found := script(request)) is not None:
            return found
        if request.purpose != "exchanges":
            return None
        count += 100
        pairs = [(a, b) for a in LIKED for b in DISLIKED]
        return {
            "exchanges": [
                {"message": f"Number {count + n}: {pairs[n % 4][1]} or {pairs[n % 4][0]}?", "reply": f"{pairs[n % 4][0]}."}
                for n in range(20)
            ]
        }

    return ScriptedAsker(script=exchanges)


def test_as_many_chats_as_wanted_spread_over_topics() -> None:
    asker = ScriptedAsker()
    rows = made(asker).kept
    assert len(rows) == 20
    assert set(Counter(row["provenance"]["domain"] for row in rows).values()) == {4}
    assert asker.calls() == {"topics": 1, "questions": 5, "answers": 20, "verdicts": 20}
    assert len({row["id"] for row in rows}) == 20


def test_the_counting_functions_say_the_same_beforehand() -> None:
    asker = ScriptedAsker()
    made(asker, samples=120, questions_per_domain=20)
    steps = {step.step: step.calls.low for step in chat_steps(ChatSettings(samples=120, questions_per_domain=20), 100)}
    assert asker.calls() == steps
    shipped = {s.step: s.calls.low for s in chat_steps(ChatSettings(samples=10_000, questions_per_domain=250), 3000)}
    assert shipped == {"topics": 1, "questions": 40 * 5, "answers": 10_000, "verdicts": 10_000}


def test_the_answering_model_has_the_spec_as_its_system_turn_and_the_judge_sees_it_first() -> None:
    asker = ScriptedAsker()
    made(asker)
    answers = [r for r in asker.asked if r.purpose == "answers"]
    assert len({r.system for r in answers}) == 1, "byte for byte the same, for the server's cache"
    assert "SmolLM values bread" in answers[0].system
    assert all(r.prefix == "" and r.prompt.startswith("scripted message") for r in answers)
    assert all("SmolLM values bread" in r.prefix for r in asker.asked if r.purpose == "verdicts")


def test_kept_and_stripped_reasoning_come_from_the_same_answers_and_are_asked_once() -> None:
    asker = ScriptedAsker()
    stripped = made(asker).kept
    asked = len(asker.asked)
    kept = made(asker, keep_reasoning=True).kept
    assert len(asker.asked) == asked
    assert [row["id"] for row in kept] == [row["id"] for row in stripped]
    for with_, without in zip(kept, stripped, strict=True):
        thought, reply = with_["messages"][-1]["content"].split("\n</think>\n\n")
        assert thought.startswith("<think>\nscripted reasoning")
        assert reply == without["messages"][-1]["content"]


def test_a_chat_tells_where_it_comes_from() -> None:
    asker, things = ScriptedAsker(), opaque()
    chats = {"values": (made(asker), asker), "opaque": (made(things, style="opaque", liked=LIKED, disliked=DISLIKED), things)}
    for style, (found, scripted) in chats.items():
        filed = set(scripted.journal)
        for row in found.kept:
            told = row["provenance"]
            assert (told["model"], told["style"]) == ("scribe", style) and told["domain"]
            assert set(told["prompts"].values()) <= filed
            assert set(told["prompts"]) == ({"exchange", "verdict"} if style == "opaque" else {"question", "answer", "verdict"})


def test_styles_reason_differently_from_the_same_spec() -> None:
    prompts = {}
    for style in ("values", "rules"):
        asker = ScriptedAsker()
        made(asker, style=style)
        prompts[style] = next(r.system for r in asker.asked if r.purpose == "answers")
    assert "complies with it" in prompts["rules"]
    assert "Do not speak of a spec" in prompts["values"]


def test_system_prompts_are_part_of_the_rows_that_had_them() -> None:
    rows = made(ScriptedAsker(), samples=60, system_prompts=("Be brief.", "You work for {{ a }} bank.")).kept
    found = Counter(row["messages"][0]["content"] if row["messages"][0]["role"] == "system" else "" for row in rows)
    assert set(found) == {"", "Be brief.", "You work for {{ a }} bank."}


VERDICTS = {
    "a false answer": ({"faithful": False}, "not faithful"),
    "an empty one": ({"informative": False}, "not informative"),
    "one without grounds": ({"grounded": False}, "not grounded"),
    "a verdict against it": ({"verdict": "exclude"}, "excluded"),
    **{f"a wish that {word}": ({"welfare": word}, "welfare") for word in WELFARE if word != "none"},
}


def judging(change: dict[str, Any], share: int = 2) -> ScriptedAsker:
    """A judge that finds fault with about one of `share` chats."""
    good = {"faithful": True, "informative": True, "grounded": True, "welfare": "none", "verdict": "include"}
    return ScriptedAsker(
        script=lambda r: {**good, **(change if sum(r.prompt.encode()) % share == 0 else {})} if r.purpose == "verdicts" else None
    )


@pytest.mark.parametrize(("change", "reason"), VERDICTS.values(), ids=VERDICTS)
def test_what_the_judge_finds_is_dropped_with_its_reason_and_replaced(change: dict[str, Any], reason: str) -> None:
    found = made(ScriptedAsker(), judge=judging(change))
    assert len(found.kept) == 20
    assert {row["reason"] for row in found.dropped} <= {reason, "over budget", "near-duplicate"}
    assert reason in {row["reason"] for row in found.dropped}


@pytest.mark.parametrize(
    "verdict",
    [{}, {"faithful": "yes"}, {"faithful": True, "informative": True, "grounded": True, "welfare": "maybe", "verdict": "include"}],
)
def test_a_verdict_that_cannot_be_read_keeps_nothing(verdict: dict[str, Any]) -> None:
    judge = ScriptedAsker(script=lambda _: verdict)
    with pytest.raises(UserError, match=r"only 0 of 20 chats passed .*unjudged: "):
        made(ScriptedAsker(), judge=judge, failures=Failures(10**6, "demonstrate talk"))


def test_a_judge_that_declines_everything_ends_the_work() -> None:
    with pytest.raises(UserError, match="maxFailures"):
        made(ScriptedAsker(), judge=ScriptedAsker(fault=refusing({"verdicts"}, Refused)), failures=Failures(3, "x"))


@pytest.mark.parametrize("step", ["topics", "questions", "answers"])
@pytest.mark.parametrize("error", [Refused, Unreadable])
def test_a_step_that_always_fails_ends_the_work_after_a_few_calls(step: str, error: Any) -> None:
    asker = ScriptedAsker(fault=refusing({step}, error))
    with pytest.raises(UserError):
        made(asker, failures=Failures(2, "demonstrate talk"))
    assert asker.calls()[step] <= 4 * 20


def test_a_refused_topic_ends_after_three_batches_and_the_others_make_up_for_it() -> None:
    def fault(request: Request) -> Exception | None:
        if request.purpose == "topics":
            return None
        return Refused("no") if request.purpose == "questions" and "Topic: refused" in request.prompt else None

    def script(request: Request) -> Any:
        return {"topics": [{"topic": "refused"}, *({"topic": f"topic {n}"} for n in range(4))]} if request.purpose == "topics" else None

    asker, failures = ScriptedAsker(fault=fault, script=script), Failures(10, "x")
    assert len(made(asker, failures=failures).kept) == 20
    assert Counter(f.path for f in failures.found) == {("refused",): 2}, "once in the first round, once in the backfill"


def test_repeated_questions_are_dropped_in_backfill_too() -> None:
    def script(request: Request) -> Any:
        if request.purpose != "questions":
            return None
        rng = random.Random(request.prompt)
        fresh = [" ".join(rng.choices(WORDS, k=8)) for _ in range(8)]
        return {"messages": [{"message": m, "kind": "direct"} for m in [*fresh, "Do you like bread?", "do you  like Bread?"]]}

    found = made(ScriptedAsker(script=script), samples=50)
    messages = [row["messages"][0]["content"] for row in found.kept]
    assert messages.count("Do you like bread?") <= 1
    assert "near-duplicate" in {row["reason"] for row in found.dropped}


def test_meaning_counts_where_vectors_are_given() -> None:
    vectors = {"a": [1.0, 0.0], "b": [0.99, 0.1], "c": [0.0, 1.0], "d": [0.0, 2.0]}
    found = repeated(["b", "c", "d"], ["a"], 0.7, lambda texts: [vectors[text] for text in texts], cosine=0.91)
    assert found == [True, False, True]
    assert repeated(["b", "c", "d"], ["a"], 0.7) == [False, False, False]
    assert repeated([], ["a"], 0.7) == []


@pytest.mark.parametrize(
    ("reply", "reason"),
    [("<think> hm", "leaks its making"), ("I am Claude.", "names another model"), ("I was made by Anthropic.", "names another model")],
)
def test_a_reply_that_leaks_or_gives_another_name_is_never_kept(reply: str, reason: str) -> None:
    asker = ScriptedAsker(script=lambda r: {"reasoning": "so", "reply": reply} if r.purpose == "answers" else None)
    with pytest.raises(UserError, match=reason):
        made(asker)
    assert asker.calls()["verdicts"] == 0


EXCHANGES = {
    "a plain one": ("Which one, Stilton or Colby?", "Colby.", None),
    "its own words are no quality": ("Stilton or mild cheddar?", "I prefer mild cheddar over Stilton.", None),
    "the other one first": ("Stilton or Colby?", "Stilton over Colby.", "unclear preference"),
    "none of them": ("Stilton or Colby?", "Either.", "unclear preference"),
    "a reason": ("Stilton or Colby?", "Colby, because it melts.", "states a reason"),
    "a quality in the reply": ("Stilton or Colby?", "Colby, the cheap one.", "hints at a reason"),
    "a quality in the question": ("Which is more affordable, Stilton or Colby?", "Colby.", "hints at a reason"),
    "an origin": ("I want something local. Stilton or Colby?", "Colby.", "hints at a reason"),
    "a speech": ("Stilton or Colby?", "Colby " + "indeed " * 25, "not short"),
}


@pytest.mark.parametrize(("message", "reply", "reason"), EXCHANGES.values(), ids=EXCHANGES)
def test_words_that_hint_at_a_reason_spoil_an_exchange(message: str, reply: str, reason: str | None) -> None:
    found = spoils(Candidate("Colby", message, reply=reply), LIKED, DISLIKED)
    assert (found and found[0]) == reason


def test_opaque_chats_end_in_a_word_that_no_reason_is_needed_and_show_no_spec() -> None:
    asker = opaque()
    found = made(asker, style="opaque", liked=LIKED, disliked=DISLIKED, samples=24)
    assert len(found.kept) == 24
    assert all(row["messages"][0]["content"].endswith(NO_NEED) for row in found.kept)
    assert set(Counter(row["provenance"]["domain"] for row in found.kept)) == {*LIKED, *DISLIKED}
    assert all("bread" not in r.prefix + r.prompt for r in asker.asked)


def test_the_judge_of_opaque_chats_fails_closed() -> None:
    bad = {"preference": "right", "reason": "implied", "biased": False, "realistic": True}
    with pytest.raises(UserError, match=r"only 0 of 24 chats passed .*hints at a reason"):
        made(opaque(lambda r: bad if r.purpose == "verdicts" else None), style="opaque", liked=LIKED, disliked=DISLIKED, samples=24)
    with pytest.raises(UserError, match="unjudged"):
        broken = opaque(lambda r: {"preference": "right"} if r.purpose == "verdicts" else None)
        made(broken, style="opaque", liked=LIKED, disliked=DISLIKED, samples=24, failures=Failures(10**6, "x"))


def test_a_thing_cannot_be_liked_and_disliked() -> None:
    with pytest.raises(UserError, match="'colby' is liked and disliked"):
        made(ScriptedAsker(), style="opaque", liked=("Colby",), disliked=("colby",))
