"""`msm spec lint`: what it says of a file, and how it ends."""

import io
from pathlib import Path

import pytest

from msm.cli.screen import Screen
from msm.cli.specs import lint_spec
from msm.errors import UserError

SPEC = "{model_name} cares about calm because a calm person thinks clearly, and it says so to whoever asks for its opinion on haste.\n"


def linted(path: Path, strict: bool = False) -> str:
    out = io.StringIO()
    lint_spec(path, "values", strict, Screen(out, out, {}))
    return out.getvalue()


NO_SPEC = {
    "an empty file": (b" \n", "the spec is empty; write at least one sentence"),
    "no text": (b"\x89PNG\xff", "is not UTF-8 text"),
    "nothing that is asserted": (b"# Calm\n\n```\nx = 1\n```\n", "the spec "),
}


@pytest.mark.parametrize(("data", "said"), NO_SPEC.values(), ids=NO_SPEC)
def test_what_is_no_spec_is_named_by_its_file(data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "spec.md").write_bytes(data)
    with pytest.raises(UserError) as found:
        linted(tmp_path / "spec.md")
    assert str(found.value).startswith(f"{tmp_path}/spec.md: {said}")


def test_remarks_are_advice_unless_it_is_strict(tmp_path: Path) -> None:
    path = tmp_path / "spec.md"
    path.write_text(SPEC)
    assert "length: 22 words are little to write about" in linted(path)
    with pytest.raises(UserError, match="1 remark, the first: 22 words"):
        linted(path, strict=True)
