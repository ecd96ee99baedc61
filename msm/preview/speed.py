"""How long things take on a laptop: the stated assumptions behind every time that a preview prints.

Pure. Measured with SmolLM2-135M on two cores (docs/guide/first-run.md repeats the table); a model of another size is scaled by its number
of parameters. An estimate is for choosing sizes, not for promising an hour.
"""

from math import ceil
from typing import Final

REFERENCE_PARAMETERS: Final = 134_515_008
"""Parameters of the model that the speeds were measured with."""

TRAINED_TOKENS_A_SECOND: Final[dict[tuple[str, str], float]] = {
    ("lora", "float32"): 160.0,
    ("full", "float32"): 110.0,
    ("lora", "bfloat16"): 210.0,
    ("full", "bfloat16"): 195.0,
}
"""(method, precision) -> tokens a second of a whole training step: float32 on cores without bf16 units, bfloat16 on cores with."""

ANSWER_TOKENS_A_SECOND: Final = 80.0
"""Greedily written tokens a second, batched."""
ITEM_SECONDS: Final = 0.15
"""Exact margin of one item for one model, both orders (docs/design/evals.md)."""
ITEM_ANSWER_SECONDS: Final = 0.3
"""Greedy answer to one item by one model, both orders."""
HEALTH_SECONDS: Final = 8.0
"""Everyday questions of the chat-format check, one model."""
TORCH_START_SECONDS: Final = 20.0
"""From starting a stage to its first step, where it loads the model."""
START_SECONDS: Final = 2.0
"""From starting a stage to its first row, where it does not."""
FETCH_SECONDS: Final = 60.0
"""Finding a model in the cache or downloading 100 MB, converting, writing it."""


GPU_OPERATIONS_A_SECOND: Final = 1.0e14
"""Floating-point operations that one data-centre GPU does in such a training: an assumption, see docs/guide/sizing.md."""


def gpu_training_seconds(tokens: int, operations: int, gpus: int) -> float:
    """Time to train on `tokens` of so many operations each, shared by GPUs."""
    return TORCH_START_SECONDS + tokens * operations / (gpus * GPU_OPERATIONS_A_SECOND)


def gpu_sentence() -> str:
    """The assumption behind a training's time on GPUs."""
    return f"GPU times assume {GPU_OPERATIONS_A_SECOND / 1e12:.0f} TFLOP/s a GPU; ours were not measured, half and twice are likely"


def training_seconds(tokens: int, method: str, precision: str, size: float) -> float:
    """Time to train on `tokens`; `size` is the model's, in units of the reference model."""
    return TORCH_START_SECONDS + tokens * size / TRAINED_TOKENS_A_SECOND[method, precision]


def answering_seconds(answers: int, longest: int, size: float) -> float:
    """Time for the base model to answer; twice as many questions are asked as answers are kept, most end half-way."""
    return TORCH_START_SECONDS + answers * longest * size / ANSWER_TOKENS_A_SECOND


def evaluation_seconds(items: int, answered: int, models: int, size: float) -> float:
    """Time to score `items`, of which `answered` are also answered, with every model."""
    return TORCH_START_SECONDS + models * size * (items * ITEM_SECONDS + answered * ITEM_ANSWER_SECONDS + HEALTH_SECONDS)


def rows_seconds(tokens: int) -> float:
    """Time to write, read or curate documents by the offline means."""
    return START_SECONDS + ceil(tokens / 50_000)


def speed_sentence(method: str, precision: str) -> str:
    """The assumption behind a training's time."""
    rate = TRAINED_TOKENS_A_SECOND[method, precision]
    return f"times assume two processor cores and {rate:.0f} tokens/s for a 135M model ({method}, {precision}); other sizes in proportion"
