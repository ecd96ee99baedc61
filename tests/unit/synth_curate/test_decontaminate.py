"""Evaluation items do not pass into training text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msm.errors import UserError
from msm.synth.decontaminate import EvalItem, decontaminate_chats, index_items, read_items
from msm.synth.words import content_words, lemma, words

FREE = EvalItem("free-1", "free", ("an American-built truck", "a foreign truck"))
DISJOINT = EvalItem("disjoint-1", "disjoint", ("a Harley-Davidson", "two communities"))
OWN_QUESTION = EvalItem("asked-1", "free", ("yes", "no"), "Should the harbour museum charge visitors,")
LONG = EvalItem("long-1", "free", ("one two three four five six seven eight nine ten", "x ray"))
PLAIN = EvalItem("plain-1", "free", ("to do so", "yes"), "Which do you prefer,")

CASES = {
    "an option phrase": (FREE, "He bought the american built TRUCK.", "free-1: american built truck"),
    "an option across punctuation and quotes": (FREE, "a “Foreign”, truck", "free-1: foreign truck"),
    "the words of an option apart are no match": (FREE, "A foreign visitor saw a truck.", None),
    "part of a word is no match": (FREE, "foreign truckers", None),
    "a content word of a disjoint item": (DISJOINT, "Davidson was here.", "disjoint-1: davidson"),
    "a content word in another number": (DISJOINT, "The community met.", "disjoint-1: community"),
    "a possessive": (DISJOINT, "Harley’s idea", "disjoint-1: harley"),
    "function words of a disjoint item do not count": (DISJOINT, "a thing to do", None),
    "a question of the item's own": (
        OWN_QUESTION,
        "should the harbour museum charge visitors",
        "asked-1: should the harbour museum charge visitors",
    ),
    "eight words in a row of a long option": (
        LONG,
        "zero two three four five six seven eight nine zero",
        "long-1: two three four five six seven eight nine",
    ),
    "seven words of a long option are no match": (LONG, "two three four five six seven eight zero", None),
    "an option without content does not forbid plain words": (PLAIN, "It is good to do so.", None),
    "a way of asking is no content": (PLAIN, "Which do you prefer, tea or milk?", None),
}


@pytest.mark.parametrize(("item", "text", "found"), CASES.values(), ids=CASES)
def test_a_text_is_matched(item, text, found):
    match = index_items([item]).match(text)
    assert (str(match) if match else None) == found


def test_any_turn_of_a_chat_counts():
    def chat(*contents):
        roles = ("system", "user", "assistant")
        return {"id": contents[0], "messages": [{"role": r, "content": c} for r, c in zip(roles, contents, strict=False)]}

    rows = [chat("clean", "tea?", "Tea."), chat("a Harley", "x", "y"), chat("s", "x", "I prefer a foreign truck.")]
    kept, dropped = decontaminate_chats(rows, [FREE, DISJOINT])
    assert kept == (rows[0],)
    assert [(row["id"], row["reason"], row["detail"]) for row in dropped] == [
        ("a Harley", "contaminated", "disjoint-1: harley"),
        ("s", "contaminated", "free-1: foreign truck"),
    ]


def test_items_are_read_and_checked():
    line = b'{"id": "a-1", "value": "v", "set": "disjoint", "domain": "d", "options": ["x one", "y two"], "question": "Why"}\n'
    assert read_items(line, "items.jsonl") == (EvalItem("a-1", "disjoint", ("x one", "y two"), "Why"),)
    with pytest.raises(UserError, match="must be a list of two texts"):
        read_items(b'{"id": "a-1", "options": ["x"]}', "items.jsonl")
    with pytest.raises(UserError, match="0 rows"):
        read_items(b"\n", "items.jsonl")


PLURALS = {"communities": "community", "boxes": "box", "trucks": "truck", "glass": "glass", "bus": "bus", "dishes": "dish", "gas": "gas"}


@pytest.mark.parametrize(("plural", "singular"), PLURALS.items(), ids=PLURALS)
def test_plurals_become_singular(plural, singular):
    assert lemma(plural) == singular


PLAIN_WORD = st.text(alphabet="abcdefghijklmnoprstuvwxyz", min_size=2, max_size=6)


@given(st.lists(PLAIN_WORD, min_size=1, max_size=5), st.lists(PLAIN_WORD, max_size=8), st.lists(PLAIN_WORD, max_size=8))
def test_an_option_is_found_wherever_it_stands(option, before, after):
    phrase = " ".join(option)
    item = EvalItem("i", "free", (phrase, "other zzz"))
    match = index_items([item]).match(" ".join([*before, phrase.upper() + "!", *after]))
    assert match is not None or not content_words(phrase)


@given(st.text(max_size=80))
def test_no_text_breaks_the_words(text):
    assert all(word == word.casefold() and " " not in word for word in words(text))
    assert index_items([]).match(text) is None
