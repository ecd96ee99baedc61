"""The API as Kubernetes takes it: CustomResourceDefinitions made from the same models that read a file.

Neighbours: the models of `msm.api` above it; `docs/generate.py` writes what `DEFINITIONS` hold into the chart. Invariant: nothing is said
twice, what a model says in types and bounds is taken from it; only what types cannot say is repeated, in CEL, in `rules`.
"""

from msm.api.crd.definitions import DEFINITIONS, GROUP, VERSION, Definition

__all__ = ["DEFINITIONS", "GROUP", "VERSION", "Definition"]
