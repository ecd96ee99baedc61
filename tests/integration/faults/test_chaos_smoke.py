"""A little of `make chaos-local`: crashes injected into warm runs without real training, one real kill, and the shape of the last line."""

import json
import random
from pathlib import Path

import pytest

from tests.chaos import local, tiny_run
from tests.chaos.faulty import Fault
from tests.chaos.injections import EVERYWHERE, STAGE_ONLY, Injector
from tests.chaos.verdict import Verdict
from tests.chaos.warm import World

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_run.make_model(tmp_path_factory.mktemp("chaos"))


@pytest.fixture
def injector(tmp_path: Path, model: Path) -> Injector:
    said: list[str] = []
    made = Injector(tiny_run.write_run(tmp_path / "in", model, **tiny_run.WITHOUT_EVALS), tmp_path / "worlds", said.append)
    assert made.prepare() > 150
    return made


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_crashes_at_operations_all_over_a_run_lose_nothing(injector: Injector) -> None:
    crashes = injector.every_operation(EVERYWHERE, start=2, step=11) + injector.every_operation(STAGE_ONLY, start=3, step=13)
    draw = random.Random(4)
    while injector.verdict.injected < 60:
        injector.at_random(draw, tuple(Fault), 12)
    assert crashes > 30
    assert (injector.verdict.injected >= 60, injector.verdict.good) == (True, True), injector.verdict


def test_a_run_that_hangs_is_overtaken_and_then_loses_harmlessly(tmp_path: Path, model: Path) -> None:
    run_file = tiny_run.write_run(tmp_path / "in", model, **tiny_run.WITHOUT_EVALS)
    undisturbed = World(run_file, tmp_path / "undisturbed").call().machine.operations
    for number in (undisturbed // 4, undisturbed // 2, undisturbed - 20):
        world = World(run_file, tmp_path / f"hung-{number}")
        assert world.call(dict.fromkeys(range(number, number + 4), Fault.OVERTAKEN)).succeeded
        assert world.ledger.happened[Fault.OVERTAKEN] > 0
        assert set(world.ledger.commits.values()) == {1}


def test_a_verdict_finds_what_it_is_there_to_find(injector: Injector, tmp_path: Path) -> None:
    """The judge itself: a damaged file, another content, an absent artifact, a second commit."""
    from tests.chaos.verdict import digests, judge

    world = World(injector.run_file, tmp_path / "spoiled")
    assert world.call().succeeded
    run = world.accepted()
    reference, stage = digests(run), run.plan.stages[0]
    name = f"{stage.kind}/{stage.fingerprint}"
    assert judge(run, reference, {"a": 1}) == (Verdict(), [])
    assert judge(run, {**reference, name: "other"}, {})[0].different == 1
    assert judge(run, {**reference, "more": "x"}, {})[0].lost == 1
    assert judge(run, reference, {"a": 2})[0].duplicates == 1
    victim = next(found.key for found in run.store.list(f"{name}/attempts/") if "/files/" in found.key)
    run.store.put(victim, b"spoiled")
    assert judge(run, reference, {})[0].lost > 0


def test_the_last_line_is_a_count_and_the_exit_code_says_whether_it_is_good(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdicts = iter((Verdict(kills=40, injected=500), Verdict(kills=40, injected=500, orphans=1)))
    monkeypatch.setattr(local, "_all", lambda *rest: next(verdicts))
    for code in (0, 1):
        assert local.main(["--root", str(tmp_path)]) == code
        last = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert list(last) == ["kills", "injected", "lost", "duplicates", "different", "orphans"]
