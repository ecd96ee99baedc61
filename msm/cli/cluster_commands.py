"""Commands that only a cluster has: submit, wait, suspend, resume, cancel.

Neighbours: `main` adds them to the program; `submitting` and `steering` do the work, imported at use.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from msm.cli.boundary import Command
from msm.cli.cluster_options import Context, Kubeconfig, Namespace, remote, where

File = Annotated[Path, typer.Argument(metavar="FILE", help="An MSMRun file.", show_default=False)]
Target = Annotated[str, typer.Argument(metavar="TARGET", help="A run file, or a run's name.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; everything else on stderr.")]
Timeout = Annotated[str | None, typer.Option("--timeout", metavar="DURATION", help="Such as 90m; else as long as it takes.")]


def add_to(app: typer.Typer) -> None:
    """Give the program these commands."""
    for function in (submit, wait, suspend, resume, cancel):
        app.command(cls=Command)(function)


def submit(
    file: File,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Let the cluster check it; nothing is uploaded or made.")] = False,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    as_json: AsJson = False,
) -> None:
    """Give a run to a cluster: upload its local files to its store, then apply it. The same file twice changes nothing."""
    from msm.cli import submitting

    submitting.submit(file, where(context, namespace, kubeconfig), dry_run, as_json)


def wait(
    target: Target,
    goal: Annotated[Literal["accepted", "suspended", "succeeded"], typer.Option("--for", help="What is waited for.")] = "succeeded",
    timeout: Timeout = None,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    as_json: AsJson = False,
) -> int:
    """Wait until a run in a cluster has come so far. Exit codes: 0 it has, 1 it failed or was deleted, 2 time over or not accepted."""
    from msm.cli import steering

    return steering.wait(remote(where(context, namespace, kubeconfig), target, as_json), target, goal, timeout)


def suspend(
    target: Target,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    as_json: AsJson = False,
) -> None:
    """Stop a run in a cluster; its stages checkpoint first."""
    from msm.cli import steering

    steering.suspend(remote(where(context, namespace, kubeconfig), target, as_json), target)


def resume(
    target: Target,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    as_json: AsJson = False,
) -> None:
    """Let a suspended run go on."""
    from msm.cli import steering

    steering.resume(remote(where(context, namespace, kubeconfig), target, as_json), target)


def cancel(
    target: Target,
    waited: Annotated[bool, typer.Option("--wait", help="Return when it and its pods are gone.")] = False,
    timeout: Timeout = None,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    as_json: AsJson = False,
) -> int:
    """Delete a run from a cluster and stop what it does. What is finished stays in the store and is used again."""
    from msm.cli import steering

    return steering.cancel(remote(where(context, namespace, kubeconfig), target, as_json), target, waited, timeout)
