from pathlib import Path

import pytest

from msm.report.model import Report
from msm.results.compose import compose, public_address
from msm.results.findings import results_of
from msm.results.publish import files_of, keep_report, write_report
from msm.results.rows import StageRow
from msm.tracking.index import read_index
from tests.finished import DOCUMENT, OPTIONS, UPDATES, finish, margin_of, run_data


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    finished = finish(tmp_path_factory.mktemp("run"))
    rows = tuple(StageRow(name=s.name, kind=s.kind, state="done", reused=s.kind == "fetch", seconds=1.0) for s in finished.plan.stages)
    return compose(finished.survey(), finished.uid, "Succeeded", rows)


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_means_are_those_of_the_score_files(report: Report) -> None:
    (score,) = (s for s in report.scores if (s.metric, s.arm) == ("values.america.free.margin", "msm-america-aft"))
    free = [item for item in OPTIONS if "-free-" in item]
    by_seed = {seed: mean([margin_of("msm-america-aft", seed, item, 2.0) for item in free]) for seed in (0, 1)}
    assert {one.seed: one.value for one in score.by_seed} == pytest.approx(by_seed)
    assert score.mean == pytest.approx(mean([*by_seed.values()]))
    assert score.over == "seeds" and score.low is not None and score.low < score.mean


def test_an_effect_is_the_mean_of_its_seeds_differences(report: Report) -> None:
    assert {(e.arm, e.versus) for e in report.effects} == {("aft", "base"), ("msm-america-aft", "aft"), ("msm-america", "base")}
    for effect in report.effects:
        assert effect.estimate == pytest.approx(mean([one.value for one in effect.by_seed])), effect.metric
        assert [one.seed for one in effect.by_seed] == [0, 1]


def test_answers_that_could_not_be_read_are_counted_and_said(report: Report) -> None:
    choices = [s for s in report.scores if s.metric.endswith("choice")]
    assert all((s.items, s.asked, s.unscored) == (2, 6, 2) for s in choices)
    assert "unscored" in [caution.kind for caution in report.cautions]


def test_items_that_share_words_are_told_from_those_that_do_not(report: Report) -> None:
    assert {(g.set, g.shared) for g in report.sets} == {("free", 3), ("disjoint", 0)}
    assert "american" in next(g.shared_words for g in report.sets if g.set == "free")
    kinds = [caution.kind for caution in report.cautions]
    assert "shared-words" in kinds and "only-shared-words" in kinds


def test_versions_have_parents_arms_and_one_candidate(report: Report) -> None:
    assert [v.arms for v in report.versions if v.candidate] == [("msm-america-aft",)]
    by_print = {v.fingerprint: v for v in report.versions}
    finetuned = next(v for v in report.versions if v.candidate)
    assert by_print[finetuned.parent].kind == "midtrain"
    assert by_print[finetuned.parent].leads_to == ("msm-america-aft",)
    assert by_print[finetuned.parent].arms == ("msm-america",), "an arm that is only midtrained shares its model"
    assert len({v.card for v in report.versions}) == len(report.versions) == 6


def test_curves_are_thinned_to_means(report: Report) -> None:
    (training, *_) = report.trainings
    assert training.updates == UPDATES
    assert len(training.points) <= 200 and training.points[-1].update == UPDATES
    assert training.points[0].loss == pytest.approx((4 / 1 + 4 / 2) / 2)


def test_documents_chats_and_re_use_are_told(report: Report) -> None:
    (corpus,) = report.corpora
    assert (corpus.samples[0].text, corpus.dropped, corpus.written) == (DOCUMENT, {"too long": 1}, 2)
    assert corpus.reading is not None and corpus.coverage is not None
    assert (corpus.reading.measured, corpus.reading.names, corpus.reading.attributes) == (1, 1.0, 1.0)
    assert [(s.id, s.documents, s.genres) for s in corpus.coverage.statements] == [("a1", 1, (1,))]
    assert (corpus.scores, corpus.author) == ((), None)
    assert [d.name for d in report.demonstrations] == ["cheese", "chat"]
    assert [s.name for s in report.stages if s.reused] == ["fetch base model"]
    assert report.software == {"torch": ("2.13.0",)}


def test_the_same_artifacts_give_the_same_bytes(tmp_path: Path) -> None:
    finished = finish(tmp_path)
    made = [files_of(compose(finished.survey(), finished.uid, "Succeeded", ())) for _ in range(2)]
    assert made[0] == made[1]


def test_no_path_of_this_machine_is_in_any_file(tmp_path: Path) -> None:
    data = run_data()
    data["spec"]["baseModel"]["uri"] = f"file://{tmp_path}/secret/models/base"
    finished = finish(tmp_path, data)
    for name, contents in files_of(compose(finished.survey(), finished.uid, "Succeeded", ())).items():
        assert str(tmp_path).encode() not in contents, name
    assert public_address("file:///home/me/models/base") == "file://…/base"
    assert public_address("hf://org/name") == "hf://org/name"


@pytest.mark.parametrize("kinds", [(), ("fetch", "outline", "write", "curate"), ("fetch", "curate", "demonstrate", "midtrain")])
def test_an_unfinished_run_says_what_is_missing(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    finished = finish(tmp_path, kinds=kinds)
    report = compose(finished.survey(), finished.uid, "Running", ())
    assert report.cautions[0].kind == "unfinished"
    assert "evaluate values seed 0" in report.missing
    assert report.sentence == "Nothing was evaluated yet."
    assert b"Not finished" in files_of(report)["report.html"]
    assert len(files_of(report)) == 2 + len(report.corpora) + sum(bool(v.content_digest) for v in report.versions)


def test_seeds_that_are_evaluated_are_shown_while_others_run(tmp_path: Path) -> None:
    finished = finish(tmp_path)
    (_, ref) = finished.plan.evaluations["values"][1]
    finished.store.delete(f"{ref.kind}/{ref.fingerprint}/manifest.json")
    report = compose(finished.survey(), finished.uid, "Running", ())
    assert {len(s.by_seed) for s in report.scores} == {1}
    assert report.missing == ("evaluate values seed 1",)


def test_few_updates_of_many_stages_are_one_caution_a_kind(tmp_path: Path) -> None:
    found = [c.text for c in finish(tmp_path, updates=80).survey().cautions if c.kind == "few-updates"]
    assert [text.split(" have")[0] for text in found] == ["2 of 2 midtrain stages", "4 of 4 finetune stages"]
    assert all("80 updates, under 200" in text for text in found)


def test_results_carry_the_cautions_as_warnings(tmp_path: Path) -> None:
    seen = finish(tmp_path, run_data(seeds=[0])).survey()
    results = results_of(seen, ())
    assert any(warning.startswith("one seed") for warning in results.warnings)
    assert len(results.warnings) == len(seen.cautions)
    assert {(e.metric, e.estimate) for e in results.effects} == {(e.metric, e.estimate) for e in seen.evidence.effects}


def test_a_report_is_kept_once_and_written_again_only_when_it_changed(tmp_path: Path) -> None:
    finished = finish(tmp_path)
    report = compose(finished.survey(), finished.uid, "Succeeded", ())
    index = keep_report(finished.store, finished.uid, report, files_of(report))
    assert read_index(finished.store, finished.uid) == index
    assert set(index.cards) == {v.fingerprint for v in report.versions}
    html = f"runs/{finished.uid}/report/report.html"
    finished.store.put(html, b"touched")
    keep_report(finished.store, finished.uid, report, files_of(report))
    assert finished.store.get(html) == b"touched", "an unchanged report writes nothing"
    changed = report.model_copy(update={"phase": "Failed"})
    assert keep_report(finished.store, finished.uid, changed, files_of(changed)).digest != index.digest
    assert finished.store.get(html) != b"touched"


def test_cards_of_an_earlier_report_go(tmp_path: Path) -> None:
    finished = finish(tmp_path)
    files = files_of(compose(finished.survey(), finished.uid, "Succeeded", ()))
    (tmp_path / "out" / "cards").mkdir(parents=True)
    (tmp_path / "out" / "cards" / "old.md").write_text("old")
    (tmp_path / "out" / "corpora" / "gone").mkdir(parents=True)
    (tmp_path / "out" / "corpora" / "gone" / "README.md").write_text("old")
    assert write_report(tmp_path / "out", files) == tmp_path / "out" / "report.html"
    assert {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()} == set(files)
