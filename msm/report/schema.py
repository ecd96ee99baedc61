"""The published JSON schema of `report.json`, generated from the model.

Neighbour: docs/generate.py writes it, CI checks that it is fresh. Pure and deterministic.
"""

from typing import Any

from msm.report.model import Report


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of report.json, with descriptions."""
    schema = Report.model_json_schema(by_alias=True, mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
