"""`msm submit`: what was uploaded, what the cluster made of it, what to type next.

Neighbours: `msm.cluster.submission` does it. Invariant: the file is checked before anybody is asked; the last lines are commands that can
be copied.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from msm.cli.cluster_options import remote
from msm.cli.words import clean, number
from msm.cluster.objects import Standing
from msm.cluster.submission import Submitted, prepare
from msm.cluster.submission import submit as submit_prepared

if TYPE_CHECKING:
    from msm.cli.remote import Remote
    from msm.cluster.connection import Where


def submit(file: Path, place: "Where", dry_run: bool, as_json: bool) -> None:
    """Check, connect, upload, apply, tell."""
    import os

    from msm.store import open_store

    prepared = prepare(file, os.environ)
    here = remote(place, str(file), as_json)
    tell(here, submit_prepared(prepared, here.requests, open_store, dry_run), file, dry_run)


def tell(here: "Remote", found: Submitted, file: Path, dry_run: bool) -> None:
    """What happened, and what to type next."""
    for warning in found.applied.warnings:
        here.screen.warn(f"warning: {clean(warning)}")
    if here.screen.as_json:
        here.screen.document(_document(here, found, dry_run))
        return
    for one in found.uploads:
        here.screen.say(f"{one.field}: {clean(one.origin)} {'would be' if dry_run else 'is'} {one.uri} ({number(one.bytes)} bytes)")
    run, place = found.applied.run, here.requests.place
    how = {"created": "would be created", "changed": "would be changed"}.get(found.applied.result) if dry_run else None
    here.screen.say(f"{run.name}: {how or found.applied.result} in namespace {place.namespace} of {place.context}")
    for name, command in _next(here, found, file, dry_run):
        here.screen.say(f"{name:<10} {command}")


def _document(here: "Remote", found: Submitted, dry_run: bool) -> dict[str, object]:
    run, place = found.applied.run, here.requests.place
    uploads = [{"field": one.field, "origin": one.origin, "uri": one.uri, "bytes": one.bytes} for one in found.uploads]
    said = {"run": run.name, "namespace": place.namespace, "context": place.context, "uid": run.uid}
    return {**said, "result": found.applied.result, "dryRun": dry_run, "phase": run.standing.value, "uploads": uploads}


def _next(here: "Remote", found: Submitted, file: Path, dry_run: bool) -> list[tuple[str, str]]:
    """Commands that make sense now."""
    run = found.applied.run
    if dry_run:
        return [("to submit", here.typed("submit", str(file)))]
    if run.standing is Standing.SUCCEEDED:
        return [("results", here.typed("results", run.name))]
    if run.standing in (Standing.FAILED, Standing.REFUSED):
        again = f"{here.typed('cancel', run.name, '--wait')}, then {here.typed('submit', str(file))}"
        return [("why", here.typed("status", run.name)), ("logs", here.typed("logs", run.name)), ("again", again)]
    if run.is_suspended:
        return [("suspended", f"{here.typed('resume', run.name)} lets it go on")]
    commands = (("watch", "status", "-w"), ("wait", "wait"), ("logs", "logs"), ("results", "results"))
    return [(name, here.typed(command, run.name, *flags)) for name, command, *flags in commands]
