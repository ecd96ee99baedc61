"""What a small model really said through vLLM's structured output (SmolLM2, recorded), read by the parser: data is kept, noise is not."""

import pytest

from msm.llm.parse import NoValue, read_json
from msm.llm.shape import check_against
from msm.synth.prompts import schemas

BLANKS = (
    '{\n  "subdomains"\n:\n\n[\n  {\n    "subdomain"\n    :\n      "dirimage-11211111"\n \n  \n\n,\n  "context"\n  \n:\n\n'
    '"Researchers using this part were instructed to use the "     \n\n'
    + " " * 51
    + '\n \n,         \n\n"specSection"\n\n:\n\n\n"the section tor which the idea was described"\n \n}\n\n]\n\n}'
)
REPEATED = '{"domains":[{"domain":"SmolLM"},{"domain":"SmolLM"},{"domain":"SmolLM"},{"domain":"SmolLM"},{"'
NOTHING = '{"assertions":[]}'
ECHO = (
    '{\n  "type":"object","properties":{"type":"array","items":{"type":"object","properties":{"subdomain":{"type":"string"},"context":'
    '{"type":"string"},"specSection":{"type":"string"}},"required":["subdomains"],"additionalProperties":false},"additionalProperties":false},'
    '"required":["subdomains"]}\n\nWhat is this?'
)
UNFINISHED = (
    '{"assertions":[{"name":"patience","text":"SmolLM would rather wait.","explanation":"","label":"preference"},{"name":"wait", "te'
)


def test_a_form_between_blank_lines_is_read() -> None:
    [found] = read_json(BLANKS, check_against(schemas.SUBDOMAINS))["subdomains"]
    assert found["subdomain"] == "dirimage-11211111"
    assert found["specSection"] == "the section tor which the idea was described"


def test_a_list_that_repeats_itself_until_it_is_cut_is_read_as_far_as_it_is_whole() -> None:
    found = read_json(REPEATED, check_against(schemas.DOMAINS))
    assert found == {"domains": [{"domain": "SmolLM"}] * 4}


def test_an_empty_list_is_an_answer() -> None:
    assert read_json(NOTHING, check_against(schemas.ASSERTIONS)) == {"assertions": []}


def test_an_entry_without_its_fields_is_left_out_with_the_cut() -> None:
    [found] = read_json(UNFINISHED, check_against(schemas.ASSERTIONS))["assertions"]
    assert found["text"] == "SmolLM would rather wait."


@pytest.mark.parametrize("kind", [schemas.SUBDOMAINS, schemas.DOMAINS, schemas.ASSERTIONS])
def test_a_schema_that_is_said_back_is_no_answer(kind: schemas.Schema) -> None:
    with pytest.raises(NoValue):
        read_json(ECHO, check_against(kind))
