import json
from pathlib import Path

import jsonschema
import pytest

from msm.report.schema import json_schema
from tests.reported import generated_report

PUBLISHED = Path(__file__).parents[3] / "docs/reference/report.schema.json"


def document() -> dict:
    return json.loads(generated_report().model_dump_json(by_alias=True))


def test_report_json_agrees_with_the_published_schema() -> None:
    schema = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(document())


MISTAKES = {
    "an unknown key": {"extra": 1},
    "another version": {"apiVersion": "modelspec.dev/v2"},
    "an effect without an interval": {"effects": [{"metric": "values.america.free.margin"}]},
    "a caution of a kind that there is not": {"cautions": [{"kind": "doom", "text": "x", "advice": "y"}]},
}


@pytest.mark.parametrize("change", MISTAKES.values(), ids=MISTAKES)
def test_the_schema_refuses(change: dict) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(json_schema()).validate({**document(), **change})


def test_every_field_is_described() -> None:
    schema = json_schema()
    for name, part in {"Report": schema, **schema["$defs"]}.items():
        assert all("description" in field or "$ref" in field for field in part.get("properties", {}).values()), name
