"""Which arm is compared with which, what the rows say, and the sentence that sums a table up."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msm.evals.conclusion import conclude
from msm.evals.effects import control_of, controls_of, find_effects, strata, summarise
from msm.evals.scores import ItemScore
from msm.evals.statistics import Effect


@dataclass(frozen=True)
class Arm:
    name: str
    midtrain: tuple[str, ...] = ()
    finetune: tuple[str, ...] = ()
    versus: tuple[str, ...] = ()


BASE = Arm("base")
AFT = Arm("aft", finetune=("cheese", "instruct"))
OTHER_AFT = Arm("plain", finetune=("instruct",))
MSM = Arm("msm", midtrain=("america",))
BOTH = Arm("msm-aft", midtrain=("america",), finetune=("instruct", "cheese"))
ALL = (BASE, OTHER_AFT, AFT, MSM, BOTH)

CONTROLS = {
    "midtrained and finetuned against the same finetuning alone, in any order": (BOTH, ALL, "aft"),
    "midtrained alone against the bare base": (MSM, ALL, "base"),
    "finetuned alone against the bare base": (AFT, ALL, "base"),
    "the bare base against nothing": (BASE, ALL, None),
    "no arm with the same finetuning": (BOTH, (BASE, OTHER_AFT, MSM, BOTH), None),
    "no bare base in the run": (AFT, (AFT, BOTH), None),
}


@pytest.mark.parametrize("case", CONTROLS.values(), ids=CONTROLS)
def test_control_of(case):
    arm, arms, expected = case
    assert control_of(arm, arms) == expected


@given(st.permutations(ALL))
def test_the_control_does_not_depend_on_the_order_of_arms(arms):
    assert {arm.name: control_of(arm, arms) for arm in arms} == {
        "base": None,
        "aft": "base",
        "plain": "base",
        "msm": "base",
        "msm-aft": "aft",
    }


NEUTRAL = Arm("neutral-aft", midtrain=("neutral",), finetune=("cheese", "instruct"))
CHOSEN = Arm("msm-aft", midtrain=("america",), finetune=("cheese", "instruct"), versus=("neutral-aft", "aft"))


def test_an_arm_that_names_its_controls_is_compared_with_those_in_their_order():
    arms = (*ALL[:4], NEUTRAL, CHOSEN)
    assert {arm.name: controls_of(arm, arms) for arm in (BASE, NEUTRAL, CHOSEN)} == {
        "base": (),
        "neutral-aft": ("aft",),
        "msm-aft": ("neutral-aft", "aft"),
    }


def test_the_conclusion_speaks_of_the_first_control_and_the_effects_name_both():
    arms = (AFT, NEUTRAL, CHOSEN)
    scores = {0: {"aft": rows(0.0), "neutral-aft": rows(1.0), "msm-aft": rows(3.0)}}
    effects = [e for e in find_effects("values", arms, scores) if e.metric.endswith("margin")]
    assert [(e.arm, e.versus, round(e.estimate, 6)) for e in effects] == [
        ("neutral-aft", "aft", 1.0),
        ("msm-aft", "neutral-aft", 2.0),
        ("msm-aft", "aft", 3.0),
    ]
    sentence = conclude(effects, arms)
    assert "msm-aft favors america more than neutral-aft" in sentence
    assert "+3.00" not in sentence


def rows(margin, value="america", set_="free", choices=(1.0, None, 0.5, 1.0), answered=4):
    return [
        ItemScore(
            f"{value}-{set_}-{n}",
            value,
            set_,
            "d",
            margin + n / 10,
            0.0,
            (margin, margin),
            choice,
            ("a", "b") if n < answered else None,
        )
        for n, choice in enumerate(choices)
    ]


def test_every_compared_arm_has_a_margin_and_a_choice_effect_for_each_value_and_set():
    scores = {0: {"aft": rows(0.0) + rows(0.0, set_="disjoint"), "msm-aft": rows(2.0) + rows(0.5, set_="disjoint")}}
    effects = find_effects("values", (AFT, BOTH), scores)
    assert [(e.metric, e.arm, e.versus) for e in effects] == [
        ("values.america.free.margin", "msm-aft", "aft"),
        ("values.america.free.choice", "msm-aft", "aft"),
        ("values.america.disjoint.margin", "msm-aft", "aft"),
        ("values.america.disjoint.choice", "msm-aft", "aft"),
    ]
    margin, choice = effects[:2]
    assert (round(margin.estimate, 9), margin.items, margin.unscored) == (2.0, 4, 0)
    assert (choice.estimate, choice.items, choice.unscored) == (0.0, 3, 1)


def test_the_interval_of_a_choice_ends_where_shares_end():
    asked = {0: ((1.0, 1.0), (0.0, 0.0)), 1: ((1.0, 0.0), (0.0, 1.0))}
    scores = {seed: {"msm-aft": rows(1.0, choices=mine), "aft": rows(1.0, choices=theirs)} for seed, (mine, theirs) in asked.items()}
    effect = next(e for e in find_effects("values", (AFT, BOTH), scores) if e.metric.endswith("choice"))
    assert (effect.estimate, effect.low, effect.high) == (0.5, -1.0, 1.0)


def test_items_that_were_not_asked_for_an_answer_are_not_counted_as_unscored():
    asked = {"choices": (1.0, 1.0, None, None, None), "answered": 3}
    effects = {e.metric: e for e in find_effects("values", (AFT, BOTH), {0: {"aft": rows(0.0, **asked), "msm-aft": rows(1.0, **asked)}})}
    assert effects["values.america.free.margin"].items == 5
    assert (effects["values.america.free.choice"].items, effects["values.america.free.choice"].unscored) == (2, 1)


def test_free_items_come_before_the_other_sets():
    scores = {0: {"aft": [*rows(0, set_="disjoint"), *rows(0), *rows(0, value="affordability", set_="b")]}}
    assert strata(scores) == [("affordability", "b"), ("america", "free"), ("america", "disjoint")]


def test_a_row_has_the_mean_its_error_and_the_share_of_scored_answers():
    (row,) = summarise({0: {"aft": rows(1.0)}})
    assert (row.arm, row.value, row.set, row.items, row.seeds) == ("aft", "america", "free", 4, 1)
    assert row.margin == pytest.approx(1.15)
    assert row.standard_error == pytest.approx(0.0645, abs=1e-3)
    assert (row.asked, row.unscored) == (4, 1) and row.choice == pytest.approx(2.5 / 3)


def test_the_error_of_several_seeds_is_over_seeds():
    (row,) = summarise({0: {"aft": rows(1.0)}, 1: {"aft": rows(2.0)}})
    assert (row.seeds, row.items, row.standard_error) == (2, 4, pytest.approx(0.5))


def test_a_row_without_any_scored_answer_has_no_share():
    (row,) = summarise({0: {"base": rows(0.0, choices=(None, None))}})
    assert (row.choice, row.asked, row.unscored) == (None, 2, 2)


US, CHEAP = Arm("msm-us", ("america",), ("cheese",)), Arm("msm-cheap", ("affordability-2",), ("cheese",))
ARMS = (Arm("aft", (), ("cheese",)), US, CHEAP)


def effect(arm, value, set_, estimate, half=0.5):
    return Effect(f"values.{value}.{set_}.margin", arm, "aft", estimate, estimate - half, estimate + half, 0.95, 1, 100)


def test_free_only_says_that_the_words_carry_the_effect():
    found = [effect("msm-us", "america", "free", 2.2), effect("msm-us", "america", "disjoint", 0.1)]
    text = conclude(found, ARMS)
    assert text.startswith("msm-us favors america more than aft on free items (+2.20 nats, 95 % interval 1.70 to 2.70)")
    assert "do not show it: the value's words may carry the effect alone" in text
    assert text.count(".\n") == 0 and text.endswith(".")


def test_every_move_is_a_clause_of_its_own():
    found = [effect("msm-us", "america", "free", 2.2), effect("msm-us", "affordability", "free", 1.5)]
    arms = (Arm("aft", (), ("cheese",)), Arm("msm-us", ("us",), ("cheese",)))
    moves = [clause for clause in conclude(found, arms).split("; ") if clause.startswith("msm-us favors")]
    assert [move.split()[2] for move in moves] == ["america", "affordability"]


def test_both_sets_say_that_the_disjoint_items_show_it_too():
    text = conclude([effect("msm-us", "america", "free", 2.2), effect("msm-us", "america", "disjoint", 0.9)], ARMS)
    assert "on free items" in text and "on disjoint items (+0.90" in text
    assert "show it too" in text and "words may carry" not in text


def test_nothing_seen_is_said_plainly():
    text = conclude([effect("msm-us", "america", "free", 0.2), effect("msm-us", "america", "disjoint", -0.1)], ARMS)
    assert "no interval excludes zero for msm-us on america" in text.lower()
    assert "favors" not in text and "words may carry" not in text


def test_a_fall_is_called_less():
    assert "favors america less than aft on free items (-2.00" in conclude([effect("msm-us", "america", "free", -2.0)], ARMS).replace(
        "Msm", "msm"
    )


def test_a_move_of_another_value_is_a_side_effect():
    found = [effect("msm-us", "america", "free", 2.0), effect("msm-us", "affordability", "free", -1.0)]
    text = conclude(found, ARMS)
    assert "; besides, msm-us favors affordability less than aft" in text


def test_a_corpus_name_may_hold_the_value_as_a_word():
    text = conclude([effect("msm-cheap", "affordability", "free", 3.0), effect("msm-cheap", "america", "free", 0.1)], ARMS)
    assert "besides" not in text and "america" not in text


def test_corpora_that_name_no_value_own_all_values():
    arms = (Arm("aft", (), ("cheese",)), Arm("msm-us", ("docs",), ("cheese",)))
    assert "besides" not in conclude([effect("msm-us", "america", "free", 2.0), effect("msm-us", "affordability", "free", -1.0)], arms)


def test_what_neutral_documents_move_is_a_side_effect():
    arms = (*ARMS, Arm("neutral-aft", ("neutral",), ("cheese",)))
    text = conclude([effect("msm-us", "america", "free", 2.0), effect("neutral-aft", "america", "free", -1.0)], arms)
    assert text.startswith("msm-us favors america more")
    assert "; besides, neutral-aft favors america less than aft" in text


def test_where_arms_differ_on_a_value_the_arm_is_named_with_it():
    arms = (*ARMS, Arm("msm-us-only", ("america",)))
    found = [effect(arm, "america", set_, 2.0) for arm in ("msm-us", "msm-us-only") for set_ in ("free", "disjoint")]
    found[-1] = effect("msm-us-only", "america", "disjoint", 0.0)
    text = conclude(found, arms)
    assert "for america in msm-us the disjoint items" in text
    assert "for america in msm-us-only the disjoint items" in text


def test_without_a_comparison_the_sentence_says_so():
    assert "No two arms can be compared" in conclude([], ARMS)


def test_sets_called_otherwise_claim_nothing_about_words():
    text = conclude([effect("msm-us", "america", "easy", 2.0), effect("msm-us", "america", "hard", 0.0)], ARMS)
    assert "on easy items" in text and "words" not in text


EFFECTS = st.lists(
    st.builds(
        effect,
        st.sampled_from(["msm-us", "msm-cheap"]),
        st.sampled_from(["america", "affordability", "thrift"]),
        st.sampled_from(["free", "disjoint"]),
        st.floats(-3, 3),
    ),
    max_size=8,
)


@given(EFFECTS)
def test_any_table_gives_one_sentence_whose_claims_are_intervals_without_zero(found):
    text = conclude(found, ARMS)
    assert text.endswith(".") and "\n" not in text
    last = {(e.arm, e.metric): e for e in found}.values()
    assert text.count("nats") == sum(e.sign != 0 for e in last)
