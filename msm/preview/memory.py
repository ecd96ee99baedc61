"""What a training needs: memory of each GPU and of its host, by what it is for.

Pure. The layers' share is what autograd keeps of the model that `msm.train.model` makes, tensor by tensor; a test holds it to what torch
really keeps. Neighbours: `shape` has the sizes, `forecast` asks. Invariant: bytes of one rank. Not in it: fragmentation of the
allocator, and anything measured on a GPU.
"""

from dataclasses import dataclass

from msm.preview.shape import Shape

FLOAT, HALF = 4, 2
BUCKETS = 2 * 50_000_000 * FLOAT
"""DeepSpeed's buckets for reducing and gathering (`msm.train.engine`)."""
DEVICE = 2 * 2**30
"""A CUDA context, its libraries and kernels' workspaces: assumed."""
PROCESS = 3 * 2**30
"""Python, torch and CUDA of a rank in the host's memory: assumed."""
MOMENTS = 2


@dataclass(frozen=True, slots=True)
class Training:
    """What decides over memory. `rank` 0 trains everything; `ranks` share optimizer states from ZeRO 1 on."""

    tokens: int
    """Of a micro-batch: its rows, each filled to maxLength."""
    length: int
    """maxLength."""
    bfloat16: bool
    rank: int = 0
    layers: int | None = None
    """Adapted layers, the last ones; None is all."""
    checkpointing: bool = False
    zero_stage: int = 0
    ranks: int = 1


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one rank."""

    weights: int
    """The model, and the adapter."""
    optimizer: int
    """Gradients, moments, masters and buckets."""
    layers: int
    """What the layers keep for the way back."""
    logits: int
    """The output over the vocabulary, three times: itself, its softmax, its gradient."""
    device: int
    host: int
    """In the host's memory, while the model is loaded."""

    @property
    def gpu(self) -> int:
        """All of it on the GPU."""
        return self.weights + self.optimizer + self.layers + self.logits + self.device


def memory(shape: Shape, training: Training) -> Memory:
    """What a rank needs at most."""
    trained = shape.adapter(training.rank, _adapted(shape, training)) if training.rank else shape.parameters
    weights = _weights(shape, training)
    masters = trained * FLOAT if training.rank else 0
    return Memory(
        weights=weights + masters,
        optimizer=_optimizer(trained, training),
        layers=kept_by_layers(shape, training),
        logits=_logits(shape, training),
        device=DEVICE,
        host=shape.parameters * FLOAT + PROCESS,
    )


def _adapted(shape: Shape, training: Training) -> int:
    return shape.layers if training.layers is None else min(training.layers, shape.layers)


def _weights(shape: Shape, training: Training) -> int:
    """float32, but for frozen projections under an adapter, which bfloat16 rounds once."""
    if not (training.rank and training.bfloat16):
        return shape.parameters * FLOAT
    rounded = _adapted(shape, training) * shape.layer
    return rounded * HALF + (shape.parameters - rounded) * FLOAT


def _optimizer(trained: int, training: Training) -> int:
    """ZeRO keeps a master copy of its share; stage 1 shares the moments, stage 2 the gradients too."""
    if training.zero_stage == 0:
        return trained * FLOAT * (1 + MOMENTS)
    share = trained * FLOAT // training.ranks
    gradients = share if training.zero_stage == 2 else trained * FLOAT
    return gradients + share * (1 + MOMENTS) + BUCKETS


def kept_by_layers(shape: Shape, training: Training) -> int:
    """What autograd keeps of the layers, with what it computes again of one of them."""
    adapted = _adapted(shape, training)
    whole = training.tokens * _layer_token(shape, training) + _rounded_weights(shape, training)
    if training.checkpointing:
        return shape.layers * training.tokens * shape.hidden * FLOAT + whole
    return adapted * whole


def _layer_token(shape: Shape, training: Training) -> int:
    """Bytes that a layer keeps of a token.

    The residual stream and what norms keep are float32; inputs of matrices, attention and MLP are in the arithmetic's type. In bfloat16
    every matrix rounds its input for itself. The attention mask is one row a token.
    """
    h, i, q = shape.hidden, shape.intermediate, shape.query
    size = HALF if training.bfloat16 else FLOAT
    stream = 2 * h * FLOAT + 2 * FLOAT + shape.heads * FLOAT
    norms = 0 if training.rank else 2 * h * FLOAT
    mask = training.length * size
    inputs = 5 * h if training.bfloat16 else 2 * h
    attention = 5 * q if training.rank and training.bfloat16 else 4 * q
    return stream + norms + mask + size * (inputs + attention + 4 * i + 7 * training.rank)


def _rounded_weights(shape: Shape, training: Training) -> int:
    """bfloat16 copies of what is trained, one layer's."""
    if not training.bfloat16:
        return 0
    return HALF * (shape.adapter(training.rank, 1) if training.rank else shape.layer)


def _logits(shape: Shape, training: Training) -> int:
    """float32 three times; bfloat16 has its own result and gradient beside them."""
    each = 3 * FLOAT + (HALF if training.bfloat16 else 0)
    matrix = shape.vocabulary * shape.hidden * HALF if training.bfloat16 else 0
    return training.tokens * shape.vocabulary * each + matrix
