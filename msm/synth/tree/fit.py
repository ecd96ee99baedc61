"""Whether each step's question and answer fit the author's context, said before anything is asked.

Pure. Neighbours: the stages check first thing, the preview too. Invariant: the message names the step, its size and the limit. The
endpoint's tokenizer is not ours, so a length is estimated from characters and words; the client still reports what does not fit after all.
"""

from collections.abc import Iterator

from msm.errors import UserError
from msm.synth.outline import Kind
from msm.synth.tree.counting import OVERHEAD
from msm.synth.tree.nodes import Tree
from msm.synth.tree.settings import TreeSettings, WriteSettings
from msm.synth.tree.write import EXPECTED_TOKENS

SURE = 0.85
"""Share of an estimated length that is there for certain: nothing is refused on an estimate that may be too high."""
CHARACTERS_A_TOKEN = 4.5
TOKENS_A_WORD = 1.3


def tokens_of(text: str) -> int:
    """About how many tokens a text has in another model's vocabulary."""
    return max(round(len(text) / CHARACTERS_A_TOKEN), round(len(text.split()) * TOKENS_A_WORD))


def check_outline(spec: str, kind: Kind, settings: TreeSettings, context_tokens: int | None, field: str) -> None:
    """Refuse a spec that a step of the outline cannot be asked about.

    Raises:
        UserError: naming the step.
    """
    check_steps(list(_outline_needs(tokens_of(spec), kind, settings)), context_tokens, field)


def check_write(spec: str, tree: Tree, settings: WriteSettings, context_tokens: int | None, field: str) -> None:
    """Refuse a spec that a document cannot be asked for; longest assertions of the tree counted.

    Raises:
        UserError: naming the step.
    """
    claims = max((tokens_of("\n".join(branch.lines)) for branch in tree.branches), default=0)
    check_steps(list(_write_needs(tokens_of(spec), claims, settings)), context_tokens, field)


def _outline_needs(spec: int, kind: Kind, settings: TreeSettings) -> Iterator[tuple[str, int, int]]:
    """(step, tokens of the question, tokens of the answer)."""
    limits, whole = settings.limits, spec + OVERHEAD
    if kind == "rules":
        yield "domains", whole, limits.subdomains
    else:
        if not settings.domains:
            yield "domains", whole, limits.domains
        yield "subdomains", whole, limits.subdomains
        yield "assertions", OVERHEAD, limits.assertions
    yield "docTypes", OVERHEAD, limits.doc_types
    yield "ideas", whole, limits.ideas


def _write_needs(spec: int, claims: int, settings: WriteSettings) -> Iterator[tuple[str, int, int]]:
    """As `_outline_needs`; a draft is taken to be twice as long as expected, a longer one is the client's to refuse."""
    limits, whole = settings.limits, spec + OVERHEAD
    draft = min(limits.document, 2 * EXPECTED_TOKENS)
    yield "documents", whole + claims, limits.plan + limits.document
    if settings.critique:
        yield "critique", whole + draft, limits.critique + limits.document
    if settings.scored:
        yield "scores", whole + draft, limits.scores


def check_steps(needs: list[tuple[str, int, int]], context_tokens: int | None, field: str, settable: bool = True) -> None:
    """Refuse (step, tokens of the question, tokens of the answer) that the context has no room for; `settable`: a run file has the limits.

    Raises:
        UserError: naming the first step, its sizes, and the others.
    """
    limit = context_tokens or 0
    wide = [need for need in needs if limit and SURE * need[1] + need[2] > limit]
    if not wide:
        return
    step, asked, answer = wide[0]
    others = f"; nor do {', '.join(name for name, _, _ in wide[1:])}" if len(wide) > 1 else ""
    sizes = f"about {asked} tokens of question and up to {answer} of answer, the context has {context_tokens}"
    lower = f"lower the step's limit ({step}), " if settable else ""
    fix = f"shorten the spec, {lower}or use an author with a longer context"
    raise UserError(field, f"the step {step} does not fit: {sizes}{others}", fix)
