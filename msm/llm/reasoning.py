"""Telling a model's reasoning from its answer where the server left both in one text.

Pure. Neighbours: `wire` splits every answer by it. Invariant: nothing between reasoning marks stays in the text. Marks known: `<think>` and
`<thinking>` (DeepSeek, Qwen and most others), `[THINK]` (Mistral), `◁think▷` (Kimi). Cost: linear in the text.
"""

import re

_MARKS = (("<think>", "</think>"), ("<thinking>", "</thinking>"), ("[THINK]", "[/THINK]"), ("◁think▷", "◁/think▷"))
_ANY = re.compile("|".join(re.escape(mark) for pair in _MARKS for mark in pair), re.IGNORECASE)
_OPENING = frozenset(opening.lower() for opening, _ in _MARKS)


def split_reasoning(text: str) -> tuple[str, str]:
    """(answer, reasoning), both stripped when there is any reasoning.

    A closing mark without an opening one ends reasoning that began with the text (chat templates that open it in the prompt); an opening
    mark without a closing one begins reasoning up to the end (cut at the limit of tokens). Marks may nest.
    """
    marks = list(_ANY.finditer(text))
    if not marks:
        return text, ""
    answer: list[str] = []
    reasoning: list[str] = []
    depth, position = 0, 0
    for mark in marks:
        piece = text[position : mark.start()]
        position = mark.end()
        if mark.group().lower() in _OPENING:
            (reasoning if depth else answer).append(piece)
            depth += 1
        elif depth:
            reasoning.append(piece)
            depth -= 1
        else:
            reasoning += [*answer, piece]
            answer.clear()
    (reasoning if depth else answer).append(text[position:])
    return "".join(answer).strip(), "\n".join(part.strip() for part in reasoning if part.strip())
