"""How many documents are lost when one call in five fails in one of fifteen ways, and the server is restarted on the way.

A part of `make bench-synth` (`--part faults`). The document stage's own code writes and rewrites (two calls a document) through the real
client to the scripted server. A document is lost when its idea brought no whole text; it is lost silently when no failure says so either.
"""

import argparse
import asyncio
import json
import random
import threading
import time
from collections import Counter
from hashlib import sha256

from msm.llm.ask import Request, Sampling
from msm.llm.client import open_openai
from msm.llm.patience import Patience
from msm.synth.asking import Failures, Window
from msm.synth.tree.nodes import Tree
from msm.synth.tree.settings import WriteSettings
from msm.synth.tree.write import Written, write
from tests.llm_server import Asked, Fault, Reply, ScriptedServer, connection_to, running_llm_server, seeded_faults
from tests.scripted import ScriptedAsker
from tests.unit.synth_tree.trees import SPEC, a_tree

SHARE, GOAL = 0.2, 0.005
AT_ONCE = 64
PATIENCE = Patience(seconds=120.0, tries=8, first=0.02, longest=0.2)
"""The shipped number of tries, quicker."""
AUTHOR = ScriptedAsker()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--documents", type=int, default=1000, help="documents written while calls fail")


def content(asked: Asked) -> Reply:
    return Reply(AUTHOR.answer(Request("", asked.last, Sampling(1), ""), sha256(asked.prompt.encode()).hexdigest()).text)


def restart(server: ScriptedServer, after: int) -> None:
    """Away for half a second once it was asked so often."""
    while server.number < after:
        time.sleep(0.01)
    server.down()
    time.sleep(0.5)
    server.up()


async def written(server: ScriptedServer, tree: Tree, documents: int, failures: Failures) -> Written:
    connection = connection_to(server.base_url, concurrency=AT_ONCE, timeout=2.0, patience=PATIENCE)
    async with open_openai(connection, random.Random(0)) as asker:
        window = Window(asker, AT_ONCE)
        settings = WriteSettings(documents=documents, surplus=1.0)
        return await write(tree, SPEC, "scripted", settings, window, window, failures, lambda texts: [1 for _ in texts])


def figures(arguments: argparse.Namespace) -> dict[str, float | None]:
    """`lost_share`, and how many of the lost nobody spoke of."""
    failures, tree = Failures(arguments.documents, "write"), a_tree(doc_types=10, ideas_per_type=-(-arguments.documents // 30))
    faults = seeded_faults(11, SHARE, tuple(Fault))
    with running_llm_server(content=content, faults=faults, count_prefix=False, remember=False, latency=0.005) as server:
        interruption = threading.Thread(target=restart, args=(server, arguments.documents), daemon=True)
        interruption.start()
        found = asyncio.run(written(server, tree, arguments.documents, failures))
        interruption.join()
        calls, failed = server.number, sum(server.counts[fault.value] for fault in Fault)
    ends = Counter(row["provenance"]["finishReason"] for row in found.rows)
    named = Counter(failure.reason for failure in failures.found if failure.step == "documents")
    lost, silent = found.ideas - ends["stop"], found.ideas - len(found.rows) - named.total()
    print(
        f"{found.ideas} documents, {calls} calls, {failed} of them failed in {len(Fault)} ways, one restart: {lost} lost"
        f" ({ends['length']} cut, {dict(named)}), {silent} silently (goal: {GOAL:.1%}, none silently)"
    )
    return {"lost_share": round(lost / found.ideas, 5), "lost_silently": float(silent)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    print(json.dumps(figures(parser.parse_args())))


if __name__ == "__main__":
    main()
