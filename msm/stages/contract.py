"""The stage contract's words: environment variables, the stage document, the termination record.

Neighbours: `program` obeys it, executors speak it. API: other executors depend on these names.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from msm.errors import UserError
from msm.plan import Stage

STAGE: Final = "MSM_STAGE"
"""The stage document, JSON."""
SCRATCH: Final = "MSM_SCRATCH"
"""Directory for this attempt's files; removed by whoever made it."""
CACHE: Final = "MSM_CACHE"
"""Directory that outlives attempts: downloads and materialised inputs."""
GRACE: Final = "MSM_GRACE_SECONDS"
"""Seconds between a request to stop and the kill."""
EXECUTOR_PIPE: Final = "MSM_EXECUTOR_PIPE"
"""A FIFO the executor holds open for writing; end of file means that the executor is gone."""
TERMINATION_LOG: Final = "MSM_TERMINATION_LOG"
"""File for the last message, JSON {exitCode, reason, message, field?}."""

ATTEMPT_FILE: Final = "attempt"
"""File in the scratch directory with the attempt's id, so that an executor knows its own from others'.

The stage program draws the id right before its first heartbeat: owners are told apart by the order of ids, which must be that of beats.
"""
HEARTBEAT_SECONDS: Final = 3.0
"""Between two writes of progress.json."""
DOCUMENT_LIMIT: Final = 16 * 1024
"""Bytes of a stage document."""


def encode_stage(stage: Stage) -> str:
    """A stage as the document that its program reads.

    Raises:
        UserError: the document exceeds 16 KiB.
    """
    text = stage.model_dump_json(by_alias=True)
    if len(text.encode()) > DOCUMENT_LIMIT:
        raise UserError(
            stage.name, f"its stage document has {len(text.encode())} bytes, more than {DOCUMENT_LIMIT}", "use fewer inputs a stage"
        )
    return text


def decode_stage(environ: Mapping[str, str]) -> Stage:
    """The stage that this process is to run.

    Raises:
        UserError: the variable is missing or is not a stage document.
    """
    if STAGE not in environ:
        raise UserError(STAGE, "is not set", "stage programs are started by `msm run` or the operator")
    try:
        return Stage.model_validate_json(environ[STAGE])
    except ValidationError as error:
        raise UserError(
            STAGE, f"is not a stage document ({error.error_count()} errors)", "start it with a matching version of msm"
        ) from error


@dataclass(frozen=True, slots=True)
class Termination:
    """The last message of an attempt."""

    exitCode: int
    reason: str
    message: str
    field: str | None = None


TERMINATION_BYTES: Final = 4096
"""Room that an executor sets aside for the last message, so that a full disk can be told of."""


def reserve_termination(path: Path) -> None:
    """Set room aside for the last message, before there is one."""
    path.write_bytes(b" " * TERMINATION_BYTES)


def write_termination(path: Path | None, record: Termination) -> None:
    """Leave the last message where the executor looks, in the room set aside if there is some; no path, no message."""
    if path is None:
        return
    data = json.dumps(asdict(record)).encode()
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(data.ljust(os.fstat(file.fileno()).st_size))
        file.truncate()


def read_termination(path: Path) -> Termination | None:
    """The last message of an attempt, or None when the process was killed before it could leave one."""
    try:
        return Termination(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
