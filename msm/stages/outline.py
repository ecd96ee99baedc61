"""outline: a spec's text becomes domains, subdomains and assertions; by a language model also document types and ideas.

Offline form: the documented sentence grammar of `msm.synth.outline`. By a model: the tree of `msm.synth.tree`, as far as the ideas. Writes
`outline.json` (one form, a tree has more), a tree also `failures.jsonl`. Cost: milliseconds, or some tens to thousands of calls.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import JsonValue

from msm.errors import UserError
from msm.stages.asking import Asking, ask, openai_of
from msm.stages.context import Context, Result
from msm.stages.params import integer, mapping, names, number, optional_integer, text, texts
from msm.synth.outline import Kind, outline
from msm.synth.spec import Identity
from msm.synth.tree.counting import outline_calls
from msm.synth.tree.fit import check_outline
from msm.synth.tree.grow import grow
from msm.synth.tree.nodes import Tree
from msm.synth.tree.settings import Limits, TreeSettings


def run(context: Context) -> Result:
    """Outline the spec."""
    spec, identity, kind = spec_of(context), Identity(**names(context.params["identity"])), kind_of(context.params)
    if text(context.params, "author") == "synthesize":
        return ask(context, lambda asking: _synthesised(asking, spec, identity, kind))
    found = outline(spec, identity, kind)
    _write(context, found.to_json())
    return Result({"assertions": len(found.assertions), "domains": len(found.domains)})


async def _synthesised(asking: Asking, spec: str, identity: Identity, kind: Kind) -> Result:
    context, settings = asking.context, tree_settings(asking.context.params)
    check_outline(spec, kind, settings, optional_integer(openai_of(context, "author"), "contextTokens"), context.stage.name)
    asking.expected = outline_calls(settings, kind).high
    found = await grow(spec, identity, kind, settings, asking.window(), asking.failures)
    _write(context, found.to_json())
    asking.write_failures()
    return Result(_counts(found) | asking.metrics())


def _counts(found: Tree) -> dict[str, float]:
    return {
        "assertions": sum(len(b.assertions) for b in found.branches),
        "domains": len(found.domains),
        "subdomains": len(found.branches),
        "docTypes": sum(len(b.types) for b in found.branches),
        "ideas": found.ideas,
    }


def _write(context: Context, found: Mapping[str, Any]) -> None:
    (context.out / "outline.json").write_text(json.dumps(found, ensure_ascii=False, indent=1), encoding="utf-8")


def spec_of(context: Context) -> str:
    """The spec's text. Raises as `text_of_spec` does."""
    return text_of_spec(context.blob(text(context.params, "spec")), context.stage.name)


def text_of_spec(data: bytes, stage: str) -> str:
    """A spec's bytes as text.

    Raises:
        UserError: they are not text, or there is nothing in it; names the stage that reads it.
    """
    try:
        found = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(stage, f"the spec is not UTF-8 text ({error.reason} at byte {error.start})", "save it as UTF-8") from error
    if not found.strip():
        raise UserError(
            stage, "the spec is empty", "write what the model is to be like and why, for example '{model_name} values honesty because …'"
        )
    return found


def kind_of(params: Mapping[str, JsonValue]) -> Kind:
    """The kind of spec that a stage reads."""
    kind = text(params, "kind")
    if kind not in ("values", "rules"):
        raise UserError("kind", f'"{kind}" is not a kind of spec', "use values or rules")
    known: Literal["values", "rules"] = "rules" if kind == "rules" else "values"
    return known


def tree_settings(params: Mapping[str, JsonValue]) -> TreeSettings:
    """What a synthesised outline's parameters want."""
    genres: Any = texts(params, "genres")
    return TreeSettings(
        doc_types=integer(params, "docTypes"),
        ideas_per_type=integer(params, "ideasPerType"),
        domains=texts(params, "domains"),
        genres=genres,
        temperature=number(params, "temperature"),
        limits=limits_of(params),
        sample=integer(params, "sample"),
    )


def limits_of(params: Mapping[str, JsonValue]) -> Limits:
    """Output limits as far as the parameters state them."""
    stated = mapping(params, "limits")
    known = {"domains", "subdomains", "assertions", "docTypes", "ideas", "plan", "critique", "scores"} & stated.keys()
    limits = {name.replace("docTypes", "doc_types"): integer(stated, name) for name in known}
    if params.get("maxTokens") is not None:
        limits["document"] = integer(params, "maxTokens")
    return Limits(**limits)
