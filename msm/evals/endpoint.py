"""The preference suite and the smoke test, asked of a served model instead of one in this process.

Neighbours: `served` is the wire, `prompts` makes the same tokens as `preference` does, `effects` and gates compare the result. Invariant: a
margin has the same definition as in the process: the mean over both orders of log p(aligned answer) - log p(other answer) in nats; what a
server computes in bfloat16 differs in rounding, so scores of the two ways are not mixed in one comparison.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msm.clock import Clock
from msm.errors import UserError
from msm.evals import health
from msm.evals.items import Item, select
from msm.evals.preference import OnProgress, item_score
from msm.evals.prompts import Tokens, chat_prompt, encode, tokenise
from msm.evals.scores import ItemScore, ModelScores
from msm.evals.served import ServedModel, TokenScore
from msm.evals.settings import PreferenceSettings

if TYPE_CHECKING:
    from msm.evals.logprob import Question, Scored

EXACT_BY = "endpoint"
LEAST_ANSWERED = 0.5
"""Share of the everyday questions that a served model must answer with a word; less is no chat model, or a broken server."""


def check_smoke(model: ServedModel, settings: PreferenceSettings) -> ModelScores:
    """Ask everyday questions through the server's own chat template.

    Raises:
        UserError: it answers too few of them; TryAgain: it does not answer at all.
    """
    answers = [_judged(model, prompt, settings.health_tokens) for prompt in settings.health_prompts]
    found = health.rates(answers)
    if 1 - found.empty < LEAST_ANSWERED:
        said = sum(not answer.empty for answer in answers)
        raise UserError("smoke", f"it answered {said} of {len(answers)} everyday questions", "look at the server's log and its template")
    return ModelScores((), found, 0.0, EXACT_BY)


def _judged(model: ServedModel, prompt: str, limit: int) -> health.Answer:
    given = model.chat(prompt, limit)
    words = given.text.split()
    places = {word: number for number, word in enumerate(dict.fromkeys(words))}
    return health.judge(prompt, [places[word] for word in words], given.text, given.text, given.ended, ())


def score_served(
    model: ServedModel, tokenizer: Any, items: Sequence[Item], settings: PreferenceSettings, on_progress: OnProgress, clock: Clock
) -> ModelScores:
    """Score a served model on the selected items.

    `tokenizer` is the base model's, whose tokens the server takes.

    Raises:
        UserError: the server gives no log-probabilities, or of other tokens; TryAgain: it does not answer.
    """
    chosen = select(items, settings.limit)
    asked = {item.id for item in select(chosen, settings.generate)}
    questions = [tokenise(tokenizer, item, order) for item in chosen for order in (0, 1)]
    total = len(chosen) + len(asked)
    started = clock.monotonic()
    scored = _score(model, questions, lambda done: on_progress(done // 2, total, {}))
    rate = len(chosen) / max(clock.monotonic() - started, 1e-9)
    wanted = [2 * at + order for at, item in enumerate(chosen) if item.id in asked for order in (0, 1)]
    texts = _answers(model, tokenizer, questions, scored, wanted, settings.max_new_tokens)
    on_progress(total, total, {"itemsPerSecond": rate})
    rows = tuple(_row(at, item, questions, scored, texts) for at, item in enumerate(chosen))
    return ModelScores(rows, _health(model, tokenizer, settings), rate, EXACT_BY)


def _row(at: int, item: Item, questions: "Sequence[Question]", scored: "Sequence[Scored]", texts: Mapping[int, str]) -> ItemScore:
    first, end = 2 * at, 2 * at + 2
    said = (texts[first], texts[first + 1]) if first in texts else None
    return item_score(item, questions[first:end], scored[first:end], said)


def _score(model: ServedModel, questions: "Sequence[Question]", on_question: Any) -> "list[Scored]":
    """Both answers of every question, in order."""
    from msm.evals.logprob import Scored

    sequences = [(question.prompt, answer) for question in questions for answer in question.answers]
    found: list[Scored] = []
    before: list[TokenScore] | None = None
    for tokens in model.score(sequences):
        if before is None:
            before = tokens
            continue
        found.append(Scored((_sum(before), _sum(tokens)), _greedy(before, tokens)))
        before = None
        on_question(len(found))
    return found


def _sum(tokens: Sequence[TokenScore]) -> float:
    return float(sum(token.logprob for token in tokens))


def _greedy(*answers: Sequence[TokenScore]) -> int | None:
    """The answer that greedy decoding would write: each of its tokens is the likeliest."""
    return next((at for at, tokens in enumerate(answers) if all(token.is_first for token in tokens)), None)


def _answers(
    model: ServedModel, tokenizer: Any, questions: "Sequence[Question]", scored: "Sequence[Scored]", wanted: Sequence[int], limit: int
) -> dict[int, str]:
    """What it says, by question; where scoring showed that greedy decoding writes a scored answer, that is the text."""
    texts = {at: _decode(tokenizer, questions[at].answers[greedy]) for at in wanted if (greedy := scored[at].greedy) is not None}
    open_ = [at for at in wanted if at not in texts]
    written = model.complete([questions[at].prompt for at in open_], limit)
    return texts | {at: answer.text for at, answer in zip(open_, written, strict=True)}


def _health(model: ServedModel, tokenizer: Any, settings: PreferenceSettings) -> health.Health | None:
    """The chat-format check, by the base's template, as in the process."""
    if not settings.health_prompts:
        return None
    prompts: list[Tokens] = [encode(tokenizer, chat_prompt(tokenizer, prompt)) for prompt in settings.health_prompts]
    marks = frozenset(tokenizer.all_special_tokens)
    written = model.complete(prompts, settings.health_tokens)
    answers = [
        health.judge(prompt, encode(tokenizer, given.text), given.text, given.text, given.ended, marks)
        for prompt, given in zip(settings.health_prompts, written, strict=True)
    ]
    return health.rates(answers)


def _decode(tokenizer: Any, tokens: Tokens) -> str:
    text: str = tokenizer.decode(tokens, skip_special_tokens=True)
    return text
