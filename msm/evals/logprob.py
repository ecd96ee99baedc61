"""Exact log-probabilities of two answers to many questions, each distinct token prefix computed once.

Imported by torch processes only. Neighbours: `trie` says which tokens share work, `preference` turns log-probabilities into margins. The
prefix that all prompts share (system turn, start of the question) is run once and kept as a key-value cache; the rest goes through the
model as rows without padding under a tree attention mask, and only the positions that predict an answer's token reach the vocabulary
projection. Invariant: equals scoring every answer alone (`score_alone`) up to rounding; `preference` checks that on the live model.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from msm.evals.trie import Trie, build_trie, chunks, common_prefix

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt and its two possible continuations, as token ids."""

    prompt: Tokens
    answers: tuple[Tokens, Tokens]

    def __post_init__(self) -> None:
        if not self.prompt or not all(self.answers):
            raise ValueError("a question needs a prompt and two answers of at least one token")


@dataclass(frozen=True, slots=True)
class Scored:
    """Log-probabilities (natural log, summed over tokens) of both answers; `greedy` = the answer that greedy decoding would write."""

    logprobs: tuple[float, float]
    greedy: int | None


def precision_context(device: torch.device, precision: str) -> Callable[[], AbstractContextManager[Any]]:
    """Return a factory of autocast contexts for "bfloat16", of empty ones for "float32"."""
    if precision == "bfloat16":
        return lambda: torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext


def supports_tree(model: Any) -> bool:
    """Tell whether the model's forward takes what the tree pass needs; whether it is right is checked by comparing."""
    parameters = inspect.signature(model.forward).parameters
    needed = {"logits_to_keep", "position_ids", "past_key_values"}
    return needed <= set(parameters) or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())


def prefix_cache(model: Any, prefix: Tokens, device: torch.device) -> DynamicCache:
    """Run the shared prefix once; returns its key-value cache (batch 1)."""
    cache = DynamicCache()
    if prefix:
        model(input_ids=torch.tensor([prefix], device=device), past_key_values=cache, use_cache=True, logits_to_keep=1)
    return cache


@torch.inference_mode()
def score_tree(model: Any, questions: Sequence[Question], row_tokens: int, device: torch.device) -> Iterator[dict[int, Scored]]:
    """Score all questions in rows of about `row_tokens` tokens; yields {question index: Scored} a row."""
    prompts = [question.prompt for question in questions]
    shared = min(common_prefix(prompts), min(map(len, prompts)) - 1)
    cache = prefix_cache(model, prompts[0][:shared], device)
    sizes = [_own_size(question, shared) for question in questions]
    order = sorted(range(len(questions)), key=lambda index: prompts[index])
    for row in chunks(sizes, order, row_tokens):
        trie = build_trie([(questions[i].prompt + answer)[shared:-1] for i in row for answer in questions[i].answers])
        targets = [answer for i in row for answer in questions[i].answers]
        logprobs, greedy = _run_row(model, trie, targets, cache, shared, device)
        yield {index: Scored((logprobs[2 * at], logprobs[2 * at + 1]), _first(greedy[2 * at : 2 * at + 2])) for at, index in enumerate(row)}


def _own_size(question: Question, shared: int) -> int:
    first, second = (answer[:-1] for answer in question.answers)
    return len(question.prompt) - shared + len(first) + len(second) - common_prefix((first, second))


def _run_row(
    model: Any, trie: Trie, targets: Sequence[Tokens], cache: DynamicCache, shared: int, device: torch.device
) -> tuple[list[float], list[bool]]:
    """Run one row; an answer's last token is only predicted, so it is no node."""
    nodes = len(trie.tokens)
    mask = torch.ones(1, 1, nodes, shared + nodes, dtype=torch.bool, device=device)
    mask[0, 0, :, shared:] = torch.from_numpy(trie.visible())
    before = [path[-len(target) :] for path, target in zip(trie.paths, targets, strict=True)]
    predicting = sorted({node for nodes_before in before for node in nodes_before})
    output = model(
        input_ids=torch.from_numpy(trie.tokens)[None].to(device),
        attention_mask=mask,
        position_ids=torch.from_numpy(trie.depth + shared)[None].to(device),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=torch.tensor(predicting, device=device),
    )
    cache.crop(-nodes)
    where = {node: at for at, node in enumerate(predicting)}
    return _gather(output.logits[0].float(), [[where[node] for node in path] for path in before], targets)


def _gather(logits: torch.Tensor, rows: Sequence[Sequence[int]], targets: Sequence[Tokens]) -> tuple[list[float], list[bool]]:
    """`logits`: [positions, vocabulary]; `rows[i][k]` predicts `targets[i][k]`. Sums log p, tells whether each was the likeliest."""
    row = torch.tensor([at for path in rows for at in path], device=logits.device)
    token = torch.tensor([token for target in targets for token in target], device=logits.device)
    logprobs = (logits[row, token] - logits.logsumexp(-1)[row]).double().cpu()
    best = (logits.argmax(-1)[row] == token).cpu()
    lengths = [len(target) for target in targets]
    return [float(p.sum()) for p in torch.split(logprobs, lengths)], [bool(p.all()) for p in torch.split(best, lengths)]


def _first(flags: Sequence[bool]) -> int | None:
    return next((index for index, flag in enumerate(flags) if flag), None)


@torch.inference_mode()
def score_alone(model: Any, question: Question, device: torch.device) -> Scored:
    """Score both answers one by one without cache or mask: the plain definition, slow."""
    logprobs: list[float] = []
    greedy: list[bool] = []
    for answer in question.answers:
        ids = torch.tensor([question.prompt + answer], device=device)
        logits = model(input_ids=ids, use_cache=False).logits[0, len(question.prompt) - 1 : -1].float()
        target = ids[0, len(question.prompt) :]
        logprobs.append(float(logits.log_softmax(-1).gather(1, target[:, None]).double().sum()))
        greedy.append(bool((logits.argmax(-1) == target).all()))
    return Scored((logprobs[0], logprobs[1]), _first(greedy))
