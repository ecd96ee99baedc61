"""A pydantic model's JSON schema as the structural schema that a CustomResourceDefinition takes.

Pure. Neighbours: `rules` has the CEL that goes with each model, `definitions` the envelope. A structural schema has no references, no
`null`, types everywhere, and numbers with boolean exclusive bounds. Invariant: what it accepts differs from the model's only where CEL or
`msm.api` says more, and its defaults are the model's own, so that a defaulted object parses to the same run
(docs/design/cluster-tests.md).
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from msm.api.crd.rules import RULES

Schema = dict[str, Any]

KEPT = ("enum", "minimum", "maximum", "minLength", "maxLength", "pattern", "minItems", "maxItems")
RENAMED = {"ge": "minimum", "le": "maximum"}
EXCLUSIVE = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum", "gt": "minimum", "lt": "maximum"}
FORMATS = {"integer": "int64", "number": "double"}
SETS = ("seeds",)
"""Lists of plain values in which nothing may occur twice."""
REPORTED = ("stages", "scores", "refused")
"""Lists of the status that are written as a whole: per item, what managers own would be as long as the list itself."""


def structural_schema(model: type[BaseModel]) -> Schema:
    """The structural schema of a model, with descriptions, defaults, bounds, list types and CEL rules."""
    schema = model.model_json_schema(by_alias=True)
    return _object(model.__name__, schema, schema.get("$defs", {}))


def _object(name: str, schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """A model: its properties, what is required, its rules."""
    properties = {key: _property(key, prop, definitions) for key, prop in schema.get("properties", {}).items()}
    out: Schema = {"type": "object", "description": _text(schema.get("description")), "properties": properties}
    if schema.get("required"):
        out["required"] = list(schema["required"])
    if rules := RULES.get(name):
        out["x-kubernetes-validations"] = [rule.to_dict() for rule in rules]
    return out


def _property(key: str, prop: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """One field of a model, described and defaulted."""
    prop = _present(prop)
    out = _value(key, prop, definitions)
    said = " ".join(filter(None, (_text(prop.get("description")), out.pop("description", ""))))
    out = {**_head(out), "description": said, **out}
    if (default := _default(prop)) is not None:
        out["default"] = default
    return out


def _head(out: Schema) -> Schema:
    """The type first, as one reads it."""
    return {"type": out["type"]} if "type" in out else {}


def _present(prop: Schema) -> Schema:
    """A field without its `null` alternative: in a cluster, what is not set is absent."""
    options = [option for option in prop.get("anyOf", ()) if option.get("type") != "null"]
    if len(options) != 1:
        return prop
    return {**options[0], **{key: value for key, value in prop.items() if key != "anyOf"}}


def _value(key: str, prop: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """A value's type and bounds."""
    if "$ref" in prop:
        name = prop["$ref"].rsplit("/", 1)[1]
        return _object(name, definitions[name], definitions)
    if "anyOf" in prop:
        return _number_or_text(prop)
    if prop.get("type") == "array":
        return _list(key, prop, definitions)
    if prop.get("type") == "object":
        return _map(prop)
    return _scalar(prop)


def _scalar(prop: Schema) -> Schema:
    out: Schema = {"type": prop["type"]}
    if prop["type"] in FORMATS:
        out["format"] = FORMATS[prop["type"]]
    if prop.get("format") == "date-time":
        out["format"] = "date-time"
    if "const" in prop:
        out["enum"] = [prop["const"]]
    return out | _bounds(prop)


def _bounds(prop: Schema) -> Schema:
    """Bounds in the words of OpenAPI 3.0, in which exclusiveness is a flag beside the bound."""
    out = {key: prop[key] for key in KEPT if key in prop}
    out |= {target: prop[key] for key, target in RENAMED.items() if key in prop}
    for key, target in EXCLUSIVE.items():
        if key in prop:
            flag = "exclusiveMinimum" if target == "minimum" else "exclusiveMaximum"
            out |= {target: prop[key], flag: True}
    return out


def _number_or_text(prop: Schema) -> Schema:
    """A quantity such as 24000 or "2M": a pattern bounds the text, numeric bounds the number."""
    text = next(option for option in prop["anyOf"] if option["type"] == "string")
    kinds = [{"type": "integer"}, {"type": "string"}]
    return {"description": _text(text["description"]), "x-kubernetes-int-or-string": True, "anyOf": kinds} | _bounds(text) | _bounds(prop)


def _list(key: str, prop: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """A bounded list; lists of named things are keyed by name, which refuses a name that occurs twice."""
    item = _present(prop.get("items", {}))
    out: Schema = {"type": "array", "items": _value(key, item, definitions)} | _bounds(prop)
    names = definitions[item["$ref"].rsplit("/", 1)[1]] if "$ref" in item and key not in REPORTED else {}
    if (by := next((field for field in ("name", "type") if field in names.get("required", ())), None)) is not None:
        out |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [by]}
    else:
        out["x-kubernetes-list-type"] = "set" if key in SETS else "atomic"
    return out


def _map(prop: Schema) -> Schema:
    """Labels and the like are typed; what is merged into a pod is whatever a pod has."""
    if isinstance(prop.get("additionalProperties"), dict):
        return {"type": "object", "additionalProperties": _scalar(prop["additionalProperties"])}
    return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def _default(prop: Schema) -> Any:
    """The model's default as an object in the cluster stores it; None where an absent field stays absent.

    Empty lists and maps stay absent: they would say nothing, and a list that one writer defaults is a list that another one does not own.
    A part's default is written out, because the API server checks it before the part's own fields get theirs.
    """
    return _said(prop.get("default"))


def _said(default: Any) -> Any:
    """A default without what it leaves open."""
    if isinstance(default, dict):
        default = {key: said for key, value in default.items() if (said := _said(value)) is not None}
    return None if default in (None, [], {}) else default


def _text(description: object) -> str:
    """A docstring as one paragraph."""
    return " ".join(str(description or "").split())
