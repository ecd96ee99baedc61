"""The form of an answer: a JSON schema as a server takes it, as words for a server that does not, and as a check of what came.

Pure. Neighbours: `client` sends and checks by it. Invariant: data that leaves the client fits its schema, whatever the server promised.
Cost: jsonschema is imported at the first check (0.1 s).
"""

import json
from collections.abc import Mapping
from typing import Any

from msm.llm.parse import Problem

Schema = Mapping[str, Any]


def as_response_format(schema: Schema) -> dict[str, Any]:
    """`response_format` of chat completions; `strict` where the schema is one that OpenAI's own servers take as strict."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": _is_strict(schema)}}


def as_words(schema: Schema) -> str:
    """What is added after the prompt for a server without schemas."""
    asked = "Answer with a single JSON value and nothing around it: no code fence, no remarks. The value fits this JSON schema:"
    return f"\n\n{asked}\n{_spell(schema)}"


def as_correction(problem: str, schema: Schema) -> str:
    """The next turn after an answer that cannot be used."""
    return (
        f"I cannot read that answer: {problem}. Give all of it once more, as a single JSON value with nothing around it,"
        f" fitting this JSON schema:\n{_spell(schema)}"
    )


def check_against(schema: Schema) -> Problem:
    """A function that says what is wrong with a value, where and why, in at most 300 characters."""
    from jsonschema.exceptions import best_match
    from jsonschema.validators import Draft202012Validator, validator_for

    validator = validator_for(schema, default=Draft202012Validator)(schema)

    def problem(value: Any) -> str | None:
        error = best_match(validator.iter_errors(value))
        return None if error is None else f"at {error.json_path}: {error.message}"[:300]

    return problem


def _spell(schema: Schema) -> str:
    return json.dumps(schema, ensure_ascii=False, separators=(",", ":"))


def _is_strict(schema: Any) -> bool:
    """Every object closed and all of its properties required."""
    if isinstance(schema, list | tuple):
        return all(_is_strict(part) for part in schema)
    if not isinstance(schema, Mapping):
        return True
    properties = schema.get("properties")
    if schema.get("type") == "object" and (schema.get("additionalProperties") is not False or properties is None):
        return False
    if isinstance(properties, Mapping) and set(properties) != set(schema.get("required", ())):
        return False
    return all(_is_strict(part) for part in schema.values())
