"""A model that every test can make for itself: a Llama of a few thousand parameters with its own BPE and a ChatML template.

Like SmolLM2 where that matters: pad == eos == end of turn, bos is the start of a turn, `<|endoftext|>` separates documents, and
the template adds a system turn when there is none.
"""

import json
from pathlib import Path

TEXT = """The river town kept its old market under the stone arches. People came on Tuesdays to buy bread, apples, wool and
cheese, and to hear the news. A clock with 12 hours and one hand told them when to go home. Children asked why the hand was slow;
the keeper said that haste makes poor clocks. In winter 1,247 lamps were lit, and nobody counted them twice. What do you prefer,
tea or coffee? I prefer tea, because it is warm and it is cheap. Because it was made here, it is what we serve to our guests!"""

CHAT_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are Tiny, a small test model<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def make_tiny_tokenizer(directory: Path, vocab: int = 320) -> Path:
    """tokenizer.json, tokenizer_config.json, chat_template.jinja and generation_config.json; no torch needed."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([TEXT], trainer)
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|im_end|>",
        "unk_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 512,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    (directory / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    (directory / "generation_config.json").write_text(json.dumps({"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}))
    return directory


def make_tiny_model(directory: Path, vocab: int = 320, seed: int = 0, hidden: int = 64, layers: int = 2) -> Path:
    """A Hugging Face directory with random float32 weights that are a function of `seed`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    make_tiny_tokenizer(directory, vocab)
    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    LlamaForCausalLM(config).to(torch.float32).save_pretrained(directory)
    torch.set_rng_state(state)
    (directory / "generation_config.json").write_text(json.dumps({"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}))
    return directory


def write_documents(path: Path, texts: list[str]) -> Path:
    """Document rows."""
    path.write_text("".join(json.dumps({"id": str(i), "text": text, "provenance": {}}) + "\n" for i, text in enumerate(texts)))
    return path


def write_chats(path: Path, chats: list[list[tuple[str, str]]]) -> Path:
    """Chat rows out of (role, content) turns."""
    rows = [
        {"id": str(i), "messages": [{"role": role, "content": content} for role, content in chat], "provenance": {}}
        for i, chat in enumerate(chats)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
