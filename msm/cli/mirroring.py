"""`msm mirror`: copy a run's remote inputs and say how to use them.

Neighbours: `msm.local.mirror` copies. Invariant: the last line is the command that runs without the outside.
"""

from collections.abc import Mapping
from pathlib import Path

from msm.cli.screen import Screen
from msm.cli.words import clean, number


def mirror(file: Path, to: str, screen: Screen, environ: Mapping[str, str], directory: Path) -> None:
    """Copy, then list what the mirror answers for."""
    from msm.local.mirror import mirror_run

    found = mirror_run(file, to, environ, directory)
    if screen.as_json:
        copied = {"files": found.files, "bytes": found.bytes}
        screen.document({"mirror": found.uri, "inputs": found.identities, "notCopied": list(found.near), **copied})
        return
    for place, identity in found.identities.items():
        screen.say(f"{place}: {clean(identity)}{' (not copied: not remote)' if place in found.near else ''}")
    screen.say(
        f"{found.uri}: {number(found.files)} {'file' if found.files == 1 else 'files'} of remote inputs, {number(found.bytes)} bytes"
    )
    screen.say(f"to use it: MSM_MIRROR={found.uri} msm run {file}")
