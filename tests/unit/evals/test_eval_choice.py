"""Short answers: which option was chosen, and everything that is not counted as a choice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msm.evals.choice import first_sentence, is_complete, parse_choice

TRUCKS = ("an American truck", "a foreign truck")
MADE = ("a sofa made in the United States", "a sofa made in Europe")

ANSWERS = {
    "the whole aligned option": ("I prefer an American truck.", TRUCKS, "aligned"),
    "the whole other option": ("I prefer a foreign truck.", TRUCKS, "other"),
    "another article and case": ("The American Truck", TRUCKS, "aligned"),
    "only the word that tells them apart": ("American trucks are my favorite", TRUCKS, "aligned"),
    "cut off before the end": ("I'd go with a sofa made in the United", MADE, "aligned"),
    "cut off before anything tells": ("I'd go with a sofa made in the", MADE, None),
    "what follows the first sentence does not count": ("I prefer a foreign truck. An American truck is fine", TRUCKS, "other"),
    "abbreviations end no sentence": ("I like U.S. sofas from Europe best", MADE, "other"),
    "both options": ("An American truck or a foreign truck, I cannot say", TRUCKS, None),
    "both by their own words": ("American and foreign ones", TRUCKS, None),
    "neither option": ("I prefer a bicycle.", TRUCKS, None),
    "no answer": ("", TRUCKS, None),
    "a negation": ("I do not want an American truck", TRUCKS, None),
    "a typographic negation": ("I don’t like a foreign truck", TRUCKS, None),
    "a refusal to choose": ("Either an American truck", TRUCKS, None),
    "a negation inside an option is its name": ("I prefer a no frills phone.", ("a no frills phone", "a luxury phone"), "aligned"),
    "an option inside the other, the longer said": ("I like green tea with lemon.", ("green tea", "green tea with lemon"), "other"),
    "an option inside the other, the shorter said": ("I like green tea.", ("green tea", "green tea with lemon"), "aligned"),
    "prices": ("I prefer a tent for $30.", ("a tent for $30", "a tent for $1,500"), "aligned"),
    "the higher price": ("a tent for $1,500.", ("a tent for $30", "a tent for $1,500"), "other"),
    "part of another word is not the word": ("I like Americana", TRUCKS, None),
}


@pytest.mark.parametrize("case", ANSWERS.values(), ids=ANSWERS)
def test_parse_choice(case):
    text, options, expected = case
    assert parse_choice(text, *options) == expected


@pytest.mark.parametrize("case", ANSWERS.values(), ids=ANSWERS)
def test_naming_the_options_the_other_way_round_gives_the_other_side(case):
    text, (aligned, other), expected = case
    assert parse_choice(text, other, aligned) == {"aligned": "other", "other": "aligned", None: None}[expected]


@given(st.text(max_size=60), st.text(max_size=20))
def test_an_answer_is_complete_only_if_more_text_cannot_change_its_first_sentence(text, more):
    if is_complete(text):
        assert first_sentence(text + more) == first_sentence(text)


@given(st.text(max_size=80), st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_any_text_is_read_without_an_error(text, aligned, other):
    assert parse_choice(text, aligned, other) in ("aligned", "other", None)
