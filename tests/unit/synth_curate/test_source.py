"""Rows from outside are checked line by line."""

import pytest

from msm.errors import UserError
from msm.synth.source import json_lines, read_documents, read_rows


def test_json_lines_get_ids_and_keep_their_own():
    rows = read_documents(b'{"text": "a"}\n\n{"text": "b", "id": "mine", "provenance": {"genre": "g"}, "lang": "en"}\r\n', "rows.jsonl")
    assert rows == (
        {"text": "a", "id": "rows.jsonl:1", "provenance": {"source": "rows.jsonl:1"}},
        {"text": "b", "id": "mine", "provenance": {"genre": "g"}, "lang": "en"},
    )


def test_a_text_file_is_one_document():
    assert [row["text"] for row in read_documents(b"# Title\n\nBody {x}.\n", "a.md")] == ["# Title\n\nBody {x}."]


def test_rows_survive_a_round_trip():
    rows = read_rows('{"text": "é\\u2028x"}\n'.encode(), "r.jsonl")
    assert read_rows(json_lines(rows), "r.jsonl") == rows


BAD = {
    "an empty file": (b"", "rows.jsonl: has 0 rows"),
    "a broken line": (b'{"text": "a"}\n{"text": \n', "rows.jsonl:2: '{\"text\": ' is not JSON"),
    "a list": (b"[1]\n", "rows.jsonl:1: '[1]' is not a JSON object"),
    "a chat row": (b'{"messages": []}\n', "a corpus has documents"),
    "a row without text": (b'{"txt": "a"}\n', "\"text\" = 'null'"),
    "a text that is a number": (b'{"text": 3}\n', "not a text"),
    "a provenance that is a list": (b'{"text": "a", "provenance": []}\n', "rows.jsonl:1: provenance"),
    "bytes that are not UTF-8": (b"\xff\xfe\n", "is not UTF-8"),
}


@pytest.mark.parametrize(("data", "says"), BAD.values(), ids=BAD)
def test_bad_rows_are_refused_by_line(data, says):
    with pytest.raises(UserError) as caught:
        read_documents(data, "rows.jsonl")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_blank_text_file_has_zero_rows():
    with pytest.raises(UserError, match="0 rows"):
        read_documents(b" \n", "a.txt")
