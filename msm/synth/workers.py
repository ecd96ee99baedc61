"""Rows judged in several processes, in order: the part of curation that looks at rows one by one.

Neighbours: the curate stage opens a `RowFile` and says how a judge is made, `judge` does the work. Rows never travel between processes:
each reads the lines of its batch from the file. Invariants: results come in the order of the rows and do not depend on how many processes
there are; a process ends when its parent does, since its pipe does. Cost: a second to start a process; 2 KiB a row on the way back.
"""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol, overload

from msm.errors import MSMError
from msm.synth.judge import Judge, Judged
from msm.synth.source import Row

BATCH = 128
"""Rows judged at once."""
ALONE = 2000
"""Rows up to which starting processes is not worth it."""
MOST = 16
"""Processes at most."""
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""What numerical libraries read when they are loaded."""


class OpensJudge(Protocol):
    """Makes a judge in the process that uses it; travels there itself."""

    def open(self) -> Judge:
        """The judge."""
        ...


class RowFile(Sequence[Row]):
    """Rows of JSON Lines files that this platform wrote, read when they are asked for; eight bytes a row in memory."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        self._places = [(number, at) for number, path in enumerate(self.paths) for at in _line_starts(path)]

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Row]: ...
    def __getitem__(self, at: int | slice) -> Row | Sequence[Row]:
        if isinstance(at, slice):
            return [json.loads(line) for line in self.lines(range(len(self))[at])]
        row: Row = json.loads(next(self.lines([at])))
        return row

    def lines(self, rows: Sequence[int]) -> Iterator[bytes]:
        """The lines of some rows, ascending, as they stand in the files."""
        opened, file = -1, None
        try:
            for number, at in (self._places[row] for row in rows):
                if number != opened:
                    if file is not None:
                        file.close()
                    opened, file = number, self.paths[number].open("rb")
                assert file is not None
                file.seek(at)
                yield file.readline()
        finally:
            if file is not None:
                file.close()


def _line_starts(path: Path) -> list[int]:
    starts, at = [], 0
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                starts.append(at)
            at += len(line)
    return starts


def processes_for(rows: int) -> int:
    """How many processes so many rows are worth here; one is this process."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 1 if rows <= ALONE else max(1, min(there, MOST))


def judged(rows: RowFile, opens: OpensJudge, processes: int, look: Callable[[int], None] = lambda _: None) -> Iterator[Judged]:
    """Verdicts on all rows, batch by batch, in order; `look` hears how many rows are done and may raise to end it."""
    batches = [(start, min(start + BATCH, len(rows))) for start in range(0, len(rows), BATCH)]
    found = _here(rows, opens, batches) if processes <= 1 else _elsewhere(rows, opens, batches, processes)
    for (_, stop), part in zip(batches, found, strict=True):
        yield part
        look(stop)


def _here(rows: RowFile, opens: OpensJudge, batches: Sequence[tuple[int, int]]) -> Iterator[Judged]:
    judge = opens.open()
    for start, stop in batches:
        yield judge.rows(rows[start:stop])


def _elsewhere(rows: RowFile, opens: OpensJudge, batches: Sequence[tuple[int, int]], processes: int) -> Iterator[Judged]:
    """Batch n goes to process n modulo their number; each has two batches to do, so that it never waits for us."""
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(processes)]
    started = [context.Process(target=_work, args=(theirs, opens, rows.paths), daemon=True) for _, theirs in pipes]
    ours = [mine for mine, _ in pipes]
    try:
        with _one_thread_each():
            for process, (_, theirs) in zip(started, pipes, strict=True):
                process.start()
                theirs.close()
        for number, batch in enumerate(batches[: 2 * processes]):
            with suppress(OSError):  # one that has failed already says why when its first result is taken
                ours[number % processes].send(batch)
        for number in range(len(batches)):
            yield _exchanged(ours[number % processes], batches[number + 2 * processes :][:1])
    finally:
        for mine, process in zip(ours, started, strict=True):
            mine.close()
            process.terminate()
            process.join()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started meanwhile compute on one thread: there is one for each processor, and threads that wait for each other spin."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _exchanged(pipe: "Connection[Any, Any]", further: Sequence[tuple[int, int]]) -> Judged:
    """A batch's verdicts, for which the process gets what it is to do further, if there is anything."""
    try:
        found = pipe.recv()
        for batch in further:
            pipe.send(batch)
    except (EOFError, OSError) as error:
        raise MSMError("a process that judged rows was killed (out of memory?)") from error
    if isinstance(found, Exception):
        raise found
    result: Judged = found
    return result


def _work(pipe: "Connection[Any, Any]", opens: OpensJudge, paths: Sequence[Path]) -> None:
    """A process's life: batches in, verdicts out, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        rows, judge = RowFile(paths), opens.open()
        while True:
            start, stop = pipe.recv()
            pipe.send(judge.rows(rows[start:stop]))
    except (EOFError, BrokenPipeError):
        return
    except Exception as error:  # the process boundary: the parent raises it
        pipe.send(MSMError(f"{type(error).__name__}: {error}"))
