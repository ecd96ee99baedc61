"""Sizes of published models, as their config.json states them, and the number of parameters that the model hub shows for their weights."""

from typing import Any


def _llama_like(hidden: int, intermediate: int, layers: int, heads: int, key_heads: int, vocabulary: int, **more: Any) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "vocab_size": vocabulary,
        "tie_word_embeddings": False,
        **more,
    }


CONFIGS: dict[str, dict[str, Any]] = {
    "SmolLM2-135M": _llama_like(576, 1536, 30, 9, 3, 49152, model_type="llama", tie_word_embeddings=True),
    "Llama-3.2-1B": _llama_like(2048, 8192, 16, 32, 8, 128256, model_type="llama", tie_word_embeddings=True, head_dim=64),
    "Llama-3.1-8B": _llama_like(4096, 14336, 32, 32, 8, 128256, model_type="llama"),
    "Qwen3-8B-Base": _llama_like(4096, 12288, 36, 32, 8, 151936, model_type="qwen3", head_dim=128),
    "Qwen2.5-14B-Instruct": _llama_like(5120, 13824, 48, 40, 8, 152064, model_type="qwen2"),
    "Qwen2.5-32B-Instruct": _llama_like(5120, 27648, 64, 40, 8, 152064, model_type="qwen2"),
    "Qwen3-32B": _llama_like(5120, 25600, 64, 64, 8, 151936, model_type="qwen3", head_dim=128),
}
PARAMETERS = {
    "SmolLM2-135M": 134_515_008,
    "Llama-3.2-1B": 1_235_814_400,
    "Llama-3.1-8B": 8_030_261_248,
    "Qwen3-8B-Base": 8_190_735_360,
    "Qwen2.5-14B-Instruct": 14_770_033_664,
    "Qwen2.5-32B-Instruct": 32_763_876_352,
    "Qwen3-32B": 32_762_123_264,
}
