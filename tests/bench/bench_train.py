"""Our tokens per second against a bare PyTorch loop: same model, rows, batch, precision and optimizer, one process, CPU.

`python -m tests.bench.bench_train [--model DIR] [--method full|lora] [--precision float32|bfloat16] …`. Without --model a randomly
initialised Llama of SmolLM2-135M's shape is made (the weights' values do not matter for speed). Updates of both loops alternate, so
that a busy machine slows both; the figure is the median update. The last line is one JSON object {"ours", "bare", "ratio", "packing"}.
"""

import argparse
import json
import os
import random
import socket
import statistics
import tempfile
import time
from pathlib import Path

from tests.tiny import TEXT, make_tiny_tokenizer, write_documents

GOAL_RATIO, GOAL_PACKING = 0.95, 0.99


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--method", choices=("full", "lora"), default="full")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--precision", choices=("float32", "bfloat16"))
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--batch-tokens", type=int, default=512)
    parser.add_argument("--micro-rows", type=int, default=1)
    parser.add_argument("--updates", type=int, default=6)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    return parser.parse_args()


def make_model(directory: Path) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(directory)
    return make_tiny_tokenizer(directory)


def make_corpus(path: Path) -> Path:
    """Documents with the spread of lengths that written ones have."""
    draw, words = random.Random(0), TEXT.split()
    return write_documents(path, [" ".join(draw.choices(words, k=max(3, round(draw.lognormvariate(3.6, 0.8))))) for _ in range(1500)])


def start_alone(threads: int) -> None:
    """What torchrun and the worker set for one rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ.update(
        RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), OMP_NUM_THREADS=str(threads)
    )


class Bare:
    """The loop one would write without us: forward, loss, backward, clip, AdamW."""

    def __init__(self, job, corpus, plan):
        import torch

        from msm.train.engine import make_optimizer
        from msm.train.model import load_trainee

        self.job, self.corpus, self.plan = job, corpus, plan
        self.trainee = load_trainee(job.model_copy(update={"precision": "float32"}), torch.device("cpu"))
        self.optimizer = make_optimizer(self.trainee, job)

    def update(self, step: int) -> None:
        import torch
        from torch.nn.functional import cross_entropy

        from msm.data.batches import IGNORED, collate, micro_batches

        rows = self.plan.rows_of(step)
        targets = sum(self.corpus.row_targets(row) for row in rows)
        for share in micro_batches(rows, 0, 1, self.job.microBatchRows):
            batch = collate(self.corpus, share, rows[0])
            ids, positions, labels = (torch.tensor(part) for part in (batch.ids, batch.positions, batch.labels))
            with torch.autocast("cpu", torch.bfloat16, enabled=self.job.precision == "bfloat16"):
                logits = self.trainee.module(input_ids=ids, position_ids=positions, use_cache=False).logits
            loss = cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum")
            (loss / targets).backward()
        torch.nn.utils.clip_grad_norm_(self.trainee.trained.values(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()


def make_trainer(job, corpus, plan):
    import torch

    from msm.train.engine import connect, start_engine
    from msm.train.loop import Signals, Trainer
    from msm.train.model import load_trainee
    from msm.train.schedule import Schedule

    device = torch.device("cpu")
    connect(device)
    engine = start_engine(job, load_trainee(job, device), device)
    schedule = Schedule(job.learningRate, plan.updates, job.warmupRatio, job.schedule)
    return Trainer(job, corpus, plan, schedule, engine, Signals(job, job.work / "stop"))


def measure(job, updates: int) -> dict[str, float]:
    from msm.data.batches import BatchPlan, rows_per_update
    from msm.data.examples import load_corpus

    corpus = load_corpus(job.stage, job.data, job.model, job.maxLength)
    plan = BatchPlan(len(corpus.rows), rows_per_update(job.batchTokens, job.maxLength), job.epochs, job.seed)
    ours, bare = make_trainer(job, corpus, plan), Bare(job, corpus, plan)
    speeds: dict[str, list[float]] = {"ours": [], "bare": []}
    for step in range(updates + 1):
        tokens = sum(corpus.row_tokens(row) for row in plan.rows_of(step))
        for name, loop in (("ours", ours), ("bare", bare)) if step % 2 else (("bare", bare), ("ours", ours)):
            begin = time.perf_counter()
            loop.update(step)
            speeds[name].append(tokens / (time.perf_counter() - begin))
    ratio = statistics.median(mine / other for mine, other in zip(speeds["ours"][1:], speeds["bare"][1:], strict=True))
    medians = {name: round(statistics.median(values[1:]), 1) for name, values in speeds.items()}
    return {**medians, "ratio": round(ratio, 3), "packing": round(corpus.fill, 4)}


def main() -> None:
    arguments = parse_arguments()
    start_alone(arguments.threads)
    from msm.train.lean_imports import forget_unused_packages

    forget_unused_packages()
    from msm.train.job import Full, Lora, TrainJob
    from msm.train.precision import detect_precision, read_cpuinfo
    from msm.train.worker import prepare_torch

    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        job = TrainJob(
            stage="midtrain",
            model=arguments.model or make_model(root / "model"),
            data=(make_corpus(root / "rows.jsonl"),),
            out=root / "out",
            work=root,
            method=Lora(rank=arguments.rank, alpha=2 * arguments.rank) if arguments.method == "lora" else Full(),
            precision=arguments.precision or detect_precision(read_cpuinfo()),
            maxLength=arguments.max_length,
            batchTokens=arguments.batch_tokens,
            microBatchRows=arguments.micro_rows,
            threads=arguments.threads,
        )
        prepare_torch()
        figures = measure(job, arguments.updates)
    print(f"{arguments.method}, {job.precision}, {job.batchTokens} tokens an update; goals: ratio {GOAL_RATIO}, packing {GOAL_PACKING}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
