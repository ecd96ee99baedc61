"""What every part of an MSMRun shares: the frozen base model and the scalar types with units.

Neighbours: all other modules of `msm.api` build on it. Invariant: unknown keys are errors, values never change after parsing, and a
quantity is a plain integer once parsed (`"2M"` is 2000000 tokens, `"48h"` is 172800 seconds).
"""

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel


class Part(BaseModel):
    """A part of the API: frozen, camelCase in files, closed to unknown keys, documented by its attribute docstrings."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        use_attribute_docstrings=True,
        strict=False,
        protected_namespaces=(),
    )


class Record(Part):
    """A part that programs write: may also be made by its Python names."""

    model_config = ConfigDict(populate_by_name=True)


TOKENS_PATTERN = r"^[0-9]+(\.[0-9]+)?[kKMGB]?$"
DURATION_PATTERN = r"^([0-9]+[smhd])+$"
_Tokens = int | Annotated[str, StringConstraints(max_length=32, pattern=TOKENS_PATTERN), Field(description='Or text such as "2M".')]
_Duration = int | Annotated[str, StringConstraints(max_length=32, pattern=DURATION_PATTERN), Field(description='Or text such as "90m".')]
_SCALE = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_tokens(value: Any) -> Any:
    """`"2M"`, `"1.5k"`, `24000` -> a whole number of tokens; raises ValueError for anything else that is text."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKMGB]?)", value.strip())
    if match is None:
        raise ValueError(f'"{value}" is not a token count; write a whole number or one with k, M or G, such as 24000 or "2M"')
    return round(float(match[1]) * _SCALE[match[2]])


def parse_duration(value: Any) -> Any:
    """`"48h"`, `"90m"`, `"1h30m"`, `3600` -> seconds; raises ValueError for anything else that is text."""
    if not isinstance(value, str):
        return value
    parts = re.findall(r"(\d+)([smhd])", value)
    if not parts or "".join(n + u for n, u in parts) != value.strip():
        raise ValueError(f'"{value}" is not a duration; write numbers with s, m, h or d, such as "90m" or "48h"')
    return sum(int(number) * _SECONDS[unit] for number, unit in parts)


NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
Name = Annotated[str, StringConstraints(max_length=63, pattern=NAME_PATTERN)]
"""A DNS label: lower case letters, digits and dashes, at most 63."""

TokenCount = Annotated[
    int,
    BeforeValidator(parse_tokens, json_schema_input_type=_Tokens),
    Field(gt=0, le=10**13),
]
Duration = Annotated[
    int,
    BeforeValidator(parse_duration, json_schema_input_type=_Duration),
    Field(ge=0, le=10**9),
]


def exactly_one(part: BaseModel, *fields: str) -> None:
    """Refuse a part that sets none or several of exclusive fields.

    Raises:
        ValueError: naming the fields by their names in the file.
    """
    given = [to_camel(name) for name in fields if getattr(part, name) is not None]
    if len(given) != 1:
        wanted = ", ".join(to_camel(name) for name in fields)
        raise ValueError(f"set exactly one of {wanted}; this sets {' and '.join(given) if given else 'none'}")
