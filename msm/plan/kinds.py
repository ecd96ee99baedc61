"""Stage kinds and their versions: part of every fingerprint.

A change of code that changes a kind's results raises its version here; golden fingerprints in the tests notice. Kind versions are API:
a stage program refuses a version it does not have.
"""

from typing import Final

FETCH: Final = "fetch"
OUTLINE: Final = "outline"
WRITE: Final = "write"
CURATE: Final = "curate"
DEMONSTRATE: Final = "demonstrate"
MIDTRAIN: Final = "midtrain"
FINETUNE: Final = "finetune"
EVALUATE: Final = "evaluate"

VERSIONS: Final[dict[str, int]] = {
    FETCH: 1,
    OUTLINE: 1,
    WRITE: 1,
    CURATE: 1,
    DEMONSTRATE: 1,
    MIDTRAIN: 2,
    FINETUNE: 2,
    EVALUATE: 2,
}
"""Current version of each kind."""

ORDER: Final = tuple(VERSIONS)
"""A stage only reads artifacts of kinds that stand before its own."""

TRAINING: Final = (MIDTRAIN, FINETUNE)
"""Kinds that end in a registered model version."""
