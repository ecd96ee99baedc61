"""What all processes of one piece of work may spend together, kept in the store: a cap that kills and shards do not reset.

Neighbours: `budget` claims from it before it lets anything be reserved. It is a log: entry n is created, if there is none, by who read all
entries before it and found that the sum stays under the cap; who loses the race reads on. Invariant: the sum of all entries never passes
the cap, and what was spent never passes the sum. What a killed process had claimed and not given back counts as spent: its questions in
flight may have been billed. Cost: one listing, one read of each new entry and one creation a claim; a claim is a fiftieth of the cap.
"""

from typing import Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from msm.errors import IntegrityError
from msm.store import ObjectStore
from msm.store.artifacts import ANSWERS

SHARE = 50
"""A claim is at least the cap divided by this, as far as there is room."""


class Purse(Protocol):
    """Where a budget gets what it may spend."""

    def claim(self, need: int, cap: int) -> int:
        """At least `need` units for this process, or 0 when there is no room under the cap."""
        ...

    def give_back(self, amount: int) -> None:
        """Return what was claimed and not spent."""
        ...

    def total(self) -> int:
        """What all processes hold or have spent."""
        ...


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    amount: int


class Ledger:
    """The log of one scope, such as a stage's fingerprint and an endpoint's name. Not for several threads at once."""

    def __init__(self, store: ObjectStore, scope: str) -> None:
        self._store, self._prefix = store, f"{ANSWERS}/spending/{scope}/"
        self._sum = self._read = 0

    def claim(self, need: int, cap: int) -> int:
        """At least `need` units, or 0 when there is no room under the cap."""
        while True:
            room = cap - self.total()
            amount = min(room, max(need, cap // SHARE))
            if amount < need:
                return 0
            if self._append(amount):
                return amount

    def give_back(self, amount: int) -> None:
        """Return what was claimed and not spent."""
        while amount > 0 and not self._append(-amount):
            self.total()

    def total(self) -> int:
        """The sum of all entries; reads what is new."""
        names = {found.key for found in self._store.list(self._prefix)}
        while (key := self._key(self._read)) in names:
            try:
                self._sum += _Entry.model_validate_json(self._store.get(key)).amount
            except ValidationError as error:
                raise IntegrityError(f"{key}: is no entry of a ledger; delete {self._prefix} to start counting from nothing") from error
            self._read += 1
        return self._sum

    def _append(self, amount: int) -> bool:
        return self._store.put_if_absent(self._key(self._read), _Entry(amount=amount).model_dump_json().encode())

    def _key(self, number: int) -> str:
        return f"{self._prefix}{number:06}.json"
