"""A scripted asker: no model, says so in every text. Content is drawn from the request's digest, faults from a plan given by the test.

For counts, order, resume and failures; what a real model would write is not its business.
"""

import asyncio
import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from msm.llm.ask import Answer, AskFailed, Request, Usage

WANTED = re.compile(r"(\d+) (?:kinds|ideas|topics|messages|exchanges)\.\s*$")
_WORDS = """
able acre amber answer april arch arrow autumn baker barn basin basket beacon bench berry bicycle boat bottle branch bread bridge
brook brush bucket cabin candle canvas carpet cart castle cedar chair chalk cherry clay cliff clock cloud coast copper corner
cotton cradle creek crew crowd dawn desk dock dust eagle earth echo ember engine envelope fabric farm feather fence ferry field
fiddle flame flock forest frame frost garden gate glass glove grain grove hammer harbor harvest hazel hedge hill honey horse
island ivory jacket jar journey kettle kitchen ladder lake lamp lantern leaf ledger lemon linen lobby loom maple marble market
meadow mill mirror moss mountain needle nest north oak oar ocean olive orchard oven paddle paper pasture path pebble pepper piano
pillar pine planet plaza plum pocket pond porch potter quarry quill quilt rafter rain ranch reed ribbon ridge river road robin
roof rope saddle sail salt sand school seed shelf shore shovel silver sketch slate smoke snow soap spoon spring stable stair
station stone stove straw stream street string summer table thread timber tower trail train tunnel valley velvet vessel village
violet wagon walnut water wave wheat wheel willow window winter wood wool yard
"""
WORDS = _WORDS.split()


def digest(request: Request) -> str:
    """Identity of a request: all that is asked, not what the step is called."""
    asked = {name: value for name, value in asdict(request).items() if name != "purpose"}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


@dataclass
class ScriptedAsker:
    """Answers by schema and digest. `counts` are lengths of lists that the prompt does not state."""

    model: str = "SmolLM"
    counts: Mapping[str, int] = field(default_factory=lambda: {"domains": 2, "subdomains": 2, "assertions": 3, "rules": 3})
    sentences: int = 8
    fault: Callable[[Request], Exception | None] = lambda _: None
    script: Callable[[Request], Any] = lambda _: None
    delay: Callable[[Request], float] = lambda _: 0.0
    journal: dict[str, Answer] = field(default_factory=dict)
    asked: list[Request] = field(default_factory=list)
    reused: int = 0
    most: int = 0
    _open: int = 0

    async def ask(self, request: Request) -> Answer:
        key = digest(request)
        if key in self.journal:
            self.reused += 1
            return replace(self.journal[key], reused=True)
        self.asked.append(request)
        self._open += 1
        self.most = max(self.most, self._open)
        try:
            await asyncio.sleep(self.delay(request))
            if (error := self.fault(request)) is not None:
                raise error
            self.journal[key] = self.answer(request, key)
            return self.journal[key]
        finally:
            self._open -= 1

    def calls(self) -> Counter[str]:
        """Questions that reached the scripted model, by step."""
        return Counter(request.purpose for request in self.asked)

    def answer(self, request: Request, key: str) -> Answer:
        rng = random.Random(key)
        scripted = self.script(request)
        data = text = ""
        if isinstance(scripted, str):
            text = scripted
        elif request.schema is not None:
            found = WANTED.search(request.prompt)
            data = scripted if scripted is not None else self._value(request.schema, "", int(found[1]) if found else 0, rng)
        else:
            text = f"<plan>\nScripted.\n</plan>\n<document>\n{self.document(rng)}\n</document>"
        usage = Usage(len(request.prefix + request.prompt) // 4, max(1, len(text or json.dumps(data)) // 4))
        return Answer(text, data if request.schema is not None else None, "", "stop", usage, key)

    def document(self, rng: random.Random) -> str:
        """Sentences of drawn words about the model."""
        lengths = [5 + int(rng.random() * 9) for _ in range(self.sentences)]
        return " ".join(f"{self.model} saw the {' '.join(rng.choices(WORDS, k=length))}." for length in lengths)

    def _value(self, schema: Mapping[str, Any], name: str, wanted: int, rng: random.Random) -> Any:
        if "enum" in schema:
            return schema["enum"][0]
        match schema["type"]:
            case "object":
                return {key: self._value(inner, key, wanted, rng) for key, inner in schema["properties"].items()}
            case "array":
                return [self._value(schema["items"], name, wanted, rng) for _ in range(wanted or self.counts[name])]
            case "boolean":
                return name not in ("biased", "insider")
            case "integer":
                return 6 + int(rng.random() * 5)
        return f"scripted {name} {' '.join(rng.choices(WORDS, k=5))}"


def refusing(steps: set[str], error: Callable[[str], AskFailed]) -> Callable[[Request], Exception | None]:
    """A fault plan: every question of these steps is declined."""
    return lambda request: error("the scripted model declines") if request.purpose in steps else None
