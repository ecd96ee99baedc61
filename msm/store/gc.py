"""What may go: everything that no run refers to and nobody is working on, once it is older than a grace period.

Neighbours: `msm gc` calls `collect`. Roots are `runs/<uid>/plan.json`. Invariant: no referenced artifact or blob is deleted,
nothing younger than the grace period, nothing of an attempt that still beats; a plan that cannot be read stops everything.
Manifests go first, so that an artifact that is half deleted is one that does not exist. Answers of language models are a cache, which
committed artifacts do not need: old ones go, but none while a run's stage that asks is not committed. Cost: one listing of the store, one
read per plan, heartbeat and manifest.
"""

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from msm.errors import IntegrityError
from msm.store.artifacts import ANSWERS, RESERVED, read_manifest
from msm.store.blobs import PREFIX as BLOBS
from msm.store.manifest import MANIFEST_FILE
from msm.store.objects import ObjectInfo, ObjectStore
from msm.store.progress import PROGRESS_FILE, Progress, parse_progress

ALIVE_FOR = timedelta(minutes=10)
"""A heartbeat within this of now, in either direction, protects its attempt whatever the grace period."""

ANSWERS_KEPT = timedelta(days=30)
"""Answers younger than this stay whatever the grace period: a run of the same text may come again."""
ASKING = frozenset(("outline", "write", "curate", "demonstrate", "evaluate"))
"""Kinds of stages that may ask a language model and continue from its answers."""

_DIGEST = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")

_log = logging.getLogger(__name__)

K = TypeVar("K")
Artifact = tuple[str, str]
"""(kind, fingerprint)"""


class _Loose(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Stage(_Loose):
    kind: str
    fingerprint: str


class _Plan(_Loose):
    """What gc needs of a plan; newer versions may say more."""

    stages: tuple[_Stage, ...]


@dataclass(frozen=True, slots=True)
class Roots:
    """What runs refer to."""

    artifacts: frozenset[Artifact]
    blobs: frozenset[str]


@dataclass(frozen=True, slots=True)
class Group:
    """Objects that live and die together; `name` is the prefix, or the key, that they share."""

    name: str
    objects: tuple[ObjectInfo, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(found.size for found in self.objects)


@dataclass(frozen=True, slots=True)
class Survey:
    """What is in the store, and what its manifests and heartbeats say. `winners`: committed artifact -> attempt id;
    `beats`: attempt prefix -> last heartbeat; `answers`: key -> the one object.
    """

    blobs: Mapping[str, Group]
    artifacts: Mapping[Artifact, Group]
    winners: Mapping[Artifact, str]
    beats: Mapping[str, Progress]
    answers: Mapping[str, Group] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GcReport:
    """Artifacts and blobs kept whole, what was deleted (prefixes and keys), and the bytes that it held."""

    kept: int
    deleted: tuple[str, ...]
    bytes: int


def collect(store: ObjectStore, now: datetime, grace: timedelta, dry_run: bool = False) -> GcReport:
    """Delete what may go; with `dry_run` only say what would.

    Raises:
        IntegrityError: a run's plan cannot be read, so that nobody knows what it refers to; nothing was deleted.
    """
    survey = survey_store(store)
    doomed = decide_deletions(survey, read_roots(store), now, grace)
    gone = doomed if dry_run else [group for group in doomed if _delete(store, group)]
    swept = 0 if dry_run else store.sweep(now - grace)
    whole = {group.name for group in (*survey.blobs.values(), *survey.artifacts.values())}
    names = tuple(group.name for group in gone)
    return GcReport(kept=len(whole - set(names)), deleted=names, bytes=swept + sum(group.size for group in gone))


def read_roots(store: ObjectStore) -> Roots:
    """What all runs' plans refer to: their stages, and as blobs every digest that stands anywhere in them.

    Too many blobs are better kept than one too few: a plan names them bare, with `sha256:`, in stages and in its resolution.

    Raises:
        IntegrityError: a plan cannot be read.
    """
    artifacts: set[Artifact] = set()
    blobs: set[str] = set()
    for key in [found.key for found in store.list("runs/") if _is_plan(found.key)]:
        raw = store.get(key)
        artifacts |= {(stage.kind, stage.fingerprint) for stage in _parse_plan(key, raw).stages}
        blobs |= {match.decode() for match in _DIGEST.findall(raw)}
    return Roots(frozenset(artifacts), frozenset(blobs))


def survey_store(store: ObjectStore) -> Survey:
    """List the store and read its manifests and heartbeats."""
    objects = list(store.list(""))
    artifacts = _grouped(objects, _artifact_of, lambda artifact: f"{artifact[0]}/{artifact[1]}/")
    committed = [
        artifact for artifact, group in artifacts.items() if any(found.key == group.name + MANIFEST_FILE for found in group.objects)
    ]
    winners = {artifact: winner for artifact in committed if (winner := _winner(store, artifact)) is not None}
    keys = [
        found.key
        for group in artifacts.values()
        for found in group.objects
        if found.key.endswith(f"/{PROGRESS_FILE}") and found.key.count("/") == 4
    ]
    beats = {key.removesuffix(PROGRESS_FILE): beat for key in keys if (beat := parse_progress(store, key)) is not None}
    blobs = _grouped(objects, _blob_of, lambda sha256: f"{BLOBS}{sha256[:2]}/{sha256}")
    answers = _grouped(objects, lambda key: key if key.startswith(f"{ANSWERS}/") else None, lambda key: key)
    return Survey(blobs, artifacts, winners, beats, answers)


def decide_deletions(survey: Survey, roots: Roots, now: datetime, grace: timedelta) -> list[Group]:
    """What may go, pure: unreferenced blobs and artifacts, and of committed artifacts the other attempts and all checkpoints."""
    blobs = [group for sha256, group in survey.blobs.items() if sha256 not in roots.blobs and _is_old(group, now, grace)]
    doomed = blobs + _old_answers(survey, roots, now, grace)
    for artifact, group in survey.artifacts.items():
        free = artifact not in roots.artifacts
        if free and _is_old(group, now, grace) and not any(_beats(survey, attempt, now) for attempt in _attempts(group)):
            doomed.append(group)
        elif artifact in survey.winners:
            doomed += _leftovers(survey, group, survey.winners[artifact], now, grace)
    return doomed


def _old_answers(survey: Survey, roots: Roots, now: datetime, grace: timedelta) -> list[Group]:
    """Answers that are old enough, when nobody is on the way who may want them again."""
    unfinished = any(kind in ASKING for kind, _ in roots.artifacts - survey.winners.keys())
    asking = any(attempt.partition("/")[0] in ASKING and _beats(survey, attempt, now) for attempt in survey.beats)
    if unfinished or asking:
        return []
    return [group for group in survey.answers.values() if _is_old(group, now, max(grace, ANSWERS_KEPT))]


def _leftovers(survey: Survey, group: Group, winner: str, now: datetime, grace: timedelta) -> list[Group]:
    """Dead attempts beside a committed one, and the committed one's checkpoints: nobody will continue from either."""
    committed = f"{group.name}attempts/{winner}/"
    parts = [part for attempt, part in _attempts(group).items() if attempt != committed and not _beats(survey, attempt, now)]
    checkpoints = tuple(found for found in group.objects if found.key.startswith(committed + "checkpoints/"))
    if checkpoints and not _beats(survey, committed, now):
        parts.append(Group(committed + "checkpoints/", checkpoints))
    return [part for part in parts if _is_old(part, now, grace)]


def _attempts(group: Group) -> dict[str, Group]:
    """Attempt prefix -> its objects."""
    start = f"{group.name}attempts/"

    def attempt_of(key: str) -> str | None:
        inner = key.removeprefix(start)
        return start + inner.partition("/")[0] + "/" if key.startswith(start) and "/" in inner else None

    return _grouped(group.objects, attempt_of, lambda attempt: attempt)


def _is_old(group: Group, now: datetime, grace: timedelta) -> bool:
    return all(found.modified < now - grace for found in group.objects)


def _beats(survey: Survey, attempt: str, now: datetime) -> bool:
    beat = survey.beats.get(attempt)
    return beat is not None and not beat.ended and abs(now - beat.heartbeat) < ALIVE_FOR


def _grouped(objects: Iterable[ObjectInfo], key_of: Callable[[str], K | None], name: Callable[[K], str]) -> dict[K, Group]:
    members: dict[K, list[ObjectInfo]] = {}
    for found in objects:
        key = key_of(found.key)
        if key is not None:
            members.setdefault(key, []).append(found)
    return {key: Group(name(key), tuple(group)) for key, group in members.items()}


def _artifact_of(key: str) -> Artifact | None:
    parts = key.split("/", 2)
    return (parts[0], parts[1]) if len(parts) == 3 and parts[0] not in RESERVED else None


def _blob_of(key: str) -> str | None:
    return key.rpartition("/")[2] if key.startswith(BLOBS) else None


def _is_plan(key: str) -> bool:
    parts = key.split("/")
    return len(parts) == 3 and parts[2] == "plan.json"


def _parse_plan(key: str, raw: bytes) -> _Plan:
    try:
        return _Plan.model_validate_json(raw)
    except ValidationError as error:
        raise IntegrityError(
            f"{key}: is no readable plan, so nothing was deleted; repair it, or delete runs/{key.split('/')[1]}/ to give that run up"
        ) from error


def _winner(store: ObjectStore, artifact: Artifact) -> str | None:
    try:
        manifest = read_manifest(store, *artifact)
    except IntegrityError as error:
        _log.warning("%s; nothing of it is removed while a run refers to it", error)
        return None
    return manifest.attempt if manifest else None


def _delete(store: ObjectStore, group: Group) -> bool:
    """Delete a group, manifests first, unless it changed since it was surveyed; says whether it did."""
    if set(store.list(group.name)) != set(group.objects):
        _log.info("%s changed meanwhile and stays", group.name)
        return False
    for found in sorted(group.objects, key=lambda found: (not found.key.endswith(f"/{MANIFEST_FILE}"), found.key)):
        store.delete(found.key)
    return True
