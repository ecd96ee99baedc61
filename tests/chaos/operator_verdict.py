"""What `make chaos` counts."""

from dataclasses import dataclass, fields


@dataclass(slots=True)
class OperatorVerdict:
    """All but the first two must be 0. `stuck`: what has no end; `different`: stories that end otherwise than undisturbed."""

    kills: int = 0
    injected: int = 0
    lost: int = 0
    duplicates: int = 0
    stuck: int = 0
    different: int = 0

    def add(self, other: "OperatorVerdict") -> None:
        for part in fields(self):
            setattr(self, part.name, getattr(self, part.name) + getattr(other, part.name))

    @property
    def good(self) -> bool:
        return not (self.lost or self.duplicates or self.stuck or self.different)
