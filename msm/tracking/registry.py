"""Registered model versions: one for each trained artifact, with its lineage, and the alias of the run's candidate.

Talks to MLflow. Neighbours: `project` calls it, `models` reads back what it wrote. Invariant: a trained artifact (fingerprint and content
digest) has one version in a registered model, however often and by however many runs it is projected; a run moves the alias once, so a
later sync never takes it back from a newer run or a person. Cost: one search, then one write per difference.
"""

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from msm.plan import Stage, StageRef, kinds
from msm.tracking.client import Client
from msm.tracking.desired import Tag, arms_of
from msm.tracking.runs import Upserted
from msm.tracking.snapshot import Snapshot
from msm.tracking.sources import artifact_uri, version_source

CANDIDATE = "candidate"
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """A model version as it should be; `parent` is the fingerprint of the midtraining that this fine-tuning continued."""

    fingerprint: str
    content_digest: str
    source: str
    tags: Mapping[str, str]
    parent: str | None = None


@dataclass(slots=True)
class Registered:
    """What a projection did to the registry: versions by fingerprint, how many are new, and what the user should know."""

    versions: dict[str, str]
    created: int = 0
    note: str = ""


def registered_name(snapshot: Snapshot) -> str:
    """Name of the registered model."""
    registry = snapshot.run.spec.registry
    return registry.model if registry is not None else snapshot.run.metadata.name


def desired_versions(snapshot: Snapshot, store_uri: str, host: str | None) -> Iterator[VersionRecord]:
    """A record for each committed training stage, a midtraining before the fine-tunings that continue it. `host`: see `version_source`."""
    for stage in snapshot.plan.stages:
        manifest = snapshot.committed.get(stage.fingerprint)
        if stage.kind in kinds.TRAINING and manifest is not None:
            (parent, *_) = (*(ref.fingerprint for ref in stage.inputs.get("parent", ())), None)
            source = version_source(artifact_uri(store_uri, manifest), host)
            yield VersionRecord(stage.fingerprint, manifest.content_digest, source, _tags(snapshot, stage, manifest.attempt), parent)


def _tags(snapshot: Snapshot, stage: Stage, attempt: str) -> dict[str, str]:
    return {
        Tag.FINGERPRINT: stage.fingerprint,
        Tag.CONTENT: snapshot.committed[stage.fingerprint].content_digest,
        Tag.ATTEMPT: attempt,
        Tag.BASE: snapshot.plan.resolution.identity("baseModel"),
        Tag.KIND: stage.kind,
        Tag.ARMS: ",".join(arms_of(snapshot, stage)),
        Tag.SEED: str(stage.params.get("seed", "")),
        Tag.PRECISION: str(stage.params.get("precision", "")),
        Tag.RUN: snapshot.uid,
    }


def candidate(snapshot: Snapshot) -> StageRef | None:
    """The model that gets the alias: the candidate arm's, of the first listed seed, never "the best". None when no arm is named."""
    registry = snapshot.run.spec.registry
    if registry is None or registry.candidate is None:
        return None
    first = snapshot.run.spec.seeds[0]
    return next((m.model for m in snapshot.plan.models if (m.arm, m.seed) == (registry.candidate, first)), None)


def register(client: Client, snapshot: Snapshot, store_uri: str, host: str | None, runs: Mapping[str, Upserted]) -> Registered:
    """Make the registry agree; `runs` are MLflow's stage runs by fingerprint. Nothing is made before a first stage is trained."""
    name = registered_name(snapshot)
    records = list(desired_versions(snapshot, store_uri, host))
    done = Registered({})
    if not records:
        return done
    _ensure_model(client, name)
    existing = {_identity(v.tags): v for v in search_versions(client, name)}
    for record in records:
        version = existing.get((record.fingerprint, record.content_digest))
        if version is None:
            done.versions[record.fingerprint] = _create(client, name, record, runs, done.versions)
            done.created += 1
        else:
            done.versions[record.fingerprint] = str(version.version)
            _add_arms(client, name, version, record)
    if host is not None and any(r.source.startswith("msm-file:") for r in records):
        done.note = "model versions name files on this machine (file:// store); use an s3:// store to make them downloadable elsewhere"
    return done


def _identity(tags: Mapping[str, str]) -> tuple[str | None, str | None]:
    return tags.get(Tag.FINGERPRINT), tags.get(Tag.CONTENT)


def _ensure_model(client: Client, name: str) -> None:
    from mlflow.exceptions import MlflowException

    if client.search_registered_models(f"name = {quoted(name)}", max_results=1):
        return
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def search_versions(client: Client, name: str) -> list[Any]:
    """All versions of a registered model, oldest first."""
    found: list[Any] = []
    token = None
    while True:
        page = client.search_model_versions(f"name = {quoted(name)}", max_results=_PAGE, page_token=token)
        found += page
        token = page.token
        if not token:
            return sorted(found, key=lambda v: int(v.version))


def quoted(name: str) -> str:
    """A name as a literal of MLflow's filter language, which has no escapes."""
    return f'"{name}"' if "'" in name else f"'{name}'"


def _create(client: Client, name: str, record: VersionRecord, runs: Mapping[str, Upserted], versions: MutableMapping[str, str]) -> str:
    tags = dict(record.tags)
    if record.parent is not None and record.parent in versions:
        tags[Tag.PARENT_VERSION] = versions[record.parent]
    run_id = runs[record.fingerprint].run_id
    created = client.create_model_version(name, record.source, run_id=run_id, tags=tags, await_creation_for=0)
    return str(created.version)


def _add_arms(client: Client, name: str, version: Any, record: VersionRecord) -> None:
    """Another run may know the same artifact under other names of arms: keep all of them."""
    here = set(filter(None, version.tags.get(Tag.ARMS, "").split(",")))
    wanted = set(filter(None, record.tags[Tag.ARMS].split(",")))
    if not wanted <= here:
        client.set_model_version_tag(name, version.version, Tag.ARMS, ",".join(sorted(here | wanted)))


def point_candidate(client: Client, snapshot: Snapshot, versions: Mapping[str, str], parent: Upserted) -> str:
    """Move the alias `candidate`, unless this run has done so before; returns what the user should know, mostly nothing."""
    ref = candidate(snapshot)
    if ref is None:
        return ""
    if ref.kind not in kinds.TRAINING:
        return "registry.candidate names an arm that is not trained; there is no version to give the alias to"
    version = versions.get(ref.fingerprint)
    if version is not None and parent.tags.get(Tag.CANDIDATE) != version:
        client.set_registered_model_alias(registered_name(snapshot), CANDIDATE, version)
        client.set_tag(parent.run_id, Tag.CANDIDATE, version)
    return ""
