"""What the next attempt continues from: directories saved under an attempt, each complete only once its own manifest is there.

Neighbours: training saves and restores; gc removes them after the commit. Invariant: a checkpoint without manifest does not exist for
readers; a damaged one is passed over, loudly, for the one before. Cost: one listing of the fingerprint's attempts for a look.
"""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from pydantic import AwareDatetime, ValidationError

from msm.errors import IntegrityError, MSMError
from msm.store.artifacts import Attempt, artifact_prefix, files_under
from msm.store.digests import FileEntry, steady
from msm.store.manifest import MANIFEST_FILE, Files, Record, content_digest, damaged
from msm.store.objects import ObjectNotFound, ObjectStore
from msm.store.placing import place

_log = logging.getLogger(__name__)


class CheckpointManifest(Record):
    """What a complete checkpoint consists of."""

    attempt: str
    step: int
    files: Files
    content_digest: str
    saved: AwareDatetime


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete checkpoint: whose, after which step (updates done), and its prefix in the store. Not yet verified."""

    attempt: str
    step: int
    prefix: str


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored, and a line for each newer checkpoint that was damaged."""

    checkpoint: Checkpoint
    skipped: tuple[str, ...]

    @property
    def step(self) -> int:
        """Updates done when it was saved."""
        return self.checkpoint.step


def save_checkpoint(attempt: Attempt, step: int, directory: Path) -> Checkpoint:
    """Store a directory as the attempt's checkpoint after `step`: files first, manifest last.

    Saving a step again replaces it. When it fails half-way what was written is removed as far as the store still allows.
    """
    checkpoint = Checkpoint(attempt.id, step, f"{attempt.prefix}checkpoints/step-{step}/")
    attempt.store.delete(checkpoint.prefix + MANIFEST_FILE)
    try:
        files = _upload(attempt.store, checkpoint.prefix, directory)
        manifest = CheckpointManifest(
            attempt=attempt.id, step=step, files=files, content_digest=content_digest(files), saved=attempt.clock.now()
        )
        attempt.store.put(checkpoint.prefix + MANIFEST_FILE, manifest.to_json())
    except MSMError:
        _discard_quietly(attempt.store, checkpoint)
        raise
    return checkpoint


def newest_checkpoints(store: ObjectStore, kind: str, fingerprint: str) -> list[Checkpoint]:
    """Complete checkpoints of all attempts at a fingerprint, furthest step first, younger attempt first among equals."""
    keys = [found.key for found in store.list(f"{artifact_prefix(kind, fingerprint)}attempts/")]
    found = [checkpoint for key in keys if (checkpoint := _from_key(key)) is not None]
    return sorted(found, key=lambda checkpoint: (checkpoint.step, checkpoint.attempt), reverse=True)


def fetch_checkpoint(store: ObjectStore, checkpoint: Checkpoint, into: Path) -> Path:
    """The checkpoint's files in `into`, which is replaced; read-only links where the store is a directory.

    Raises:
        IntegrityError: anything of it is damaged or missing; `into` is then as it was.
    """
    manifest = _manifest(store, checkpoint)
    staging = into.with_name(f".{into.name}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        for path, entry in sorted(manifest.files.items()):
            place(store, f"{checkpoint.prefix}files/{path}", entry, staging / path)
        shutil.rmtree(into, ignore_errors=True)
        staging.rename(into)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return into


def restore_newest(store: ObjectStore, kind: str, fingerprint: str, into: Path) -> Restored | None:
    """The newest checkpoint that is whole, in `into`; None when there is none. Damaged ones are logged and named in the result."""
    skipped: list[str] = []
    for checkpoint in newest_checkpoints(store, kind, fingerprint):
        try:
            fetch_checkpoint(store, checkpoint, into)
        except IntegrityError as error:
            skipped.append(f"checkpoint step {checkpoint.step} of attempt {checkpoint.attempt} is passed over: {error}")
            _log.warning(skipped[-1])
            continue
        return Restored(checkpoint, tuple(skipped))
    return None


def prune(attempt: Attempt, keep: int = 2) -> int:
    """Remove what this attempt no longer needs; returns how many checkpoints went.

    Of its own it keeps the newest `keep`. Once it has that many, older attempts lose those that lie behind them all; an older attempt that
    is further than we are keeps what it has, and so does anybody younger.
    """
    complete = newest_checkpoints(attempt.store, attempt.kind, attempt.fingerprint)
    own = [checkpoint for checkpoint in complete if checkpoint.attempt == attempt.id]
    obsolete = own[keep:]
    if len(own) >= keep > 0:
        obsolete += [checkpoint for checkpoint in complete if checkpoint.attempt < attempt.id and checkpoint.step <= own[keep - 1].step]
    for checkpoint in obsolete:
        discard(attempt.store, checkpoint)
    return len(obsolete)


def discard(store: ObjectStore, checkpoint: Checkpoint) -> None:
    """Remove a checkpoint, manifest first, so that nobody starts on half of it."""
    store.delete(checkpoint.prefix + MANIFEST_FILE)
    for found in list(store.list(checkpoint.prefix)):
        store.delete(found.key)


def _upload(store: ObjectStore, prefix: str, directory: Path) -> dict[str, FileEntry]:
    files: dict[str, FileEntry] = {}
    for source in files_under(directory):
        path = source.relative_to(directory).as_posix()
        with steady(source) as entry:
            store.upload(f"{prefix}files/{path}", source)
        files[path] = entry
    return files


def _discard_quietly(store: ObjectStore, checkpoint: Checkpoint) -> None:
    try:
        discard(store, checkpoint)
    except MSMError as error:
        _log.warning("what was saved of checkpoint step %d stays until gc: %s", checkpoint.step, error)


def _manifest(store: ObjectStore, checkpoint: Checkpoint) -> CheckpointManifest:
    key = checkpoint.prefix + MANIFEST_FILE
    try:
        manifest = CheckpointManifest.model_validate_json(store.get(key))
    except ObjectNotFound as error:
        raise IntegrityError(f"{key}: removed meanwhile") from error
    except ValidationError as error:
        raise damaged(key, error) from error
    if content_digest(manifest.files) != manifest.content_digest or manifest.step != checkpoint.step:
        raise IntegrityError(f"{key}: damaged: it does not describe the files of step {checkpoint.step}")
    return manifest


def _from_key(key: str) -> Checkpoint | None:
    match key.split("/"):
        case [_, _, "attempts", attempt, "checkpoints", folder, name] if name == MANIFEST_FILE and folder.removeprefix("step-").isdecimal():
            return Checkpoint(attempt, int(folder.removeprefix("step-")), key.removesuffix(MANIFEST_FILE))
    return None
