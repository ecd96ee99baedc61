"""Trains small models under torchrun and writes down what happened; the tests read it. One start pays for many scenarios.

usage: torchrun … ranks.py DIRECTORY; rank 0 writes DIRECTORY/results-<world>.json. Each scenario goes through the worker's own functions.
"""

import json
import os
import sys
import threading
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from msm.errors import UserError
from msm.train.job import Full, Lora, TrainJob
from msm.train.lean_imports import forget_unused_packages
from msm.train.outcome import WorkFiles
from msm.train.worker import _train, prepare_torch

WORLD, RANK = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
LORA = Lora(rank=4, alpha=8, dropout=0.1)


class StopAfter(threading.Event):
    """Is set after it was asked so often: a stop at an exact place, between micro-batches too."""

    def __init__(self, questions):
        super().__init__()
        self.questions = questions

    def is_set(self):
        self.questions -= 1
        return self.questions < 0


def make_job(root, name, **changes):
    work = root / f"{name}-{WORLD}"
    settings = {
        "stage": "midtrain",
        "data": (root / "documents.jsonl",),
        "learningRate": 1e-3,
        "epochs": 2,
        "maxLength": 128,
        "batchTokens": 640,
        "processes": WORLD,
        "checkpointEverySeconds": None,
        **changes,
    }
    return TrainJob(model=root / "model", out=work / "out", work=work / "work", **settings)


def train(job, questions=10**9):
    """The outcome's kind and step, and the losses as hexadecimal floats."""
    files = WorkFiles(job.work)
    if RANK == 0:
        files.checkpoints.mkdir(parents=True, exist_ok=True)
        files.clear()
    barrier()
    outcome = _train(job, StopAfter(questions))
    barrier()
    lines = [json.loads(line) for line in files.progress.read_text().splitlines()]
    barrier()
    losses = [line["loss"].hex() for line in lines if line["step"]]
    return {"kind": outcome.kind, "step": outcome.step, "losses": losses, "norms": [line["gradientNorm"] for line in lines if line["step"]]}


def barrier():
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


def resume_is_exact(root, name, questions, **changes):
    """Losses uninterrupted, and of a run that is stopped and taken up in a new model and engine."""
    whole = train(make_job(root, f"{name}-whole", **changes))
    job = make_job(root, f"{name}-parts", **changes)
    first = train(job, questions)
    newest = sorted(WorkFiles(job.work).checkpoints.iterdir())[-1]
    second = train(job.model_copy(update={"resume": newest}))
    return {"whole": whole, "first": first, "second": second, "checkpoint": str(newest), "out": str(job.out)}


def batches_agree(root):
    plain = Lora(rank=4, alpha=8)
    return {str(rows): train(make_job(root, f"micro{rows}", method=plain, microBatchRows=rows)) for rows in (1, 2, 5)}


def recomputed(root, zero):
    """The runs of resume_is_exact with activations that are computed again instead of kept."""
    methods = {"lora": LORA, "full": Full()}
    return {
        name: train(make_job(root, f"recomputed-{name}", method=method, zeroStage=zero, gradientCheckpointing=True))
        for name, method in methods.items()
    }


def chat_stages(root):
    midtrain = make_job(root, "chain-mid", method=LORA)
    train(midtrain)
    finetune = make_job(
        root,
        "chain-fine",
        stage="finetune",
        data=(root / "chats.jsonl",),
        method=LORA,
        adapter=midtrain.out,
        epochs=1,
        baseName="hf://a/b@1",
    )
    return {"midtrain": str(midtrain.out), "finetune": str(finetune.out), "run": train(finetune)}


def user_errors(root):
    found = {}
    cases = {
        "nan": {"learningRate": 1e30, "method": Full(), "schedule": "constant"},
        "other rank": {"adapter": root / f"chain-mid-{WORLD}" / "out", "method": Lora(rank=8, alpha=16), "stage": "finetune"},
        "other settings": {"resume": Path(found_checkpoint(root)), "learningRate": 5e-4, "method": LORA},
    }
    for name, changes in cases.items():
        job = make_job(root, f"bad-{name.replace(' ', '-')}", **changes)
        if job.stage == "finetune":
            job = job.model_copy(update={"data": (root / "chats.jsonl",)})
        try:
            train(job)
        except UserError as error:
            found[name] = {"text": str(error), "field": error.field, "out": job.out.exists()}
    return found


def found_checkpoint(root):
    return sorted((root / f"lora-parts-{WORLD}" / "work" / "checkpoints").iterdir())[-1]


def isolation(root):
    """Largest difference between the logits of packed documents and of each alone, and between our loss and the plain one."""
    from msm.data.batches import collate
    from msm.data.examples import load_corpus
    from msm.train.model import load_base

    model = load_base(root / "model").eval()
    corpus = load_corpus("midtrain", [root / "documents.jsonl"], root / "model", 128)
    row = max(range(len(corpus.rows)), key=lambda number: len(corpus.rows[number]))
    batch = collate(corpus, [row], 0)
    with torch.no_grad():
        packed = model(input_ids=torch.tensor(batch.ids), position_ids=torch.tensor(batch.positions), use_cache=False).logits
        alone = [model(input_ids=torch.tensor([list(corpus.pieces[piece].ids)]), use_cache=False).logits for piece in corpus.rows[row]]
        joined = model(input_ids=torch.tensor(batch.ids), use_cache=False).logits
    difference = (packed - torch.cat(alone, 1)).abs().max().item()
    return {"documents": len(corpus.rows[row]), "isolated": difference, "joined": (joined - packed).abs().max().item()}


def first_loss(root):
    """The first update's loss of a run against a sum over documents computed one by one."""
    from msm.data.batches import BatchPlan, rows_per_update
    from msm.data.examples import load_corpus
    from msm.train.model import load_base

    model = load_base(root / "model").eval()
    corpus = load_corpus("midtrain", [root / "documents.jsonl"], root / "model", 128)
    plan = BatchPlan(len(corpus.rows), rows_per_update(640, 128), 2, 0)
    total = count = 0
    for piece in (corpus.pieces[number] for row in plan.rows_of(0) for number in corpus.rows[row]):
        ids = torch.tensor([list(piece.ids)])
        with torch.no_grad():
            logits = model(input_ids=ids).logits
        total += cross_entropy(logits[0, :-1], ids[0, 1:], reduction="sum").item()
        count += ids.shape[1] - 1
    return total / count


def rounding_once_is_rounding_always(root):
    """Logits under autocast with the frozen projections rounded beforehand and with them in float32."""
    from msm.train.model import load_trainee

    ids = torch.arange(3, 90)[None]
    logits = []
    for precision in ("bfloat16", "float32"):
        trainee = load_trainee(make_job(root, "cast", method=Lora(rank=4, alpha=8), precision=precision), torch.device("cpu"))
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            logits.append(trainee.module(input_ids=ids, use_cache=False).logits)
    return bool(torch.equal(*logits))


def taken_up_alone(root):
    """A checkpoint of two ranks at ZeRO 2, continued by one rank at ZeRO 0."""
    source = make_job(root, "lora-parts", method=LORA)
    checkpoint = sorted(Path(str(source.work).replace("-1/work", "-2/work")).joinpath("checkpoints").iterdir())[-1]
    return train(make_job(root, "taken-up", method=LORA, resume=checkpoint))


def main(root):
    zero = 0 if WORLD == 1 else 2
    results = {
        "lora": resume_is_exact(root, "lora", 4 if WORLD == 2 else 12, method=LORA, zeroStage=zero),
        "full": resume_is_exact(root, "full", 4 if WORLD == 2 else 12, method=Full(), zeroStage=zero),
        "batches": batches_agree(root),
        "recomputed": recomputed(root, zero),
        "chain": chat_stages(root),
    }
    results["errors"] = user_errors(root)
    if WORLD == 1:
        results["isolation"] = isolation(root)
        results["first loss"] = first_loss(root)
        results["autocast"] = rounding_once_is_rounding_always(root)
        results["bfloat16"] = train(make_job(root, "bfloat16", method=LORA, precision="bfloat16"))
        results["zero 1"] = train(make_job(root, "zero1", method=Lora(rank=4, alpha=8), zeroStage=1))
        results["taken up"] = taken_up_alone(root)
    else:
        results["zero 0"] = train(make_job(root, "zero0", method=Lora(rank=4, alpha=8), zeroStage=0))
        results["zero 1"] = train(make_job(root, "zero1", method=Full(), zeroStage=1))
    if RANK == 0:
        (root / f"results-{WORLD}.json").write_text(json.dumps(results))
    barrier()


if __name__ == "__main__":
    forget_unused_packages()
    prepare_torch()
    main(Path(sys.argv[1]))
    sys.stdout.flush()
    os._exit(0)
