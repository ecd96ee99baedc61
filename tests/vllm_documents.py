"""The document stage against a real vLLM, for the prefix cache: real prompts of a spec of 2 to 3 thousand tokens, short answers.

SmolLM2 seldom writes the tags that the step wants, and a question that is asked again would hit the cache whole and flatter the figure.
So an asker between the stage and the client puts what the model wrote between the tags: every question is asked once. Nothing else changes.
"""

import asyncio
import random
from dataclasses import dataclass, replace
from pathlib import Path

from msm.llm.ask import Answer, Asker, Request
from msm.llm.client import open_openai
from msm.synth.asking import Failures, Window
from msm.synth.tree.nodes import Tree
from msm.synth.tree.settings import Limits, WriteSettings
from msm.synth.tree.write import Written, write
from tests.scripted import ScriptedAsker
from tests.unit.synth_tree.trees import grown
from tests.vllm_server import VLLMServer, connection_to_vllm

SPEC = Path(__file__).parents[1] / "manifests/specs/cheese/america.md"
AT_ONCE = 8


@dataclass(slots=True)
class Tagging:
    """Passes questions on and puts answers between the tags of a document; `asked` counts."""

    inner: Asker
    asked: int = 0

    async def ask(self, request: Request) -> Answer:
        self.asked += 1
        answer = await self.inner.ask(request)
        plain = answer.text.replace("<", " ").replace(">", " ").strip() or "nothing"
        return replace(answer, text=f"<document>\n{plain}\n</document>", finish="stop")


@dataclass(frozen=True, slots=True)
class Documents:
    """What writing came to: the server's own counts of prompt tokens, looked up in its cache and found."""

    written: Written
    questions: int
    hits: float
    queries: float

    @property
    def hit_rate(self) -> float:
        return self.hits / self.queries


def a_tree_of(documents: int) -> Tree:
    """Ideas enough, by the scripted asker: as long as real ones, and all different."""
    return grown(ScriptedAsker(), spec=SPEC.read_text(encoding="utf-8"), doc_types=4, ideas_per_type=-(-documents // 16))


def write_documents(server: VLLMServer, documents: int, tokens: int = 32, critique: bool = False) -> Documents:
    """Documents of at most `tokens` tokens each, by the real steps."""
    settings = WriteSettings(
        documents=documents, surplus=1.0, critique=critique, temperature=0.0, limits=Limits(plan=0, document=tokens, critique=0)
    )

    spec, tree = SPEC.read_text(encoding="utf-8"), a_tree_of(documents)

    async def run() -> tuple[Written, int]:
        async with open_openai(connection_to_vllm(server, concurrency=AT_ONCE), random.Random(0)) as asker:
            tagging = Tagging(asker)
            window, failures = Window(tagging, AT_ONCE), Failures(0, "write")
            found = await write(tree, spec, "SmolLM2", settings, window, window, failures, lambda texts: [len(text) for text in texts])
            return found, tagging.asked

    hits, queries = server.prefix_counts()
    written, asked = asyncio.run(run())
    now = server.prefix_counts()
    return Documents(written, asked, now[0] - hits, now[1] - queries)
