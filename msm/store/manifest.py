"""What a committed artifact is: its files with digests, what it was made from, by what, and how it went.

Neighbours: `artifacts` writes and reads it. Invariant: `contentDigest` is the digest of `files`, checked whenever one is parsed, and every
path in it is a plain relative name, because a manifest is data from outside.
"""

from typing import Annotated, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, JsonValue, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from msm.errors import IntegrityError
from msm.plan.fingerprint import digest
from msm.store.digests import FileEntry
from msm.store.objects import key_problem

MANIFEST_FILE = "manifest.json"


def _plain(path: str) -> str:
    problem = key_problem(path)
    if problem is not None:
        raise ValueError(f'path "{path[:120]}" {problem}')
    return path


Files = dict[Annotated[str, AfterValidator(_plain)], FileEntry]
"""Relative path -> size and digest."""


def content_digest(files: dict[str, FileEntry]) -> str:
    """SHA-256, in hex, of the canonical JSON of a set of files: their paths, sizes and digests, not their times."""
    return digest({path: entry.model_dump() for path, entry in files.items()})


class Record(BaseModel):
    """What manifests share: frozen, camelCase, closed to unknown keys, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, allow_inf_nan=False)

    def to_json(self) -> bytes:
        """The bytes that go into the store."""
        return self.model_dump_json(by_alias=True, indent=1).encode()


class ArtifactRef(Record):
    """An artifact as another one read it."""

    kind: str
    fingerprint: str
    content_digest: str


class Manifest(Record):
    """A committed artifact. `files` lie under `<kind>/<fingerprint>/attempts/<attempt>/files/`; times are UTC."""

    kind: str
    fingerprint: str
    kind_version: int
    files: Files
    content_digest: str
    inputs: dict[str, list[ArtifactRef]]
    params: dict[str, JsonValue]
    versions: dict[str, str]
    metrics: dict[str, float]
    attempt: Annotated[str, AfterValidator(_plain)]
    started: AwareDatetime
    ended: AwareDatetime

    @model_validator(mode="after")
    def _digest_is_right(self) -> Self:
        if content_digest(self.files) != self.content_digest:
            raise ValueError("contentDigest is not the digest of files")
        return self

    @property
    def ref(self) -> ArtifactRef:
        """The artifact as an input of another."""
        return ArtifactRef(kind=self.kind, fingerprint=self.fingerprint, content_digest=self.content_digest)

    def key(self, path: str) -> str:
        """The store key of one of its files."""
        return f"{self.kind}/{self.fingerprint}/attempts/{self.attempt}/files/{path}"

    def beside(self, name: str) -> str:
        """The store key of what its attempt left beside the files; there is no digest for it, and it may be absent."""
        return f"{self.kind}/{self.fingerprint}/attempts/{self.attempt}/{name}"


def damaged(key: str, error: ValidationError) -> IntegrityError:
    """The error for a manifest that cannot be read; names the first thing wrong with it."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return IntegrityError(f"{key}: damaged: {where or 'manifest'}: {first['msg']}; delete it and run again to make the artifact anew")
