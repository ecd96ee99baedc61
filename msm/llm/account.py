"""What was asked, answered, retried and paid, by purpose.

Neighbours: `client` and `journal` count into one `Account`, stages report it. Invariant: asked = answered + reused + failed + abandoned +
open, for every purpose and at every moment: nothing is lost silently. Cost: none.
"""

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any

from msm.llm.ask import Usage


@dataclass(slots=True)
class Totals:
    """Counts of one purpose.

    `reused` answers came from the journal and cost nothing now. `failed` by reason, `abandoned` were cancelled or met an error that ends
    the stage. `tries` went over the wire; `setbacks` says by kind which of them failed; `corrections` asked again for the right form.
    `price` in 10^-12 of the currency; `unconfirmed` is its part for tries that broke off and may have been billed.
    """

    asked: int = 0
    answered: int = 0
    reused: int = 0
    abandoned: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    tries: int = 0
    setbacks: Counter[str] = field(default_factory=Counter)
    corrections: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    price: int = 0
    unconfirmed: int = 0

    @property
    def open(self) -> int:
        """Asked and not ended."""
        return self.asked - self.answered - self.reused - self.abandoned - self.failed.total()

    def use(self, usage: Usage) -> None:
        """Add an answer's tokens."""
        self.prompt_tokens += usage.prompt
        self.cached_tokens += usage.cached
        self.completion_tokens += usage.completion


class Account:
    """Totals by purpose."""

    def __init__(self) -> None:
        self.purposes: dict[str, Totals] = {}

    def of(self, purpose: str) -> Totals:
        """The counts of one purpose, made when absent."""
        return self.purposes.setdefault(purpose, Totals())

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """Plain data for statistics."""
        return {purpose: _plain(totals) for purpose, totals in sorted(self.purposes.items())}


def _plain(totals: Totals) -> dict[str, Any]:
    values = {member.name: getattr(totals, member.name) for member in fields(totals)}
    return {name: dict(sorted(value.items())) if isinstance(value, Counter) else value for name, value in values.items()}
