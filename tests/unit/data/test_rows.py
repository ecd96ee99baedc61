"""Rows that cannot be used are refused in one line that names file, line, value, rule and next step."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msm.data.rows import Chat, Document, Message, read_chats, read_documents
from msm.errors import UserError


def turns(*roles):
    return {"messages": [{"role": role, "content": f"by {role}"} for role in roles]}


BAD_DOCUMENTS = {
    "a line that is not JSON": (b'{"text": "fine"}\n{"text": ', "rows.jsonl:2", "is not JSON"),
    "a line that is not UTF-8": (b'{"text": "\xff"}', "rows.jsonl:1", "is not JSON in UTF-8"),
    "a line that is a list": (b'["text"]', "rows.jsonl:1", "is not an object"),
    "a row without text": (b'{"id": "1"}', "rows.jsonl:1", '"text" is'),
    "an empty text": (b'{"text": "ok"}\n\n{"text": "  "}', "rows.jsonl:3", "must be a text that is not empty"),
    "a text that is a number": (b'{"text": 3}', "rows.jsonl:1", "'3'"),
    "a chat among documents": (json.dumps(turns("user", "assistant")).encode(), "rows.jsonl:1", "a chat row"),
    "a file without rows": (b"\n\n", "rows.jsonl", "0 rows"),
    "nesting without end": (b"[" * 100_000, "rows.jsonl:1", "is not JSON"),
}
BAD_CHATS = {
    "no assistant turn": (turns("system", "user"), "no assistant turn"),
    "the user has the last word": (turns("user", "assistant", "user"), 'the last turn is by "user"'),
    "the assistant speaks first": (turns("system", "assistant"), "the assistant speaks first"),
    "no turns": ({"messages": []}, "it must be a list"),
    "no messages": ({"text": "a document"}, '"messages" is'),
    "an unknown role": (turns("user", "model"), '"role" is'),
    "a content in parts": ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, '"content" is'),
    "a turn that is a text": ({"messages": ["hello"]}, "object"),
}


@pytest.mark.parametrize("case", BAD_DOCUMENTS.values(), ids=BAD_DOCUMENTS)
def test_bad_document_rows_are_refused(case, tmp_path):
    content, where, problem = case
    (tmp_path / "rows.jsonl").write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_documents([tmp_path / "rows.jsonl"])
    assert caught.value.field == where
    assert problem in caught.value.problem
    assert caught.value.fix
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", BAD_CHATS.values(), ids=BAD_CHATS)
def test_bad_chat_rows_are_refused(case, tmp_path):
    row, problem = case
    (tmp_path / "chats.jsonl").write_text(json.dumps(turns("user", "assistant")) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(UserError) as caught:
        read_chats([tmp_path / "chats.jsonl"])
    assert caught.value.field.startswith("chats.jsonl:2")
    assert problem in caught.value.problem
    assert caught.value.fix


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=r"absent.jsonl: cannot be read"):
        read_documents([tmp_path / "absent.jsonl"])


@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=5))
def test_any_text_comes_back_as_it_was_written(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    assert [row.text for row in read_documents([path])] == texts


def test_rows_know_where_they_come_from(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n\n{"text": "{not} %s a {{template}}"}\n')
    assert read_documents([tmp_path / "a.jsonl"]) == [Document("one", "a.jsonl:1"), Document("{not} %s a {{template}}", "a.jsonl:3")]
    (tmp_path / "b.jsonl").write_text(json.dumps(turns("user", "assistant")))
    assert read_chats([tmp_path / "b.jsonl"]) == [Chat((Message("user", "by user"), Message("assistant", "by assistant")), "b.jsonl:1")]
