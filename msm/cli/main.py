"""The command line's shape: commands, arguments, options, help.

Neighbours: each command hands over to its module, imported at use; `boundary` turns what is raised into exit codes; `reference` generates
docs/reference/cli.md from this. Invariant: no work at import, nothing heavier than typer. Cost: `msm --help` is typer's own 0.2 s.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from msm.cli import cluster_commands
from msm.cli.boundary import Command
from msm.cli.cluster_options import PLUGIN, Context, Kubeconfig, Namespace, elsewhere, program, remote

HELP = "Model Spec Midtraining: one MSMRun file, from a spec to registered, evaluated checkpoints."
EPILOG = "Exit codes: 0 done, 1 failed, 2 your mistake, 75 try again, 130 stopped by Ctrl-C, 143 stopped by SIGTERM."
SETTINGS = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="msm",
    help=HELP,
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=SETTINGS,
)
track = typer.Typer(name="track", help="MLflow beside the store.", no_args_is_help=True, rich_markup_mode=None, context_settings=SETTINGS)
app.add_typer(track)
spec = typer.Typer(name="spec", help="Model Specs before a run.", no_args_is_help=True, rich_markup_mode=None, context_settings=SETTINGS)
app.add_typer(spec)
corpus = typer.Typer(name="corpus", help="What a run trains on.", no_args_is_help=True, rich_markup_mode=None, context_settings=SETTINGS)
app.add_typer(corpus)

File = Annotated[Path, typer.Argument(metavar="FILE", help="An MSMRun file.", show_default=False)]
Target = Annotated[str, typer.Argument(metavar="TARGET", help="A run file, a run's uid, or its name.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; everything else on stderr.")]
Corpus = Annotated[
    str, typer.Argument(metavar="TARGET#CORPUS", help="A run as other commands take it, and a corpus of it.", show_default=False)
]
Store = Annotated[str | None, typer.Option("--store", metavar="URI", help="file:///directory or s3://bucket/prefix.", show_default=False)]


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        try:
            version = metadata.version("msm-platform")
        except metadata.PackageNotFoundError:
            version = "(not installed)"
        print(f"msm {version}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")] = False,
) -> None:
    """Take the options that stand before any command."""


@app.command(cls=Command)
def validate(file: File, as_json: AsJson = False) -> None:
    """Check a run file: keys, types, and every reference in it."""
    from msm.cli import planning
    from msm.cli.screen import process_screen

    planning.validate(file, process_screen(as_json))


@app.command(cls=Command)
def preview(file: File, as_json: AsJson = False) -> None:
    """Show the plan: stages, what is re-used, tokens, updates, time. Nothing is run or spent."""
    from msm.cli import planning
    from msm.cli.screen import process_screen

    planning.preview(file, process_screen(as_json), os.environ, Path.cwd())


@app.command(cls=Command)
def pilot(
    file: File,
    documents: Annotated[int, typer.Option("--documents", min=1, max=1000, help="Of each corpus, and dialogues of each set.")] = 20,
    shown: Annotated[int, typer.Option("--number", "-n", min=0, help="How many of each to print whole.")] = 3,
    whole_outline: Annotated[
        bool, typer.Option("--whole-outline", help="Ask for all ideas, as the full run will: it costs more now, and nothing of it is lost.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Make a few documents and dialogues end to end, show them, and say what the full run will take. Ctrl-C stops; again continues."""
    from msm.cli import piloting
    from msm.cli.screen import process_screen

    wanted = piloting.Wanted(file, documents, whole_outline, shown)
    return piloting.pilot(wanted, process_screen(as_json), os.environ, Path.cwd())


@app.command(cls=Command)
def run(file: File, as_json: AsJson = False) -> int:
    """Execute a run on this machine, or continue it. Ctrl-C checkpoints; the next `msm run` goes on."""
    from msm.cli import running
    from msm.cli.screen import process_screen

    return running.run(file, process_screen(as_json), os.environ, Path.cwd())


@app.command(cls=Command)
def status(
    target: Annotated[
        str | None, typer.Argument(metavar="TARGET", help="A run file, a run's uid, or its name; none lists all runs.")
    ] = None,
    watched: Annotated[
        bool, typer.Option("--watch", "-w", help="Cluster: look again until the run is over; Ctrl-C ends the looking.")
    ] = False,
    store: Store = None,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    as_json: AsJson = False,
) -> None:
    """Show how far a run is, or list the runs of a store or, with --context, of a cluster's namespace."""
    if (place := elsewhere(context, namespace, kubeconfig)) is not None:
        from msm.cli import reading

        reading.status(remote(place, target, as_json), target, watched)
        return
    from msm.cli import inspecting
    from msm.cli.screen import process_screen
    from msm.clock import SystemClock

    screen = process_screen(as_json)
    if target is not None:
        inspecting.show_status(target, screen, _with_store(store), Path.cwd(), SystemClock())
        return
    from msm.cli.upkeep import existing_store

    inspecting.list_statuses(existing_store(store, os.environ, Path.cwd()), screen, SystemClock())


@app.command(cls=Command)
def logs(
    target: Target,
    stage: Annotated[str | None, typer.Option("--stage", metavar="NAME", help="A stage's name, a part of it, or a kind.")] = None,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    as_json: AsJson = False,
) -> None:
    """Print what the stages of a run wrote while they ran."""
    if (place := elsewhere(context, namespace, kubeconfig)) is not None:
        from msm.cli import reading

        reading.show_logs(remote(place, target, as_json), target, stage)
        return
    from msm.cli import inspecting
    from msm.cli.screen import process_screen

    inspecting.show_logs(target, stage, process_screen(as_json), os.environ, Path.cwd())


@app.command(cls=Command)
def results(
    target: Target,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    as_json: AsJson = False,
) -> None:
    """Print what a run found: arms side by side, effects with intervals."""
    if (place := elsewhere(context, namespace, kubeconfig)) is not None:
        from msm.cli import reading

        reading.show_results(remote(place, target, as_json), target)
        return
    from msm.cli import inspecting
    from msm.cli.screen import process_screen
    from msm.clock import SystemClock

    inspecting.show_results(target, process_screen(as_json), os.environ, Path.cwd(), SystemClock())


@app.command(cls=Command)
def report(
    target: Target,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="DIR", help="Where to write it.", show_default=False)] = None,
    is_opened: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    as_json: AsJson = False,
) -> None:
    """Write a run's report: one page, its data, a card for each model. Works while the run is unfinished."""
    if (place := elsewhere(context, namespace, kubeconfig)) is not None:
        from msm.cli import reading

        reading.write_report(remote(place, target, as_json), target, out, is_opened)
        return
    from msm.cli import reporting
    from msm.cli.screen import process_screen

    reporting.report_run(target, out, is_opened, process_screen(as_json), os.environ, Path.cwd())


@app.command(cls=Command)
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A run file, a run's uid, or its name.", show_default=False)],
    b: Annotated[str, typer.Argument(metavar="B", help="The other run; differences are B minus A.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Compare two runs: what differs in their files, effects and arms side by side, differences on shared items."""
    from msm.cli import comparing
    from msm.cli.screen import process_screen

    comparing.compare(a, b, process_screen(as_json), os.environ, Path.cwd())


@app.command(cls=Command)
def models(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A registered model, or a run file; none lists all.")] = None,
    as_json: AsJson = False,
) -> None:
    """List registered versions with their lineage and aliases."""
    from msm.cli import upkeep
    from msm.cli.screen import process_screen

    upkeep.show_models(name, process_screen(as_json), os.environ, Path.cwd())


@app.command(cls=Command)
def promote(
    target: Target,
    to: Annotated[str, typer.Option("--to", metavar="ALIAS", help="The alias that is moved.")] = "champion",
    why: Annotated[str | None, typer.Option("--why", metavar="TEXT", help="Kept with the version.", show_default=False)] = None,
    force: Annotated[bool, typer.Option("--force", help="Even though a gate fails; that is kept with the version too.")] = False,
    as_json: AsJson = False,
) -> int:
    """Check a run's gates, then let an alias of its registered model name its candidate. Exit code 1: a gate fails."""
    from msm.cli import promoting
    from msm.cli.screen import process_screen
    from msm.clock import SystemClock

    wanted = promoting.Wanted(target, to, why, force)
    return promoting.promote(wanted, process_screen(as_json), os.environ, Path.cwd(), SystemClock())


@app.command(cls=Command)
def rollback(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A registered model, or a run file.", show_default=False)],
    alias: Annotated[str, typer.Option("--alias", metavar="ALIAS", help="The alias that is moved.")] = "champion",
    why: Annotated[str | None, typer.Option("--why", metavar="TEXT", help="Kept with the version.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Let an alias name the version again that it named before."""
    from msm.cli import promoting
    from msm.cli.screen import process_screen
    from msm.clock import SystemClock

    promoting.roll_back(model, alias, why, process_screen(as_json), os.environ, Path.cwd(), SystemClock())


@app.command(cls=Command)
def mirror(
    file: File,
    to: Annotated[str, typer.Option("--to", metavar="URI", help="file:///directory or s3://bucket/prefix.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Copy every remote input of a run, for a network without the outside; MSM_MIRROR=URI reads them there."""
    from msm.cli import mirroring
    from msm.cli.screen import process_screen

    mirroring.mirror(file, to, process_screen(as_json), os.environ, Path.cwd())


@app.command(cls=Command)
def gc(
    grace: Annotated[str, typer.Option("--grace", metavar="DURATION", help="Keep what is younger.")] = "24h",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Delete from the store what no run refers to and nobody is working on."""
    from msm.cli import upkeep
    from msm.cli.screen import process_screen
    from msm.clock import SystemClock

    upkeep.collect_garbage(grace, dry_run, store, process_screen(as_json), os.environ, Path.cwd(), SystemClock())


@spec.command(cls=Command)
def lint(
    path: Annotated[Path, typer.Argument(metavar="SPEC", help="A Model Spec: a text file.", show_default=False)],
    kind: Annotated[Literal["values", "rules"], typer.Option("--kind", help="What the spec is made of.")] = "values",
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 when there is anything to mend.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what a spec asserts, and what to mend: vague claims, contradictions, missing reasons, names, length."""
    from msm.cli import specs
    from msm.cli.screen import process_screen

    specs.lint_spec(path, kind, strict, process_screen(as_json))


@corpus.command("show", cls=Command)
def corpus_show(
    target: Corpus,
    count: Annotated[int, typer.Option("--number", "-n", min=1, help="How many, spread evenly.")] = 5,
    dropped: Annotated[bool, typer.Option("--dropped", help="What was left out, and why.")] = False,
    genre: Annotated[str | None, typer.Option("--genre", help="Of one kind of document.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Print documents of a corpus."""
    from msm.cli import corpora
    from msm.cli.screen import process_screen

    corpora.show(target, count, dropped, genre, process_screen(as_json), os.environ, Path.cwd())


@corpus.command("stats", cls=Command)
def corpus_stats(target: Corpus, as_json: AsJson = False) -> None:
    """Say what corpora are like: sizes, drops, coverage, sameness, how many documents explain. Without #CORPUS: all of the run."""
    from msm.cli import corpora
    from msm.cli.screen import process_screen

    corpora.stats(target, process_screen(as_json), os.environ, Path.cwd())


@corpus.command("diff", cls=Command)
def corpus_diff(first: Corpus, second: Corpus, as_json: AsJson = False) -> None:
    """Compare two corpora: documents in both or one of them, and their measures side by side."""
    from msm.cli import corpora
    from msm.cli.screen import process_screen

    corpora.diff(first, second, process_screen(as_json), os.environ, Path.cwd())


@track.command(cls=Command)
def sync(target: Target, as_json: AsJson = False) -> None:
    """Make MLflow show a run as the store has it: runs, metrics, data sets, model versions."""
    from msm.cli import upkeep
    from msm.cli.screen import process_screen
    from msm.clock import SystemClock

    upkeep.sync_run(target, process_screen(as_json), os.environ, Path.cwd(), SystemClock())


def _with_store(uri: str | None) -> dict[str, str]:
    """The environment, with the store that was named."""
    return {**os.environ, **({"MSM_STORE_URI": uri} if uri else {})}


cluster_commands.add_to(app)


def main() -> None:
    """The console script, also as kubectl's plug-in. What a stream cannot encode is replaced, not raised."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    app(prog_name=PLUGIN if program() == PLUGIN else None)


if __name__ == "__main__":
    main()
