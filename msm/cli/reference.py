"""The reference page of the command line, generated from the commands themselves.

Neighbours: docs/generate.py writes it, CI checks that it is fresh. Pure and deterministic: no terminal width, no environment enters.
"""

from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from msm.cli.main import EPILOG, HELP, app

HEAD = f"""# msm

Generated from `msm/cli`; do not edit. {HELP}

{EPILOG} More: [exit codes](exit-codes.md).

Everywhere: `--json` prints one JSON document on stdout and everything else on stderr; `NO_COLOR` is respected; without a terminal there are
plain lines, no colours and no moving display. `msm --install-completion` installs completion for your shell. `-h` is short for `--help`.
"""

SHARED = frozenset({"help", "install_completion", "show_completion"})
"""Parameters that are described once, at the top."""


def cli_markdown() -> str:
    """The page."""
    return HEAD + "".join(_section(name, command) for name, command in _commands("msm", get_command(app)))


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """The command itself and all below it, in the order of definition; typer's commands are untyped below `get_command`."""
    yield name, command
    for child, inner in getattr(command, "commands", {}).items():
        yield from _commands(f"{name} {child}", inner)


def _section(name: str, command: Any) -> str:
    parameters = [p for p in command.params if p.name not in SHARED]
    usage = " ".join([name, *filter(None, map(_usage, parameters)), *(["COMMAND"] if hasattr(command, "commands") else [])])
    text = " ".join(str(command.help or "").split())
    return f"\n## {name}\n\n```\n{usage}\n```\n\n{text}\n" + _table(parameters)


def _usage(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return _name(parameter) if parameter.required else f"[{_name(parameter)}]"
    value = "" if parameter.is_flag else f" {parameter.metavar or parameter.name.upper()}"
    return f"[{parameter.opts[0]}{value}]"


def _table(parameters: list[Any]) -> str:
    if not parameters:
        return ""
    rows = "".join(f"| `{_name(p)}` | {_default(p)} | {p.help or ''} |\n" for p in parameters)
    return f"\n| | default | |\n| --- | --- | --- |\n{rows}"


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    return ", ".join(parameter.opts)


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    return "" if parameter.default in (None, False) or not isinstance(parameter.default, str | int) else f"`{parameter.default}`"
