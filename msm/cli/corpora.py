"""`msm corpus show|stats|diff`: read what a run trains on, and what it left out.

Neighbours: `msm.results.corpus` opens and compares. Invariant: reads only; documents are shown as they are, cleaned of control characters.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msm.cli.reporting import plan_of
from msm.cli.screen import Screen
from msm.cli.words import NOTHING, clean, number, share, some
from msm.errors import UserError
from msm.local.records import find_run

if TYPE_CHECKING:
    from msm.results.corpus import Corpus
    from msm.synth.diversity import Diversity

SHOWN = 5
"""Differing documents of each side that `diff` prints."""
GENRES, GENRE_WIDTH = 6, 18
"""Genres that a coverage tells apart on a screen, and characters of their names."""
NAMED = 20
"""Genres that an error names."""


def open_named(target: str, environ: Mapping[str, str], directory: Path) -> "list[Corpus]":
    """The corpora of `TARGET` (all) or `TARGET#NAME` (one).

    Raises:
        UserError: no such run or corpus, or it is not curated yet.
    """
    from msm.results.artifacts import Artifacts
    from msm.results.corpus import corpus_names, open_corpus

    name, _, wanted = target.partition("#")
    store, uid, space, run = find_run(name, environ, directory)
    plan = plan_of(store, uid, name)
    artifacts = Artifacts.of(plan, store, space.cache)
    return [open_corpus(run, plan, artifacts, each) for each in ([wanted] if wanted else corpus_names(run))]


def open_one(target: str, environ: Mapping[str, str], directory: Path) -> "Corpus":
    """The one corpus that is meant."""
    found = open_named(target, environ, directory)
    if len(found) != 1:
        names = ", ".join(f"{target}#{corpus.name}" for corpus in found) or "none"
        raise UserError("corpus", f"{target} has {len(found)} corpora", f"name one: {names}")
    return found[0]


def show(target: str, count: int, is_dropped: bool, genre: str | None, screen: Screen, environ: Mapping[str, str], directory: Path) -> None:
    """Print documents of a corpus, spread evenly over it."""
    corpus = open_one(target, environ, directory)
    rows = [row for row in (corpus.dropped if is_dropped else corpus.kept) if genre is None or _genre(row) == genre]
    if not rows and genre is not None:
        known = sorted({_genre(row) for row in corpus.kept})
        more = f" and {len(known) - NAMED} more" if len(known) > NAMED else ""
        listed = ", ".join(known[:NAMED]) or "none"
        raise UserError("--genre", f'no document of {corpus.name} has the genre "{genre}"', f"it has: {listed}{more}")
    chosen = [rows[at * len(rows) // min(count, len(rows))] for at in range(min(count, len(rows)))]
    if screen.as_json:
        screen.document({"corpus": corpus.name, "rows": chosen})
        return
    for row in chosen:
        screen.say(" · ".join(_about(row)))
        screen.say("\n".join(clean(line) for line in str(row["text"]).split("\n")))
        screen.say()
    screen.say(f"{len(chosen)} of {len(rows)} {'dropped' if is_dropped else 'kept'} documents of {corpus.name}")


def _about(row: Mapping[str, Any]) -> Iterator[str]:
    yield clean(str(row["id"]))
    if _genre(row):
        yield clean(_genre(row))
    if row.get("reason"):
        yield clean(f"{row['reason']}: {row.get('detail', '')}".rstrip(": "))


def _genre(row: Mapping[str, Any]) -> str:
    provenance = row.get("provenance") or {}
    return str(provenance.get("genre", provenance.get("docType", "")))


def stats(target: str, screen: Screen, environ: Mapping[str, str], directory: Path) -> None:
    """Print what corpora are like as wholes."""
    found = open_named(target, environ, directory)
    if screen.as_json:
        screen.document({"corpora": [_document(corpus) for corpus in found]})
        return
    from msm.cli.tables import table

    screen.show(table(("", *(corpus.name for corpus in found)), _measured(found)))
    for corpus in found:
        _say_coverage(corpus, screen)


_CELLS: "dict[str, Callable[[Corpus, Diversity], str]]" = {
    "documents": lambda corpus, each: number(each.documents),
    "tokens": lambda corpus, each: number(corpus.stats.get("tokens", 0)),
    "words: 5 %, median, 95 %": lambda corpus, each: ", ".join(map(str, each.lengths)),
    "dropped": lambda corpus, each: ", ".join(f"{reason} {times}" for reason, times in corpus.stats.get("dropped", {}).items()) or "none",
    "near-duplicates": lambda corpus, each: share(corpus.stats.get("nearDuplicateRate", 0.0)),
    "names the model": lambda corpus, each: share(each.names),
    "explains (attributes)": lambda corpus, each: share(each.attributes),
    "self-BLEU, 1 is all alike": lambda corpus, each: f"{each.self_bleu:.2f}",
    "embedding dispersion, 0 is all alike": lambda corpus, each: _dispersion(corpus),
    "compression, small is repetitive": lambda corpus, each: f"{each.compression:.2f}",
    "distinct bigrams": lambda corpus, each: share(each.distinct_bigrams),
    "commonest opening": lambda corpus, each: share(each.top_opening),
    "documents with tics": lambda corpus, each: share(each.tics),
}


def _dispersion(corpus: "Corpus") -> str:
    from msm.report.measures import dispersion

    return dispersion(corpus.stats.get("dispersion"))


def _measured(found: "Sequence[Corpus]") -> list[tuple[str, ...]]:
    """Every measure of every corpus, a judge's scores among them where somebody judged."""
    from msm.results.reading import scores_of

    measures, scores = [corpus.diversity for corpus in found], [scores_of(corpus.kept) for corpus in found]
    body = [(label, *(cell(corpus, each) for corpus, each in zip(found, measures, strict=True))) for label, cell in _CELLS.items()]
    for axis in dict.fromkeys(line.axis for lines in scores for line in lines):
        medians = ({line.axis: f"{line.median:g}" for line in lines} for lines in scores)
        body.append((f"{axis}, judged, median", *(by_axis.get(axis, NOTHING) for by_axis in medians)))
    return body


def _say_coverage(corpus: "Corpus", screen: Screen) -> None:
    """Statements by genre, as the report has them; nothing where no author recorded any."""
    from msm.cli.tables import heading, table
    from msm.report.measures import matrix, uncovered
    from msm.results.reading import coverage_of

    found = coverage_of(corpus)
    if found is None:
        screen.say(f"\n{corpus.name}: whoever wrote these documents recorded no statements that they rest on")
        return
    shown = matrix(found, GENRES)
    body = [(name or "(none)", str(total), *(str(cell.documents or "") for cell in cells)) for name, total, cells in shown.rows]
    columns = [genre[:GENRE_WIDTH].rstrip() or "(none)" for genre in shown.columns]
    screen.say()
    screen.show(heading(f"{corpus.name}: documents by statement and genre"), table(("statement", "all", *columns), body))
    if missing := uncovered(found):
        screen.say(f"no document: {len(missing)} of {some(found.statements, 'statement', 'statements')}")


def _document(corpus: "Corpus") -> dict[str, Any]:
    return {"name": corpus.name, "stats": dict(corpus.stats), "diversity": asdict(corpus.diversity), "coverage": corpus.coverage}


def diff(first: str, second: str, screen: Screen, environ: Mapping[str, str], directory: Path) -> None:
    """Print what two corpora share and how their measures differ."""
    from msm.cli.tables import table
    from msm.results.corpus import differ

    both = [open_one(target, environ, directory) for target in (first, second)]
    found = differ(*both)
    if screen.as_json:
        only = {"onlyFirst": len(found.only_first), "onlySecond": len(found.only_second), "shared": found.shared}
        screen.document({**only, "first": _document(both[0]), "second": _document(both[1])})
        return
    screen.show(table(("", first, second), _measured(both)))
    screen.say(f"\n{found.shared} documents in both; {len(found.only_first)} only in {first}, {len(found.only_second)} only in {second}")
    for target, rows in ((first, found.only_first), (second, found.only_second)):
        _say_some(target, rows, screen)


def _say_some(target: str, rows: Sequence[Mapping[str, Any]], screen: Screen) -> None:
    for row in rows[:SHOWN]:
        screen.say(f"only in {target}: {clean(str(row['text']))[:160]}")
