"""Whether each step of a demonstration set fits the author's context, said before anything is asked.

Pure. Neighbours: the demonstrate stage checks first thing, the preview too; the rule is `msm.synth.tree.fit`'s.
"""

from collections.abc import Iterator

from msm.synth.dialogue.answers import VERDICT_TOKENS
from msm.synth.dialogue.counts import ANSWER
from msm.synth.dialogue.questions import QUESTION_TOKENS, TOPIC_TOKENS
from msm.synth.dialogue.settings import ChatSettings
from msm.synth.tree.counting import OVERHEAD
from msm.synth.tree.fit import check_steps, tokens_of


def check_chats(spec: str, settings: ChatSettings, context_tokens: int | None, field: str) -> None:
    """Refuse a spec that chats cannot be asked for; opaque ones see none.

    Raises:
        UserError: naming the step.
    """
    if settings.style != "opaque":
        check_steps(list(_needs(tokens_of(spec) + OVERHEAD, settings)), context_tokens, field, settable=False)


def _needs(whole: int, settings: ChatSettings) -> Iterator[tuple[str, int, int]]:
    """(step, tokens of the question, tokens of the answer)."""
    yield "topics", whole, TOPIC_TOKENS
    yield "questions", whole, QUESTION_TOKENS
    yield "answers", whole, settings.max_tokens
    yield "verdicts", whole + ANSWER, VERDICT_TOKENS
