"""`msm spec lint`: look at a Model Spec before anything is spent on it.

Neighbours: `msm.synth.lint` judges. Invariant: remarks are advice and exit 0; with `strict` the first of them is the user's mistake.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msm.cli.screen import Screen
from msm.cli.words import clean, number, some
from msm.errors import UserError

if TYPE_CHECKING:
    from msm.synth.lint import Lint


def lint_spec(path: Path, kind: Literal["values", "rules"], strict: bool, screen: Screen) -> None:
    """Read a spec and print what it asserts and what to mend.

    Raises:
        UserError: no such file, no text, nothing asserted; with `strict` any remark.
    """
    from msm.synth.lint import lint

    text = read_text(path)
    try:
        found = lint(text, kind)
    except UserError as error:
        raise UserError(str(path), error.problem, error.fix) from error
    if screen.as_json:
        screen.document(asdict(found))
    else:
        _show(path, found, screen)
    if strict and found.remarks:
        first = found.remarks[0]
        count = some(found.remarks, "remark", "remarks")
        raise UserError(str(path), f"{count}, the first: {first.text}", first.remedy)


def read_text(path: Path) -> str:
    """A spec's text; UserError when it cannot be read or is no UTF-8."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(str(path), f"cannot be read ({error.strerror})", "name a text file") from error
    except UnicodeDecodeError as error:
        raise UserError(str(path), f"is not UTF-8 text (byte {error.start})", "save it as UTF-8") from error


def _show(path: Path, found: "Lint", screen: Screen) -> None:
    explained = f"{found.explained} with a reason"
    screen.say(f"{path}: {number(found.words)} words, {found.assertions} assertions, {explained}; {found.instances} instances")
    screen.say(f"labels: {_counts(found.labels)}")
    screen.say(f"sections: {_counts(found.sections)}")
    for remark in found.remarks:
        screen.say()
        screen.say(f"{remark.rule}: {clean(remark.text)}")
        if remark.where:
            screen.say(f"  {clean(remark.where)}")
        screen.say(f"  {remark.remedy}")
    if not found.remarks:
        screen.say("nothing to mend")


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{clean(name)} {count}" for name, count in counts.items())
