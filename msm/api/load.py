"""Read an MSMRun file; every mistake in it becomes one clear UserError.

Neighbours: `run` is the model; the command line and the executors call this. Invariant: nothing but the given file is read, and what
comes out is consistent. YAML is loaded without tags (data, never objects).
"""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from msm.api.references import Missing, missing_references, repeated_names
from msm.api.run import MSMRun
from msm.errors import UserError


def load_run(path: Path) -> MSMRun:
    """The MSMRun in a YAML file.

    Raises:
        UserError: the file cannot be read, is not one YAML document, or is not a consistent MSMRun.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(str(path), f"cannot be read ({error})", "give the path of an MSMRun file") from error
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f":{where.line + 1}" if where else ""
        raise UserError(f"{path}{line}", f"is not YAML ({getattr(error, 'problem', error)})", "mend the file's syntax") from error
    return parse_run(data, str(path))


def parse_run(data: object, where: str = "MSMRun") -> MSMRun:
    """The MSMRun in decoded YAML or JSON.

    Raises:
        UserError: `data` is not a consistent MSMRun; names the first mistake and counts the others.
    """
    if not isinstance(data, dict):
        raise UserError(
            where, f"holds {type(data).__name__ if data is not None else 'nothing'}, not an MSMRun", "see docs/guide/first-run.md"
        )
    try:
        run = MSMRun.model_validate(data)
    except ValidationError as error:
        raise _explain(error, where) from None
    _check_names(run, where)
    return run


def _check_names(run: MSMRun, where: str) -> None:
    for repeat in repeated_names(run.spec):
        raise UserError(f"{where}: {repeat.path}", f'"{repeat.name}" is defined twice', "give each its own name")
    for missing in missing_references(run.spec):
        raise UserError(f"{where}: {missing.path}", _no_such(missing), _hint(missing.name, missing.known))


def _no_such(missing: Missing) -> str:
    has = ", ".join(missing.known) if missing.known else "none"
    return f'no {missing.sort} named "{missing.name}"; this run has: {has}'


def _hint(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f'did you mean "{close[0]}"?' if close else ""


def _explain(error: ValidationError, where: str) -> UserError:
    """The first of pydantic's errors, in the user's words."""
    details = error.errors(include_url=False)
    first = min(details, key=lambda d: d["type"] != "extra_forbidden")
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    path = _path(first["loc"])
    if first["type"] == "extra_forbidden":
        known = _known_keys(first["loc"][:-1])
        key = str(first["loc"][-1])
        return UserError(f"{where}: {path}", f"unknown key{more}", _hint(key, known) or f"known here: {', '.join(known)}")
    return UserError(f"{where}: {path}", _rule(first) + more, "see docs/reference/msmrun.md")


def _rule(detail: ErrorDetails) -> str:
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] in ("missing", "value_error"):
        return message[0].lower() + message[1:] if detail["type"] == "missing" else message
    return f"{_short(detail['input'])}: {message[0].lower()}{message[1:]}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _path(loc: Sequence[int | str]) -> str:
    """Pydantic's location as a path in the file."""
    out = ""
    for part in loc:
        if isinstance(part, int):
            out += f"[{part}]"
        else:
            out += f".{part}" if out else part
    return out


def _known_keys(loc: Sequence[int | str]) -> list[str]:
    """Keys of the part of the API at a location; empty where the location is not a model."""
    here: Any = MSMRun
    for part in loc:
        if isinstance(part, int):
            continue
        field = _field(here, part)
        here = _model_in(field) if field is not None else here
    return [f.alias or n for n, f in here.model_fields.items()]


def _field(model: type[BaseModel], alias: str) -> Any:
    return next((f.annotation for f in model.model_fields.values() if f.alias == alias), None)


def _model_in(annotation: Any) -> type[BaseModel] | Any:
    """The model class inside an annotation such as `tuple[Arm, ...] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = [m for arg in get_args(annotation) if (m := _model_in(arg)) is not None]
    return found[0] if found else None
