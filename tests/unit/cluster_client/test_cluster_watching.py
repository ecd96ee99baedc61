"""The moving picture of `msm status -w`, on a terminal of any height."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from msm.cli.screen import Screen
from msm.cli.view import RunView
from msm.cli.watching import picture, watch
from msm.local.status import StageStatus, State
from tests.unit.cluster_client.scripted_cluster import FakeClock


def stage(number: int, state: State, message: str = "") -> StageStatus:
    return StageStatus(name=f"stage {number}", kind="write", fingerprint=f"{number:064}", state=state, message=message)


def view(done: int, running: int, pending: int, notes: tuple[str, ...] = ()) -> RunView:
    states = [State.DONE] * done + [State.RUNNING] * running + [State.PENDING] * pending
    stages = tuple(stage(number, state) for number, state in enumerate(states))
    return RunView("cheese-1", "Running", 40.0, done, len(stages), stages, is_at_work=True, notes=notes)


def drawn(shown: RunView, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=100, height=height)
    with console.capture() as capture:
        console.print(picture(shown, height))
    return capture.get().splitlines()


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(1, 3), st.integers(0, 60), st.integers(12, 50), st.integers(0, 9))
def test_a_picture_is_never_higher_than_the_terminal_and_shows_what_is_at_work(
    done: int, running: int, pending: int, height: int, notes: int
) -> None:
    lines = drawn(view(done, running, pending, tuple(f"note {n}" for n in range(notes))), height)
    assert len(lines) <= height
    assert any(f"stage {done} " in line for line in lines)
    assert lines[0].startswith("cheese-1  Running  40%")


@pytest.mark.parametrize("terminal", [True, False])
def test_watching_draws_until_the_run_is_over(terminal: bool) -> None:
    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    out = Stream()
    looks = [(view(1, 1, 1), False), (view(2, 1, 0), False), (view(3, 0, 0), True)]
    last = watch(lambda: looks.pop(0), Screen(out, io.StringIO(), {"TERM": "xterm"}), FakeClock())
    assert (last.done, looks) == (3, [])
    assert "3 of 3 stages done" in out.getvalue()
