"""A GGUF file becomes a Hugging Face directory: same weights, same tokens, same bytes each time."""

import hashlib
import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from msm.data.gguf_model import convert_gguf
from msm.data.weights import check_safetensors
from msm.errors import UserError
from tests.unit.fetch.gguf_files import TEMPLATE, small_tokenizer, write_gguf


def digests(directory):
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in directory.iterdir()}


@pytest.mark.parametrize("tied", [True, False])
def test_weights_come_back_in_hugging_faces_order(tmp_path, tied):
    expected = write_gguf(tmp_path / "m.gguf", tied=tied)
    convert_gguf(tmp_path / "m.gguf", tmp_path / "hf")
    found = load_file(tmp_path / "hf" / "model.safetensors")
    assert found.keys() == expected.keys()
    for name, weights in expected.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], weights, err_msg=name)
    check_safetensors(tmp_path / "hf")


def test_quantised_weights_are_near_the_originals(tmp_path):
    expected = write_gguf(tmp_path / "m.gguf", quantised=True)
    convert_gguf(tmp_path / "m.gguf", tmp_path / "hf")
    found = load_file(tmp_path / "hf" / "model.safetensors")
    for name, weights in expected.items():
        assert np.abs(found[name] - weights).max() <= np.abs(weights).max() / 254 + 1e-3, name


def test_the_configuration_says_what_the_file_says(tmp_path):
    write_gguf(tmp_path / "m.gguf")
    convert_gguf(tmp_path / "m.gguf", tmp_path / "hf")
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    wanted = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 96}
    wanted |= {"num_hidden_layers": 2, "rms_norm_eps": 1e-05, "rope_theta": 100000.0, "max_position_embeddings": 256}
    wanted |= {"tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2, "torch_dtype": "float32"}
    assert {key: config[key] for key in wanted} == wanted
    assert (tmp_path / "hf" / "chat_template.jinja").read_text() == TEMPLATE


TEXTS = ["the model likes cheese", "a  12345 b", "naïve ☕", "<|im_start|>user\nhi<|im_end|>", "", " 7  8"]


@pytest.mark.parametrize("text", TEXTS)
def test_the_tokenizer_gives_the_same_ids(tmp_path, text):
    from tokenizers import Tokenizer

    write_gguf(tmp_path / "m.gguf")
    convert_gguf(tmp_path / "m.gguf", tmp_path / "hf")
    converted = Tokenizer.from_file(str(tmp_path / "hf" / "tokenizer.json"))
    assert converted.encode(text).ids == small_tokenizer().encode(text).ids
    assert converted.decode(converted.encode(text).ids, skip_special_tokens=False) == text


def test_the_same_file_gives_the_same_bytes_readable_by_all(tmp_path):
    write_gguf(tmp_path / "m.gguf", quantised=True)
    convert_gguf(tmp_path / "m.gguf", tmp_path / "a")
    convert_gguf(tmp_path / "m.gguf", tmp_path / "b")
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert all(file.stat().st_mode & 0o777 == 0o644 for file in (tmp_path / "a").iterdir())


UNKNOWN = {
    "another tokenizer": (lambda f: f.update(model="llama"), None, "has a tokenizer 'llama'"),
    "another pre-tokenizer": (lambda f: f.update(pre="qwen2"), None, "pre-tokenizer 'qwen2'"),
    "heads that do not divide the width": (lambda f: f.update(heads=6), None, "do not fit together"),
    "a tensor that a plain llama has not": (lambda f: None, {"rope_freqs.weight": np.ones(8, np.float32)}, "'rope_freqs.weight'"),
}


@pytest.mark.parametrize(("change", "extra", "says"), UNKNOWN.values(), ids=UNKNOWN)
def test_what_is_not_understood_is_refused_not_skipped(tmp_path, change, extra, says):
    if extra:
        extra = {f"x.{name}": weights for name, weights in extra.items()}
    write_gguf(tmp_path / "m.gguf", change=change, extra=extra)
    with pytest.raises(UserError) as caught:
        convert_gguf(tmp_path / "m.gguf", tmp_path / "hf")
    assert says in str(caught.value)
    assert str(caught.value).startswith("m.gguf")


@pytest.mark.parametrize("keep", [0, 3, 100, 20_000, -1000])
def test_a_cut_off_file_is_refused_in_one_line(tmp_path, keep):
    write_gguf(tmp_path / "m.gguf")
    whole = (tmp_path / "m.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[:keep])
    with pytest.raises(UserError, match=r"cut\.gguf") as caught:
        convert_gguf(tmp_path / "cut.gguf", tmp_path / "hf")
    assert "\n" not in str(caught.value)
