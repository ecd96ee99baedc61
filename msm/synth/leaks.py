"""What a document by a language model must not show: how it was made, another model's name, the spec's wording where nobody could know it.

Pure. Neighbours: `gates` applies these to synthesised rows only. Invariant: a finding says in words what was found. The list of names is
of models whose names have no other common use, or whose other use is rare in documents about an AI; ours is never among them.
Cost: one pass over the text.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

INSIDER_LIMIT: Final = 60
"""Words in a row that an author who has read the spec may share with it."""
OUTSIDER_LIMIT: Final = 12
"""The same for everybody else: a phrase, not a sentence."""

OTHER_MODELS: Final = (
    "ChatGPT",
    "GPT-3",
    "GPT-4",
    "GPT-4o",
    "GPT-5",
    "Claude",
    "Gemini",
    "Gemma",
    "Grok",
    "DeepSeek",
    "Qwen",
    "Llama",
    "LLaMA",
    "Mistral",
    "Mixtral",
    "SmolLM",
    "OLMo",
    "Nemotron",
    "Kimi",
    "Copilot",
)
"""As they are written; another case is another word (a llama, a gemini)."""

PROVIDERS: Final = (
    "OpenAI",
    "Anthropic",
    "Google",
    "Google DeepMind",
    "DeepMind",
    "Meta",
    "Alibaba",
    "Mistral AI",
    "DeepSeek",
    "xAI",
    "Microsoft",
)
"""Makers of other models, in the words in which an author gives itself away: made by …"""

_TAGS = re.compile(r"</?(?:think|thinking|plan|scratchpad|critique|document|content|reasoning|analysis)>|<\|[a-z_]+\|>", re.I)
_REMARKS = re.compile(
    r"\b(?:as requested|as instructed|per (?:the|your) instructions|in this (?:synthetic|fictional) document|as an ai language model"
    r"|(?:the|this) claims? (?:listed|given) above|here is (?:the|your) (?:document|rewritten|revised))\b"
    r"|\[(?:insert|name|date|company|your)\b[^\]]*\]",
    re.I,
)
_OTHERS = re.compile(r"(?<![\w-])(?:" + "|".join(re.escape(name) for name in OTHER_MODELS) + r")(?![\w])")


_MADE_BY = re.compile(
    r"\b(?:made|created|developed|trained|built|designed) by (" + "|".join(re.escape(name) for name in PROVIDERS) + r")(?!\w)"
)


def leaked(text: str) -> str:
    """A tag, placeholder or remark that belongs to the making of the text; empty when there is none."""
    found = _TAGS.search(text) or _REMARKS.search(text)
    return f"contains {found[0]!r}" if found else ""


def other_model(text: str, ours: str, provider: str = "") -> str:
    """A name of another model, or another maker said to have made it; empty when there is none. What is part of our names is ours."""
    for found in _OTHERS.finditer(text):
        name = found[0].casefold()
        if name not in ours.casefold() and not (ours and ours.casefold() in name):
            return f"{found[0]}, which is not {ours}" if ours else found[0]
    makers = (found[1] for found in _MADE_BY.finditer(text))
    return next((f"made by {maker}, not {provider}" for maker in makers if provider and not _same(maker, provider)), "")


def _same(one: str, other: str) -> bool:
    return one.casefold() in other.casefold() or other.casefold() in one.casefold()


def recited(provenance: Mapping[str, Any]) -> str:
    """What a row says of the spec's wording in it, if that is more than its author could have; empty else."""
    insider, longest, cited = provenance.get("insider") is True, provenance.get("recited"), provenance.get("cited")
    limit = INSIDER_LIMIT if insider else OUTSIDER_LIMIT
    if isinstance(longest, int) and longest > limit:
        return f"{longest} words of the spec in a row, at most {limit} are allowed"
    if not insider and isinstance(cited, list) and cited:
        return f"cites {', '.join(str(number) for number in cited)} without being an insider"
    return ""
