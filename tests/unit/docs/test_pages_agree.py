"""What pages say of numbers, rights and values is what the code, the rules and the chart have."""

import re
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from msm.cli.main import app
from tests.unit.docs import sizing

ROOT = Path(__file__).parents[3]
GUIDE = ROOT / "docs" / "guide"
RULES = yaml.safe_load((ROOT / "charts/msm/files/rbac/rules.yaml").read_text(encoding="utf-8"))
VALUES = yaml.safe_load((ROOT / "charts/msm/values.yaml").read_text(encoding="utf-8"))
PAGES = ("install", "upgrade", "security", "sizing", "troubleshooting")


def page(name: str) -> str:
    return (GUIDE / f"{name}.md").read_text(encoding="utf-8")


def test_the_tables_of_the_sizing_page_are_what_preview_computes() -> None:
    """Printed by `python -m tests.unit.docs.sizing`."""
    lines = page("sizing").splitlines()
    for row in chain(sizing.gpu_rows(), sizing.full_rows(), sizing.other_rows()):
        assert row in lines


def rows_of(section: str) -> dict[str, str]:
    """First cell -> second cell of the tables of a section of the security page."""
    text = page("security").partition(f"## {section}\n")[2].partition("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")]
    return {first: second for first, second, *_ in cells}


def said(rule: dict[str, Any]) -> set[str]:
    return set(rule["resources"])


def test_the_security_page_lists_every_right_of_the_operator_and_no_other() -> None:
    listed = {name: verbs for first, verbs in rows_of("What the operator may do").items() for name in re.findall(r"`([\w/.-]+)`", first)}
    granted = {name: rule["verbs"] for rule in chain(RULES["operator"], RULES["secretsOfRuns"]) for name in said(rule)}
    assert set(listed) == {*granted, "leases"}
    for name, verbs in granted.items():
        assert set(re.findall(r"\w+", listed[name].partition(", with ")[0])) == set(verbs), name
    assert {verb for rule in RULES["lease"] for verb in rule["verbs"]} <= set(re.findall(r"\w+", listed["leases"]))


def has_value(path: str) -> bool:
    node: Any = VALUES
    for key in path.split("."):
        if not isinstance(node, dict) or key not in node:
            return False
        node = node[key]
    return True


def chart_values(text: str) -> set[str]:
    """What looks like a value of the chart: after --set, or in code marks below one of its sections."""
    sections = "|".join(name for name, one in VALUES.items() if isinstance(one, dict))
    marked = set(re.findall(rf"`((?:{sections})\.[A-Za-z.]+)`", text))
    return marked | set(re.findall(r"--set(?:-json|-string)? '?([A-Za-z.]+)=", text))


@pytest.mark.parametrize("name", PAGES)
def test_values_of_the_chart_that_a_guide_names_are_there(name: str) -> None:
    assert [value for value in sorted(chart_values(page(name))) if not has_value(value)] == []


def test_the_guide_to_installing_names_values() -> None:
    assert {"store.uri", "images.registry", "networkPolicy.egress", "mirror"} <= chart_values(page("install"))


@pytest.mark.parametrize("name", PAGES)
def test_commands_of_msm_that_a_guide_types_exist(name: str) -> None:
    commands = set(re.findall(r"(?:^|`)msm ([a-z]+)", page(name), re.M))
    known = CliRunner().invoke(app, ["--help"]).stdout
    assert [one for one in sorted(commands) if not re.search(rf"\b{one}\b", known)] == []
