"""The learning rate as a pure function of the update: nothing to store, nothing to restore.

Source: cosine with 5 % linear warm-up, the paper's recipe (appendix B.4). No torch.
"""

from dataclasses import dataclass
from math import ceil, cos, pi
from typing import Literal


@dataclass(frozen=True, slots=True)
class Schedule:
    """Rises over the warm-up (at least one update), then falls as `shape` says, to zero after the last update."""

    peak: float
    updates: int
    warmup_ratio: float
    shape: Literal["cosine", "linear", "constant"]

    @property
    def warmup(self) -> int:
        """Updates of the warm-up."""
        return max(1, ceil(self.warmup_ratio * self.updates))

    def rate(self, update: int) -> float:
        """Learning rate of a 0-based update."""
        if update < self.warmup:
            return self.peak * (update + 1) / self.warmup
        done = (update - self.warmup) / max(1, self.updates - self.warmup)
        factors = {"cosine": (1 + cos(pi * done)) / 2, "linear": 1 - done, "constant": 1.0}
        return self.peak * factors[self.shape]
