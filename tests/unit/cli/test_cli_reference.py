from typer.main import get_command

from msm.cli.main import app
from msm.cli.program import typed
from msm.cli.reference import cli_markdown
from msm.errors import Exit

COMMANDS = ["validate", "preview", "run", "status", "logs", "results", "models", "gc", "track sync"]


def test_the_page_describes_every_command_and_option_once() -> None:
    page = cli_markdown()
    for command in COMMANDS:
        assert page.count(f"\n## msm {command}\n") == 1
    for option in ("--stage", "--grace", "--dry-run", "--store", "--json", "--version"):
        assert f"`{option}`" in page


def test_the_page_does_not_depend_on_the_terminal(monkeypatch) -> None:
    page = cli_markdown()
    monkeypatch.setenv("COLUMNS", "40")
    assert cli_markdown() == page


def test_every_command_has_help() -> None:
    for name, command in get_command(app).commands.items():
        assert command.help, name


def test_exit_codes_agree_with_those_of_stages() -> None:
    from msm.cli import codes

    assert (codes.SUCCEEDED, codes.FAILED, codes.USER_ERROR) == (Exit.COMMITTED, Exit.FAULT, Exit.USER_ERROR)
    assert (codes.TRY_AGAIN, codes.TERMINATED, codes.INTERRUPTED) == (Exit.TRY_AGAIN, Exit.PREEMPTED, 130)


def test_a_hint_names_a_program_so_that_it_can_be_typed(tmp_path) -> None:
    scripts = tmp_path / ".venv" / "bin"
    scripts.mkdir(parents=True)
    (scripts / "msm").write_text("#!/bin/sh\n")
    (scripts / "msm").chmod(0o755)
    assert typed("msm", {"PATH": str(scripts)}, tmp_path, scripts) == "msm"
    assert typed("msm", {"PATH": "/nowhere"}, tmp_path, scripts) == ".venv/bin/msm"
    assert typed("msm", {}, tmp_path / "other", scripts) == str(scripts / "msm")
    assert typed("mlflow", {"PATH": ""}, tmp_path, scripts) == "mlflow"
