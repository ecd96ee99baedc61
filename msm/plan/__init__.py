"""The pure planner: (MSMRun, Resolution) -> graph of stages with content fingerprints, and what to do next.

Over `msm.api`, under everything else. Invariant: no I/O, no clock, no randomness; the same input gives the same bytes in every process.
"""

from msm.plan.graph import ArmModel, Plan, Stage, StageRef
from msm.plan.planner import plan_pilot, plan_run
from msm.plan.resolution import Resolution, Resolved

__all__ = ["ArmModel", "Plan", "Resolution", "Resolved", "Stage", "StageRef", "plan_pilot", "plan_run"]
