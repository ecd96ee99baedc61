"""What the operator writes on pods, as far as a user's command reads it; the same words as `msm_operator.backends.names` has.

Constants only. Neighbours: `pods`. Invariant: a test compares them with the operator's.
"""

from typing import Final

RUN_UID: Final = "modelspec.dev/run-uid"
"""Label: uid of the MSMRun."""
STAGE: Final = "modelspec.dev/stage"
"""Label: first characters of the stage's fingerprint."""
KIND: Final = "modelspec.dev/stage-kind"
"""Label: stage kind."""
ATTEMPT: Final = "modelspec.dev/attempt"
"""Label: number of the attempt."""
STAGE_NAME: Final = "modelspec.dev/stage-name"
"""Annotation: the stage's name."""
CONTAINER: Final = "pytorch"
"""Name of the container that runs a stage."""
