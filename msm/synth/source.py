"""Rows as they come from outside: JSON Lines, or one text a file, checked line by line.

Neighbours: `msm.resolve` finds the bytes, `curate` judges the rows, `msm.data.rows` reads them again for training. Invariant: every row
has an id; a row that passes has the field it is named for; nothing in a text is interpreted. Cost: one pass.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from msm.errors import UserError
from msm.resolve.texts import TEXT_SUFFIXES, decoded, rows_of_texts

Row = Mapping[str, Any]
"""One JSON object: {"id", "text" or "messages", "provenance"}."""


def read_documents(data: bytes, name: str) -> tuple[Row, ...]:
    """Document rows of a file called `name`: JSON Lines of {"text"}, or the text itself when it ends in .txt or .md.

    Raises:
        UserError: zero rows, a broken line, a row without text; names `name:line`, value, rule and next step.
    """
    if name.lower().endswith(TEXT_SUFFIXES):
        data = rows_of_texts([(name, data)], name)
    rows = read_rows(data, name)
    for number, row in enumerate(rows, start=1):
        if not isinstance(row.get("text"), str):
            what = 'has "messages"; a corpus has documents' if "messages" in row else f'has "text" = {_shown(row.get("text"))}, not a text'
            raise UserError(f"{name}: row {number}", what, 'write {"text": "…"} on each line')
    return rows


def read_rows(data: bytes, name: str) -> tuple[Row, ...]:
    """JSON objects of a JSON Lines file called `name`, each with an id and a provenance; blank lines are allowed, no row at all is not."""
    lines = decoded(data, name).split("\n")
    rows = tuple(_row(line, name, number) for number, line in enumerate(lines, start=1) if line.strip())
    if not rows:
        raise UserError(name, "has 0 rows, at least one is needed", 'add lines such as {"text": "…"}, or name another source')
    return rows


def _row(line: str, name: str, number: int) -> Row:
    where = f"{name}:{number}"
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(where, f"{_shown(line)} is not JSON", "write one JSON object on each line") from error
    if not isinstance(row, dict):
        raise UserError(where, f"{_shown(row)} is not a JSON object", "write one JSON object on each line")
    provenance = row.get("provenance", {"source": where})
    if not isinstance(provenance, dict):
        raise UserError(f"{where}: provenance", f"is {_shown(provenance)}, not an object", "remove it or write an object")
    return {**row, "id": str(row.get("id", where)), "provenance": provenance}


def json_lines(rows: Sequence[Row]) -> bytes:
    """Rows as JSON Lines, byte for byte the same for equal rows."""
    return "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows).encode()


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return repr(text if len(text) <= 60 else text[:59] + "…")
