import json
from dataclasses import replace
from pathlib import Path

import pytest

from msm.plan import Resolved
from msm.preview.memory import Training, memory
from msm.preview.shape import Shape, shape, shape_of
from msm.resolve.clients import Clients
from tests.models import CONFIGS, PARAMETERS

QWEN_32B = shape(CONFIGS["Qwen2.5-32B-Instruct"])
GIB = 2**30
PAPER = Training(tokens=8192, length=8192, bfloat16=True, rank=64)


@pytest.mark.parametrize("name", PARAMETERS, ids=PARAMETERS)
def test_parameters_are_those_that_the_models_publishers_count(name: str) -> None:
    found = shape(CONFIGS[name])
    assert found is not None and found.parameters == PARAMETERS[name]


def test_the_papers_adapter_on_14_billion_has_the_parameters_that_were_published() -> None:
    found = shape(CONFIGS["Qwen2.5-14B-Instruct"])
    assert found is not None and found.adapter(64, found.layers) == 275_251_200


def the_32b() -> Shape:
    assert QWEN_32B is not None
    return QWEN_32B


def test_a_32b_model_at_the_papers_length_fits_into_140_gib_only_when_activations_are_computed_again() -> None:
    kept, again = (memory(the_32b(), replace(PAPER, checkpointing=on)).gpu / GIB for on in (False, True))
    assert kept > 200
    assert 80 < again < 120


def test_ranks_share_what_is_trained_and_nothing_else() -> None:
    one, four = (memory(the_32b(), replace(PAPER, zero_stage=2, ranks=ranks)) for ranks in (1, 4))
    assert (one.weights, one.layers, one.logits) == (four.weights, four.layers, four.logits)
    assert four.optimizer < one.optimizer / 2


def test_zero_1_shares_the_moments_alone() -> None:
    all_of_it, moments, gradients = (memory(the_32b(), replace(PAPER, zero_stage=stage, ranks=8)).optimizer for stage in (0, 1, 2))
    assert gradients < moments < all_of_it


def test_full_training_holds_sixteen_bytes_a_parameter() -> None:
    found = memory(the_32b(), Training(tokens=1, length=1, bfloat16=False))
    assert found.weights + found.optimizer == 16 * the_32b().parameters


def test_layers_without_an_adapter_keep_nothing_and_stay_in_float32() -> None:
    all_layers, upper = memory(the_32b(), PAPER), memory(the_32b(), replace(PAPER, layers=16))
    assert upper.layers == all_layers.layers // 4
    assert upper.weights > all_layers.weights


@pytest.mark.parametrize("config", [{}, {"hidden_size": 64}, {**CONFIGS["Qwen3-8B-Base"], "num_experts": 64}])
def test_what_is_not_understood_has_no_shape(config: dict[str, object]) -> None:
    assert shape(config) is None


def test_a_models_directory_tells_its_shape_and_a_missing_one_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS["Qwen3-8B-Base"]))
    nobody = Clients(wheels=None, hub=None, bucket=None, registry=None, cache=tmp_path)
    assert shape_of(Resolved(identity="sha256:a", location=f"file://{tmp_path}"), nobody) == shape(CONFIGS["Qwen3-8B-Base"])
    for elsewhere in (f"file://{tmp_path}/none", "s3://bucket/model", "hf://org/name@1", "pypi://package==1"):
        assert shape_of(Resolved(identity="sha256:a", location=elsewhere), nobody) is None
