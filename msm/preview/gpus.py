"""What a plan's trainings need of GPUs and hosts: how many, how much memory each, for how long.

Pure. Neighbours: `memory` counts bytes, `speed` has the assumed rate, `forecast` puts the result beside each stage. Invariant: nothing is
said of a model whose sizes are not known.
"""

from dataclasses import dataclass

from msm.plan import Stage
from msm.preview import speed
from msm.preview.memory import Memory, Training, memory
from msm.preview.shape import Shape
from msm.stages.params import integer, mapping, optional_integer, text


@dataclass(frozen=True, slots=True)
class Machines:
    """What a training runs on: `gpus` in all (0 trains on processors), `ranks` on each of `nodes`."""

    nodes: int
    gpus: int
    ranks: int


def machines(stage: Stage) -> Machines:
    """The machines of a training stage."""
    resources = mapping(stage.execution, "resources")
    nodes, each = integer(resources, "nodes"), integer(resources, "gpusPerNode")
    return Machines(nodes, nodes * each, optional_integer(resources, "processesPerNode") or max(1, each))


def training_memory(stage: Stage, shape: Shape) -> Memory:
    """What one rank of a training stage needs at most."""
    resources, ran = mapping(stage.execution, "resources"), machines(stage)
    lora = mapping(mapping(stage.params, "method"), "lora")
    ranks, length = ran.nodes * ran.ranks, integer(stage.params, "maxLength")
    zero = mapping(stage.execution, "deepspeed").get("zeroStage")
    return memory(
        shape,
        Training(
            tokens=length * integer(resources, "microBatchRows"),
            length=length,
            bfloat16=text(stage.params, "precision") == "bfloat16",
            rank=integer(lora, "rank") if lora else 0,
            layers=optional_integer(lora, "layers"),
            checkpointing=is_checkpointed(stage),
            zero_stage=int(zero) if isinstance(zero, int) and ranks > 1 else 0,
            ranks=ranks,
        ),
    )


def is_checkpointed(stage: Stage) -> bool:
    """Whether activations are computed again."""
    return mapping(stage.execution, "resources").get("gradientCheckpointing") is True


def gpu_seconds(stage: Stage, tokens: int, shape: Shape) -> float:
    """Time of a training on GPUs, by the assumed rate."""
    return speed.gpu_training_seconds(tokens, operations(stage, shape), machines(stage).gpus)


def operations(stage: Stage, shape: Shape) -> int:
    """Floating-point operations for a token: forward, back through the activations, back to what is trained, layers once more."""
    layers, output = shape.layers * shape.layer, shape.vocabulary * shape.hidden
    is_full = "lora" not in mapping(stage.params, "method")
    again = layers if is_checkpointed(stage) else 0
    return 2 * ((layers + output) * (3 if is_full else 2) + again)


def served_gpus(stage: Stage) -> int:
    """GPUs of the language models that the cluster serves for a stage."""
    endpoints = mapping(stage.execution, "endpoints").values()
    asked = {str(one["name"]): mapping(one, "serve") for one in endpoints if isinstance(one, dict) and "serve" in one}
    return sum(integer(serve, "gpus") * integer(serve, "replicas") for serve in asked.values() if serve)
