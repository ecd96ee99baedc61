"""The pure parts of training: precision, learning rate, counting, the job document; none of them needs torch."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from msm.errors import UserError
from msm.train.counting import Counting, count, warn_few_updates
from msm.train.failures import outcome_of
from msm.train.job import Full, Lora, TrainJob
from msm.train.precision import detect_precision, read_cpuinfo
from msm.train.schedule import Schedule

CPU = "processor\t: 0\nmodel name\t: Some CPU avx512_bf16 maybe\nflags\t\t: fpu sse2 {}\n\n"
PRECISIONS = {
    "a processor with avx512_bf16": (CPU.format("avx512_bf16") * 2, None, "bfloat16"),
    "a processor with amx_bf16": (CPU.format("amx_bf16 amx_tile"), None, "bfloat16"),
    "a processor with AVX-512 but no bf16": (CPU.format("avx512f avx512_vnni"), None, "float32"),
    "one core of two without": (CPU.format("avx512_bf16") + CPU.format("avx2"), None, "float32"),
    "no description at all": ("", None, "float32"),
    "an Ampere GPU beside an old processor": (CPU.format("avx2"), (8, 0), "bfloat16"),
    "a Turing GPU beside a new processor": (CPU.format("avx512_bf16"), (7, 5), "float32"),
}


@pytest.mark.parametrize("case", PRECISIONS.values(), ids=PRECISIONS)
def test_bfloat16_only_where_there_are_units_for_it(case):
    text, capability, expected = case
    assert detect_precision(text, capability) == expected


def test_a_machine_without_cpuinfo_is_described_by_nothing(tmp_path):
    assert read_cpuinfo(tmp_path / "absent") == ""


@given(st.integers(1, 400), st.floats(0, 0.5), st.sampled_from(["cosine", "linear", "constant"]))
def test_the_rate_rises_to_the_peak_and_never_passes_it(updates, warmup, shape):
    schedule = Schedule(1e-3, updates, warmup, shape)
    rates = [schedule.rate(update) for update in range(updates)]
    assert min(rates) > 0
    assert max(rates) <= 1e-3 * (1 + 1e-12)
    assert rates[: schedule.warmup] == sorted(rates[: schedule.warmup])
    assert rates[schedule.warmup :] == sorted(rates[schedule.warmup :], reverse=True)


def test_the_cosine_is_the_papers():
    schedule = Schedule(1e-4, 100, 0.05, "cosine")
    assert schedule.warmup == 5
    assert schedule.rate(4) == pytest.approx(1e-4)
    assert schedule.rate(0) == pytest.approx(2e-5)
    assert schedule.rate(5 + 95 // 2) == pytest.approx(5e-5, rel=0.05)
    assert schedule.rate(99) < 1e-7
    assert Schedule(1e-4, 3, 0.0, "cosine").warmup == 1


COUNTS = {
    "documents that fit exactly": (([4, 4, 8], 8, 8, 1), Counting(2, 16, 2, 1.0)),
    "a document that is cut": (([10], 8, 8, 2), Counting(4, 20, 2, 10 / 16)),
    "a batch of several rows": (([8] * 10, 8, 32, 1), Counting(3, 80, 10, 1.0)),
    "a batch smaller than a row": (([8] * 10, 8, 1, 1), Counting(10, 80, 10, 1.0)),
}


@pytest.mark.parametrize("case", COUNTS.values(), ids=COUNTS)
def test_counting(case):
    arguments, expected = case
    assert count(*arguments) == expected


def test_too_few_updates_are_said_aloud():
    assert warn_few_updates(200, "midtrain") is None
    assert "midtrain has 199 updates" in (warn_few_updates(199, "midtrain") or "")


def job(**changes):
    return TrainJob(stage="midtrain", model=Path("m"), data=(Path("d"),), out=Path("o"), work=Path("w"), **changes)


def test_a_job_survives_its_own_json():
    for method in (Lora(rank=8, alpha=16, dropout=0.1), Full()):
        made = job(method=method, resume=Path("c"))
        assert TrainJob.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize("changes", [{"learnRate": 1e-4}, {"learningRate": 0}, {"zeroStage": 3}, {"data": ()}, {"precision": "auto"}])
def test_a_wrong_job_is_refused(changes):
    with pytest.raises(ValidationError):
        TrainJob.model_validate({**job().model_dump(), **changes})


def test_the_entry_programs_half_of_training_never_imports_torch():
    code = (
        "import sys, msm.train.launch, msm.train.counting, msm.train.precision, msm.train.schedule, msm.data.examples, msm.data.weights;"
        "heavy = {'torch', 'transformers', 'deepspeed', 'peft', 'numpy', 'safetensors', 'tokenizers', 'jinja2'} & set(sys.modules);"
        "print(sorted(heavy))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


class OutOfMemoryError(RuntimeError):
    """Named as torch's is."""


FAILURES = {
    "the user's mistake": (UserError("a.jsonl:3", "is wrong", "repair it"), "user_error", "a.jsonl:3", "is wrong"),
    "a full disk": (OSError(errno.ENOSPC, "No space left on device"), "user_error", "work", "no space left"),
    "a full disk as safetensors says it": (
        Exception("I/O error: No space left on device (os error 28)"),
        "user_error",
        "work",
        "no space left",
    ),
    "a quota": (OSError(errno.EDQUOT, "Disk quota exceeded"), "user_error", "work", "no space left"),
    "a GPU without memory": (
        OutOfMemoryError("tried to allocate"),
        "user_error",
        "spec.training.midtrain.microBatchRows",
        "1: the device's",
    ),
    "another system error": (OSError(errno.EIO, "Input/output error"), "fault", None, "Input/output error"),
    "anything else, of many lines": (RuntimeError("gloo\nframe 1\nframe 2"), "fault", None, "RuntimeError: gloo"),
    "an error without words": (ValueError(), "fault", None, "ValueError: no message"),
}


LOST = {
    "gloo": RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.7]:29400"),
    "nccl": type("DistBackendError", (RuntimeError,), {})("remote process exited"),
}


@pytest.mark.parametrize("error", LOST.values(), ids=LOST)
def test_a_broken_collective_is_the_other_machines_failure_where_there_is_another(error):
    assert outcome_of(job(machines=2), error).kind == "try_again"
    assert "lost a rank on another machine" in outcome_of(job(machines=2), error).message
    assert outcome_of(job(), error).kind == "fault"
    assert outcome_of(job(machines=2), RuntimeError("shape mismatch")).kind == "fault"


@pytest.mark.parametrize("case", FAILURES.values(), ids=FAILURES)
def test_every_failure_becomes_one_line_that_says_whose_move_it_is(case):
    error, kind, field, message = case
    outcome = outcome_of(job(), error)
    assert (outcome.kind, outcome.field) == (kind, field)
    assert message in outcome.message
    assert "\n" not in outcome.message
