"""MLflow as a projection of the store: everything here can be rebuilt from `runs/<uid>/` and the manifests at any time.

Over `msm.store` and `msm.plan`; the executors and the command line call it. Invariant: MLflow is imported only inside functions that
talk to it, and nothing it does, or fails to do, changes a run.
"""

from msm.tracking.config import TrackingConfig, tracking_config, ui_command
from msm.tracking.snapshot import LiveStage, Snapshot

__all__ = ["LiveStage", "Snapshot", "TrackingConfig", "tracking_config", "ui_command"]
