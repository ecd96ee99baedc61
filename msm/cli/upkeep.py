"""`msm gc`, `msm models`, `msm track sync`: the store and the registry beside the runs.

Neighbours: `msm.store.gc`, `msm.tracking`. Invariant: a look never creates a store or a database that is not there.
"""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msm.api import load_run, parse_run
from msm.api.base import parse_duration
from msm.cli.screen import Screen
from msm.cli.words import NOTHING, number
from msm.clock import Clock
from msm.errors import UserError
from msm.local.records import find_run
from msm.local.workspace import workspace
from msm.store import ObjectStore, open_store
from msm.tracking.config import TrackingConfig, tracking_config

if TYPE_CHECKING:
    from msm.tracking.models import ModelRow

NO_RUN = {
    "apiVersion": "modelspec.dev/v1alpha1",
    "kind": "MSMRun",
    "metadata": {"name": "none"},
    "spec": {"baseModel": {"uri": "file:///none", "identity": {"model": "none", "provider": "none"}}, "arms": [{"name": "base"}]},
}
"""A run that says nothing about tracking: what is configured for all runs shows through it."""


def existing_store(uri: str | None, environ: Mapping[str, str], directory: Path) -> ObjectStore | None:
    """The store at a URI, else the one of runs that name none; None when it is a directory that is not there yet."""
    config = workspace(environ, directory).default_config({**environ, "MSM_STORE_URI": uri} if uri else environ)
    if config.uri.startswith("file://") and not Path(config.uri.removeprefix("file://")).is_dir():
        return None
    return open_store(config)


def collect_garbage(
    grace: str, dry_run: bool, uri: str | None, screen: Screen, environ: Mapping[str, str], directory: Path, clock: Clock
) -> None:
    """Delete what no run refers to; with `dry_run` say what would go."""
    from msm.store.gc import collect

    seconds = grace_seconds(grace)
    store = existing_store(uri, environ, directory)
    if store is None:
        raise UserError(
            "store", f"there is none at {uri or workspace(environ, directory).root}", "name one by --store, or run something first"
        )
    report = collect(store, clock.now(), timedelta(seconds=seconds), dry_run)
    if screen.as_json:
        found = {"store": store.uri, "dryRun": dry_run, "kept": report.kept, "deleted": list(report.deleted), "bytes": report.bytes}
        screen.document(found)
        return
    for name in report.deleted:
        screen.say(f"{'would delete' if dry_run else 'deleted'} {name}")
    did = "would free" if dry_run else "freed"
    screen.say(f"{store.uri}: {did} {number(report.bytes)} bytes; kept {report.kept} artifacts and blobs")


def grace_seconds(text: str) -> int:
    """Seconds of `24h`; UserError otherwise."""
    try:
        return int(parse_duration(int(text) if text.isdecimal() else text))
    except ValueError as error:
        raise UserError("--grace", str(error), "such as --grace 24h") from error


def show_models(target: str | None, screen: Screen, environ: Mapping[str, str], directory: Path) -> None:
    """Versions of one registered model (by its name, or of a run), or the models that there are."""
    from msm.tracking.client import mlflow_errors, open_client
    from msm.tracking.models import list_models

    name, config = registered_in(target, environ, directory)
    if config.database is not None and not config.database.exists():
        raise UserError("model", f"nothing is registered: {config.database} does not exist", "`msm run` makes it, or `msm track sync`")
    with mlflow_errors(config):
        client = open_client(config, dict(environ))
        names = [name] if name is not None else sorted(str(model.name) for model in client.search_registered_models())
        found = {each: list_models(client, each) for each in names}
    if screen.as_json:
        screen.document({"models": [{"name": each, "versions": [version_document(row) for row in rows]} for each, rows in found.items()]})
    elif not found:
        screen.say(f"{config.uri} has no registered model")
    else:
        _show_versions(found, screen)


def registered_in(target: str | None, environ: Mapping[str, str], directory: Path) -> tuple[str | None, TrackingConfig]:
    """Which registered model is meant, and the MLflow that has it: a run file's own, else what is configured for all runs."""
    space = workspace(environ, directory)
    if target is not None and Path(target).is_file():
        run = load_run(Path(target))
        name = run.spec.registry.model if run.spec.registry is not None else run.metadata.name
        return name, tracking_config(run, space.root, environ)
    return target, tracking_config(parse_run(NO_RUN), space.root, environ)


def version_document(row: "ModelRow") -> dict[str, Any]:
    """A registered version as JSON."""
    return {
        "version": row.version,
        "kind": row.kind,
        "arms": list(row.arms),
        "seed": row.seed,
        "aliases": list(row.aliases),
        "parent": row.parent,
        "fingerprint": row.fingerprint,
        "source": row.source,
    }


def _show_versions(found: Mapping[str, list["ModelRow"]], screen: Screen) -> None:
    from msm.cli.tables import heading, table

    columns = ("version", "kind", "arms", "seed", "alias", "parent", "fingerprint", "source")
    for name, rows in found.items():
        body = (
            (
                str(row.version),
                row.kind,
                ", ".join(row.arms),
                NOTHING if row.seed is None else str(row.seed),
                ", ".join(row.aliases),
                NOTHING if row.parent is None else str(row.parent),
                row.fingerprint[:12],
                row.source,
            )
            for row in rows
        )
        screen.show(heading(name), table(columns, body, left=len(columns)))


def sync_run(target: str, screen: Screen, environ: Mapping[str, str], directory: Path, clock: Clock) -> None:
    """Make MLflow show a run as the store has it."""
    from msm.local.accept import Accepted, read_plan
    from msm.local.session import sync_tracking

    store, uid, space, run = find_run(target, environ, directory)
    plan = read_plan(store, uid)
    if plan is None:
        raise UserError("run", f"{uid} was never accepted in {store.uri}", f"`msm run {target}` does that")
    said = sync_tracking(Accepted(run, uid, plan, store, space, frozen_before=True), clock)
    if screen.as_json:
        screen.document({"run": uid, "uri": tracking_config(run, space.root, environ).uri, "synced": said})
    else:
        screen.say(said)
