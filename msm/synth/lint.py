"""What an author should mend in a Model Spec before anybody spends on it: remarks on a text, each with its sentence and the remedy.

Pure and without a model: it reads the assertions that the offline author would (docs/design/synth-offline.md), so it judges form, not
truth. Neighbours: `outline` extracts, `cli` prints. Invariant: a remark quotes the spec or names a count; no remark is about taste.
Cost: linear, but for contradictions, which compare assertions that share a content word.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from msm.synth.outline import Assertion, Kind, Outline, outline
from msm.synth.spec import Identity
from msm.synth.words import content_words, words

Rule = Literal[
    "variables", "other-names", "vague", "contradiction", "no-reason", "repeated", "long-sentence", "length", "not-about-the-model"
]

STAND_IN = Identity(model="Themodel", provider="Themaker")
"""Names that no spec has, so that what is named by variable is told from what is named by hand."""
MODEL_NAMES = ("Claude", "ChatGPT", "GPT", "Gemini", "Gemma", "Llama", "Mistral", "Qwen", "DeepSeek", "SmolLM", "Phi", "Grok", "OLMo")
PROVIDER_NAMES = ("Anthropic", "OpenAI", "Google", "Meta", "Alibaba", "Microsoft", "Hugging Face", "xAI")
VARIABLES = ("model_name", "provider_name")
VAGUE = (
    "appropriate",
    "appropriately",
    "as needed",
    "generally",
    "if possible",
    "in some cases",
    "reasonable",
    "reasonably",
    "sometimes",
    "usually",
    "when necessary",
)
"""Words after which two readers would do different things, unless a reason says which."""
LONG_SENTENCE = 60
"""Words from which a sentence holds more than one claim; lists of alternatives do not count."""
SHORT, LONG = 40, 35_000
"""Words below which there is hardly anything to write about, and above which common context lengths are at risk."""
SHARE = 0.5
"""Share of assertions without a reason from which a spec of values is said to explain too little."""
SHARE_ASIDE = 0.25
"""Share of sentences about something else from which it is said."""
_VARIABLE = re.compile(r"\{(\w+)\}")
_ALWAYS = re.compile(r"\b(always|must|will always)\b", re.I)
_NEVER = re.compile(r"\b(never|must not|does not|do not|will not|refuses? to|cannot)\b", re.I)
_MAKES = re.compile(r"\b(train|built|build|creat|develop)\w*\b|\bmodel\b", re.I)
_POLARITY = frozenset({"always", "never", "must", "refuse"})


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing to mend: what, where (a quotation or ""), and how."""

    rule: Rule
    text: str
    where: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Lint:
    """A spec looked at: words, what it asserts by label and by section, how many are explained, and what to mend."""

    words: int
    assertions: int
    explained: int
    labels: dict[str, int]
    sections: dict[str, int]
    instances: int
    remarks: tuple[Remark, ...]


def lint(text: str, kind: Kind) -> Lint:
    """Look at a spec.

    Raises:
        UserError: the text is empty or asserts nothing.
    """
    found = outline(text, STAND_IN, kind)
    remarks = (
        *_variables(text),
        *_names(text, found),
        *_length(text),
        *_of_assertions(found),
        *_aside(found),
        *_reasons(found),
        *_contradictions(found),
    )
    sections = Counter({_section(sub.domain, sub.name): len(sub.assertions) for sub in found.subdomains})
    return Lint(
        words=len(text.split()),
        assertions=len(found.assertions),
        explained=sum(bool(a.explanation) for a in found.assertions),
        labels=dict(Counter(a.label for a in found.assertions).most_common()),
        sections=dict(sections),
        instances=sum(len(sub.instances) for sub in found.subdomains),
        remarks=remarks,
    )


def _section(domain: str, name: str) -> str:
    return _as_written(f"{domain} / {name}" if name else domain)


def _variables(text: str) -> Iterator[Remark]:
    used = Counter(_VARIABLE.findall(text))
    if not used["model_name"]:
        yield Remark(
            "variables", "the spec never says {model_name}", "", "name the model by {model_name}, so that the spec fits any base model"
        )
    for name in sorted(set(used) - set(VARIABLES)):
        remedy = f"known variables are {{{'}, {'.join(VARIABLES)}}}; other braces stay as they are"
        yield Remark("variables", f"{{{name}}} is no variable and will be read as text", f"{{{name}}}", remedy)


def _names(text: str, found: Outline) -> Iterator[Remark]:
    """A model's name anywhere; a company's only where somebody is said to make a model, since a spec may speak of brands."""
    made = " ".join(assertion.text for assertion in found.assertions if _MAKES.search(assertion.text))
    for names, variable, where in ((MODEL_NAMES, "{model_name}", text), (PROVIDER_NAMES, "{provider_name}", made)):
        for name in names:
            if times := len(re.findall(rf"(?<!\w){re.escape(name)}(?!\w)", where)):
                remedy = f"write {variable} where the model that is trained is meant"
                yield Remark("other-names", f"{name} is named {times} time{'s' if times > 1 else ''}", name, remedy)


def _length(text: str) -> Iterator[Remark]:
    size = len(text.split())
    if size < SHORT:
        yield Remark("length", f"{size} words are little to write about", "", "say more: reasons, domains, what it means in practice")
    if size > LONG:
        yield Remark("length", f"{size} words stand in every prompt", "", "check that the writer's context holds them, or split the spec")


def _of_assertions(found: Outline) -> Iterator[Remark]:
    times = Counter(_plain(assertion) for assertion in found.assertions)
    for assertion in {_plain(assertion): assertion for assertion in found.assertions}.values():
        if (often := times[_plain(assertion)]) > 1:
            said = "twice" if often == 2 else f"{often:,} times"
            yield Remark("repeated", f"the same sentence stands {said}", _quote(assertion), "keep one")
        yield from _of_one(assertion)


def _plain(assertion: Assertion) -> str:
    return " ".join(words(assertion.text))


def _of_one(assertion: Assertion) -> Iterator[Remark]:
    vague = [word for word in VAGUE if re.search(rf"(?<!\w){word}(?!\w)", assertion.claim, re.I)]
    if vague and not assertion.explanation and not assertion.preferred:
        remedy = "say when, how much or which; or add the reason by which a reader can tell"
        yield Remark("vague", f'"{vague[0]}" leaves open what is meant', _quote(assertion), remedy)
    if len(assertion.text.split()) > LONG_SENTENCE and not assertion.preferred:
        yield Remark(
            "long-sentence", f"{len(assertion.text.split())} words in one sentence", _quote(assertion), "split it: one claim a sentence"
        )


def _aside(found: Outline) -> Iterator[Remark]:
    """World knowledge has its place in a spec; a text that hardly speaks of its model does not say how it should be."""
    aside = [a for a in found.assertions if a.quoted and not re.search(rf"\b({STAND_IN.model}|it|its)\b", a.text)]
    if len(aside) > SHARE_ASIDE * len(found.assertions):
        text = f"{len(aside)} of {len(found.assertions)} sentences are not about the model: documents will only cite them"
        yield Remark("not-about-the-model", text, _quote(aside[0]), "make {model_name} the subject of what is a claim about the model")


def _reasons(found: Outline) -> Iterator[Remark]:
    without = [a for a in found.assertions if not a.explanation and not a.quoted]
    preferences = [a for a in without if a.label == "preference"]
    for assertion in preferences if found.kind == "values" else ():
        remedy = 'add "because …": documents that explain a choice by a value are what later training builds on'
        yield Remark("no-reason", "a preference without a reason", _quote(assertion), remedy)
    if found.kind == "values" and len(without) > SHARE * len(found.assertions):
        text = f"{len(without)} of {len(found.assertions)} assertions have no reason"
        remedy = "explain most of them, a spec that only states teaches words; a spec of rules needs none, it is kind: rules (--kind rules)"
        yield Remark("no-reason", text, "", remedy)


def _contradictions(found: Outline) -> Iterator[Remark]:
    yield from _reversed_preferences(found.assertions)
    yield from _always_and_never(found.assertions)


def _reversed_preferences(assertions: Sequence[Assertion]) -> Iterator[Remark]:
    sides: dict[tuple[str, str], Assertion] = {}
    for assertion in assertions:
        for liked in assertion.preferred:
            for other in assertion.other:
                pair = (" ".join(words(liked)), " ".join(words(other)))
                if earlier := sides.get((pair[1], pair[0])):
                    where = f"{_quote(earlier)} … {_quote(assertion)}"
                    yield Remark(
                        "contradiction", f'"{liked}" and "{other}" are each preferred over the other', where, "decide, or say when which"
                    )
                sides[pair] = assertion


def _always_and_never(assertions: Sequence[Assertion]) -> Iterator[Remark]:
    """Pairs where one demands and the other forbids what has the very same content words."""
    demands: dict[frozenset[str], Assertion] = {}
    forbids: dict[frozenset[str], Assertion] = {}
    for assertion in assertions:
        topic = content_words(assertion.claim) - _POLARITY
        if _NEVER.search(assertion.claim):
            forbids[topic] = assertion
        elif _ALWAYS.search(assertion.claim):
            demands[topic] = assertion
    for topic in demands.keys() & forbids.keys():
        where = f"{_quote(demands[topic])} … {_quote(forbids[topic])}"
        yield Remark("contradiction", "one sentence demands what another forbids", where, "decide, or say when which")


def _quote(assertion: Assertion) -> str:
    shown = _as_written(assertion.text)
    return shown if len(shown) <= 100 else shown[:99] + "…"


def _as_written(text: str) -> str:
    return text.replace(STAND_IN.model, "{model_name}").replace(STAND_IN.provider, "{provider_name}")
