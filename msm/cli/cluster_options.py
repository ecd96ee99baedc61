"""Options that lead to a cluster, the same for every command that has them, and with kubectl's names.

Nothing heavier than typer. Neighbours: `main` and `cluster_commands` use them. Invariant: a command that also works on this machine goes
to a cluster when one of them is given, or when it was called as kubectl's plug-in; a command that only a cluster has, always.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from msm.cli.remote import Remote
    from msm.cluster.connection import Where

PLUGIN = "kubectl msm"
"""What the program is called as kubectl's plug-in."""

Context = Annotated[
    str | None, typer.Option("--context", metavar="NAME", help="Cluster: a context of your kubeconfig.", show_default=False)
]
Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", metavar="NAME", help="Cluster: the namespace; else the file's or the context's.")
]
Kubeconfig = Annotated[
    Path | None, typer.Option("--kubeconfig", metavar="FILE", help="Cluster: the kubeconfig; else KUBECONFIG or ~/.kube/config.")
]


def program() -> str:
    """What the user types to call this program: `msm`, or `kubectl msm`."""
    return PLUGIN if Path(sys.argv[0]).name in ("kubectl-msm", "kubectl_msm") else "msm"


def elsewhere(context: str | None, namespace: str | None, kubeconfig: Path | None) -> "Where | None":
    """The cluster that a command line means; None when it means this machine."""
    is_meant = any(value is not None for value in (context, namespace, kubeconfig)) or program() == PLUGIN
    return where(context, namespace, kubeconfig) if is_meant else None


def where(context: str | None, namespace: str | None, kubeconfig: Path | None) -> "Where":
    """The cluster that a command line means."""
    from msm.cluster.connection import Where

    return Where(context, namespace, kubeconfig)


def remote(place: "Where", target: str | None, as_json: bool) -> "Remote":
    """A connection for one command of this process."""
    import os

    from msm.cli.remote import open_remote
    from msm.cli.screen import process_screen
    from msm.clock import SystemClock

    return open_remote(place, target, program(), process_screen(as_json), os.environ, SystemClock())
