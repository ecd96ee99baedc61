"""Plain texts as document rows: one file, one document.

Pure. Neighbours: `inputs` uses it so that every corpus is one JSON Lines blob; `msm.synth.source` reads it back. Invariant: equal files
under equal names give equal bytes. Cost: linear.
"""

import json
from collections.abc import Iterable

from msm.errors import UserError

TEXT_SUFFIXES = (".txt", ".md")
"""File names that hold one document each; every other file is JSON Lines."""


def rows_of_texts(texts: Iterable[tuple[str, bytes]], field: str) -> bytes:
    """JSON Lines of {"id", "text"} for (name, contents) pairs, in their order; blank files become no row.

    Raises:
        UserError: a file that is not UTF-8.
    """
    rows = [{"id": name, "text": decoded(data, f"{field}: {name}").strip()} for name, data in texts]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows if row["text"]).encode()


def decoded(data: bytes, where: str) -> str:
    """UTF-8 text without a byte order mark, with unix line ends."""
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise UserError(where, f"is not UTF-8 text (byte {error.start})", "save it as UTF-8") from error
