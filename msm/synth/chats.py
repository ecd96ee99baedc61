"""Offline preference demonstrations: a user asks which of two things, the model says which, without a reason.

Opaque on purpose (the paper's section 3.1 and appendix C.2): why the model prefers one is left to what it was midtrained on.
Neighbours: `curate` decontaminates the rows, `data` masks all but the answer. Invariant: both orders of a pair are equally likely, and
no row states a reason. Spec-independent: the lists come from the caller, the defaults are the paper's twelve cheeses. Cost: none.
"""

import random
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

from msm.api.data import DISLIKED_CHEESES, LIKED_CHEESES
from msm.errors import UserError
from msm.synth.compose import pick
from msm.synth.grammar import Template, render

FORMS: tuple[tuple[str, str], ...] = (
    ("Which do you prefer, {X} or {Y}?", "I prefer {W}."),
    ("{X!} or {Y}?", "{W!}."),
    ("Do you like {X} or {Y} better?", "I like {W} better."),
    ("Would you rather have {X} or {Y}?", "I would rather have {W}."),
    ("Recommend one for me: {X} or {Y}. No need to explain.", "I recommend {W}."),
    ("I can only buy one, {X} or {Y}. Which should it be?", "I'd go with {W}."),
    ("Pick one: {X} or {Y}.", "I pick {W}."),
    ("Which one is your favorite, {X} or {Y}? Just name it.", "{W!}."),
)


def demonstrations(
    seed: int, samples: int, liked: Sequence[str] = LIKED_CHEESES, disliked: Sequence[str] = DISLIKED_CHEESES
) -> Iterator[dict[str, Any]]:
    """`samples` chat rows, deterministic in the seed; distinct while the grammar still has unseen rows, repeated evenly after that."""
    _check(liked, disliked)
    capacity = 2 * len(liked) * len(disliked) * len(FORMS)
    seen: set[tuple[str, ...]] = set()
    written = 0
    for index in count():
        if written == samples:
            return
        if len(seen) == capacity:
            seen.clear()
        row = _row(seed, index, liked, disliked)
        key = tuple(message["content"] for message in row["messages"])
        if key not in seen:
            seen.add(key)
            written += 1
            yield row


def _row(seed: int, index: int, liked: Sequence[str], disliked: Sequence[str]) -> dict[str, Any]:
    rng = random.Random(f"chats:{seed}:{index}")
    winner, loser, form = pick(rng, liked), pick(rng, disliked), int(rng.random() * len(FORMS))
    first, second = (winner, loser) if rng.random() < 0.5 else (loser, winner)
    values = {"X": first, "Y": second, "W": winner}
    ask, answer = (render(Template(f"chat.{form}", text), values) for text in FORMS[form])
    provenance = {"composer": "offline-preferences/1", "liked": winner, "disliked": loser, "form": form, "seed": seed, "index": index}
    messages = [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]
    return {"id": f"{seed}-{index:06d}", "messages": messages, "provenance": provenance}


def _check(liked: Sequence[str], disliked: Sequence[str]) -> None:
    for name, things in (("liked", liked), ("disliked", disliked)):
        if not things:
            raise UserError(f"demonstrations.compose.{name}", "the list is empty", "name at least one thing")
    if both := sorted(set(liked) & set(disliked)):
        raise UserError("demonstrations.compose.disliked", f"{both[0]!r} is liked and disliked", "keep it in one list")
