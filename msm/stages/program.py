"""The process around a stage: read the document, run the kind's module, commit once, exit with a code that says whose move it is.

Neighbours: `contract` has the words, `context` what a stage sees, `lifeline` when to stop. Invariant: exit code 0 only with a committed
manifest; whatever fails leaves one line in the termination log and nothing readable in the store. Of several machines one has the attempt.
"""

import importlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, repeat
from pathlib import Path
from types import ModuleType

from msm.clock import Clock, SystemClock
from msm.errors import Exit, MSMError, TryAgain, UserError
from msm.plan import Stage, kinds
from msm.stages import contract
from msm.stages.context import Context, Reporter, Result
from msm.stages.contract import HEARTBEAT_SECONDS
from msm.stages.following import follow, machines_of
from msm.stages.lifeline import watch
from msm.store import ObjectStore, StoreConfig, open_store
from msm.store.artifacts import Attempt, begin_attempt, read_manifest
from msm.store.progress import Progress, TwinMove, decide_twins, is_alive, read_progress
from msm.store.writing import is_full, storage_error
from msm.versions import versions

log = logging.getLogger(__name__)
NOTHING_TO_SAVE_SECONDS = 5.0
"""Grace of a stage that has no checkpoint to write."""
COMMIT_PATIENCE_SECONDS = 300.0
"""How long finished work waits for a store that does not answer, before it is thrown away."""
TWIN_PATIENCE_SECONDS = 5.0
"""How long an attempt waits for a younger one to step back, before it does so itself."""
TWIN_POLL_SECONDS = 0.25


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Run the stage that the environment describes; the process's exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    termination = Path(environ[contract.TERMINATION_LOG]) if contract.TERMINATION_LOG in environ else None
    record = explained(lambda: run(environ, SystemClock()), Path(environ.get(contract.SCRATCH, ".")))
    contract.write_termination(termination, record)
    log.info("exit %s %s %s", record.exitCode, record.reason, record.message)
    return record.exitCode


def explained(attempt: Callable[[], str], where: Path) -> contract.Termination:
    """The attempt's last message; the outermost boundary, so it also turns a defect of ours into a fault with its traceback logged.

    `where` is the directory that the attempt works in, for a full disk that says no name.
    """
    try:
        return contract.Termination(Exit.COMMITTED, "Committed", attempt())
    except MSMError as error:
        return _of(error)
    except OSError as error:
        log.exception("stage failed")
        if is_full(error):
            return _of(storage_error(error, Path(error.filename or where)))
        return contract.Termination(Exit.FAULT, "Fault", f"{type(error).__name__}: {error}")
    except MemoryError:
        return contract.Termination(Exit.FAULT, "OutOfMemory", "out of memory; use a smaller microBatchRows or maxLength")
    except Exception as error:
        log.exception("stage failed")
        return contract.Termination(Exit.FAULT, "Fault", f"{type(error).__name__}: {error}")


def _of(error: MSMError) -> contract.Termination:
    return contract.Termination(error.exit_code, error.reason, str(error), error.field if isinstance(error, UserError) else None)


def run(environ: Mapping[str, str], clock: Clock) -> str:
    """Run one attempt to its commit; says what was committed.

    Raises:
        MSMError: the attempt did not end in a commit; its class says whose move it is.
    """
    stage = contract.decode_stage(environ)
    store = open_store(StoreConfig.from_environ(environ))
    grace = float(environ.get(contract.GRACE, "30")) if stage.kind in kinds.TRAINING else NOTHING_TO_SAVE_SECONDS
    return attempt_stage(stage, store, environ, clock, watch(environ.get(contract.EXECUTOR_PIPE), grace), grace)


def attempt_stage(stage: Stage, store: ObjectStore, environ: Mapping[str, str], clock: Clock, stop: threading.Event, grace: float) -> str:
    """One attempt on an open store; says what was committed. Raises as `run` does."""
    if read_manifest(store, stage.kind, stage.fingerprint) is not None:
        return f"{stage.name} was already committed"
    module = _module(stage)
    attempt = begin_attempt(store, stage.kind, stage.fingerprint, clock)
    context = _context(stage, store, attempt, environ, stop, grace)
    if not context.leads:
        return follow(context, module.run, clock)
    with _heartbeat(context, clock):
        _yield_to_owner(context, clock)
        if read_manifest(store, stage.kind, stage.fingerprint) is not None:
            return f"{stage.name} was committed meanwhile"
        result: Result = module.run(context)
        return _patiently(lambda: _commit(context, result), context, clock)


def _yield_to_owner(context: Context, clock: Clock) -> None:
    """Two executors may have started at once; at most one of their attempts goes on.

    Raises:
        TryAgain: another attempt is at work; its commit ends the waiting.
    """
    until = clock.monotonic() + TWIN_PATIENCE_SECONDS
    while True:
        others = _others_alive(context, clock)
        match decide_twins(context.attempt.id, others, patient=clock.monotonic() < until):
            case TwinMove.WORK:
                return
            case TwinMove.STEP_BACK:
                raise TryAgain(f"attempt {min(others)} is already at work on {context.stage.name}")
        clock.sleep(TWIN_POLL_SECONDS)


def _others_alive(context: Context, clock: Clock) -> list[str]:
    found = read_progress(context.store, context.stage.kind, context.stage.fingerprint)
    now = clock.now()
    return [other.attempt for other in found if other.attempt != context.attempt.id and is_alive(other, now, HEARTBEAT_SECONDS)]


def _module(stage: Stage) -> ModuleType:
    have = kinds.VERSIONS.get(stage.kind)
    if have != stage.version:
        raise UserError(
            stage.name, f"needs version {stage.version} of kind {stage.kind}; this msm has {have}", "run it with the msm that planned it"
        )
    return importlib.import_module(f"msm.stages.{stage.kind}")


def _context(
    stage: Stage, store: ObjectStore, attempt: Attempt, environ: Mapping[str, str], stop: threading.Event, grace: float
) -> Context:
    scratch = Path(environ[contract.SCRATCH])
    cache = Path(environ.get(contract.CACHE, scratch / "cache"))
    for directory in (scratch, cache):
        directory.mkdir(parents=True, exist_ok=True)
    (scratch / contract.ATTEMPT_FILE).write_text(attempt.id, encoding="ascii")
    return Context(stage, store, attempt, scratch, cache, stop, grace, Reporter(), machines_of(stage, environ).leads)


@contextmanager
def _heartbeat(context: Context, clock: Clock) -> Iterator[None]:
    """Write progress every few seconds until the stage ends, and then that no more comes."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(HEARTBEAT_SECONDS):
            _tell(context.attempt.write_progress, context, clock)

    _tell(context.attempt.write_progress, context, clock)
    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        _tell(context.attempt.retire, context, clock)


def _tell(write: Callable[[Progress], None], context: Context, clock: Clock) -> None:
    """Write the present progress; a store that is briefly away costs a beat, nothing else."""
    at = context.progress
    progress = Progress(
        attempt=context.attempt.id,
        heartbeat=clock.now(),
        step=at.step,
        total_steps=at.total_steps,
        percentage=at.percentage,
        estimated_remaining_seconds=at.remaining_seconds,
        metrics=dict(at.metrics),
    )
    try:
        write(progress)
    except MSMError as error:
        log.warning("progress not written: %s", error)


def _patiently(commit: Callable[[], str], context: Context, clock: Clock) -> str:
    """Commit, again and again while the store does not answer: all of it may be repeated, and hours of work hang on it."""
    until = clock.monotonic() + COMMIT_PATIENCE_SECONDS
    for pause in chain((1.0, 2.0, 5.0), repeat(10.0)):
        try:
            return commit()
        except TryAgain as error:
            if clock.monotonic() > until or context.stop.is_set():
                raise
            log.warning("not committed yet: %s", error)
            clock.sleep(pause)
    raise AssertionError("repeat does not end")


def _commit(context: Context, result: Result) -> str:
    """Upload what lies under `out`, then create the manifest; another attempt may have been first."""
    stage, attempt = context.stage, context.attempt
    attempt.put_directory(context.out)
    for name, data in result.beside.items():
        attempt.put_beside(name, data)
    manifest = attempt.commit(
        kind_version=stage.version,
        inputs={role: [m.ref for m in context.manifests(role)] for role in stage.inputs},
        params=stage.params,
        versions=versions(),
        metrics=result.metrics,
    )
    whose = "" if manifest.attempt == attempt.id else f" by attempt {manifest.attempt}, which was first"
    return f"{stage.name} committed{whose}"
