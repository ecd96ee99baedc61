"""What a run's inputs turned out to be: {identity, location} for each, and the precision of this run.

`msm.resolve` makes it once, the planner reads it. Invariant: only identities reach fingerprints, so a mirror changes nothing.
"""

from typing import Literal

from msm.api.base import Part


class Resolved(Part):
    """One resolved input."""

    identity: str
    """Content digest (`sha256:…`) or repository@commit: what the input is."""
    location: str
    """Where to read it now: a URI; `blob:sha256:…` when its bytes are in the store."""


class Resolution(Part):
    """Every input of one run, by its path in the spec (`baseModel`, `modelSpecs.america`, `evals.values.items`, …)."""

    inputs: dict[str, Resolved]
    """Path in the spec -> what it is and where."""
    precision: Literal["float32", "bfloat16"]
    """Arithmetic of this run's training and evaluation, resolved once."""

    def identity(self, path: str) -> str:
        """Identity of the input at a path; KeyError when the resolver left it out (a defect, not the user's mistake)."""
        return self.inputs[path].identity

    def blob(self, path: str) -> str | None:
        """SHA-256 of an input whose bytes are in the store, else None."""
        location = self.inputs[path].location
        return location.removeprefix("blob:sha256:") if location.startswith("blob:sha256:") else None
