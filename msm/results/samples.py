"""Texts to look at: documents, chats and answers, few and the same ones each time.

Pure. Neighbour: `compose`. Invariant: which rows are chosen depends on the rows alone; a text longer than `LONGEST` characters is cut and
ends in an ellipsis. Cost: linear.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msm.evals.items import Item
from msm.evals.scores import ItemScore
from msm.report.asked import AnswerSample, ArmAnswers
from msm.report.parts import ChatSample, Sample, Turn

LONGEST = 1500
DOCUMENTS = 6
DROPPED = 6
CHATS = 5
ANSWERS = 3
"""Items shown with their answers, for each value and set."""
Row = Mapping[str, Any]


def cut(text: str, longest: int = LONGEST) -> str:
    """The text, or its beginning and an ellipsis."""
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


def spread(rows: Sequence[Row], key: str, most: int) -> list[Row]:
    """At most `most` rows, in turns over what `key` of their provenance (or of themselves) says, in file order within."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(label(row, key), []).append(row)
    turns = [(turn, name, row) for name, group in groups.items() for turn, row in enumerate(group)]
    return [row for _, _, row in sorted(turns, key=lambda found: found[:2])[:most]]


def label(row: Row, key: str) -> str:
    """What a row, or its provenance, says under a key; empty for nothing."""
    provenance = row.get("provenance") or {}
    return str(row.get(key) or provenance.get(key) or "")


def genre(row: Row) -> str:
    """The genre of a document, as its author recorded it."""
    return label(row, "genre") or label(row, "docType")


def documents(rows: Sequence[Row]) -> tuple[Sample, ...]:
    """Some kept documents, of different genres."""
    return tuple(_document(row) for row in spread(rows, "genre", DOCUMENTS))


def dropped_documents(rows: Sequence[Row]) -> tuple[Sample, ...]:
    """Some dropped ones, for different reasons."""
    return tuple(_document(row) for row in spread(rows, "reason", DROPPED))


def _document(row: Row) -> Sample:
    said = {name: str(row.get(name, "")) for name in ("id", "reason", "detail")}
    return Sample(text=cut(str(row["text"])), genre=genre(row), **said)


def chats(kept: Sequence[Row], dropped: Sequence[Row]) -> tuple[ChatSample, ...]:
    """Some kept chats, then some dropped ones."""
    return tuple(_chat(row) for row in [*kept[:CHATS], *spread(dropped, "reason", 2)])


def _chat(row: Row) -> ChatSample:
    turns = tuple(Turn(role=str(turn["role"]), content=cut(str(turn["content"]))) for turn in row["messages"])
    return ChatSample(id=str(row["id"]), messages=turns, reason=str(row.get("reason", "")), detail=str(row.get("detail", "")))


def answers(evaluation: str, items: Iterable[Item], seed: int, scores: Mapping[str, Sequence[ItemScore]]) -> tuple[AnswerSample, ...]:
    """The first items of each value and set that every arm answered, with all answers."""
    by_arm = {arm: {row.id: row for row in rows if row.answers is not None} for arm, rows in scores.items()}
    answered = [item for item in items if by_arm and all(item.id in rows for rows in by_arm.values())]
    taken: dict[tuple[str, str], int] = {}
    found = []
    for item in answered:
        taken[item.value, item.set] = taken.get((item.value, item.set), 0) + 1
        if taken[item.value, item.set] <= ANSWERS:
            found.append(_answers(evaluation, item, seed, {arm: rows[item.id] for arm, rows in by_arm.items()}))
    return tuple(found)


def _answers(evaluation: str, item: Item, seed: int, scores: Mapping[str, ItemScore]) -> AnswerSample:
    said = tuple(
        ArmAnswers(arm=arm, answers=(cut(score.answers[0], 300), cut(score.answers[1], 300)), choice=score.choice, margin=score.margin)
        for arm, score in scores.items()
        if score.answers is not None
    )
    return AnswerSample(
        eval=evaluation,
        id=item.id,
        value=item.value,
        set=item.set,
        seed=seed,
        prompt=item.prompt(0),
        options=(item.aligned, item.other),
        arms=said,
    )
