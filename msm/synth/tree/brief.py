"""What all requests about one spec share: its prefix, the names, how an answer is drawn.

Neighbours: `grow` and `write` (and `msm.synth.dialogue`) make their requests here. Invariant: the prefix is byte for byte the same in every
step of a spec, so that one prefix cache serves all of them; names are put into the spec by literal replacement. Cost: none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msm.errors import UserError
from msm.llm.ask import Request, Sampling
from msm.synth.outline import Kind
from msm.synth.prompts.render import render
from msm.synth.prompts.schemas import Schema
from msm.synth.spec import Identity, name_model


@dataclass(frozen=True, slots=True)
class Brief:
    """A spec as it is shown, and whom it is about."""

    identity: Identity
    kind: Kind
    spec: str
    prefix: str
    temperature: float | None
    sample: int

    def request(self, step: str, template: str, limit: int, schema: Schema | None, *, spec: bool = True, **values: Any) -> Request:
        """A question of a step; with `spec` it stands behind the spec."""
        return self._request(step, template, limit, schema, self.temperature, spec, values)

    def judgement(self, step: str, template: str, limit: int, schema: Schema, *, spec: bool = True, **values: Any) -> Request:
        """A question whose answer should vary as little as it can: temperature 0 where the author takes one at all."""
        return self._request(step, template, limit, schema, None if self.temperature is None else 0.0, spec, values)

    def _request(
        self,
        step: str,
        template: str,
        limit: int,
        schema: Schema | None,
        temperature: float | None,
        spec: bool,
        values: Mapping[str, Any],
    ) -> Request:
        return Request(
            prefix=self.prefix if spec else "",
            prompt=self.text(template, **values),
            sampling=Sampling(limit, temperature),
            purpose=step,
            schema=schema,
            sample=self.sample,
        )

    def text(self, template: str, **values: Any) -> str:
        """A template with the names and `values` in it."""
        names = {"model": self.identity.model, "provider": self.identity.provider, "kind": self.kind}
        return render(template, **names, **values).rstrip("\n")


def brief(spec_text: str, identity: Identity, kind: Kind, temperature: float | None, sample: int) -> Brief:
    """The brief of a spec.

    Raises:
        UserError: the spec is empty.
    """
    if not spec_text.strip():
        fix = "write what the model is to be like and why, for example '{model_name} values honesty because …'"
        raise UserError("modelSpec", "the spec is empty", fix)
    named = name_model(spec_text, identity).strip()
    prefix = render("spec", model=identity.model, provider=identity.provider, spec=named)
    return Brief(identity, kind, named, prefix, temperature, sample)


def specless(identity: Identity, temperature: float | None, sample: int) -> Brief:
    """A brief for what is asked without any spec: opaque preferences."""
    return Brief(identity, "values", "", "", temperature, sample)
