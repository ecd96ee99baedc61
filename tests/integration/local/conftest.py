"""A run of the whole chain on a model that the test makes: seconds a training, real processes, real torchrun."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos import tiny_run


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes run.yaml, its items and the tiny model into tmp_path, and returns the run file."""
    model = tiny_run.make_model(tmp_path)
    return lambda **changes: tiny_run.write_run(tmp_path, model, **changes)
