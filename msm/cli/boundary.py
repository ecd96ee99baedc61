"""The outermost layer of every command: whatever is raised becomes one line on stderr and an exit code.

Neighbours: `main` gives this class to each command. Invariant: the platform's errors never show a traceback; a defect of ours always does,
because without it nobody can mend it.
"""

import json
import sys
import traceback
from typing import Any

import typer
from typer.core import TyperCommand

from msm.cli.codes import FAILED, INTERRUPTED
from msm.cli.words import clean
from msm.errors import MSMError, UserError


class Command(TyperCommand):
    """A command whose errors are told by `fail`."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command's function; its number is the exit code, none is 0."""
        as_json = bool(ctx.params.get("as_json"))
        try:
            code = super().invoke(ctx)
        except MSMError as error:
            code = fail(error, as_json)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            code = INTERRUPTED
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if type(error).__module__.startswith("typer."):
                raise
            code = _defect(error)
        raise typer.Exit(code or 0)


def fail(error: MSMError, as_json: bool) -> int:
    """Say what is wrong; the exit code that says whose move it is."""
    print(f"error: {clean(str(error))}", file=sys.stderr)
    if as_json:
        field = error.field if isinstance(error, UserError) else None
        said = {"reason": error.reason, "message": clean(str(error)), "field": field, "exitCode": int(error.exit_code)}
        print(json.dumps({"error": said}, ensure_ascii=False))
    return int(error.exit_code)


def _defect(error: Exception) -> int:
    traceback.print_exception(error)
    print(
        f"error: this is a defect of msm, not of your run ({type(error).__name__}); please report it with the lines above", file=sys.stderr
    )
    return FAILED
