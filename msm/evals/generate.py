"""Greedy decoding of many short answers: one prefix cache, batches of similar length, finished rows leave the batch.

Imported by torch processes only. Neighbours: `preference` asks for answers, `logprob` gives the prefix cache. Invariant: each answer is
what greedy decoding of that prompt alone gives, up to ties in rounding. Cost: one pass over the prompts' own tokens, then a token a step.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from msm.evals.logprob import Tokens, prefix_cache
from msm.evals.trie import common_prefix


@dataclass(frozen=True, slots=True)
class Generated:
    """The tokens of an answer without its end token; `ended` = the model ended its turn within the limit."""

    tokens: Tokens
    ended: bool


@dataclass(frozen=True, slots=True)
class Stopping:
    """When an answer is over: at an end token, after `limit` tokens, or when `complete` says that more cannot matter."""

    ends: frozenset[int]
    limit: int
    complete: Callable[[Tokens], bool] = lambda tokens: False


@torch.inference_mode()
def generate_greedily(
    model: Any, prompts: Sequence[Tokens], stopping: Stopping, batch: int, device: torch.device, on_batch: Callable[[int], None]
) -> list[Generated]:
    """Answer every prompt; `on_batch` hears how many were answered after each batch."""
    if not prompts:
        return []
    shared = min(common_prefix(prompts), min(map(len, prompts)) - 1)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    answers: dict[int, Generated] = {}
    prefix = prefix_cache(model, prompts[0][:shared], device)
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        cache = copy.deepcopy(prefix)
        cache.batch_repeat_interleave(len(rows))
        answers.update(zip(rows, _decode(model, [prompts[row][shared:] for row in rows], cache, shared, stopping, device), strict=True))
        on_batch(len(rows))
    return [answers[index] for index in range(len(prompts))]


def _decode(
    model: Any, suffixes: Sequence[Tokens], cache: DynamicCache, shared: int, stopping: Stopping, device: torch.device
) -> list[Generated]:
    """Decode one batch. Suffixes are padded on the left, after the shared prefix, and the padding is masked."""
    width = max(map(len, suffixes))
    ids = torch.tensor([(0,) * (width - len(suffix)) + tuple(suffix) for suffix in suffixes], device=device)
    real = torch.tensor([[0] * (width - len(suffix)) + [1] * len(suffix) for suffix in suffixes], device=device)
    mask = torch.cat([torch.ones(len(suffixes), shared, dtype=real.dtype, device=device), real], dim=1)
    positions = (mask.cumsum(1) - 1)[:, shared:].clamp_min(0)
    alive = list(range(len(suffixes)))
    written: list[list[int]] = [[] for _ in suffixes]
    ended = [False] * len(suffixes)
    for _ in range(stopping.limit):
        logits = model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1
        ).logits
        tokens = logits[:, -1].argmax(-1)
        keep = _note_tokens(tokens.tolist(), alive, written, ended, stopping)
        if not keep:
            break
        if len(keep) < len(alive):
            chosen = torch.tensor(keep, device=device)
            cache.batch_select_indices(chosen)
            tokens, mask, positions = tokens[chosen], mask[chosen], positions[chosen]
            alive = [alive[index] for index in keep]
        ids, positions = tokens[:, None], positions[:, -1:] + 1
        mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)
    return [Generated(tuple(tokens), end) for tokens, end in zip(written, ended, strict=True)]


def _note_tokens(tokens: Sequence[int], alive: Sequence[int], written: list[list[int]], ended: list[bool], stopping: Stopping) -> list[int]:
    """Append one step's tokens; returns the batch indices that go on."""
    keep: list[int] = []
    for index, (row, token) in enumerate(zip(alive, tokens, strict=True)):
        if token in stopping.ends:
            ended[row] = True
            continue
        written[row].append(token)
        if not stopping.complete(tuple(written[row])):
            keep.append(index)
    return keep
