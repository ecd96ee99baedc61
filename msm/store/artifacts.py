"""The commit protocol: attempts write under prefixes of their own, and one conditional put decides whose files are the artifact.

Neighbours: stage programs begin, write and commit; executors ask `read_manifest`; consumers `materialise`. Invariant: what `read_manifest`
returns never changes and names only files that were whole before it existed; a loser's commit returns the winner's manifest.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue, ValidationError

from msm.clock import Clock, new_ulid
from msm.errors import IntegrityError, MSMError, TryAgain, UserError
from msm.store.digests import FileEntry, VerifiedFiles, entry_of_bytes, steady
from msm.store.manifest import MANIFEST_FILE, ArtifactRef, Manifest, content_digest, damaged
from msm.store.objects import ObjectNotFound, ObjectStore, check_key
from msm.store.placing import place
from msm.store.progress import PROGRESS_FILE, Progress

ANSWERS = "answers"
"""First part of the keys of what language models answered (msm.llm.journal)."""
RESERVED = ("blobs", "runs", "probe", ANSWERS)
"""First parts of keys that are not stage kinds."""
LOG_FILE = "log.txt"
TIMES_FILE = "times.jsonl"
"""Rows of what the clock said: lies beside the artifact, because it differs between equal ones."""
VERIFIED_FILE = ".verified.json"

__all__ = ["ArtifactRef", "Attempt", "FileEntry", "Manifest", "begin_attempt", "materialise", "open_attempt", "read_manifest"]


def artifact_prefix(kind: str, fingerprint: str) -> str:
    """`<kind>/<fingerprint>/`; UserError when the two are not one part of a key each."""
    if kind in RESERVED or "/" in kind or "/" in fingerprint:
        raise UserError("stage", f'"{kind}/{fingerprint}" is not a stage kind and a fingerprint', "use the ones from plan.json")
    return check_key(f"{kind}/{fingerprint}") + "/"


def read_manifest(store: ObjectStore, kind: str, fingerprint: str) -> Manifest | None:
    """The committed artifact of a fingerprint, or None.

    Raises:
        IntegrityError: there is one, and it is damaged or another's.
    """
    key = artifact_prefix(kind, fingerprint) + MANIFEST_FILE
    try:
        manifest = Manifest.model_validate_json(store.get(key))
    except ObjectNotFound:
        return None
    except ValidationError as error:
        raise damaged(key, error) from error
    if (manifest.kind, manifest.fingerprint) != (kind, fingerprint):
        raise IntegrityError(f"{key}: damaged: it belongs to {manifest.kind}/{manifest.fingerprint}; delete it and run again")
    return manifest


class Attempt:
    """One try at making an artifact. Made by `begin_attempt`, or by `open_attempt` in a further process of the same attempt.

    Lives from the start of a stage program to its commit. Only the process that put all files may commit.
    """

    def __init__(self, store: ObjectStore, kind: str, fingerprint: str, attempt: str, clock: Clock) -> None:
        self.store, self.kind, self.fingerprint, self.id = store, kind, fingerprint, attempt
        self.prefix = f"{artifact_prefix(kind, fingerprint)}attempts/{attempt}/"
        self._clock, self._started = clock, clock.now()
        self._files: dict[str, FileEntry] = {}

    @property
    def clock(self) -> Clock:
        """The clock that times this attempt."""
        return self._clock

    @property
    def files(self) -> Mapping[str, FileEntry]:
        """What was put so far."""
        return dict(self._files)

    def put_file(self, relative: str, source: Path) -> FileEntry:
        """Store a file as part of the artifact; UserError when it changes meanwhile."""
        with steady(source) as entry:
            self.store.upload(self._file_key(relative), source)
        self._files[relative] = entry
        return entry

    def put_bytes(self, relative: str, data: bytes) -> FileEntry:
        """Store bytes as a file of the artifact."""
        self.store.put(self._file_key(relative), data)
        self._files[relative] = entry_of_bytes(data)
        return self._files[relative]

    def put_directory(self, directory: Path) -> Mapping[str, FileEntry]:
        """Store every file under a directory, by its path within it."""
        for source in files_under(directory):
            self.put_file(source.relative_to(directory).as_posix(), source)
        return self.files

    def write_progress(self, progress: Progress) -> None:
        """Replace this attempt's heartbeat."""
        if progress.attempt != self.id:
            raise MSMError(f"progress of attempt {progress.attempt} was handed to attempt {self.id}")
        self.store.put(self.prefix + PROGRESS_FILE, progress.model_dump_json(by_alias=True).encode())

    def retire(self, last: Progress) -> None:
        """Say that no further heartbeat comes, so that the next owner need not wait three beats. For every end but a commit."""
        self.write_progress(last.model_copy(update={"ended": True, "heartbeat": self._clock.now()}))

    def put_beside(self, name: str, data: bytes) -> None:
        """Store bytes beside the artifact: kept and collected with it, but in no digest."""
        self.store.put(check_key(self.prefix + name), data)

    def put_log(self, source: Path) -> None:
        """Store or replace the attempt's log, which lies beside the artifact and is not part of it."""
        self.store.upload(self.prefix + LOG_FILE, source)

    def commit(
        self,
        *,
        kind_version: int,
        inputs: Mapping[str, Sequence[ArtifactRef]],
        params: Mapping[str, JsonValue],
        versions: Mapping[str, str],
        metrics: Mapping[str, float],
    ) -> Manifest:
        """Make what was put the artifact, unless somebody was first; returns the winner's manifest, ours or theirs.

        Raises:
            MSMError: a metric is not finite.
            TryAgain: the store does not answer, or the winner's manifest was removed at once.
        """
        try:
            ours = Manifest(
                kind=self.kind,
                fingerprint=self.fingerprint,
                kind_version=kind_version,
                files=self._files,
                content_digest=content_digest(self._files),
                inputs={role: list(refs) for role, refs in inputs.items()},
                params=dict(params),
                versions=dict(versions),
                metrics=dict(metrics),
                attempt=self.id,
                started=self._started,
                ended=self._clock.now(),
            )
        except ValidationError as error:
            first = error.errors()[0]
            raise MSMError(f"{self.kind}: {'.'.join(map(str, first['loc']))}: {first['msg']}; nothing was committed") from error
        return ours if self.store.put_if_absent(self._manifest_key(), ours.to_json()) else self._winner()

    def _winner(self) -> Manifest:
        winner = read_manifest(self.store, self.kind, self.fingerprint)
        if winner is None:
            raise TryAgain(f"{self._manifest_key()}: another attempt committed and its manifest was removed meanwhile")
        return winner

    def _manifest_key(self) -> str:
        return artifact_prefix(self.kind, self.fingerprint) + MANIFEST_FILE

    def _file_key(self, relative: str) -> str:
        return check_key(f"{self.prefix}files/{relative}")


def begin_attempt(store: ObjectStore, kind: str, fingerprint: str, clock: Clock) -> Attempt:
    """A new attempt with an id of its own; writes nothing yet."""
    return Attempt(store, kind, fingerprint, new_ulid(clock), clock)


def open_attempt(store: ObjectStore, kind: str, fingerprint: str, attempt: str, clock: Clock) -> Attempt:
    """An attempt that another process began, for its heartbeats and checkpoints; it knows none of the other's files."""
    return Attempt(store, kind, fingerprint, attempt, clock)


def materialise(
    store: ObjectStore, manifest: Manifest, into: Path, only: Collection[str] | None = None, memory: Path | None = None
) -> Path:
    """A directory with the artifact's files (or `only` some), each verified; returns `into`.

    Files of a file store are links to read-only originals, those of a bucket copies, kept when already there and right. Large files that
    were verified are remembered in `memory` (default: `.verified.json` beside `into`) and not read again while they stay untouched.

    Raises:
        IntegrityError: a file is damaged or missing; the damaged bytes are not in `into`.
    """
    wanted = set(manifest.files) if only is None else set(only)
    if unknown := sorted(wanted - set(manifest.files)):
        raise MSMError(f"{manifest.kind}/{manifest.fingerprint} has no file {unknown[0]}; it has: {', '.join(sorted(manifest.files))}")
    into.mkdir(parents=True, exist_ok=True)
    verified = VerifiedFiles(memory or into.parent / VERIFIED_FILE)
    for path in sorted(wanted):
        place(store, manifest.key(path), manifest.files[path], into / path, verified)
    return into


def files_under(directory: Path) -> list[Path]:
    """All files under a directory, in path order; UserError when there is no such directory."""
    if not directory.is_dir():
        raise UserError(str(directory), "is not a directory", "name the directory that holds the files")
    return sorted(path for path in directory.rglob("*") if path.is_file())
