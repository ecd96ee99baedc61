"""The tables of docs/guide/sizing.md, computed; printed by `python -m tests.unit.docs.sizing`."""

from collections.abc import Iterator

from msm.preview.memory import Training, memory
from msm.preview.shape import Shape, shape
from msm.preview.speed import GPU_OPERATIONS_A_SECOND
from tests.models import CONFIGS

GIB = 2**30
MODELS = ("Llama-3.2-1B", "Qwen3-8B-Base", "Qwen2.5-14B-Instruct", "Qwen2.5-32B-Instruct")
RANK = 64


def sizes(name: str) -> Shape:
    found = shape(CONFIGS[name])
    assert found is not None
    return found


def gpu_rows() -> Iterator[str]:
    """LoRA in bfloat16 on one GPU: parts of its memory."""
    for name in MODELS:
        for length in (4096, 8192):
            kept, again = (
                memory(sizes(name), Training(tokens=length, length=length, bfloat16=True, rank=RANK, checkpointing=on))
                for on in (False, True)
            )
            parts = (kept.weights, kept.optimizer, kept.logits + kept.device, kept.layers, kept.gpu, again.layers, again.gpu)
            yield row(name, f"{length:,}", *(f"{part / GIB:.0f}" for part in parts))


def full_rows() -> Iterator[str]:
    """All parameters in bfloat16, activations computed again, ZeRO 2 over some GPUs."""
    for name in MODELS[:2]:
        for ranks in (1, 4, 8):
            zero = 2 if ranks > 1 else 0
            found = memory(sizes(name), Training(tokens=4096, length=4096, bfloat16=True, checkpointing=True, zero_stage=zero, ranks=ranks))
            yield row(name, str(ranks), f"{found.weights / GIB:.0f}", f"{found.optimizer / GIB:.0f}", f"{found.gpu / GIB:.0f}")


def other_rows() -> Iterator[str]:
    """Memory of the machine, disk, store and time."""
    for name in MODELS:
        found = sizes(name)
        host = memory(found, Training(tokens=1, length=1, bfloat16=True)).host
        size = found.parameters * 4
        matrices = found.layers * found.layer + found.vocabulary * found.hidden
        million = 1e6 * 4 * matrices / GPU_OPERATIONS_A_SECOND / 60
        adapter = found.adapter(RANK, found.layers) * 4
        yield row(
            name,
            f"{host / GIB:.0f} GiB",
            f"{1.5 * size / 1e9:.0f} GB",
            f"{size / 1e9:.0f} GB",
            f"{adapter / 1e9:.2f} GB",
            f"{million:.1f} min",
        )


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    for table in (gpu_rows, full_rows, other_rows):
        print("\n".join(table()), end="\n\n")
