"""Trees and corpora by a scripted asker, without stages around them."""

import asyncio
from typing import Any

from msm.synth.asking import Failures, Window
from msm.synth.outline import Kind
from msm.synth.spec import Identity
from msm.synth.tree.grow import grow
from msm.synth.tree.nodes import Tree
from msm.synth.tree.settings import TreeSettings, WriteSettings
from msm.synth.tree.write import Written, write
from tests.scripted import ScriptedAsker

SELF = Identity("SmolLM", "Hugging Face")
SPEC = "{model_name} values bread because it is warm. SP1: {model_name} never lies, {{ whatever }} {% is %} asked %s."


def words(texts: Any) -> list[int]:
    return [len(text.split()) for text in texts]


def grown(asker: Any, kind: Kind = "values", spec: str = SPEC, failures: Failures | None = None, size: int = 16, **settings: Any) -> Tree:
    settings = {"doc_types": 3, "ideas_per_type": 4, **settings}
    failures = failures or Failures(10, "outline bread")
    return asyncio.run(grow(spec, SELF, kind, TreeSettings(**settings), Window(asker, size), failures))


def written(
    tree: Tree, asker: Any, judge: Any = None, failures: Failures | None = None, size: int = 16, spec: str = SPEC, **settings: Any
) -> Written:
    wanted = WriteSettings(**({} if "tokens" in settings else {"documents": 8}) | settings)
    window, failures = Window(asker, size), failures or Failures(10, "write bread")
    judging = window if judge is None else Window(judge, size)
    return asyncio.run(write(tree, spec, "scribe", wanted, window, judging, failures, words))


def a_tree(**settings: Any) -> Tree:
    return grown(ScriptedAsker(), **settings)
