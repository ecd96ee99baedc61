"""What a training's reports say of the clock, kept apart from what they say of the training.

Two trainings with equal fingerprints and equal arithmetic must leave equal artifacts, however fast the machine was and however often they
were interrupted. So `metrics.jsonl`, in the artifact, has the lasting columns, and `times.jsonl`, beside it and not digested, the others.
Pure but for reading one file, no torch. Neighbours: `output` writes the first, the training stages keep the second.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

OF_THE_CLOCK = ("time", "seconds", "tokensPerSecond")
"""Columns of a report that differ between equal trainings."""

Report = Mapping[str, Any]


def read_reports(progress: Path) -> list[dict[str, Any]]:
    """The reports of all updates, those of earlier attempts that this one continues included."""
    reports = [json.loads(line) for line in progress.read_text(encoding="utf-8").splitlines()]
    return [report for report in reports if report["step"]]


def lasting(report: Report) -> dict[str, Any]:
    """A report without the clock: a row of `metrics.jsonl`."""
    return {key: value for key, value in report.items() if key not in OF_THE_CLOCK}


def timing(report: Report) -> dict[str, Any]:
    """A report's step and what the clock said: a row of `times.jsonl`."""
    return {key: report[key] for key in ("step", *OF_THE_CLOCK) if report.get(key) is not None}


def totals(reports: Sequence[Report]) -> dict[str, float]:
    """`seconds` of all updates, `tokensPerSecond` without the first update, which pays for warm-up."""
    steady = reports[1:] or reports
    spent = sum(report["seconds"] for report in steady)
    speed = sum(report["tokens"] for report in steady) / max(spent, 1e-9)
    return {"seconds": sum(report["seconds"] for report in reports), "tokensPerSecond": speed}
