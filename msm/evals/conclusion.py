"""One sentence that says what a table of effects means.

Pure. Neighbour: `effects` finds the effects. Invariant: every claim is an interval that excludes zero, or says that none does; a value is
said to have moved beyond its words only if the items of the set "disjoint", which share no content word with any training text, show it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from msm.evals.effects import ArmLike
from msm.evals.statistics import Effect

DISJOINT = "disjoint"


@dataclass(frozen=True, slots=True)
class _Cell:
    """The margin effects of one arm on one value: set -> effect."""

    arm: str
    value: str
    sets: Mapping[str, Effect]

    def signed(self, sign: int) -> list[Effect]:
        return [effect for effect in self.sets.values() if effect.sign == sign]


def conclude(effects: Sequence[Effect], arms: Sequence[ArmLike]) -> str:
    """Say which arms moved which values, on which items, and what carries that.

    Of an arm that is compared with several, the first comparison is spoken of. An arm's own values are those that its corpora's names
    name; when no arm's name any, all are. Arms with midtraining are spoken of; when no such arm was compared, all compared arms. A move
    of another value is reported as a side effect, so is all that an arm with neutral documents moves.
    """
    own, beside = _split(_cells(effects), arms)
    if not own:
        return "No two arms can be compared: the run has no arm beside its control with scored items."
    text = "; ".join([*_moves(own), *_carriers(own), *_side_effects(beside)])
    return f"{text}."


def own_values(effects: Sequence[Effect], arms: Sequence[ArmLike]) -> frozenset[tuple[str, str]]:
    """The (arm, value) pairs that a conclusion speaks of: what is not a control's move nor a side effect."""
    return frozenset((cell.arm, cell.value) for cell in _split(_cells(effects), arms)[0])


def _split(cells: Sequence[_Cell], arms: Sequence[ArmLike]) -> tuple[list[_Cell], list[_Cell]]:
    """Cells of an arm's own values, and those of side effects."""
    trained = {arm.name: arm for arm in arms if arm.midtrain}
    spoken = [cell for cell in cells if cell.arm in trained] or list(cells)
    named = [cell for cell in spoken if cell.arm in trained and _names(trained[cell.arm].midtrain, cell.value)]
    own = named or spoken
    return own, [cell for cell in spoken if cell not in own]


def _cells(effects: Iterable[Effect]) -> list[_Cell]:
    table: dict[tuple[str, str], dict[str, Effect]] = {}
    first: dict[str, str] = {}
    for effect in effects:
        _, value, set_, measure = effect.metric.rsplit(".", 3)
        if measure == "margin" and first.setdefault(effect.arm, effect.versus) == effect.versus:
            table.setdefault((effect.arm, value), {})[set_] = effect
    return [_Cell(arm, value, sets) for (arm, value), sets in table.items()]


def _names(corpora: Iterable[str], value: str) -> bool:
    return any(
        value.casefold() in re.split(r"[^a-z0-9]+", corpus.casefold()) or corpus.casefold() == value.casefold() for corpus in corpora
    )


def _moves(cells: Sequence[_Cell]) -> list[str]:
    """A clause for each move, so that a page can show each on a line of its own; one for all that did not move."""
    clauses = [_moved(cell, sign) for cell in cells for sign in (1, -1) if cell.signed(sign)]
    still = [f"{cell.arm} on {cell.value}" for cell in cells if not cell.signed(1) and not cell.signed(-1)]
    if still:
        clauses.append(f"no interval excludes zero for {_joined(still)}: at this size and dose nothing is shown there")
    return clauses


def _moved(cell: _Cell, sign: int) -> str:
    found = cell.signed(sign)
    names = {effect.metric.rsplit(".", 2)[1]: effect for effect in found}
    sets = _joined([f"on {set_} items ({_interval(effect)})" for set_, effect in names.items()])
    return f"{cell.arm} favors {cell.value} {'more' if sign > 0 else 'less'} than {found[0].versus} {sets}"


def _interval(effect: Effect) -> str:
    return f"{effect.estimate:+.2f} nats, {effect.confidence * 100:g} % interval {effect.low:.2f} to {effect.high:.2f}"


def _carriers(cells: Sequence[_Cell]) -> list[str]:
    """Say what carries the rises: the words alone, or the value, as the disjoint items tell."""
    tested = [cell for cell in cells if DISJOINT in cell.sets and len(cell.sets) > 1 and cell.signed(1)]
    beyond = [cell for cell in tested if cell.sets[DISJOINT].sign > 0]
    words = [cell for cell in tested if cell.sets[DISJOINT].sign <= 0]
    clauses = []
    if beyond:
        clauses.append(f"for {_values(beyond, tested)} the disjoint items, which share no content word with the training text, show it too")
    if words:
        clauses.append(
            f"for {_values(words, tested)} the disjoint items, which share no content word with the training text, do not show it: "
            "the value's words may carry the effect alone"
        )
    return clauses


def _side_effects(cells: Iterable[_Cell]) -> list[str]:
    moved = [_moved(cell, sign) for cell in cells for sign in (1, -1) if cell.signed(sign)]
    return [f"besides, {_joined(moved)}"] if moved else []


def _values(cells: Sequence[_Cell], tested: Sequence[_Cell]) -> str:
    """The cells' values; with their arms where arms differ in what they show of a value."""
    split = {cell.value for cell in tested if cell not in cells} & {cell.value for cell in cells}
    return _joined(list(dict.fromkeys(f"{cell.value} in {cell.arm}" if cell.value in split else cell.value for cell in cells)))


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
