import io

import pytest
from rich.console import Console

from msm.cli.display import WarningLog, open_display
from msm.cli.lines import LineDisplay
from msm.cli.live import LiveDisplay, picture, window
from msm.cli.screen import Screen
from msm.local.status import Phase, RunStatus, State
from tests.unit.cli.kept import FakeClock, stage, status_of

RUNNING = {
    "state": State.RUNNING,
    "attempts": 1,
    "percentage": 42.0,
    "step": 90,
    "total_steps": 210,
    "remaining_seconds": 80.0,
    "seconds": 60.0,
    "metrics": {"loss": 2.31, "tokensPerSecond": 158.2},
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def said_of(*statuses: RunStatus, every: float = 1.0) -> list[str]:
    lines: list[str] = []
    clock = FakeClock()
    display = LineDisplay(lines.append, clock)
    for status in statuses:
        display.report(status)
        clock.sleep(every)
    return lines


def test_a_line_is_printed_when_a_stage_changes_its_state() -> None:
    pending, running, done = stage(), stage(**RUNNING), stage(state=State.DONE, attempts=1, seconds=125.0)
    lines = said_of(status_of(pending), status_of(running), status_of(running), status_of(done), status_of(done))
    assert lines[0] == "example: 1 stages"
    assert [line.partition("] ")[2] for line in lines[1:]] == [
        "midtrain america seed 0: running, 42%, step 90/210, loss 2.310, 158 tokens/s, ETA 1m20s",
        "midtrain america seed 0: done in 2m05s",
    ]


def test_a_running_stage_says_how_it_goes_every_ten_seconds() -> None:
    lines = said_of(*[status_of(stage(**RUNNING))] * 31)
    assert len(lines) == 1 + 1 + 3


def test_stages_that_were_done_before_are_counted_once() -> None:
    there = [stage(f"curate {name}", state=State.DONE) for name in "abc"]
    lines = said_of(status_of(*there, stage()), status_of(*there, stage(**RUNNING)))
    assert lines[0] == "example: 4 stages, 3 done already"
    assert len(lines) == 2


def test_a_failure_and_a_wait_say_why() -> None:
    waiting = stage(state=State.WAITING, message="until 12:00:05 after: killed\nwithout a word", attempts=1)
    lines = said_of(status_of(stage()), status_of(waiting), status_of(stage(state=State.FAILED, message="Fault: broken", attempts=1)))
    assert lines[1].endswith("midtrain america seed 0: waiting: until 12:00:05 after: killed without a word")
    assert lines[2].endswith("midtrain america seed 0: failed: Fault: broken")


def test_no_line_has_a_colour_or_a_cursor_movement() -> None:
    text = "\n".join(said_of(status_of(stage("midtrain \x1b[2J seed 0")), status_of(stage("midtrain \x1b[2J seed 0", **RUNNING))))
    assert "\x1b" not in text


def drawn(status: RunStatus, height: int = 24, width: int = 100, notes: tuple[str, ...] = ()) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=False)
    with console.capture() as capture:
        console.print(picture(status, notes, height))
    return capture.get().splitlines()


def test_the_picture_shows_progress_loss_speed_and_time() -> None:
    text = "\n".join(drawn(status_of(stage("fetch base model", state=State.DONE), stage(**RUNNING)), notes=("stopping: wait",)))
    for part in ("example", "midtrain america seed 0", "42", "90/210", "2.31", "158", "1m20s", "re-used", "stopping: wait"):
        assert part in text


@pytest.mark.parametrize("height", [10, 24, 60])
def test_the_picture_is_never_higher_than_the_terminal_and_shows_what_runs(height: int) -> None:
    done = [stage(f"curate {n}", state=State.DONE) for n in range(200)]
    pending = [stage(f"finetune {n}") for n in range(200)]
    lines = drawn(status_of(*done, stage(**RUNNING), *pending), height=height)
    assert len(lines) <= height
    assert any("midtrain america seed 0" in line for line in lines)


def test_the_window_starts_a_little_before_the_first_stage_that_is_not_over() -> None:
    stages = [stage(str(n), state=State.DONE if n < 50 else State.PENDING) for n in range(100)]
    above, shown, below = window(stages, 10)
    assert (above, shown[0].name, len(shown), below) == (48, "48", 10, 42)


def test_names_are_never_markup() -> None:
    assert any("midtrain [red]x[/nope] seed 0" in line for line in drawn(status_of(stage("midtrain [red]x[/nope] seed 0", **RUNNING))))


def test_a_terminal_gets_the_live_display_and_everything_else_gets_lines() -> None:
    terminal, file = Terminal(), io.StringIO()
    assert isinstance(open_display(Screen(terminal, terminal, {"TERM": "xterm"}), FakeClock()), LiveDisplay)
    assert isinstance(open_display(Screen(file, file, {}), FakeClock()), LineDisplay)
    assert isinstance(open_display(Screen(terminal, terminal, {"TERM": "dumb"}), FakeClock()), LineDisplay)
    assert isinstance(open_display(Screen(terminal, file, {"TERM": "xterm"}, as_json=True), FakeClock()), LineDisplay)


@pytest.mark.parametrize(
    ("environ", "coloured"), [({"TERM": "xterm-256color"}, True), ({"TERM": "xterm-256color", "NO_COLOR": "1"}, False)]
)
def test_no_color_is_respected_on_a_terminal(environ: dict[str, str], coloured: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "TERM", "COLORTERM", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    with open_display(Screen(terminal, terminal, environ), FakeClock()) as display:
        display.report(status_of(stage(**RUNNING), phase=Phase.RUNNING))
    assert ("\x1b[36m" in terminal.getvalue()) is coloured


def test_warnings_of_the_platform_reach_the_display_while_it_is_open() -> None:
    import logging

    notes: list[str] = []
    with WarningLog(notes.append):
        logging.getLogger("msm.store.gc").warning("something\n%s", "odd")
        logging.getLogger("msm.store.gc").info("nothing")
    logging.getLogger("msm.store.gc").warning("too late")
    assert notes == ["warning: something odd"]
