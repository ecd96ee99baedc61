"""The error tree: what went wrong, whose move it is, and which exit code says so.

Every room raises these; third-party errors are converted where they enter. Invariant: an error's text is one line that names the
field, the value, the rule and the next step. Exit codes are API (docs/reference/exit-codes.md).
"""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of stage programs and of `msm`; their meaning is part of the stage contract."""

    COMMITTED = 0
    USER_ERROR = 2
    TRY_AGAIN = 75
    PREEMPTED = 143
    FAULT = 1


class MSMError(Exception):
    """Any failure the platform understands; by itself a fault, which an executor retries up to its limit."""

    exit_code = Exit.FAULT
    reason = "Fault"


class UserError(MSMError):
    """The user's mistake: never retried.

    `field` is the path of what is wrong (`spec.arms[2].midtrain[0]`, `corpus.jsonl:17`), `problem` names value and rule, `fix` the next
    step.
    """

    exit_code = Exit.USER_ERROR
    reason = "InvalidInput"

    def __init__(self, field: str, problem: str, fix: str = "") -> None:
        self.field, self.problem, self.fix = field, problem, fix
        super().__init__(f"{field}: {problem}" + (f"; {fix}" if fix else ""))


class TryAgain(MSMError):
    """Something outside is briefly unavailable; the same attempt may succeed later."""

    exit_code = Exit.TRY_AGAIN
    reason = "TryAgain"


class Preempted(MSMError):
    """Asked to stop; progress is checkpointed and the next attempt continues."""

    exit_code = Exit.PREEMPTED
    reason = "Preempted"


class IntegrityError(MSMError):
    """Bytes do not have the digest that was recorded for them."""

    reason = "Corrupt"
