"""MSMRuns that nobody would write: a valid one with random edits that know the schema. `python -m tests.cluster.fuzz --count 10000`.

Neighbours: `test_crd_fuzz` draws some hundreds in the cluster lane; `fuzz_operator` gives what the API server takes to the operator. The
property: the API server refuses with a cause that names a field, or takes it and then `msm.api` takes it as the very same run, or refuses
it with one line that names a field. Last line of the program: {"tried", "refused", "accepted", "refused_later", "seconds"} and, of the runs
that the operator was given, {"given", "planned", "refused_by_operator", "refused_when_reachable", "waiting", "tracebacks", "most_writes"}.
"""

import argparse
import contextlib
import copy
import itertools
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from msm.api import parse_run
from msm.api.crd import DEFINITIONS
from msm.errors import UserError
from tests.cluster.control_plane import Api
from tests.cluster.runs import FULL, Object, run, try_create

Schema = dict[str, Any]
SPEC: Schema = DEFINITIONS[0].schema()["properties"]["spec"]
NAMES = ("america", "rules", "writer", "judge", "given", "cheese", "instruct", "aft", "msm-aft", "values", "misalignment", "x", "UPPER", "")
URIS = (
    "hf://org/model",
    "s3://bucket/prefix",
    "pypi://package==1",
    "models:/name@alias",
    "file:///x",
    "http://host",
    "sqlite:///x",
    "://",
    "日本",
)
TEXTS = (
    "",
    "a",
    "2M",
    "1.5k",
    "90m",
    "48h",
    "0M",
    "-1",
    "nan",
    "é\u0000",
    "{model_name}",
    "{{ 1 }}",
    "a" * 300,
    "1e400",
    "0x10",
    "~",
    "\n",
)
JUNK: tuple[Any, ...] = (None, True, -1, 0, 2**63, 1.5, 1e308, "", "text", [], [None], {}, {"a": {"b": []}}, [[1]], 10**300)


def places(schema: Schema, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Schema]]:
    """Every place of a schema; items of lists at their first two positions."""
    for key, prop in schema.get("properties", {}).items():
        yield (*path, key), prop
        yield from places(prop, (*path, key))
    if isinstance(schema.get("items"), dict):
        for position in (0, 1):
            yield (*path, position), schema["items"]
            yield from places(schema["items"], (*path, position))


PLACES = tuple(places(SPEC))


def value(draw: random.Random, schema: Schema, key: str = "", depth: int = 0) -> Any:
    """A value for a place: mostly of its type and within its bounds."""
    if draw.random() < 0.05:
        return draw.choice(JUNK)
    if schema.get("enum"):
        return draw.choice(schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return draw.choice([draw.randint(-1, 10**6), draw.choice(TEXTS)])
    kind = schema["type"]
    if kind == "object":
        return _object(draw, schema, depth)
    if kind == "array":
        return [value(draw, schema["items"], key, depth + 1) for _ in range(draw.choice((0, 1, 1, 2, 3)))]
    return {"string": _text, "integer": _integer, "number": _number, "boolean": lambda draw, *_: draw.random() < 0.5}[kind](
        draw, schema, key
    )


def _object(draw: random.Random, schema: Schema, depth: int) -> Any:
    if "properties" not in schema:
        return draw.choice([{}, {"spec": {"nodeSelector": {"a": "b"}}}, {"a": [1, "b", None]}])
    required = schema.get("required", ())
    share = 0.5 if depth < 2 else 0.2
    return {
        key: value(draw, prop, key, depth + 1) for key, prop in schema["properties"].items() if key in required or draw.random() < share
    }


def _text(draw: random.Random, schema: Schema, key: str) -> str:
    return draw.choice(URIS if key in ("uri", "model", "baseURL") else NAMES if "pattern" in schema else (*TEXTS, *NAMES))


def _integer(draw: random.Random, schema: Schema, key: str) -> int:
    low, high = schema.get("minimum", 0), schema.get("maximum", 2**63 - 1)
    return draw.choice([low, high, low - 1, high + 1, draw.randint(low, max(low, min(high, low + 100)))])


def _number(draw: random.Random, schema: Schema, key: str) -> float:
    low, high = schema.get("minimum", -1e9), schema.get("maximum", 1e9)
    return draw.choice([low, high, draw.uniform(low, high), -1e-300, 5e-324])


def edited(draw: random.Random) -> Object:
    """The spec with something of everything after one to four edits."""
    spec = copy.deepcopy(FULL)
    for _ in range(draw.choice((1, 1, 2, 4))):
        path, schema = draw.choice(PLACES)
        _edit(draw, spec, path, schema)
    return spec


def _edit(draw: random.Random, spec: Object, path: tuple[str | int, ...], schema: Schema) -> None:
    """Set, remove or misspell a place; parents that are not there are made."""
    here: Any = spec
    for step, following in itertools.pairwise(path):
        here = _child(here, step, [] if isinstance(following, int) else {})
        if here is None:
            return
    last = path[-1]
    if isinstance(last, int):
        _set_item(here, last, value(draw, schema))
    elif isinstance(here, dict):
        match draw.choice(("set", "set", "set", "remove", "misspell")):
            case "set":
                here[last] = value(draw, schema, last)
            case "remove":
                here.pop(last, None)
            case _:
                here[last.swapcase()] = here.pop(last, 1)


def _child(here: Any, step: str | int, empty: Any) -> Any:
    if isinstance(step, str) and isinstance(here, dict):
        return here.setdefault(step, empty)
    if isinstance(step, int) and isinstance(here, list):
        _set_item(here, step, empty, keep=True)
        return here[step] if step < len(here) else None
    return None


def _set_item(here: Any, position: int, item: Any, keep: bool = False) -> None:
    if not isinstance(here, list):
        return
    if position >= len(here):
        here.append(item)
    elif not keep:
        here[position] = item


def reachable(spec: Object) -> Object:
    """The same run with inputs that lie in a bucket called inputs, as far as they are addresses; so that more than parsing is tried."""
    found = copy.deepcopy(spec)
    found.pop("storage", None)
    with contextlib.suppress(TypeError, AttributeError, KeyError):
        found["baseModel"]["uri"] = "s3://inputs/model"
        found["baseModel"].pop("revision", None)
        found["evals"] = [e for e in found.get("evals", ()) if e.get("via") != "endpoint"]
        for part in (*(e["items"] for e in found["evals"] if "items" in e), *found.get("corpora", ()), *found.get("demonstrations", ())):
            if "source" in part:
                part["source"] = {"uri": "s3://inputs/items.jsonl"}
        for endpoint in found.get("endpoints", ()):
            if "serve" in endpoint:
                endpoint["serve"]["model"] = "s3://inputs/model"
                endpoint["serve"].pop("revision", None)
    return found


def judge(api: Api, namespace: str, spec: Object) -> tuple[str, str]:
    """What became of a spec: refused, accepted or refused later; and why.

    Raises:
        AssertionError: neither of them: a refusal that names no field, an error of the server, or another run than was sent.
    """
    one = run("fuzzed", namespace, spec)
    reply = try_create(api, one)
    if reply.status != 201:
        assert reply.status in (400, 422), f"{reply.status}: {reply.message}"
        assert "spec" in reply.message or "unknown" in reply.message or "decod" in reply.message, reply.message
        return "refused", reply.message
    try:
        stored = parse_run(run("fuzzed", namespace, reply.body["spec"]))
    except UserError as error:
        assert "\n" not in str(error), str(error)
        assert "spec." in error.field, str(error)
        return "refused_later", str(error)
    with contextlib.suppress(UserError):  # null, where a default goes: the API server drops it, a file may not have it
        assert stored == parse_run(one)
    return "accepted", ""


def main() -> int:
    """Try many; print what became of them, and the messages of what only `msm.api` and the operator refused."""
    from tests.cluster.fuzz_operator import operated

    parser = argparse.ArgumentParser(prog="python -m tests.cluster.fuzz")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with operated() as given:
        plane, began = given.plane, time.monotonic()
        outcomes: Counter[str] = Counter()
        for number in range(options.count):
            spec = edited(random.Random(options.seed + number))
            try:
                outcome, why = judge(plane.api, "default", spec)
                outcomes[outcome] += 1
                if outcome == "refused_later":
                    print(why)
                if outcome != "refused":
                    given.give(reachable(spec))
            except AssertionError:
                print(f"seed {options.seed + number}: {json.dumps(spec)}", file=sys.stderr)
                raise
        found = given.conclude()
        seconds = round(time.monotonic() - began, 1)
    shown = {key: outcomes[key] for key in ("refused", "accepted", "refused_later")}
    print(json.dumps({"tried": options.count, **shown, "seconds": seconds, **found}))
    return 1 if found["tracebacks"] else 0


if __name__ == "__main__":
    sys.exit(main())
