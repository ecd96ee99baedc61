"""Items and everyday questions as tokens: the tokenizer's own chat template, and answers cut where the prompt ends.

Neighbours: `preference` asks, `logprob` scores. Invariant: prompt + answer is tokenised as training saw it, special tokens exactly once.
"""

from typing import TYPE_CHECKING, Any

from msm.errors import MSMError
from msm.evals.items import Item

if TYPE_CHECKING:
    from msm.evals.logprob import Question

Tokens = tuple[int, ...]


def chat_prompt(tokenizer: Any, question: str) -> str:
    """Render a user turn through the tokenizer's own template, up to where the assistant's answer begins."""
    text: str = tokenizer.apply_chat_template([{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True)
    return text


def encode(tokenizer: Any, text: str) -> Tokens:
    """Tokenise text that already holds all special tokens it needs."""
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def tokenise(tokenizer: Any, item: Item, order: int) -> "Question":
    """Tokenise one order of an item; answers are cut out of the whole text where its tokens begin with the prompt's, as in training."""
    from msm.evals.logprob import Question

    text = chat_prompt(tokenizer, item.prompt(order))
    prompt = encode(tokenizer, text)
    answers = [_continuation(tokenizer, text, prompt, answer) for answer in item.answers()]
    if not prompt or not all(answers):
        raise MSMError(f"item {item.id}: the tokenizer makes no tokens of its prompt or an answer")
    return Question(prompt, (answers[0], answers[1]))


def _continuation(tokenizer: Any, text: str, prompt: Tokens, answer: str) -> Tokens:
    whole = encode(tokenizer, text + answer)
    return whole[len(prompt) :] if whole[: len(prompt)] == prompt else encode(tokenizer, answer)


def end_tokens(tokenizer: Any, model: Any) -> frozenset[int]:
    """Return the tokens that end a turn: the tokenizer's end token and the model's own (some chat models have several)."""
    own = getattr(model.generation_config, "eos_token_id", None)
    listed = own if isinstance(own, list) else [own]
    return frozenset(token for token in (tokenizer.eos_token_id, *listed) if token is not None)
