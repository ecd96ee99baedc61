"""Aliases of a registered model: who is champion, who was before, and who moved it when and why.

Talks to MLflow. Neighbours: `msm promote` and `msm rollback` move an alias, the operator's EvalDeployment controller follows it by
`read_alias`. Invariant: before an alias leaves a version, that version is noted in a tag of the registered model, so that it can be moved
back; a move that broke off half-way is completed by repeating it. MLflow has no compare-and-set: of two people who promote at once the
later one wins, and both are noted. Cost: one read to follow; a promotion is two reads and four writes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from msm.errors import UserError
from msm.tracking.client import Client
from msm.tracking.desired import Tag
from msm.tracking.registry import quoted, search_versions

CHAMPION = "champion"
KEPT = 32
"""Versions that are remembered of an alias, the latest last."""
LONGEST = 1000
"""Characters of a note; MLflow takes 5000 of a tag."""
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


@dataclass(frozen=True, slots=True)
class AliasVersion:
    """What an alias names: the version, where its weights lie, and which trained artifact it is (empty where msm did not register it)."""

    version: str
    source: str
    kind: str
    fingerprint: str
    content_digest: str


@dataclass(frozen=True, slots=True)
class Note:
    """Who moved an alias, when and why; `run` is the run whose gates were checked, `gates` what they said."""

    by: str
    at: datetime
    why: str
    run: str = ""
    forced: bool = False
    gates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Moved:
    """What a move did: from which version (None: the alias was not there) to which. Equal when there was nothing to do."""

    model: str
    alias: str
    before: str | None
    after: str


def previous_tag(alias: str) -> str:
    """Tag of a registered model: the versions that an alias has left, as JSON, the latest last."""
    return f"msm.previous.{alias}"


def promoted_tag(alias: str) -> str:
    """Tag of a version: its promotion to an alias."""
    return f"msm.promoted.{alias}"


def rolled_back_tag(alias: str) -> str:
    """Tag of a version: that an alias was moved back from it."""
    return f"msm.rolled_back.{alias}"


def read_alias(client: Client, model: str, alias: str) -> AliasVersion | None:
    """What an alias names now; None when there is no such model or alias."""
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_model_version_by_alias(model, alias)
    except MlflowException as error:
        if error.error_code in _ABSENT:
            return None
        raise
    tags: Mapping[str, str] = found.tags
    marks = (tags.get(name, "") for name in (Tag.KIND, Tag.FINGERPRINT, Tag.CONTENT))
    return AliasVersion(str(found.version), found.source or "", *marks)


def version_of(client: Client, model: str, fingerprint: str, content_digest: str) -> str | None:
    """The version of a trained artifact, or None while MLflow does not show it."""
    wanted = (fingerprint, content_digest)
    versions = search_versions(client, model)
    return next((str(v.version) for v in versions if (v.tags.get(Tag.FINGERPRINT), v.tags.get(Tag.CONTENT)) == wanted), None)


def promote(client: Client, model: str, alias: str, version: str, note: Note) -> Moved:
    """Move an alias to a version, remembering where it was. Nothing is written when it is there already."""
    before = _current(client, model, alias)
    if before == version:
        return Moved(model, alias, before, version)
    if before is not None:
        _remember(client, model, alias, [*_left(client, model, alias), before])
    client.set_model_version_tag(model, version, promoted_tag(alias), _written(note, before))
    client.set_registered_model_alias(model, alias, version)
    return Moved(model, alias, before, version)


def roll_back(client: Client, model: str, alias: str, note: Note) -> Moved:
    """Move an alias back to the version that it left last and that still exists.

    Raises:
        UserError: there is no such alias, or no version to go back to.
    """
    before = _current(client, model, alias)
    if before is None:
        raise UserError("model", f'"{model}" has no alias "{alias}"', "`msm models` lists what there is; `msm promote` sets it")
    there = {str(version.version) for version in search_versions(client, model)}
    left = [version for version in _left(client, model, alias) if version in there]
    while left and left[-1] == before:
        left.pop()
    if not left:
        raise UserError("model", f'"{alias}" of "{model}" has always been version {before}', "there is no version to go back to")
    after = left.pop()
    client.set_model_version_tag(model, before, rolled_back_tag(alias), _written(note, after))
    client.set_registered_model_alias(model, alias, after)
    _remember(client, model, alias, left)
    return Moved(model, alias, before, after)


def _current(client: Client, model: str, alias: str) -> str | None:
    found = read_alias(client, model, alias)
    return None if found is None else found.version


def _left(client: Client, model: str, alias: str) -> list[str]:
    """Versions that an alias has left; a tag that somebody wrote something else into counts as none."""
    models = client.search_registered_models(f"name = {quoted(model)}", max_results=1)
    text = models[0].tags.get(previous_tag(alias), "[]") if models else "[]"
    try:
        found = json.loads(text)
    except ValueError:
        return []
    return [str(version) for version in found] if isinstance(found, list) else []


def _remember(client: Client, model: str, alias: str, left: list[str]) -> None:
    """Write the versions that an alias has left, each step once."""
    steps = [version for at, version in enumerate(left) if at == 0 or left[at - 1] != version]
    client.set_registered_model_tag(model, previous_tag(alias), json.dumps(steps[-KEPT:]))


def _written(note: Note, other: str | None) -> str:
    said = {"by": note.by, "at": note.at.isoformat(timespec="seconds"), "why": _cut(note.why), "other": other, "run": note.run}
    return json.dumps({**said, "forced": note.forced, "gates": [_cut(gate, 200) for gate in note.gates[:16]]}, ensure_ascii=False)


def _cut(text: str, limit: int = LONGEST) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
