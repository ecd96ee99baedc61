"""The definitions as text: what can be checked without an API server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from msm.api.crd import DEFINITIONS
from msm.api.crd.rules import MUTABLE, RULES
from msm.api.run import Execution, MSMRunSpec

Schema = dict[str, Any]
KINDS = {definition.kind: definition for definition in DEFINITIONS}
CHART = Path(__file__).resolve().parents[3] / "charts" / "msm" / "files" / "crds"


def nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every value of a schema with its path."""
    yield path, schema
    for key, prop in schema.get("properties", {}).items():
        yield from nodes(prop, f"{path}.{key}")
    if isinstance(schema.get("items"), dict):
        yield from nodes(schema["items"], f"{path}[]")


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_described(kind: str) -> None:
    bare = [
        path
        for path, node in nodes(KINDS[kind].schema())
        if not path.endswith("[]") and path != ".metadata" and not node.get("description")
    ]
    assert bare == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_list_and_every_text_of_the_spec_is_bounded(kind: str) -> None:
    spec = KINDS[kind].schema()["properties"]["spec"]
    for path, node in nodes(spec):
        if node.get("type") == "array":
            assert "maxItems" in node, path
        if node.get("type") == "string":
            assert "maxLength" in node or "enum" in node, path


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_structural(kind: str) -> None:
    for path, node in nodes(KINDS[kind].schema()):
        assert "type" in node or node.get("x-kubernetes-int-or-string"), path
        assert not {"$ref", "oneOf", "const", "additionalItems", "title"} & set(node), path
        assert node.get("type") != "null", path
        assert isinstance(node.get("exclusiveMinimum", True), bool), path


def test_all_of_a_run_is_fixed_but_what_only_schedules() -> None:
    fixed = {rule.message.split(" cannot be changed")[0] for rule in RULES["MSMRunSpec"] if "cannot be changed" in rule.message}
    assert {str(field.alias) for field in MSMRunSpec.model_fields.values()} - fixed == {*MUTABLE, "execution"}
    within = {rule.message.split(" cannot be changed")[0] for rule in RULES["Execution"]}
    assert {str(field.alias) for field in Execution.model_fields.values()} - within == {"parallelism"}


def test_every_rule_goes_with_a_model_that_is_there() -> None:
    used: set[str] = set()
    for definition in DEFINITIONS:
        text = definition.to_yaml()
        used |= {name for name, rules in RULES.items() if all(rule.message in " ".join(text.split()) for rule in rules)}
    assert used == set(RULES)


@pytest.mark.parametrize("kind", KINDS)
def test_the_chart_ships_it_and_helm_keeps_it(kind: str) -> None:
    shipped = yaml.safe_load((CHART / f"{KINDS[kind].plural}.yaml").read_text(encoding="utf-8"))
    assert shipped == KINDS[kind].to_dict()
    assert shipped["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
