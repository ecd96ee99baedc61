import json
from pathlib import Path

import pytest

from tests.finished import Finished, finish, run_data
from tests.unit.cli.kept import msm


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Finished:
    monkeypatch.chdir(tmp_path)
    for name in ("MSM_STORE_URI", "MSM_HOME", "MSM_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return finish(tmp_path)


def test_report_writes_page_data_and_cards_and_keeps_them_with_the_run(finished: Finished, tmp_path: Path) -> None:
    result = msm("report", "example")
    assert result.exit_code == 0, result.output
    directory = tmp_path / ".msm" / "runs" / finished.uid
    assert (directory / "report.html").read_bytes() == finished.store.get(f"runs/{finished.uid}/report/report.html")
    assert len(list((directory / "cards").glob("*.md"))) == 6
    assert f"page       {directory / 'report.html'}" in result.output
    assert "warning: items that share content words" in result.output


def test_report_goes_where_it_is_asked_to(finished: Finished, tmp_path: Path) -> None:
    assert msm("report", finished.uid, "--out", "here").exit_code == 0
    assert (tmp_path / "here" / "report.json").is_file()
    assert not (tmp_path / ".msm" / "runs").exists()


def test_report_as_json_is_the_data(finished: Finished, tmp_path: Path) -> None:
    document = json.loads(msm("report", "example", "--json").stdout)
    assert document == json.loads((tmp_path / ".msm" / "runs" / finished.uid / "report.json").read_text(encoding="utf-8"))


def test_report_of_an_unfinished_run_says_what_is_missing_and_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    half = finish(tmp_path, kinds=("fetch", "curate", "midtrain"))
    result = msm("report", "example")
    assert result.exit_code == 0, result.output
    assert "not finished: 8 stages must still run" in result.output
    assert not list(half.store.list(f"runs/{half.uid}/report/"))


def test_report_of_a_run_that_there_is_not_is_the_users_mistake(finished: Finished) -> None:
    result = msm("report", "nobody")
    assert result.exit_code == 2 and "is no run" in result.output


def test_report_into_a_place_that_cannot_be_written_is_the_users_mistake(finished: Finished, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = msm("report", "example", "--out", "file")
    assert result.exit_code == 2 and "--out" in result.output


def test_compare_shows_what_differs_and_differences_by_item(finished: Finished, tmp_path: Path) -> None:
    data = run_data(seeds=(0, 1, 2))
    data["metadata"]["name"] = "second"
    second = finish(tmp_path, data)
    result = msm("compare", "example", "second")
    assert result.exit_code == 0, result.output
    assert "stages: 14 in both, 0 in A alone, 4 in B alone" in result.output
    assert "what differs" in result.output and "effects side by side" in result.output
    document = json.loads(msm("compare", finished.uid, second.uid, "--json").stdout)
    assert document["a"] == finished.uid and document["differences"] == [{"field": "seeds", "a": "0, 1", "b": "0, 1, 2"}]
    assert any(p["arm"] == "aft" and p["versus"] == "" and p["seeds"] == 2 for p in document["paired"])


def test_compare_on_a_narrow_terminal_loses_nothing(finished: Finished) -> None:
    from rich.console import Console

    from msm.cli.comparing import comparison_tables
    from msm.results.compare import compare_runs

    found = compare_runs(finished.survey(), "a", finished.survey(), "b")
    for width in (60, 200):
        console = Console(width=width, no_color=True)
        with console.capture() as capture:
            console.print(*comparison_tables(found, width), sep="\n")
        said = " ".join(capture.get().split())
        for row in found.effects:
            assert row.a is not None and row.a.value is not None
            assert f"{row.a.value:+.2f}" in said and row.metric in said
        assert "…" not in said
