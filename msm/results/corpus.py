"""The corpora of a run, opened one by one: rows as they were kept and dropped, and what they are like as a whole.

Neighbours: `artifacts` opens files, `msm.synth.diversity` measures, `cli` prints. Invariant: only committed corpora are shown; what is
not committed yet is named. Cost: reading the rows, and the measures' own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msm.api import MSMRun
from msm.errors import UserError
from msm.plan import Plan, Stage, kinds
from msm.results.artifacts import Artifacts
from msm.synth.diversity import Diversity, coverage, diversity

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Corpus:
    """One committed corpus: its name, the rows that are trained on, those that are not, and curation's own statistics."""

    name: str
    kept: tuple[Row, ...]
    dropped: tuple[Row, ...]
    stats: Mapping[str, Any]
    statements: Mapping[str, str]
    """Assertion id -> its name in the spec; empty for documents of the user's own."""
    model: str

    @property
    def diversity(self) -> Diversity:
        """Measures of the kept rows."""
        return diversity(self.kept, self.model)

    @property
    def coverage(self) -> dict[str, dict[str, int]]:
        """Assertion id -> genre -> documents."""
        return coverage(self.kept)


def open_corpus(run: MSMRun, plan: Plan, artifacts: Artifacts, name: str) -> Corpus:
    """A corpus of a run by its name.

    Raises:
        UserError: the run has no such corpus, or it is not committed yet.
    """
    names = corpus_names(run)
    if name not in names:
        raise UserError("corpus", f'"{name}" is none of this run: {", ".join(names) or "it has none"}', "name one of these after the #")
    stage = curated(plan, name)
    if stage is None or stage.ref not in artifacts:
        raise UserError("corpus", f"{name} is not curated yet", "run the file first; `msm preview` counts it before")
    rows, dropped = artifacts.rows(stage.ref, "rows.jsonl"), artifacts.rows(stage.ref, "dropped.jsonl")
    stats = artifacts.document(stage.ref, "stats.json")
    return Corpus(name, tuple(rows), tuple(dropped), stats, _statements(plan, stage, artifacts), run.spec.base_model.identity.model)


def curated(plan: Plan, name: str) -> Stage | None:
    """The stage that curates a corpus, if the plan has it."""
    return next((s for s in plan.stages if s.kind == kinds.CURATE and s.name == f"curate {name}"), None)


def _statements(plan: Plan, curate: Stage, artifacts: Artifacts) -> dict[str, str]:
    outlines = [ref for rows in curate.inputs["rows"] for ref in plan.stage(rows).inputs.get("outline", ())]
    subdomains = [sub for ref in outlines if ref in artifacts for sub in artifacts.document(ref, "outline.json").get("subdomains", ())]
    return {assertion["id"]: assertion["name"] for sub in subdomains for assertion in sub["assertions"]}


def corpus_names(run: MSMRun) -> list[str]:
    """Names of a run's corpora, in the order of the file."""
    return [corpus.name for corpus in run.spec.corpora]


@dataclass(frozen=True, slots=True)
class Difference:
    """Two corpora side by side: rows by text, and both measures."""

    only_first: tuple[Row, ...]
    only_second: tuple[Row, ...]
    shared: int


def differ(first: Corpus, second: Corpus) -> Difference:
    """Which documents, by their text, one has and the other has not."""
    texts = [{str(row["text"]) for row in corpus.kept} for corpus in (first, second)]
    return Difference(
        only_first=tuple(row for row in first.kept if str(row["text"]) not in texts[1]),
        only_second=tuple(row for row in second.kept if str(row["text"]) not in texts[0]),
        shared=len(texts[0] & texts[1]),
    )
