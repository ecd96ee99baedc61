"""The chart's values as three files: `values.yaml` with comments, the schema that helm checks them by, the reference page.

Neighbours: `chart_values` describes the values, `generate` writes the files. Pure. Invariant: the three say the same, since none is written
by hand.
"""

import json
import textwrap
from collections.abc import Iterator
from typing import Any

import yaml
from chart_values import Values
from pydantic import BaseModel

from msm.api.schema import json_schema

WIDTH = 140
GLOBAL = {"type": "object", "description": "Passed down by a chart that this one is part of; not read."}
HEAD = "# Generated from docs/chart_values.py by `make docs`; do not edit. Override it with a file of your own: helm install -f FILE.\n"


def values_yaml() -> str:
    """The defaults, each under a comment that says what it is."""
    return HEAD + "".join(_lines(Values(), 0))


def values_schema() -> str:
    """What helm refuses a wrong value by, naming it."""
    schema = _plain(json_schema(Values))
    schema["properties"]["global"] = GLOBAL
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def values_markdown() -> str:
    """The reference page: every value by its path."""
    head = (
        "# Values of the chart\n\nGenerated from `docs/chart_values.py`; do not edit. Keys that are not listed are refused, and so"
        " are values of another type: helm\nnames the path. Secrets and ConfigMaps are never made by the chart: it takes names of"
        " existing ones.\n"
    )
    return head + "".join(_sections())


def _lines(part: BaseModel, depth: int) -> Iterator[str]:
    """A part as YAML, its fields in order."""
    space = "  " * depth
    for name, info in type(part).model_fields.items():
        value = getattr(part, name)
        if not depth:
            yield "\n"
        yield from (f"{space}# {line}\n" for line in textwrap.wrap(" ".join((info.description or "").split()), WIDTH - len(space) - 2))
        if isinstance(value, BaseModel):
            yield f"{space}{info.alias}:\n"
            yield from _lines(value, depth + 1)
        else:
            yield textwrap.indent(_entry(str(info.alias), value), space)


def _entry(name: str, value: Any) -> str:
    flow = None if isinstance(value, dict | list) else False
    return yaml.safe_dump({name: value}, sort_keys=False, width=WIDTH, default_flow_style=flow)


def _plain(node: Any) -> Any:
    """Without titles, and with descriptions in one line."""
    if isinstance(node, dict):
        kept = {key: _plain(value) for key, value in node.items() if not (key == "title" and isinstance(value, str))}
        if isinstance(kept.get("description"), str):
            kept["description"] = " ".join(kept["description"].split())
        return kept
    return [_plain(value) for value in node] if isinstance(node, list) else node


def _sections() -> Iterator[str]:
    plain, parts = [], []
    for name, info in Values.model_fields.items():
        (parts if isinstance(getattr(Values(), name), BaseModel) else plain).append((name, info))
    yield _table("Top level", "", [(str(info.alias), getattr(Values(), name), info) for name, info in plain])
    for name, info in parts:
        part = getattr(Values(), name)
        yield _table(str(info.alias), type(part).__doc__ or "", list(_rows(part, f"{info.alias}.")))


def _rows(part: BaseModel, prefix: str) -> Iterator[tuple[str, Any, Any]]:
    for name, info in type(part).model_fields.items():
        value = getattr(part, name)
        if isinstance(value, BaseModel):
            yield from _rows(value, f"{prefix}{info.alias}.")
        else:
            yield f"{prefix}{info.alias}", value, info


def _table(title: str, text: str, rows: list[tuple[str, Any, Any]]) -> str:
    head = f"\n## {title}\n\n{text}\n\n" if text else f"\n## {title}\n\n"
    cells = [f"| `{path}` | {_shown(value)} | {_meaning(info)} |\n" for path, value, info in rows]
    return f"{head}| value | default | meaning |\n| --- | --- | --- |\n{''.join(cells)}"


def _shown(value: Any) -> str:
    if value in ("", [], {}):
        return {"": "", "[]": "`[]`", "{}": "`{}`"}[str(value)]
    text = json.dumps(value) if not isinstance(value, str) else value
    return f"`{text}`" if len(text) <= 90 else "see values.yaml"


def _meaning(info: Any) -> str:
    return " ".join(str(info.description or "").split()).replace("|", "\\|")
