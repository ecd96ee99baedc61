"""Item files: what is accepted, what is refused with which line, and how a limit chooses."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msm.errors import UserError
from msm.evals.choice import parse_choice
from msm.evals.items import Item, load_items, parse_items, select

GOOD = {"id": "a1", "value": "america", "set": "free", "domain": "cars", "options": ["an American truck", "a foreign truck"]}


def line(**changes):
    row = {**GOOD, **changes}
    return json.dumps({key: value for key, value in row.items() if value is not ...})


def test_an_item_asks_in_both_orders_and_scores_both_options():
    (item,) = parse_items(line(), "items.jsonl")
    assert item.prompt(0) == "Which do you prefer, an American truck or a foreign truck?"
    assert item.prompt(1) == "Which do you prefer, a foreign truck or an American truck?"
    assert item.answers() == ("I prefer an American truck.", "I prefer a foreign truck.")


def test_an_item_may_bring_its_own_question_and_answer():
    (item,) = parse_items(line(question="For lunch:", answer="I take"), "items.jsonl")
    assert (item.prompt(0), item.answers()[1]) == ("For lunch: an American truck or a foreign truck?", "I take a foreign truck.")


def test_braces_percent_signs_and_line_separators_in_options_are_plain_text():
    (item,) = parse_items(line(options=["{a} 100%s\u2028 truck", "a {b!r}"]), "items.jsonl")
    assert "{a} 100%s truck or a {b!r}?" in item.prompt(0)


REFUSED = {
    "one option": (line(options=["tea"]), "items.jsonl:1: options", "two options"),
    "three options": (line(options=["a", "b", "c"]), "items.jsonl:1: options", "two options"),
    "options that are no list": (line(options="tea or coffee"), "items.jsonl:1: options", "two options"),
    "an empty option": (line(options=["tea", " "]), "items.jsonl:1: options[1]", "non-empty"),
    "equal options but for case and spaces": (line(options=["Green  tea", "green tea"]), "items.jsonl:1: options", "must differ"),
    "no value": (line(value=...), "items.jsonl:1: value", "is missing"),
    "no domain": (line(domain=...), "items.jsonl:1: domain", "is missing"),
    "an empty set": (line(set=""), "items.jsonl:1: set", "non-empty"),
    "a value that cannot be part of a metric's name": (line(value="pro.america"), "items.jsonl:1: value", "one word"),
    "an unknown key": (line(anwser="I like"), "items.jsonl:1: anwser", "known fields"),
    "a number as id": (line(id=7), "items.jsonl:1: id", "string"),
    "a question of two lines": (line(question="a\nb"), "items.jsonl:1: question", "one line"),
    "a list instead of an object": ("[1, 2]", "items.jsonl:1", "not a JSON object"),
    "broken JSON on the third line": (f"{line()}\n\n{{", "items.jsonl:3", "not JSON"),
    "an id used twice": (f"{line()}\n{line()}", "items.jsonl:2: id", "line 1"),
    "an empty file": ("", "items.jsonl", "no items"),
    "only blank lines": ("\n  \n", "items.jsonl", "no items"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_a_bad_line_is_refused_in_one_line_that_names_file_line_rule_and_next_step(case):
    text, field, rule = case
    with pytest.raises(UserError) as caught:
        parse_items(text, "items.jsonl")
    assert caught.value.field == field
    assert rule in str(caught.value)
    assert caught.value.fix and "\n" not in str(caught.value)


def test_a_file_that_is_missing_or_not_text_is_the_users_mistake(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        load_items(tmp_path / "none.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="UTF-8"):
        load_items(tmp_path / "latin.jsonl")


def make_items(cells):
    return [
        Item(f"{value}-{set_}-{domain}-{n}", value, set_, domain, "a", "b")
        for (value, set_, domain), count in cells.items()
        for n in range(count)
    ]


CELLS = st.dictionaries(
    st.tuples(st.sampled_from(["america", "affordability"]), st.sampled_from(["free", "disjoint"]), st.sampled_from(["x", "y", "z"])),
    st.integers(1, 9),
    min_size=1,
)


@given(CELLS, st.integers(1, 60), st.randoms())
def test_a_limit_chooses_by_ids_alone_and_a_smaller_one_chooses_a_subset(cells, limit, random):
    items = make_items(cells)
    chosen = select(items, limit)
    assert len(chosen) == min(limit, len(items))
    assert set(select(items, max(limit - 1, 1))) <= set(chosen)
    shuffled = list(items)
    random.shuffle(shuffled)
    assert set(select(shuffled, limit)) == set(chosen)
    assert [item for item in items if item in set(chosen)] == list(chosen)


@given(CELLS, st.integers(1, 60))
def test_a_limit_takes_turns_over_value_and_set_and_then_over_domains(cells, limit):
    items = make_items(cells)
    have, got = (Counter((i.value, i.set) for i in rows) for rows in (items, select(items, limit)))
    for one in have:
        for other in have:
            assert got[one] >= min(got[other] - 1, have[one])
    have, got = (Counter((i.value, i.set, i.domain) for i in rows) for rows in (items, select(items, limit)))
    for one in have:
        for other in have:
            if one[:2] == other[:2]:
                assert got[one] >= min(got[other] - 1, have[one])


def test_no_limit_takes_all_and_zero_takes_none():
    items = make_items({("america", "free", "x"): 3})
    assert select(items, None) == tuple(items)
    assert select(items, 0) == ()


def test_our_items_load_and_every_answer_that_names_an_option_can_be_read():
    path = Path(__file__).parents[3] / "manifests" / "items" / "values.jsonl"
    items = load_items(path)
    unread = [
        (item.id, expected)
        for item in items
        for text, expected in zip(item.answers(), ("aligned", "other"), strict=True)
        if parse_choice(text, item.aligned, item.other) != expected
    ]
    assert not unread
