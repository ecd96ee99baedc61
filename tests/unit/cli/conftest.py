"""The fixture of this directory."""

from tests.unit.cli.kept import kept

__all__ = ["kept"]
