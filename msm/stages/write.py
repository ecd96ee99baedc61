"""write: documents before curation, by a language model, by the offline composer, or from a file.

Writes `rows.jsonl`; by a model also `failures.jsonl`. A surplus is written, since curation drops some rows and then cuts to the exact
budget. Cost: seconds; by a model one to three calls a document, answered ones kept in the store as they arrive.

Several processes may write one corpus, each with MSM_SHARD=i/n: `python -m msm.stages` with 0/n is the attempt that commits, the others are
`python -m msm.stages.write` with 1/n to n-1/n. Each asks about branches of its own and files the answers; the committing one then waits for
those that live, reads what is filed and asks what is left. So fingerprint and artifact do not know of shards, and nothing is asked twice.
Where the run asks for `shards`, the attempt that commits starts the others itself; they end when it does, however it ends.
"""

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from itertools import count, islice
from math import ceil
from pathlib import Path
from typing import Any, Final

from pydantic import JsonValue

from msm.clock import SystemClock
from msm.data.tokens import count_tokens, load_tokenizer
from msm.errors import TryAgain, UserError
from msm.stages import contract
from msm.stages.asking import LOOK_SECONDS, Asking, ask, model_name, openai_of
from msm.stages.context import Context, Reporter, Result
from msm.stages.lifeline import watch
from msm.stages.outline import limits_of, spec_of
from msm.stages.params import integer, number, optional_integer, text, texts, write_rows
from msm.stages.program import NOTHING_TO_SAVE_SECONDS, explained
from msm.store import ObjectNotFound, StoreConfig, open_store
from msm.store.artifacts import ANSWERS, begin_attempt, read_manifest
from msm.synth.compose import compose, compose_tokens
from msm.synth.outline import Outline
from msm.synth.source import Row, read_documents
from msm.synth.tree.counting import write_calls
from msm.synth.tree.fit import check_write
from msm.synth.tree.nodes import Tree
from msm.synth.tree.settings import WriteSettings
from msm.synth.tree.write import Share, write, write_share

SURPLUS = 1.6
"""Tokens (or documents) composed for each one to be kept; a synthesis states its own."""
SHARD: Final = "MSM_SHARD"
"""Environment variable: which of how many processes this is, such as 0/3; absent is alone."""
BEAT_SECONDS = 3.0
SILENT_SECONDS = 30.0
"""How long a shard that says nothing new, or has not come yet, is waited for."""
DONE: Final = b"done"
END_SECONDS = 2.0
"""For a shard that is asked to end."""

log = logging.getLogger(__name__)


def run(context: Context) -> Result:
    """Write the rows."""
    author = text(context.params, "author")
    if author == "synthesize":
        return ask(context, _synthesised)
    rows = _composed(context) if author == "compose" else _read(context)
    return Result({"documents": write_rows(context.out / "rows.jsonl", rows)})


def _outline(context: Context) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((context.path("outline") / "outline.json").read_text(encoding="utf-8"))
    return found


def _composed(context: Context) -> list[Row]:
    params = context.params
    found = Outline.from_json(_outline(context))
    seed, documents = integer(params, "seed"), optional_integer(params, "documents")
    if documents is not None:
        return list(islice(compose(found, seed), ceil(documents * SURPLUS)))
    (model,) = context.paths("model", only=("tokenizer.json",))
    budget = ceil(integer(params, "tokens") * SURPLUS)
    return list(compose_tokens(found, seed, budget, lambda texts: count_tokens(model / "tokenizer.json", texts)))


def _read(context: Context) -> list[Row]:
    source = text(context.params, "source")
    return list(read_documents(context.blob(source), context.stage.name))


async def _synthesised(asking: Asking) -> Result:
    with _sharing(asking.context) as share:
        if share is not None:
            await _written_share(asking, share)
            await _others(asking.context, share)
    tree, spec, settings = _ordered(asking)
    writer, judge, context = asking.window(), asking.window("judge"), asking.context
    found = await write(tree, spec, model_name(context), settings, writer, judge, asking.failures, _counter(context))
    asking.write_failures()
    documents = write_rows(context.out / "rows.jsonl", found.rows)
    return Result({"documents": documents, "ideas": found.ideas} | asking.metrics())


@contextmanager
def _sharing(context: Context) -> Iterator[Share | None]:
    """Which share is this process's: what the environment says, else the first of those that the run asks for, the others started here."""
    said, wanted = share_of(os.environ), optional_integer(context.stage.execution, "shards") or 1
    if said is not None or wanted == 1:
        yield said
        return
    with ExitStack() as stack:
        alive = stack.enter_context(_sign_of_life(context.scratch / "shards.fifo"))
        for number in range(1, wanted):
            stack.enter_context(_started(context, Share(number, wanted), alive))
        yield Share(0, wanted)


@contextmanager
def _sign_of_life(fifo: Path) -> Iterator[Path]:
    """A FIFO that has a writer as long as this process lives and works."""
    fifo.unlink(missing_ok=True)
    os.mkfifo(fifo)
    held = os.open(fifo, os.O_RDWR)
    try:
        yield fifo
    finally:
        os.close(held)


@contextmanager
def _started(context: Context, share: Share, alive: Path) -> Iterator[None]:
    """A process that fills answers for a share; asked to end at the end, and killed if it does not."""
    own = {SHARD: f"{share.number}/{share.of}", contract.STAGE: contract.encode_stage(context.stage), contract.EXECUTOR_PIPE: str(alive)}
    own |= {contract.SCRATCH: str(context.scratch / f"shard-{share.number}"), contract.CACHE: str(context.cache)}
    environ = {name: value for name, value in os.environ.items() if name != contract.TERMINATION_LOG} | own
    with subprocess.Popen([sys.executable, "-m", "msm.stages.write"], env=environ, stdin=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS)
            process.kill()


def _ordered(asking: Asking) -> tuple[Tree, str, WriteSettings]:
    """What is to be written; what was asked for a share before counts no more."""
    context = asking.context
    tree, spec, settings = Tree.from_json(_outline(context)), spec_of(context), write_settings(context.params)
    check_write(spec, tree, settings, optional_integer(openai_of(context, "author"), "contextTokens"), context.stage.name)
    asking.begin_again()
    asking.expected = write_calls(settings, tree.ideas).high
    asking.failures.share = FAILED_SHARE
    return tree, spec, settings


async def _written_share(asking: Asking, share: Share) -> int:
    """Ask for a share, telling the others that this process lives."""
    tree, spec, settings = _ordered(asking)
    writer, judge, context = asking.window(), asking.window("judge"), asking.context
    async with _beating(context, share):
        return await write_share(tree, spec, model_name(context), settings, writer, judge, asking.failures, _counter(context), share)


@asynccontextmanager
async def _beating(context: Context, share: Share) -> AsyncIterator[None]:
    """A sign of life every few seconds, and a last one when the work is done or given up."""

    async def beat() -> None:
        for beats in count():
            with suppress(TryAgain):
                await asyncio.to_thread(context.store.put, _beat_key(context, share), b"%d" % beats)
            await asyncio.sleep(BEAT_SECONDS)

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(context.store.put, _beat_key(context, share), DONE)


async def _others(context: Context, share: Share) -> None:
    """Wait until every other share is done, or has been silent for long: what it leaves is asked here."""
    clock = context.attempt.clock
    heard = {Share(other, share.of): (b"", clock.monotonic()) for other in range(share.of) if other != share.number}
    while heard:
        for other, (last, since) in list(heard.items()):
            now = await asyncio.to_thread(_beat_of, context, other)
            if now == DONE or (now == last and clock.monotonic() - since > SILENT_SECONDS):
                log.info("share %d of %d is %s", other.number, other.of, "done" if now == DONE else "silent; what it leaves is asked here")
                del heard[other]
            elif now != last:
                heard[other] = (now, clock.monotonic())
        await asyncio.sleep(LOOK_SECONDS if heard else 0)


def _beat_of(context: Context, share: Share) -> bytes:
    try:
        return context.store.get(_beat_key(context, share))
    except ObjectNotFound:
        return b""


def _beat_key(context: Context, share: Share) -> str:
    """Beside the answers, and as short-lived as they are."""
    return f"{ANSWERS}/shares/{context.stage.fingerprint}/{share.number}-of-{share.of}"


def share_of(environ: Mapping[str, str]) -> Share | None:
    """The share that the environment gives this process, None when it is alone.

    Raises:
        UserError: it is no share.
    """
    said = environ.get(SHARD)
    if said is None:
        return None
    number, _, of = said.partition("/")
    if not (number.isdecimal() and of.isdecimal() and int(number) < int(of)):
        raise UserError(
            SHARD, f'is "{said}", it must be a number from 0 and how many there are', "write 0/3, 1/3 and 2/3 for three processes"
        )
    return None if int(of) == 1 else Share(int(number), int(of))


def main(environ: Mapping[str, str] = os.environ) -> int:
    """A process that fills answers for its share and commits nothing; exits as stage programs do."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    termination = Path(environ[contract.TERMINATION_LOG]) if contract.TERMINATION_LOG in environ else None
    record = explained(lambda: fill(environ), Path(environ.get(contract.SCRATCH, ".")))
    contract.write_termination(termination, record)
    log.info("exit %s %s %s", record.exitCode, record.reason, record.message)
    return record.exitCode


def fill(environ: Mapping[str, str]) -> str:
    """Ask for the share of the stage that the environment describes; says what was done.

    Raises:
        MSMError: the share was not filled; its class says whose move it is.
    """
    stage, share = contract.decode_stage(environ), share_of(environ)
    if share is None or share.number == 0 or stage.kind != "write" or stage.params["author"] != "synthesize":
        raise UserError(SHARD, f"does not make this a share of {stage.name}", "only documents by a language model have shares, from 1/n on")
    store, scratch = open_store(StoreConfig.from_environ(environ)), Path(environ[contract.SCRATCH])
    if read_manifest(store, stage.kind, stage.fingerprint) is not None:
        return f"{stage.name} was already committed"
    stop = watch(environ.get(contract.EXECUTOR_PIPE), NOTHING_TO_SAVE_SECONDS)
    attempt = begin_attempt(store, stage.kind, stage.fingerprint, SystemClock())
    cache = Path(environ.get(contract.CACHE, scratch / "cache"))
    context = Context(stage, store, attempt, scratch, cache, stop, NOTHING_TO_SAVE_SECONDS, Reporter())
    return f"{ask(context, lambda asking: _written_share(asking, share))} ideas of {stage.name} are answered"


FAILED_SHARE = 0.1
"""Share of the documents that may fail where that is more than maxFailures."""


def _counter(context: Context) -> Callable[[Sequence[str]], Sequence[int]]:
    """Counts tokens as curation will, with a tokenizer that is read once."""
    (model,) = context.paths("model", only=("tokenizer.json", "tokenizer_config.json"))
    tokenizer = load_tokenizer(model)
    return lambda documents: [len(ids) for ids in tokenizer.encode_documents(documents)]


def write_settings(params: Mapping[str, JsonValue]) -> WriteSettings:
    """What a synthesised corpus' parameters want."""
    tones: Any = texts(params, "tones")
    return WriteSettings(
        tokens=optional_integer(params, "tokens"),
        documents=optional_integer(params, "documents"),
        surplus=number(params, "surplus"),
        critique=params["critique"] is True,
        scored=params.get("judge") is not None,
        tones=tones,
        seed=integer(params, "seed"),
        temperature=number(params, "temperature"),
        limits=limits_of(params),
        sample=integer(params, "sample"),
    )


if __name__ == "__main__":
    sys.exit(main())
