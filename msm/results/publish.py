"""Where a report is kept: with the run in the store, and as files where the user finds them.

Neighbours: `compose` makes the report, `msm.report` renders it, tracking projects what is kept. Invariant: the index is written last, so
what it names is whole; publishing an unchanged report writes nothing. `runs/<uid>/report/`: report.json, report.html, cards/<model>.md,
corpora/<name>/README.md, index.json.
"""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from msm.errors import UserError
from msm.report.card import cards
from msm.report.dataset_card import dataset_cards
from msm.report.html import render
from msm.report.model import Report
from msm.store import ObjectStore
from msm.tracking.index import INDEX, ReportIndex, read_index, report_key

JSON, HTML, CARDS, CORPORA = "report.json", "report.html", "cards", "corpora"


def files_of(report: Report) -> dict[str, bytes]:
    """Every file of a report, by its path in the report's directory."""
    named = {f"{CARDS}/{name}": text.encode() for name, text in cards(report).items()}
    named |= {f"{CORPORA}/{name}": text.encode() for name, text in dataset_cards(report).items()}
    return {JSON: report.model_dump_json(by_alias=True, indent=1).encode(), HTML: render(report).encode(), **named}


def keep_report(store: ObjectStore, uid: str, report: Report, files: Mapping[str, bytes]) -> ReportIndex:
    """Keep a report with its run."""
    index = ReportIndex(
        files={path: sha256(data).hexdigest() for path, data in files.items()},
        cards={v.fingerprint: f"{CARDS}/{v.card}" for v in report.versions if v.content_digest},
    )
    if read_index(store, uid) != index:
        for path, data in files.items():
            store.put(report_key(uid, path), data)
        store.put(report_key(uid, INDEX), index.model_dump_json(by_alias=True, indent=1).encode())
    return index


def write_report(directory: Path, files: Mapping[str, bytes]) -> Path:
    """Write a report's files below a directory; returns the page. Cards of an earlier report that this one lacks go.

    Raises:
        UserError: the directory cannot be written.
    """
    try:
        for old in (*(directory / CARDS).glob("*.md"), *(directory / CORPORA).glob("*/README.md")):
            if old.relative_to(directory).as_posix() not in files:
                old.unlink()
        for path, data in files.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_bytes(data)
    except OSError as error:
        raise UserError("report", f"{directory} cannot be written ({error.strerror})", "name another directory by --out") from error
    return directory / HTML
