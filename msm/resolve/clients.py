"""The outside, as the resolver sees it: package index, model hub, object stores, model registry, and where bytes are kept.

Protocols only, plus the record that carries them; `wheels`, `hub` and `registry` implement them, tests inject their own. Invariant: an
implementation raises UserError (wrong address), TryAgain (unavailable) or IntegrityError (wrong bytes), never its library's errors.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from msm.resolve.addresses import Hf, Pypi


class Wheels(Protocol):
    """The package index of this machine."""

    def wheel(self, address: Pypi, field: str, cache: Path) -> Path:
        """The wheel's file in `cache`, downloaded when it is not there yet; its digest is the pinned one if there is a pin."""


class Hub(Protocol):
    """The model hub."""

    def commit(self, address: Hf, field: str) -> str:
        """The commit that the address's revision (default branch when None) stands for."""

    def file(self, address: Hf, field: str, cache: Path) -> Path:
        """The one file `address.inner`."""

    def snapshot(self, address: Hf, field: str, cache: Path, patterns: tuple[str, ...]) -> Path:
        """A directory with the repository's files that match the patterns."""


class ObjectEntry(Protocol):
    """What a listing says of one object."""

    @property
    def key(self) -> str:
        """Key within the bucket."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def etag(self) -> str:
        """The server's tag for this content."""


class Bucket(Protocol):
    """The part of `msm.store.objects.ObjectStore` that reading needs."""

    def get(self, key: str) -> bytes:
        """Bytes of an object."""

    def download(self, key: str, target: Path) -> None:
        """Stream an object into a file."""

    def list(self, prefix: str) -> Iterable[ObjectEntry]:
        """Objects whose key begins with the prefix."""


@dataclass(frozen=True, slots=True)
class Version:
    """A registered model version: its number and where its files are."""

    number: str
    source: str


class Registry(Protocol):
    """The model registry."""

    def version(self, name: str, alias: str | None, number: str | None, field: str) -> Version:
        """The version with that alias or number."""


@dataclass(frozen=True, slots=True)
class Clients:
    """Everything the resolver and the fetch stage may reach; None is "not configured here"."""

    cache: Path
    """Directory of downloaded wheels and hub files; a second run downloads nothing."""
    wheels: Wheels | None = None
    hub: Hub | None = None
    bucket: Callable[[str], Bucket] | None = None
    """Bucket name -> client; keys are relative to the bucket."""
    registry: Registry | None = None
