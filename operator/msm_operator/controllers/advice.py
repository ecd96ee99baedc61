"""What to do about pods that do not start, beside what the cluster says of them.

Pure. Neighbours: `decide_stages` says it of a stage. Invariant: names a field of the run or a value of the chart, and a step; the cluster's
own words come first.
"""

from msm.plan import Stage, kinds
from msm.stages.params import integer, mapping
from msm_operator.backends.failures import Trouble
from msm_operator.status.reasons import Reason

ADVICE = {
    Reason.IMAGE_PULL: "correct images.* of the chart, or make the Secret of images.pullSecrets in this namespace; the pod then goes on",
    Reason.CONTAINER_CONFIG: "make it in this namespace (the store's is the chart's store.secretName); the pod goes on by itself",
    Reason.QUEUED: "`kubectl describe workload` says whether quota is in use, or too small for spec.execution.queueName",
    Reason.PODS_MISSING: "a ResourceQuota that is used up, a LimitRange, Pod Security or an admission policy; mend that, it is tried again",
}


CLAIM = "make the claim in this namespace, or a volume for it, or name another one in spec.execution.scratch or spec.execution.modelCache"
"""Of a PersistentVolumeClaim, which the scheduler speaks of as it speaks of nodes that are full."""


def advised(trouble: Trouble, stage: Stage) -> str:
    """The trouble's message with what to do."""
    return _with_step(trouble, CLAIM if "persistentvolumeclaim" in trouble.message.lower() else _room(stage))


def advised_of_server(trouble: Trouble, field: str) -> str:
    """The same of the pods of a served model; `field` asks for its GPUs."""
    return _with_step(trouble, f"add nodes, or ask for fewer GPUs: {field}")


def _with_step(trouble: Trouble, room: str) -> str:
    step = room if trouble.reason is Reason.UNSCHEDULABLE else ADVICE.get(trouble.reason)
    return trouble.message if step is None else f"{trouble.message}; {step}"


def _room(stage: Stage) -> str:
    """How a pod finds a node."""
    if stage.kind not in kinds.TRAINING:
        return "add nodes, or ask for less in the chart's stages.resources"
    field, gpus = f"spec.training.{stage.kind}", integer(mapping(stage.execution, "resources"), "gpusPerNode")
    asked = f"ask for fewer GPUs than {gpus} in {field}.resources.gpusPerNode, or" if gpus else "ask"
    return f"add nodes, or {asked} for less in {field}.podTemplate"
