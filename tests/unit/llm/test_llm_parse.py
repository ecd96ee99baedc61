"""What models write when JSON was asked for, and where reasoning ends."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msm.llm.parse import NoValue, read_json
from msm.llm.reasoning import split_reasoning
from msm.llm.shape import as_response_format, check_against

IDEAS = {
    "type": "object",
    "properties": {
        "ideas": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"idea": {"type": "string"}, "name": {"type": "string"}},
                "required": ["idea", "name"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["ideas"],
    "additionalProperties": False,
}
ONE = {"ideas": [{"idea": "a memo", "name": "memo"}]}
TWO = {"ideas": [{"idea": "a memo", "name": "memo"}, {"idea": "a log", "name": "log"}]}
LIST = {"type": "array", "items": {"type": "string"}}

UGLY = {
    "as asked": (json.dumps(ONE), IDEAS, ONE),
    "in a code fence": (f"```json\n{json.dumps(ONE, indent=2)}\n```", IDEAS, ONE),
    "in a fence without a language, words around": (f"Here you are:\n```\n{json.dumps(ONE)}\n```\nAnything else?", IDEAS, ONE),
    "a fence that is never closed": (f"```json\n{json.dumps(ONE)}", IDEAS, ONE),
    "words around it": (f"Sure! {json.dumps(ONE)} I hope {{this}} helps.", IDEAS, ONE),
    "brackets in the words before": (f"As [1] says, sets {{a, b}} matter. {json.dumps(ONE)}", IDEAS, ONE),
    "a bracket before it that never closes": (f"The interval [0, 1) is fine: {json.dumps(ONE)}", IDEAS, ONE),
    "a draft before the answer": (f"Draft: {json.dumps(TWO)}\nFinal: {json.dumps(ONE)}", IDEAS, ONE),
    "a draft in a fence before the answer in a fence": (f"```\n{json.dumps(TWO)}\n```\nBetter:\n```\n{json.dumps(ONE)}\n```", IDEAS, ONE),
    "a list of thoughts before the list asked for": ('["thought", 1]\n\n["a", "b"]', LIST, ["a", "b"]),
    "a trailing comma": ('{"ideas": [{"idea": "a memo", "name": "memo",},],}', IDEAS, ONE),
    "single quotes": ("{'ideas': [{'idea': 'a memo', 'name': 'memo'}]}", IDEAS, ONE),
    "unquoted keys": ('{ideas: [{idea: "a memo", name: "memo"}]}', IDEAS, ONE),
    "a comment inside": ('{"ideas": [ // the list\n{"idea": "a memo", "name": "memo"}]}', IDEAS, ONE),
    "a missing comma": ('{"ideas": [{"idea": "a memo" "name": "memo"}]}', IDEAS, ONE),
    "cut inside the second item": (json.dumps(TWO)[:58], IDEAS, ONE),
    "cut inside the second item's last string": (json.dumps(TWO)[:75], IDEAS, ONE),
    "cut right before its last bracket": (json.dumps(TWO)[:-1], IDEAS, TWO),
    "cut inside a fence": (f"```json\n{json.dumps(TWO)[:60]}", IDEAS, ONE),
    "brackets and quotes inside strings": ('{"ideas": [{"idea": "a \\"[memo]\\" {x}", "name": "m}"}]}', IDEAS, None),
    "an emoji cut in half": ('["a\\ud83d"]', LIST, ["a?"]),
    "a code block inside a string": ('["```python\\nx = [1]\\n```"]', LIST, ["```python\nx = [1]\n```"]),
    "line breaks inside a string": ('["one\ntwo"]', LIST, ["one\ntwo"]),
}


@pytest.mark.parametrize("case", UGLY.values(), ids=UGLY)
def test_ugly_answers_are_read(case):
    text, schema, expected = case
    assert read_json(text, check_against(schema)) == (json.loads(text) if expected is None else expected)


NONE = {
    "prose": "I cannot help with lists.",
    "nothing": "",
    "another form": '{"idea": "a memo"}',
    "a number": "42",
    "NaN": '{"ideas": NaN}',
    "an expression": '__import__("os").system("true")',
    "a thousand open brackets": "[" * 1000,
    "twenty thousand open brackets": "[" * 20_000,
    "a number of ten thousand digits": "9" * 10_000,
}


@pytest.mark.parametrize("text", NONE.values(), ids=NONE)
def test_what_is_no_answer_is_refused(text):
    with pytest.raises(NoValue):
        read_json(text, check_against(IDEAS))


def test_the_refusal_says_where_and_why():
    with pytest.raises(NoValue, match=r"at \$\.ideas\[0\]: 'name' is a required property"):
        read_json('{"ideas": [{"idea": "x"}]}', check_against(IDEAS))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(JSON.filter(lambda value: isinstance(value, dict | list)), st.sampled_from(["{}", "```json\n{}\n```", "So: {} ."]))
def test_any_json_comes_through_whatever_surrounds_it(value, around):
    before, after = around.split("{}", 1)
    assert read_json(before + json.dumps(value) + after, check_against({"const": value})) == value


@given(st.text(alphabet='[]{}",:\\ax1 \n`', max_size=60))
def test_no_text_breaks_the_parser(text):
    try:
        value = read_json(text, check_against({"type": ["object", "array"]}))
    except NoValue:
        return
    assert isinstance(value, dict | list)


@given(st.lists(st.fixed_dictionaries({"idea": st.text(max_size=6), "name": st.text(max_size=6)}), max_size=5), st.floats(0, 1))
def test_a_cut_list_gives_whole_items_from_its_start_only(items, share):
    text = json.dumps({"ideas": items})
    try:
        found = read_json(text[: round(share * len(text))], check_against(IDEAS))
    except NoValue:
        return
    assert found["ideas"] == items[: len(found["ideas"])]


THOUGHTS = {
    "none": ("just text <b>bold</b>", ("just text <b>bold</b>", "")),
    "a block before": ("<think>\nhm\n</think>\n\nThe answer.", ("The answer.", "hm")),
    "an empty block (thinking turned off)": ("<think>\n\n</think>\n\nThe answer.", ("The answer.", "")),
    "only the end mark (the template opened it)": ("hm, well\n</think>\nThe answer.", ("The answer.", "hm, well")),
    "cut while thinking": ("<think>hm and then", ("", "hm and then")),
    "two blocks": ("<think>a</think>One. <think>b</think>Two.", ("One. Two.", "a\nb")),
    "nested": ("<think>a<think>b</think>c</think>Yes.", ("Yes.", "a\nb\nc")),
    "capitals and the long word": ("<THINKING>a</Thinking>Yes.", ("Yes.", "a")),
    "Mistral's marks": ("[THINK]a[/THINK]Yes.", ("Yes.", "a")),
    "Kimi's marks": ("◁think▷a◁/think▷Yes.", ("Yes.", "a")),
}


@pytest.mark.parametrize("case", THOUGHTS.values(), ids=THOUGHTS)
def test_reasoning_ends_in_its_own_field(case):
    text, expected = case
    assert split_reasoning(text) == expected


@given(st.lists(st.sampled_from(["<think>", "</think>", "a", " ", "[THINK]", "</thinking>"]), max_size=12).map("".join))
def test_no_mark_is_left_in_the_text(text):
    answer, _ = split_reasoning(text)
    assert "think" not in answer.lower()


CLOSED = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
STRICT = {
    "closed and all required": (CLOSED, True),
    "nested": ({**CLOSED, "properties": {"a": {"type": "array", "items": CLOSED}}}, True),
    "an optional property": ({**CLOSED, "required": []}, False),
    "open": ({**CLOSED, "additionalProperties": True}, False),
    "open further down": ({**CLOSED, "properties": {"a": {"type": "object"}}}, False),
    "a property named type": ({**CLOSED, "properties": {"type": {"type": "string"}}, "required": ["type"]}, True),
}


@pytest.mark.parametrize("case", STRICT.values(), ids=STRICT)
def test_only_schemas_that_openai_takes_as_strict_are_sent_as_strict(case):
    schema, expected = case
    assert as_response_format(schema)["json_schema"]["strict"] is expected
