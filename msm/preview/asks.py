"""What the asking of a stage will be: calls, tokens and price a step, and how much of it the journal already answers.

By the counting functions that the stages use for their own progress: ranges until the outline is committed. What is answered is found by
going through the stage's own work with an asker that reads the journal and asks nobody. Neighbours: `forecast` puts it into its stages.
Invariant: nothing is asked and nothing written. Cost: a read of the store for each question that the plan can already name.
"""

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from msm.api.inputs import OpenAI, Price
from msm.errors import MSMError, UserError
from msm.llm.ask import Answer, AskFailed, Request, Usage
from msm.llm.endpoint import identity_of
from msm.llm.journal import find_answer
from msm.plan import Plan, Stage, kinds
from msm.preview.report import AskForecast
from msm.preview.texts import Texts
from msm.stages.demonstrate import chat_brief, chat_settings
from msm.stages.outline import kind_of, text_of_spec, tree_settings
from msm.stages.params import mapping, names, text
from msm.stages.write import write_settings
from msm.store.artifacts import read_manifest
from msm.store.objects import ObjectStore
from msm.synth.asking import Failures, Window
from msm.synth.dialogue.counts import chat_steps
from msm.synth.dialogue.fit import check_chats
from msm.synth.dialogue.make import make
from msm.synth.spec import Identity
from msm.synth.tree.counting import Range, StepCount, documents_of, exactly, ideas_of, outline_steps, tree_shape, write_steps
from msm.synth.tree.fit import check_outline, check_write, tokens_of
from msm.synth.tree.grow import grow
from msm.synth.tree.nodes import Tree
from msm.synth.tree.write import write

ENDPOINT_TOKENS_A_SECOND = 1000.0
"""Tokens that an endpoint writes, over all questions under way: a 30B model on a few GPUs."""
MANY_IDEAS = 3
"""Ideas a document from which on a preview says that fewer would do."""
MISSES = 500
"""Questions without an answer after which a preview looks no further: documents are asked for in order."""
EVERY = 10**9
"""As many failures as there may be: in a preview a question without an answer is one."""


@dataclass(frozen=True, slots=True)
class Asks:
    """A stage's steps, and what is likely a mistake."""

    steps: tuple[AskForecast, ...]
    warnings: tuple[str, ...]


def asks_of(stage: Stage, plan: Plan, store: ObjectStore, texts: Texts) -> Asks:
    """What a stage will ask; nothing for one that asks nobody."""
    if stage.params.get("author") != "synthesize":
        return Asks((), ())
    found = _Asks(stage, plan, store, texts)
    answered = found.answered()
    steps = tuple(found.priced(step, answered.get(step.step, 0)) for step in found.steps())
    return Asks(steps, (*found.warnings(), *found.stopped_by_price(steps)))


def answers_of(stage: Stage, plan: Plan, store: ObjectStore, texts: Texts) -> dict[str, dict[str, Usage]]:
    """Tokens of every answer in the journal to the stage's own questions, by step and digest: what asking them really took."""
    if stage.params.get("author") != "synthesize":
        return {}
    found: dict[str, dict[str, Usage]] = {}
    for journal in _Asks(stage, plan, store, texts).walked():
        for step, usages in journal.found.items():
            found.setdefault(step, {}).update(usages)
    return found


def asking_seconds(steps: Sequence[AskForecast]) -> float:
    """Time for what is not answered yet, half-way between the least and the most."""
    left = (sum(step.completion_tokens) / 2 * (1 - step.answered / max(1, step.calls[1])) for step in steps)
    return sum(left) / ENDPOINT_TOKENS_A_SECOND


@dataclass(frozen=True, slots=True)
class _Asks:
    """One stage, looked at from a preview."""

    stage: Stage
    plan: Plan
    store: ObjectStore
    texts: Texts

    @property
    def spec(self) -> str:
        """The spec's text; empty where it is not at hand. UserError where the stage would refuse it."""
        data = self.texts.get(text(self.stage.params, "spec")) if "spec" in self.stage.params else None
        return "" if data is None else text_of_spec(data, self.stage.name)

    @property
    def outline(self) -> Stage:
        """The outline that a write stage reads."""
        return self.plan.stage(self.stage.inputs["outline"][0])

    @property
    def tree(self) -> Tree | None:
        """The outline's tree, once it is committed."""
        manifest = read_manifest(self.store, kinds.OUTLINE, self.outline.fingerprint)
        return None if manifest is None else Tree.from_json(json.loads(self.store.get(manifest.key("outline.json"))))

    def steps(self) -> Iterator[StepCount]:
        length, params = tokens_of(self.spec), self.stage.params
        match self.stage.kind:
            case kinds.OUTLINE:
                return outline_steps(tree_settings(params), kind_of(params), length)
            case kinds.WRITE:
                return write_steps(write_settings(params), length, self._documents())
        return chat_steps(chat_settings(params), length)

    def _ideas(self) -> Range:
        """Ideas of the outline that a write stage reads."""
        tree, wanted = self.tree, tree_settings(self.outline.params)
        return ideas_of(wanted, tree_shape(wanted)[1]) if tree is None else exactly(tree.ideas)

    def _documents(self) -> Range:
        settings, ideas = write_settings(self.stage.params), self._ideas()
        return Range(documents_of(settings, ideas.low), documents_of(settings, ideas.high))

    def endpoint(self, role: str) -> OpenAI:
        """The endpoint that plays a role; one that a cluster serves is filed under its weights, as there."""
        endpoints = mapping(self.stage.execution, "endpoints")
        chosen = mapping(endpoints, role if role in endpoints else "author")
        if chosen.get("openai") is not None:
            return OpenAI.model_validate(mapping(chosen, "openai"))
        name = text(chosen, "name")
        identity = self.plan.resolution.inputs[f"endpoints.{name}"].identity
        return OpenAI.model_validate({"baseURL": f"http://{name}", "model": name, "identity": identity[-200:]})

    def priced(self, step: StepCount, answered: int) -> AskForecast:
        return AskForecast(
            step=step.step,
            calls=_pair(step.calls),
            answered=min(answered, step.calls.high),
            promptTokens=_pair(step.prompt),
            completionTokens=_pair(step.completion),
            price=_price(step, self.endpoint(_role(step.step)).price),
        )

    def stopped_by_price(self, steps: Sequence[AskForecast]) -> Iterator[str]:
        """Caps that end the stage before its work is done, even if all prompts came from the server's cache."""
        servers = [self.endpoint(_role(step.step)) for step in steps]
        for place, server in enumerate(servers):
            if server.max_price is None or server.price is None or server in servers[:place]:
                continue
            least = sum(_least(step, server.price) for step, asked in zip(steps, servers, strict=True) if asked == server)
            if least > server.max_price:
                said = f"{self.stage.name} will cost {least:.2f} or more at {server.model}, and its maxPrice is {server.max_price:.2f}"
                yield f"{said}: it would stop half-way, keeping every answer; raise maxPrice or ask for less"

    def warnings(self) -> Iterator[str]:
        """Models that nothing pins, and steps that do not fit their context."""
        for role in mapping(self.stage.execution, "endpoints"):
            if not self.endpoint(role).identity:
                name = identity_of(self.endpoint(role))
                yield f"{name}: set the endpoint's identity, or another model under that name counts as the same"
        yield from self._balance() if self.stage.kind == kinds.WRITE else ()
        limit = self.endpoint("author").context_tokens
        try:
            if self.stage.kind == kinds.OUTLINE:
                check_outline(self.spec, kind_of(self.stage.params), tree_settings(self.stage.params), limit, self.stage.name)
            if self.stage.kind == kinds.WRITE:
                unknown = Tree(Identity("", ""), "values", ())
                check_write(self.spec, self.tree or unknown, write_settings(self.stage.params), limit, self.stage.name)
            if self.stage.kind == kinds.DEMONSTRATE:
                check_chats(self.spec, chat_settings(self.stage.params), limit, self.stage.name)
        except UserError as error:
            yield str(error)

    def _balance(self) -> Iterator[str]:
        """Far too many ideas for the documents that are wanted, or too few; of a pilot they are meant to be many."""
        if self.plan.targets:
            return
        ideas, wanted = self._ideas(), documents_of(write_settings(self.stage.params))
        if ideas.high < wanted:
            yield f"{self.stage.name} wants about {wanted} documents and has at most {ideas.high} ideas; raise docTypes or ideasPerType"
        if self.tree is None and ideas.low > MANY_IDEAS * wanted:
            said = f"{self.stage.name} wants about {wanted} documents of {ideas.low} ideas or more"
            yield f"{said}; lower docTypes or ideasPerType to pay for fewer"

    def answered(self) -> dict[str, int]:
        """Questions by step that the journal answers already."""
        return {step: len(usages) for journal in self.walked() for step, usages in journal.found.items()}

    def walked(self) -> "tuple[_Journal, _Journal]":
        """The journals of author and judge after a walk through the stage's work."""
        author, judge = (_Journal(self.store, identity_of(self.endpoint(role))) for role in ("author", "judge"))
        with suppress(UserError, _Enough):
            asyncio.run(self._walk(Window(author), Window(judge)))
        return author, judge

    async def _walk(self, author: Window, judge: Window) -> None:
        params, failures = self.stage.params, Failures(EVERY, self.stage.name)
        if self.stage.kind == kinds.OUTLINE:
            await grow(self.spec, Identity(**names(params["identity"])), kind_of(params), tree_settings(params), author, failures)
        elif self.stage.kind == kinds.WRITE and (tree := self.tree) is not None:
            await write(tree, self.spec, "", write_settings(params), author, judge, failures, _by_words)
        elif self.stage.kind == kinds.DEMONSTRATE:
            settings = chat_settings(params)
            await make(chat_brief(params, self.spec, settings), "", settings, author, judge, failures)


def _price(step: StepCount, price: Price | None) -> tuple[float, float] | None:
    """From the least to the most, no prompt token cached."""
    if price is None:
        return None
    low = step.prompt.low * price.input + step.completion.low * price.output
    high = step.prompt.high * price.input + step.completion.high * price.output
    return low / 10**6, high / 10**6


def _least(step: AskForecast, price: Price) -> float:
    """Price of what is not answered yet if there is as little of it as there may be, every prompt token cached."""
    cached = price.input if price.cached_input is None else min(price.input, price.cached_input)
    least = step.prompt_tokens[0] * cached + step.completion_tokens[0] * price.output
    return least * (1 - min(1, step.answered / max(1, step.calls[0]))) / 10**6


def _role(step: str) -> str:
    return "judge" if step in ("scores", "verdicts") else "author"


def _by_words(documents: Sequence[str]) -> list[int]:
    return [tokens_of(document) for document in documents]


class _NotAsked(AskFailed):
    """The journal has no answer, and a preview asks nobody."""

    reason = "NotAsked"


class _Enough(MSMError):
    """So many questions were not asked yet that the rest is taken to be so too."""


@dataclass(slots=True)
class _Journal:
    """Answers what is filed, until MISSES questions were not; `found` are the tokens of the answers, by step and digest."""

    store: ObjectStore
    identity: str
    misses: int = 0
    found: dict[str, dict[str, Usage]] = field(default_factory=dict)

    async def ask(self, request: Request) -> Answer:
        found = find_answer(self.store, self.identity, request)
        if found is not None:
            self.found.setdefault(request.purpose, {})[found.digest] = found.usage
            return found
        self.misses += 1
        if self.misses > MISSES:
            raise _Enough(f"{MISSES} questions are not asked yet")
        raise _NotAsked("not asked yet")


def _pair(numbers: Range) -> tuple[int, int]:
    return numbers.low, numbers.high
