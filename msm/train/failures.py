"""From an exception in a rank to the outcome that it writes: whose move it is, in one line.

Pure, no torch: foreign errors are known by number or name. Neighbours: `worker` catches, `launch` reads the outcome.
"""

import errno
import re

from msm.errors import TryAgain, UserError
from msm.train.job import TrainJob
from msm.train.outcome import TrainOutcome

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
MESSAGE_LIMIT = 500
LOST_TYPES = frozenset({"DistError", "DistBackendError", "DistNetworkError", "DistStoreError"})
LOST_WORDS = re.compile(r"gloo|NCCL|Connection (closed|reset) by peer", re.IGNORECASE)
"""How torch's collectives say that another rank is gone."""


def outcome_of(job: TrainJob, error: Exception) -> TrainOutcome:
    """The user's mistake when they must change something; another machine's failure when a collective broke; a fault otherwise."""
    if isinstance(error, UserError):
        return TrainOutcome("user_error", 0, error.problem, error.field, error.fix)
    if _errno(error) in NO_SPACE:
        return TrainOutcome("user_error", 0, f"no space left on the device of {job.work}", "work", "free space; nothing was committed")
    if "OutOfMemoryError" in type(error).__name__:
        fix = "lower microBatchRows, set gradientCheckpointing or raise zeroStage; checkpoints stay valid"
        return TrainOutcome(
            "user_error", 0, f"{job.microBatchRows}: the device's memory is too small for it", f"{job.field}.microBatchRows", fix
        )
    if isinstance(error, TryAgain):
        return TrainOutcome("try_again", 0, str(error))
    if job.machines > 1 and _lost(error):
        return TrainOutcome(
            "try_again", 0, f"lost a rank on another machine, whose own last words say why ({_first_line(error)})"[:MESSAGE_LIMIT]
        )
    return TrainOutcome("fault", 0, f"{type(error).__name__}: {_first_line(error)}"[:MESSAGE_LIMIT])


def _lost(error: Exception) -> bool:
    return type(error).__name__ in LOST_TYPES or (isinstance(error, RuntimeError) and LOST_WORDS.search(str(error)) is not None)


def _errno(error: Exception) -> int | None:
    """Safetensors reports the operating system's number in its text only."""
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "no message")
