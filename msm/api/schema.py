"""The API's JSON schemas and reference pages, generated from the models.

Neighbours: `docs/generate.py` writes them, CI checks that they are fresh. Pure and deterministic. A page describes every field once,
section by section, in the order of the file; what the operator writes comes last.
"""

from typing import Any

from pydantic import BaseModel

from msm.api.run import MSMRun

Schema = dict[str, Any]
_BOUNDS = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}
"""pydantic leaves its own words on quantities, which are numbers or text."""


def json_schema(model: type[BaseModel] = MSMRun) -> Schema:
    """JSON Schema (2020-12) of a resource's file, with descriptions and defaults."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_standard(model.model_json_schema(by_alias=True))}


def _standard(node: Any) -> Any:
    if isinstance(node, dict):
        return {_BOUNDS.get(key, key): _standard(value) for key, value in node.items()}
    return [_standard(value) for value in node] if isinstance(node, list) else node


def reference_markdown(model: type[BaseModel], status: type[BaseModel]) -> str:
    """The reference page of a resource."""
    head = f"# {model.__name__}\n\nGenerated from `msm/api`; do not edit. Keys that are not listed are errors.\n"
    written = "In a cluster, `status` is written by the operator and read by everybody else.\n"
    seen: list[str] = []
    return "\n".join([head, *_sections(model, seen), written, *_sections(status, seen)])


def _sections(model: type[BaseModel], seen: list[str]) -> list[str]:
    """A section for a model and each part of it that has none yet."""
    schema = json_schema(model)
    definitions: dict[str, Schema] = schema.get("$defs", {})
    new = [name for name in _in_order(schema, definitions) if name not in seen]
    seen += new
    return [_section(model.__name__, schema), *(_section(name, definitions[name]) for name in new)]


def _in_order(schema: Schema, definitions: dict[str, Schema]) -> list[str]:
    """Definitions in the order in which a reader of the file meets them."""
    found: list[str] = []
    queue = [schema]
    while queue:
        for prop in queue.pop(0).get("properties", {}).values():
            for name in _references(prop):
                if name not in found:
                    found.append(name)
                    queue.append(definitions[name])
    return found


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else []
        return own + [name for value in node.values() for name in _references(value)]
    if isinstance(node, list):
        return [name for value in node for name in _references(value)]
    return []


def _section(name: str, schema: Schema) -> str:
    required = set(schema.get("required", ()))
    rows = [_row(key, prop, key in required) for key, prop in schema.get("properties", {}).items()]
    head = f"## {name}\n\n{schema.get('description', '')}\n\n| field | type | default | meaning |\n| --- | --- | --- | --- |\n"
    return head + "".join(rows)


def _row(key: str, prop: Schema, required: bool) -> str:
    default = "required" if required else f"`{_default(prop)}`" if prop.get("default") is not None else ""
    meaning = " ".join(str(prop.get("description", "")).split()).replace("|", "\\|")
    return f"| `{key}` | {_type(prop)} | {default} | {meaning} |\n"


def _default(prop: Schema) -> str:
    default = prop["default"]
    return "{…}" if isinstance(default, dict) and default else str(default).replace("|", "\\|")


def _type(prop: Schema) -> str:
    """A field's type in a few words, with its bounds."""
    if "$ref" in prop:
        name = prop["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in prop or "oneOf" in prop:
        kinds = [_type(option) for option in [*prop.get("anyOf", ()), *prop.get("oneOf", ())] if option.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in prop or "const" in prop:
        return ", ".join(f"`{value}`" for value in prop.get("enum", [prop.get("const")]))
    if prop.get("type") == "array":
        return f"list of {_type(prop.get('items') or (prop.get('prefixItems') or [{}])[0])}"
    return f"{prop.get('type', 'any')}{_bounds(prop)}"


def _bounds(prop: Schema) -> str:
    words = {"minimum": "≥", "maximum": "≤", "exclusiveMinimum": ">", "exclusiveMaximum": "<", "maxLength": "length ≤"}
    bounds = [f"{sign} {prop[key]}" for key, sign in words.items() if key in prop]
    return f" ({', '.join(bounds)})" if bounds else ""
