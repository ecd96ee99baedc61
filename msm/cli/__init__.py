"""The `msm` command: typer in front, rich where something is shown, everything else behind seams.

Highest room of the package: over `local` and `preview`. Invariant: stdout carries what was asked for (with --json one JSON document),
stderr everything else; every mistake is one line and one documented exit code; `msm --help` imports neither pydantic nor rich.
"""
