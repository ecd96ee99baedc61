"""One stage attempt described as a torchx application: what runs, with which environment, on how many machines.

Neighbours: the local executor hands it to torchx, the operator renders it as a Kubernetes object. Pure. Invariant: the description holds
digests and addresses, never a secret. Cost: importing `torchx.specs`, 0.2 s, without torch.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msm.plan import Stage
from msm.stages import contract
from msm.stages.params import integer, mapping

if TYPE_CHECKING:
    from torchx.specs import AppDef, Resource


def app_def(stage: Stage, environment: Mapping[str, str], entrypoint: str, image: str = "") -> "AppDef":
    """A stage as one role: `python -m msm.stages` on each of its machines; `entrypoint` is the interpreter.

    Raises:
        UserError: the stage document exceeds its limit.
    """
    from torchx.specs import AppDef, Role

    env = {**environment, contract.STAGE: contract.encode_stage(stage)}
    nodes, resource = _size(stage)
    role = Role(
        name=stage.kind, image=image, entrypoint=entrypoint, args=["-m", "msm.stages"], env=env, num_replicas=nodes, resource=resource
    )
    return AppDef(name=stage.kind, roles=[role])


def _size(stage: Stage) -> tuple[int, "Resource"]:
    """Machines, and what each has; -1 is not stated."""
    from torchx.specs import Resource

    if "resources" not in stage.execution:
        return 1, Resource(cpu=-1, gpu=-1, memMB=-1)
    wanted = mapping(stage.execution, "resources")
    return integer(wanted, "nodes"), Resource(cpu=-1, gpu=integer(wanted, "gpusPerNode") or -1, memMB=-1)
