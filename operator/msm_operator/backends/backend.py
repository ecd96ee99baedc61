"""The seam between a stage's attempt and the kind of object that stands for it: everything that is particular to one kind.

Neighbours: `jobs` has the backends and chooses one by stage kind, `children` reads objects back through it; everything else (attempts,
pauses, deadlines, failure classes, names, deletion) is the same for all. Another trainer, such as a TrainJob of Kubeflow Trainer v2, is one
more of these, followed as `optional` so that discovery says whether the cluster has it. Invariant: pure.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from msm_operator.runtime.resources import Resource

if TYPE_CHECKING:
    from torchx.specs import AppDef


class Backend(Protocol):
    """One kind of object that runs attempts. Its pods carry the labels of their template and are owned by it, directly or not."""

    @property
    def resource(self) -> Resource:
        """What is applied, followed and deleted."""

    @property
    def ends(self) -> tuple[str, ...]:
        """Types of the conditions that say, when True, that it is over."""

    @property
    def silence(self) -> str:
        """What it means when it has neither a condition nor pods for a while; empty where that says nothing of its controller."""

    def spec(self, app: "AppDef", template: Mapping[str, Any]) -> dict[str, Any]:
        """The `spec` of an attempt: one object that Kubernetes neither repeats nor bounds in time, and whose `suspend` is not written."""

    def is_held(self, obj: Mapping[str, Any]) -> bool:
        """Whether a queue such as Kueue holds it back."""
