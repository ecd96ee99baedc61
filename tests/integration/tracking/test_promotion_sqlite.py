"""`msm promote` and `msm rollback` on a real MLflow in a sqlite file, by the command line."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from msm.api import parse_run
from msm.cli.main import app
from msm.tracking import TrackingConfig, tracking_config
from msm.tracking.client import Client, open_client
from msm.tracking.desired import Tag
from msm.tracking.projector import sync
from msm.tracking.promotion import Note, promote, promoted_tag, read_alias, roll_back, rolled_back_tag
from msm.tracking.snapshot import Snapshot
from tests.finished import Finished, finish, run_data
from tests.tracked import TickingClock

GATE = {"metric": "values.america.free", "compareTo": "aft", "minEffect": 0.1}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A finished run with all its versions in MLflow; tests work on copies of its directory."""
    here = tmp_path_factory.mktemp("prepared")
    found = finish(here, run_data(seeds=[0], registry={"model": "cheese", "candidate": "msm-america-aft"}), updates=2)
    shown = Snapshot(found.run, found.uid, found.plan, {}).with_committed_of(found.store)
    sync(shown, found.store, tracking_config(found.run, here / ".msm", {}), TickingClock())
    return found


@pytest.fixture
def here(tmp_path: Path, prepared: Finished, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(prepared.cache.parent, tmp_path / ".msm")
    monkeypatch.chdir(tmp_path)
    for name in ("MSM_STORE_URI", "MSM_TRACKING_URI", "MSM_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def gated(here: Path, prepared: Finished) -> Callable[..., Finished]:
    """The run with other gates, which no artifact depends on."""

    def change(*gates: dict, candidate: str | None = "msm-america-aft") -> Finished:
        data = prepared.run.model_dump(mode="json", by_alias=True, exclude_none=True)
        data["spec"]["registry"] = {"model": "cheese", "gates": list(gates), **({"candidate": candidate} if candidate else {})}
        run = parse_run(data)
        (here / ".msm" / "store" / "runs" / prepared.uid / "run.json").write_text(run.model_dump_json(by_alias=True))
        return replace(prepared, run=run)

    return change


@pytest.fixture
def client(here: Path) -> Client:
    return open_client(TrackingConfig(f"sqlite:///{here}/.msm/mlflow.db", "x", here / ".msm" / "mlartifacts"), os.environ)


def msm(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def version(client: Client, alias: str = "champion") -> str | None:
    found = read_alias(client, "cheese", alias)
    return None if found is None else found.version


def candidate(client: Client, finished: Finished) -> str:
    ref = next(m.model for m in finished.plan.models if (m.arm, m.seed) == ("msm-america-aft", 0))
    versions = client.search_model_versions("name = 'cheese'")
    (found,) = [v.version for v in versions if v.tags[Tag.FINGERPRINT] == ref.fingerprint]
    return str(found)


def test_a_run_whose_gates_pass_is_promoted_with_its_reasons_on_record(gated, here: Path, client: Client) -> None:
    finished = gated(GATE)
    said = msm("promote", "example", "--why", "smells good")
    assert said.exit_code == 0, said.output
    assert "passed" in said.stdout and "values.america.free" in said.stdout
    assert f"cheese@champion is version {candidate(client, finished)} now" in said.stdout
    tags = client.get_model_version("cheese", candidate(client, finished)).tags
    note = json.loads(tags[promoted_tag("champion")])
    assert (note["why"], note["run"], note["forced"], note["other"]) == ("smells good", finished.uid, False, None)
    assert note["by"] and note["at"]
    assert note["gates"][0].startswith("passed: values.america.free of msm-america-aft against aft: 2.400")


def test_a_gate_that_fails_is_printed_with_its_numbers_and_nothing_moves(gated, here: Path, client: Client) -> None:
    gated(GATE, {**GATE, "minEffect": 5.0})
    said = msm("promote", "example")
    assert said.exit_code == 1
    assert "at least 5" in said.stdout and "+2.400" in said.stdout and "FAILED" in said.stdout
    assert "1 gate fails; --force overrules" in said.stdout
    assert version(client) is None


def test_force_overrules_and_says_so_in_the_tag(gated, here: Path, client: Client) -> None:
    finished = gated({**GATE, "minEffect": 5.0})
    said = msm("promote", "example", "--force", "--json")
    assert said.exit_code == 0
    document = json.loads(said.stdout)
    assert (document["promoted"], document["forced"], document["after"]) == (True, True, candidate(client, finished))
    tags = client.get_model_version("cheese", candidate(client, finished)).tags
    assert json.loads(tags[promoted_tag("champion")])["why"] == "forced past 1 gate"


def test_promoting_again_writes_nothing(gated, here: Path, client: Client) -> None:
    gated(GATE)
    msm("promote", "example", "--why", "first")
    said = msm("promote", "example", "--why", "second")
    assert said.exit_code == 0 and "already" in said.stdout
    tags = client.get_model_version("cheese", version(client)).tags
    assert json.loads(tags[promoted_tag("champion")])["why"] == "first"


def test_rollback_goes_back_step_by_step_and_then_says_that_there_is_no_more(gated, here: Path, client: Client) -> None:
    finished = gated(GATE)
    versions = [str(v.version) for v in client.search_model_versions("name = 'cheese'")]
    mine = candidate(client, finished)
    first, second = [v for v in sorted(versions) if v != mine][:2]
    note = Note("a test", TickingClock().now(), "made up")
    for each in (first, second):
        promote(client, "cheese", "champion", each, note)
    assert msm("promote", "example").exit_code == 0
    said = msm("rollback", "cheese", "--why", "it rhymed")
    assert f"cheese@champion is version {second} now; it was {mine}" in said.stdout
    assert json.loads(client.get_model_version("cheese", mine).tags[rolled_back_tag("champion")])["why"] == "it rhymed"
    assert msm("rollback", "cheese").exit_code == 0
    assert version(client) == first
    last = msm("rollback", "cheese")
    assert last.exit_code == 2
    assert f'"champion" of "cheese" has always been version {first}' in last.stderr


def test_a_rollback_that_broke_off_after_noting_is_not_a_step(gated, here: Path, client: Client) -> None:
    """The tag is written before the alias moves: then its last entry is the version that the alias still names."""
    finished = gated(GATE)
    mine = candidate(client, finished)
    note = Note("a test", TickingClock().now(), "made up")
    other = next(str(v.version) for v in client.search_model_versions("name = 'cheese'") if str(v.version) != mine)
    promote(client, "cheese", "champion", other, note)
    promote(client, "cheese", "champion", mine, note)
    client.set_registered_model_tag("cheese", "msm.previous.champion", json.dumps([other, mine]))
    assert roll_back(client, "cheese", "champion", note).after == other


def test_versions_that_are_gone_are_not_gone_back_to(gated, here: Path, client: Client) -> None:
    finished = gated(GATE)
    mine = candidate(client, finished)
    first, second = [v for v in sorted(str(v.version) for v in client.search_model_versions("name = 'cheese'")) if v != mine][:2]
    note = Note("a test", TickingClock().now(), "made up")
    for each in (first, second, mine):
        promote(client, "cheese", "champion", each, note)
    client.delete_model_version("cheese", second)
    assert roll_back(client, "cheese", "champion", note).after == first


def test_a_run_file_names_its_model_for_a_rollback(gated, here: Path, client: Client) -> None:
    finished = gated(GATE)
    (here / "run.yaml").write_text(yaml.safe_dump(finished.run.model_dump(mode="json", by_alias=True, exclude_none=True)))
    said = msm("rollback", "run.yaml")
    assert said.exit_code == 2
    assert '"cheese" has no alias "champion"' in said.stderr


MISTAKES = {
    "a model that nobody registered": (("rollback", "nothing"), '"nothing" has no alias "champion"'),
    "a run that there is not": (("promote", "nothing"), '"nothing" is no run'),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_line(here: Path, arguments: tuple[str, ...], message: str) -> None:
    said = msm(*arguments)
    assert said.exit_code == 2
    assert message in said.stderr and said.stderr.count("\n") == 1


def test_a_run_without_a_candidate_says_what_to_name(gated) -> None:
    gated(candidate=None)
    said = msm("promote", "example")
    assert said.exit_code == 2
    assert "spec.registry.candidate: names no arm" in said.stderr


def test_a_run_that_mlflow_has_never_seen_says_what_to_type(here: Path) -> None:
    (here / ".msm" / "mlflow.db").unlink()
    said = msm("promote", "example")
    assert said.exit_code == 2
    assert "`msm track sync`" in said.stderr


def test_another_alias_has_a_history_of_its_own(gated, here: Path, client: Client) -> None:
    finished = gated(GATE)
    assert msm("promote", "example", "--to", "staging").exit_code == 0
    assert (version(client, "staging"), version(client)) == (candidate(client, finished), None)
