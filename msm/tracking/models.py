"""The rows of `msm models`: what is registered, where it comes from, what points at it.

Talks to MLflow. Neighbours: `registry` wrote the tags that this reads; versions others registered are listed with what they have.
"""

from dataclasses import dataclass

from msm.errors import UserError
from msm.tracking.client import Client
from msm.tracking.desired import Tag
from msm.tracking.registry import quoted, search_versions


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One registered version; `parent` is the version it was fine-tuned from, texts are empty where MLflow has nothing."""

    version: int
    arms: tuple[str, ...]
    seed: int | None
    kind: str
    aliases: tuple[str, ...]
    parent: int | None
    fingerprint: str
    source: str


def list_models(client: Client, name: str) -> list[ModelRow]:
    """Versions of a registered model, oldest first.

    Raises:
        UserError: MLflow has no registered model of this name.
    """
    models = client.search_registered_models(f"name = {quoted(name)}", max_results=1)
    if not models:
        raise UserError("model", f'MLflow has no registered model named "{name}"', "run `msm run` first, or `msm track sync`")
    aliases: dict[str, list[str]] = {}
    for alias, version in sorted(models[0].aliases.items()):
        aliases.setdefault(str(version), []).append(alias)
    return [_row(v.version, v.tags, v.source or "", tuple(aliases.get(str(v.version), ()))) for v in search_versions(client, name)]


def _row(version: str, tags: dict[str, str], source: str, aliases: tuple[str, ...]) -> ModelRow:
    return ModelRow(
        version=int(version),
        arms=tuple(filter(None, tags.get(Tag.ARMS, "").split(","))),
        seed=_number(tags.get(Tag.SEED)),
        kind=tags.get(Tag.KIND, ""),
        aliases=aliases,
        parent=_number(tags.get(Tag.PARENT_VERSION)),
        fingerprint=tags.get(Tag.FINGERPRINT, ""),
        source=source,
    )


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
