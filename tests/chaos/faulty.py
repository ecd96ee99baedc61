"""A fault injector: a store that passes everything on to a real one, and at chosen operations lets the power go out or the network fail.

Nothing here plays a store; `FaultyStore` wraps one. A `Machine` counts the operations of all its processes, so that "at the n-th operation"
means the n-th thing that a whole `msm run` does to the outside. A cut is a BaseException: no `except Exception` of the platform may survive
it, and once a process is off, everything that it still tries (its `finally` blocks too) fails in the same way and does nothing.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import TypeVar

from msm.errors import TryAgain
from msm.store.manifest import MANIFEST_FILE
from msm.store.objects import ObjectInfo, ObjectStore
from msm.store.writing import CHUNK

T = TypeVar("T")


class PowerCut(BaseException):
    """The process is gone. Not an Exception: nobody may catch it and go on."""


class Fault(Enum):
    """What happens at an operation."""

    CUT_BEFORE = "power cut before it"
    CUT_AFTER = "power cut after it, before the caller hears"
    CUT_TORN = "power cut in the middle of it"
    DIES_BEFORE = "the stage's process dies before it"
    DIES_AFTER = "the stage's process dies after it"
    AWAY = "no answer, not done"
    ANSWER_LOST = "done, and no answer"
    TWICE = "sent twice"
    STOP = "Ctrl-C"
    OVERTAKEN = "the process hangs so long that another msm run does everything"

    @property
    def is_crash(self) -> bool:
        """Whether a process ends without a last word."""
        return self in (Fault.CUT_BEFORE, Fault.CUT_AFTER, Fault.CUT_TORN, Fault.DIES_BEFORE, Fault.DIES_AFTER)

    @property
    def ends_machine(self) -> bool:
        """Whether executor and stage go together."""
        return self in (Fault.CUT_BEFORE, Fault.CUT_AFTER, Fault.CUT_TORN)


BEFORE = frozenset({Fault.CUT_BEFORE, Fault.DIES_BEFORE})
AFTER = frozenset({Fault.CUT_AFTER, Fault.DIES_AFTER})


@dataclass(slots=True)
class Ledger:
    """What is counted over all calls on one store: creations of each artifact's manifest, and faults that really happened."""

    commits: Counter[str] = field(default_factory=Counter)
    happened: Counter[Fault] = field(default_factory=Counter)


@dataclass(slots=True)
class Process:
    """One process of a machine; the executor's is the machine's own."""

    name: str
    off: bool = False


@dataclass(slots=True)
class Machine:
    """One call of `msm run`: counts operations and knows what is to happen at which."""

    faults: Mapping[int, Fault]
    ledger: Ledger
    stop: threading.Event
    overtake: Callable[[], None] = lambda: None
    operations: int = 0
    off: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next_fault(self, process: Process) -> Fault | None:
        """Count an operation; the fault for it, if any can happen there."""
        with self._lock:
            self.check(process)
            self.operations += 1
            fault = self.faults.get(self.operations)
            if fault is not None:
                self.ledger.happened[fault] += 1
            return fault

    def check(self, process: Process) -> None:
        """Raise PowerCut in a process that is off."""
        if self.off or process.off:
            raise PowerCut(process.name)

    def cut(self, process: Process, fault: Fault) -> None:
        """End the process, or everything."""
        process.off = True
        self.off = self.off or fault.ends_machine or process.name == "executor"
        raise PowerCut(process.name)

    def boundary(self, process: Process) -> None:
        """A step between processes, such as a start or an end: counted, and where crashes and Ctrl-C can happen too."""
        fault = self.next_fault(process)
        if fault is Fault.STOP:
            self.stop.set()
        elif fault is not None and fault.is_crash:
            self.cut(process, fault)


class FaultyStore:
    """A process's view of the real store."""

    def __init__(self, inner: ObjectStore, machine: Machine, process: Process, incoming: Path) -> None:
        self._inner, self._machine, self._process, self._incoming = inner, machine, process, incoming

    @property
    def uri(self) -> str:
        return self._inner.uri

    def get(self, key: str) -> bytes:
        return self._do(lambda: self._inner.get(key))

    def put(self, key: str, data: bytes) -> None:
        self._do(lambda: self._inner.put(key, data), lambda: self._leave_part(data[: len(data) // 2]))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        return self._do(lambda: self._create(key, data), lambda: self._leave_part(data[: len(data) // 2]))

    def upload(self, key: str, source: Path) -> None:
        self._do(lambda: self._inner.upload(key, source), lambda: self._leave_part(_half_of(source)))

    def download(self, key: str, target: Path) -> None:
        self._do(lambda: self._inner.download(key, target), lambda: target.with_name("torn.part").write_bytes(b"half"))

    def stat(self, key: str) -> ObjectInfo | None:
        return self._do(lambda: self._inner.stat(key))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        yield from self._do(lambda: list(self._inner.list(prefix)))

    def delete(self, key: str) -> None:
        self._do(lambda: self._inner.delete(key))

    def local_path(self, key: str) -> Path | None:
        return self._inner.local_path(key)

    def sweep(self, before: datetime) -> int:
        return self._do(lambda: self._inner.sweep(before))

    def _do(self, operation: Callable[[], T], tear: Callable[[], object] = lambda: None) -> T:
        machine, process = self._machine, self._process
        fault = machine.next_fault(process)
        if fault is None:
            return operation()
        if fault in BEFORE:
            machine.cut(process, fault)
        if fault is Fault.CUT_TORN:
            tear()
            machine.cut(process, fault)
        if fault is Fault.AWAY:
            raise TryAgain("fault injector: no answer")
        if fault is Fault.OVERTAKEN and process.name != "executor":
            machine.overtake()
        if fault is Fault.STOP:
            machine.stop.set()
        found = operation()
        if fault in AFTER:
            machine.cut(process, fault)
        if fault is Fault.ANSWER_LOST:
            raise TryAgain("fault injector: the answer was lost")
        return operation() if fault is Fault.TWICE else found

    def _create(self, key: str, data: bytes) -> bool:
        """A creation; one that is repeated finds its own bytes, as the S3 store does."""
        created = self._inner.put_if_absent(key, data)
        if created and key.endswith(f"/{MANIFEST_FILE}") and key.count("/") == 2:
            self._machine.ledger.commits[key] += 1
        return created or self._inner.get(key) == data

    def _leave_part(self, data: bytes) -> None:
        """What a writer that dies half-way leaves in a directory store."""
        (self._incoming / f"torn-{self._machine.operations}.part").write_bytes(data)


def _half_of(source: Path) -> bytes:
    with source.open("rb") as handle:
        return handle.read(min(CHUNK, max(1, source.stat().st_size // 2)))
