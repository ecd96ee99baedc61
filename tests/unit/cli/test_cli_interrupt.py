import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from msm.cli.interrupt import ONE_PRESS_SECONDS, STOPPING, Interrupts, descendants, kill_descendants


class Hand:
    """Presses keys at chosen times."""

    def __init__(self) -> None:
        self.at = 0.0
        self.notes: list[str] = []
        self.killed = 0
        self.stop = threading.Event()
        self.interrupts = Interrupts(self.stop, self.notes.append, lambda: self.at, self._kill)

    def _kill(self) -> None:
        self.killed += 1


def test_the_first_press_asks_the_stages_to_checkpoint() -> None:
    hand = Hand()
    with hand.interrupts:
        signal.raise_signal(signal.SIGINT)
        assert hand.stop.wait(2.0)
    assert hand.notes == [STOPPING]
    assert hand.interrupts.exit_code == 130
    assert hand.killed == 0


def test_the_second_press_kills() -> None:
    hand = Hand()
    with hand.interrupts:
        signal.raise_signal(signal.SIGINT)
        hand.at = ONE_PRESS_SECONDS
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert hand.killed == 1


def test_a_press_that_arrives_twice_counts_once() -> None:
    hand = Hand()
    with hand.interrupts:
        signal.raise_signal(signal.SIGINT)
        hand.at = ONE_PRESS_SECONDS / 2
        signal.raise_signal(signal.SIGINT)
        assert hand.stop.wait(2.0)
    assert hand.killed == 0


def test_sigterm_stops_with_its_own_exit_code() -> None:
    hand = Hand()
    with hand.interrupts:
        signal.raise_signal(signal.SIGTERM)
        assert hand.stop.wait(2.0)
    assert hand.interrupts.exit_code == 143


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Hand().interrupts:
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_descendants_are_found_over_generations_and_names_with_brackets(tmp_path: Path) -> None:
    for process, parent, name in ((10, 1, "msm"), (11, 10, "a) (b"), (12, 11, "c"), (13, 1, "other")):
        (tmp_path / str(process)).mkdir()
        (tmp_path / str(process) / "stat").write_text(f"{process} ({name}) S {parent} 0 0")
    assert descendants(10, tmp_path) == [11, 12]


def test_killing_reaches_grandchildren_in_sessions_of_their_own() -> None:
    sleep = "import time; time.sleep(60)"
    inner = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', '{sleep}'], start_new_session=True); {sleep}"
    child = subprocess.Popen([sys.executable, "-c", inner], start_new_session=True)
    try:
        deadline = time.monotonic() + 10
        while len(below := descendants(child.pid)) < 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert child.pid in descendants(os.getpid())
        kill_descendants(child.pid)
        while any(_is_alive(process) for process in below) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(_is_alive(process) for process in below)
    finally:
        child.kill()
        child.wait()


def _is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
