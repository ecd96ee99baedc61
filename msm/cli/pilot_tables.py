"""What `msm pilot` shows: whole documents first, then why others were dropped, scores, and what the full run will take.

Neighbours: `msm.preview.pilot_report` finds it. Invariant: documents are shown as they are, cleaned of control characters; every projected
number is shown with its interval.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msm.cli.screen import Screen
from msm.cli.words import clean, duration, number, share, some
from msm.results.samples import genre, spread

if TYPE_CHECKING:
    from rich.console import RenderableType

    from msm.preview.pilot_report import PilotPart, PilotReport
    from msm.preview.projection import StepProjection


def pilot_document(found: "PilotReport") -> dict[str, Any]:
    """The findings as JSON."""
    return found.model_dump(mode="json", by_alias=True)


def say_pilot(found: "PilotReport", shown: int, screen: Screen) -> None:
    """All of it, for people."""
    for part in found.parts:
        _say_part(part, shown, screen)
    if found.stages:
        screen.say()
        screen.show(*_projection(found))
    screen.say()
    for line in _sums(found):
        screen.say(line)


def _say_part(part: "PilotPart", shown: int, screen: Screen) -> None:
    from msm.cli.tables import heading, table

    screen.say()
    screen.show(heading(f"{part.name}: {part.passed} of {part.made} {part.what} pass"))
    if part.message:
        screen.say(f"given up: {clean(part.message)}")
    for row in spread(part.rows, "genre", shown) if shown else ():
        _say_row(row, screen)
    for row in spread(part.dropped_rows, "reason", min(2, shown)) if shown else ():
        _say_row(row, screen)
    for line in _about(part):
        screen.say(line)
    if part.scores:
        body = [(axis, *(f"{score:g}" for score in scores)) for axis, scores in part.scores.items()]
        screen.show(table(("judge's score, 0 to 10", "least", "median", "most"), body))


def _say_row(row: Mapping[str, Any], screen: Screen) -> None:
    """One document or dialogue, whole."""
    screen.say(" · ".join(filter(None, _head(row))))
    for line in _lines(row):
        screen.say(clean(line))
    screen.say()


def _head(row: Mapping[str, Any]) -> Iterator[str]:
    provenance = row.get("provenance") or {}
    yield f"--- {clean(str(row['id']))}"
    yield clean(genre(row) or str(provenance.get("domain", "")))
    if provenance.get("score") is not None:
        yield f"score {provenance['score']}"
    if row.get("reason"):
        yield clean(f"DROPPED, {row['reason']}: {row.get('detail', '')}".rstrip(": "))


def _lines(row: Mapping[str, Any]) -> Iterator[str]:
    if "text" in row:
        yield from str(row["text"]).split("\n")
    for turn in row.get("messages", ()):
        first, *more = str(turn["content"]).split("\n")
        yield f"[{turn['role']}] {first}"
        yield from more


def _about(part: "PilotPart") -> Iterator[str]:
    mean, low, high = part.share
    if part.made:
        yield f"passes: {share(mean)} [{share(low)}, {share(high)}] of {part.made} {part.what}"
    if part.dropped:
        yield f"dropped: {', '.join(f'{clean(reason)} {times}' for reason, times in part.dropped.items())}"
    if part.failures:
        yield f"no answer: {', '.join(f'{clean(step)} {times}' for step, times in part.failures.items())}"
    if part.tokens_each is not None:
        each, least, most = (round(value) for value in part.tokens_each)
        yield f"tokens of an idea's document: {number(each)} [{number(least)}, {number(most)}]"
    yield from _verdict(part)
    if part.made and not part.scores and part.what == "documents":
        yield "no judge looks at these: set quality.minScore, or synthesize.judge, to have each document scored"


def _verdict(part: "PilotPart") -> Iterator[str]:
    """Whether the surplus covers what the gates drop."""
    if part.surplus is None or not part.made:
        return
    needed, (mean, low, high) = 1 / part.surplus, part.share
    said = f"surplus {part.surplus:g} is enough while {share(needed)} pass"
    if low >= needed:
        yield f"{said}: it is"
    elif part.safe_surplus is None:
        yield f"{said}: nothing passes; mend the spec, the gates or the author first"
    else:
        likely = "probably enough" if mean >= needed else "probably too little" if high >= needed else "too little"
        yield f"{said}: {likely}; {part.safe_surplus:g} would be safe, more --documents would say it more exactly"


def _projection(found: "PilotReport") -> "list[RenderableType]":
    from msm.cli.tables import heading, table

    columns = ("stage", "step", "calls", "answered", "prompt tokens", "answer tokens", "price", "rests on")
    body = [_step_row(stage.name if first else "", step) for stage in found.stages for first, step in _firsts(stage.steps)]
    made = table(columns, body, left=2)
    made.columns[-1].justify = "left"
    return [heading("what the full run has still to ask"), made]


def _firsts(steps: "Sequence[StepProjection]") -> "Iterator[tuple[bool, StepProjection]]":
    return ((place == 0, step) for place, step in enumerate(steps))


def _step_row(stage: str, step: "StepProjection") -> Sequence[str]:
    price = f"{step.price[0]:.2f}-{step.price[1]:.2f}" if step.price is not None and step.price[1] else ""
    rests = some(range(step.measured), "answer", "answers") if step.measured else "assumed"
    tokens = (_span(step.prompt_tokens), _span(step.completion_tokens))
    return stage, step.step, _span(step.calls), number(step.answered) if step.answered else "", *tokens, price, rests


def _span(pair: tuple[int, int]) -> str:
    low, high = map(_about_tokens, pair)
    return low if low == high else f"{low}-{high}"


def _about_tokens(tokens: int) -> str:
    """Two or three figures: 940, 12.3k, 6.1M."""
    if tokens >= 10**6:
        return f"{tokens / 10**6:.1f}M"
    return f"{tokens / 1000:.1f}k" if tokens >= 10**4 else number(tokens)


def _sums(found: "PilotReport") -> Iterator[str]:
    yield f"answers of this pilot that the full run uses: {number(found.reused)} of {number(found.answers)}"
    if not found.stages:
        yield "the full run has nothing left to ask"
        return
    for stage in found.stages:
        if stage.missing[1]:
            what = f"{stage.name} has ideas for {_span(stage.missing)} documents too few"
            yield f"warning: {what}, so curation would end with too little; raise docTypes or ideasPerType, or ask for less"
    price = "" if found.price is None else f", price {found.price[0]:.2f} to {found.price[1]:.2f}"
    yield f"full run: {_span(found.calls)} calls, {_span(found.tokens)} tokens{price}"
    if found.seconds is not None:
        low, high = map(duration, found.seconds)
        yield f"time: {low} to {high}: {high} at the pilot's pace, less as the server answers more questions at once than the pilot asked"
    yield "intervals are 95 % over the pilot's answers; near-duplicates and drift over a large corpus do not show in a few documents"
