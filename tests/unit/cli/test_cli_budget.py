"""What the command line may import, and when; a slow machine must not fail this, so modules are counted, not seconds."""

import subprocess
import sys
import time

import pytest

HEAVY = ("torch", "mlflow", "openai", "kubernetes", "minio", "transformers", "peft", "deepspeed", "torchx", "scipy", "numpy", "tokenizers")
ALSO_NOT_FOR_HELP = ("rich", "pydantic", "yaml", "jinja2", "msm.api", "msm.plan", "msm.store", "msm.local", "msm.tracking")


def imported(*arguments: str) -> set[str]:
    """Modules that a fresh interpreter imports for a command line."""
    done = subprocess.run([sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, timeout=60, check=False)
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}


def under(names: tuple[str, ...], modules: set[str]) -> set[str]:
    return {module for module in modules for name in names if module == name or module.startswith(name + ".")}


def test_help_imports_typer_and_nothing_heavier() -> None:
    modules = imported("-m", "msm.cli", "--help")
    assert "typer" in modules
    assert under((*HEAVY, *ALSO_NOT_FOR_HELP), modules) == set()
    assert len(modules) < 250


def test_help_of_a_command_costs_what_typer_costs() -> None:
    """Typer itself checks parameters with pydantic."""
    without = tuple(name for name in ALSO_NOT_FOR_HELP if name != "pydantic")
    assert under((*HEAVY, *without), imported("-m", "msm.cli", "run", "--help")) == set()


def test_importing_the_package_imports_nothing_of_it() -> None:
    assert {module for module in imported("-c", "import msm") if module.startswith("msm")} == {"msm"}


def test_validating_needs_no_domain_library() -> None:
    assert under(HEAVY, imported("-m", "msm.cli", "validate", "nowhere.yaml")) == set()


def test_looking_at_runs_needs_no_domain_library() -> None:
    assert (
        under(("torch", "mlflow", "kubernetes", "minio", "transformers", "deepspeed"), imported("-m", "msm.cli", "results", "nowhere"))
        == set()
    )


@pytest.mark.parametrize("arguments", [("-c", "import msm"), ("-m", "msm.cli", "--help")])
def test_it_also_starts_within_a_generous_time(arguments: tuple[str, ...]) -> None:
    """The goals are 0.2 and 0.5 s on an idle machine; this bound only catches an accident."""
    best = min(_seconds(arguments) for _ in range(3))
    assert best < 3.0


def _seconds(arguments: tuple[str, ...]) -> float:
    begun = time.monotonic()
    subprocess.run([sys.executable, *arguments], capture_output=True, timeout=60, check=True)
    return time.monotonic() - begun
