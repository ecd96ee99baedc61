"""outline: a spec's text becomes domains, subdomains and assertions.

Offline form: the documented sentence grammar of `msm.synth.outline`. Writes `outline.json`. Cost: milliseconds.
"""

import json

from msm.errors import UserError
from msm.stages.context import Context, Result
from msm.stages.params import names, text
from msm.synth.outline import outline
from msm.synth.spec import Identity


def run(context: Context) -> Result:
    """Outline the spec."""
    params = context.params
    identity = Identity(**names(params["identity"]))
    kind = text(params, "kind")
    if kind not in ("values", "rules"):
        raise UserError("kind", f'"{kind}" is not a kind of spec', "use values or rules")
    found = outline(context.blob(text(params, "spec")).decode("utf-8"), identity, "rules" if kind == "rules" else "values")
    (context.out / "outline.json").write_text(json.dumps(found.to_json(), ensure_ascii=False, indent=1), encoding="utf-8")
    return Result({"assertions": len(found.assertions), "domains": len(found.domains)})
