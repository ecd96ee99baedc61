"""DeepSpeed, set up so that one update is one exact token-mean step, at any ZeRO stage and number of ranks.

Neighbours: `loop` drives it, `checkpoint` reads its optimizer state. Invariants: gradients are those of sum(loss over the global
batch) / target tokens of the global batch; no operator is compiled at start; parameters and optimizer state are float32. Traps:
docs/design/train.md.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from msm.train.job import TrainJob
from msm.train.model import Trainee

NO_DECAY_BELOW_DIMENSIONS = 2
BUCKET_ELEMENTS = 50_000_000


@dataclass(slots=True)
class Engine:
    """A DeepSpeed engine and its place among the ranks."""

    deepspeed: Any
    trainee: Trainee
    optimizer: torch.optim.Optimizer
    rank: int
    world: int
    zero_stage: int
    gradient_clip: float
    device: torch.device
    writer: int
    """The rank that writes checkpoints, progress and output: the first on the machine that leads."""
    ranks_a_machine: int

    @property
    def writes(self) -> bool:
        """Whether this rank is the writer."""
        return self.rank == self.writer

    @property
    def first_here(self) -> bool:
        """Whether this rank is the first on its machine."""
        return self.rank % self.ranks_a_machine == 0

    def elsewhere(self) -> list[int]:
        """Ranks on machines other than the writer's; torchrun counts ranks machine by machine."""
        here = self.writer // self.ranks_a_machine
        return [rank for rank in range(self.world) if rank // self.ranks_a_machine != here]

    def logits(self, ids: Tensor, positions: Tensor, keep: Tensor) -> Tensor:
        """float32 logits [batch, len(keep), vocabulary] at the positions `keep`; documents are told apart by `positions` alone."""
        out = self.deepspeed(input_ids=ids, position_ids=positions, use_cache=False, logits_to_keep=keep)
        logits: Tensor = out.logits
        return logits.float()

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Adds the gradient of `loss` (this rank's part, already divided by the global target count); `last` of the update reduces."""
        self.deepspeed.set_gradient_accumulation_boundary(last)
        self.deepspeed.backward(loss * self.world, scale_wrt_gas=False)

    def step(self, learning_rate: float) -> float:
        """One optimizer step; returns the gradient's norm before clipping. With a norm that is not finite nothing is stepped at ZeRO 0."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        if self.zero_stage:
            self.deepspeed.step()
            return float(self.deepspeed.get_global_grad_norm())
        norm = float(nn.utils.clip_grad_norm_(self.trainee.trained.values(), self.gradient_clip))
        if norm - norm == 0:
            self.deepspeed.step()
        return norm

    def sum(self, *values: float) -> list[float]:
        """Sums over ranks in float64."""
        return _reduce(values, torch.distributed.ReduceOp.SUM, self.device)

    def highest(self, value: float) -> float:
        """The highest over ranks: how they agree on a signal."""
        return _reduce((value,), torch.distributed.ReduceOp.MAX, self.device)[0]

    def wait_for_all(self) -> None:
        """A barrier."""
        if self.world > 1:
            torch.distributed.barrier()

    def fragments(self) -> Iterator["Fragment"]:
        """The pieces of optimizer state that this rank holds, by parameter."""
        if self.zero_stage:
            return _partitioned(self.deepspeed.optimizer, self.trainee)
        return (Fragment(name, 0, parameter.numel(), parameter, 0) for name, parameter in self.trainee.trained.items())


def _reduce(values: Sequence[float], operation: Any, device: torch.device) -> list[float]:
    """The same on all ranks; float64."""
    if torch.distributed.get_world_size() == 1:
        return list(values)
    tensor = torch.tensor(values, dtype=torch.float64, device=device)
    torch.distributed.all_reduce(tensor, operation)
    return [float(value) for value in tensor.tolist()]


@dataclass(frozen=True, slots=True)
class Fragment:
    """`count` elements of parameter `name` from `start` on; their state is at `offset` of what the optimizer keeps under `key`."""

    name: str
    start: int
    count: int
    key: Tensor
    offset: int


def start_engine(job: TrainJob, trainee: Trainee, device: torch.device) -> Engine:
    """`deepspeed.initialize` with our optimizer; ranks must have been connected by `connect`."""
    import deepspeed

    optimizer = make_optimizer(trainee, job)
    wrapped, stepping, _, _ = deepspeed.initialize(model=trainee.module, optimizer=optimizer, config=deepspeed_config(job))
    world = torch.distributed.get_world_size()
    wrapped.enable_backward_allreduce = world > 1 or job.zeroStage > 0
    rank = torch.distributed.get_rank()
    writer = int(_reduce((rank if job.leads else world,), torch.distributed.ReduceOp.MIN, device)[0])
    return Engine(wrapped, trainee, stepping, rank, world, job.zeroStage, job.gradientClip, device, writer, job.processes)


def connect(device: torch.device) -> None:
    """Joins the ranks (gloo or nccl). DeepSpeed's shared-memory operator would be compiled by g++ here; gloo does without."""
    import deepspeed
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend="nccl" if device.type == "cuda" else "gloo", verbose=False)


def agree(mark: int, device: torch.device) -> bool:
    """Whether all ranks have the same mark (below 2**53)."""
    highest, lowest = _reduce((mark, -mark), torch.distributed.ReduceOp.MAX, device)
    return highest == -lowest


def make_optimizer(trainee: Trainee, job: TrainJob) -> torch.optim.AdamW:
    """Fused AdamW of torch; weight decay on matrices only."""
    parameters = list(trainee.trained.values())
    matrices = [parameter for parameter in parameters if parameter.ndim >= NO_DECAY_BELOW_DIMENSIONS]
    others = [parameter for parameter in parameters if parameter.ndim < NO_DECAY_BELOW_DIMENSIONS]
    groups = [{"params": matrices, "weight_decay": job.weightDecay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=job.learningRate, fused=True)


def deepspeed_config(job: TrainJob) -> dict[str, Any]:
    """The engine's settings. Accumulation is 1 for DeepSpeed: the loop sets the boundary, since updates differ in rows."""
    autocast = {"enabled": job.precision == "bfloat16", "dtype": "bfloat16", "lower_precision_safe_modules": []}
    zero = {"stage": job.zeroStage, "reduce_bucket_size": BUCKET_ELEMENTS, "allgather_bucket_size": BUCKET_ELEMENTS}
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": job.gradientClip if job.zeroStage else 0.0,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "torch_autocast": autocast,
        "steps_per_print": 1_000_000_000,
    }


def _partitioned(zero: Any, trainee: Trainee) -> Iterator[Fragment]:
    """ZeRO 1 and 2 keep flat partitions; DeepSpeed's own mapping says which part of which parameter lies where."""
    for name, parameter in trainee.trained.items():
        mapping = getattr(parameter, "_hp_mapping", None)
        if mapping is not None:
            here, there = mapping.lp_fragment_address, mapping.hp_fragment_address
            flat = zero.single_partition_of_fp32_groups[mapping.param_group_index]
            yield Fragment(name, here.start, here.numel, flat, there.start)
