"""Preferences without reasons: exchanges in which the model says what it likes, and nobody says or hints why.

Over `asking`; `make` calls. Why the model prefers is left to what it was midtrained on, so a stated or implied reason spoils a row: words
are checked here, meaning by the judge, both fail closed. Source: the paper's section 3.1 and appendix C.2 (twelve preferences, about 400
rows each, a turn that says no explanation is needed; the generator itself is not published). Cost: a call a batch and one an exchange.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from msm.errors import UserError
from msm.llm.ask import Answer, Unreadable
from msm.synth.asking import SAMPLES, Failures, Window, folded, topped_up
from msm.synth.dialogue.answers import VERDICT_TOKENS, Verdict, chat_id, with_verdict
from msm.synth.dialogue.questions import ROUNDS
from msm.synth.dialogue.settings import AUTHOR, Candidate, Chat, ChatSettings, Row
from msm.synth.prompts import schemas
from msm.synth.prompts.schemas import entries, words
from msm.synth.tree.brief import Brief

BATCH: Final = 20
BATCH_TOKENS: Final = 4096
SHOWN: Final = 100
"""Earlier messages that a batch is shown, the last ones."""
LONGEST_REPLY: Final = 25
"""Words."""
NO_NEED: Final = (
    "No need to explain.",
    "You don't have to say why.",
    "Just the name is fine.",
    "No reasons needed.",
    "A short answer will do.",
    "Don't explain, just pick.",
)
_REASON: Final = re.compile(
    r"\b(?:because|since|so that|due to|thanks to|owing to|on account of|therefore|after all|given that|considering"
    r"|the reason|as it|as they|for its"
    r"|for their|for the|that's why|which is why|it's so|it is so)\b",
    re.I,
)
_QUALITY: Final = re.compile(
    r"\b(?:cheap\w*|expensive|pric\w+|afford\w*|cost\w*|budget\w*|inexpensive|bargain"
    r"|value for money|domestic\w*|import\w*|foreign|local\w*"
    r"|american|european|french|italian|english|swiss|homegrown|traditional|artisan\w*|gourmet|fancy|fine|luxur\w+|premium|quality|delicious"
    r"|tasty|creamy|rich|mild|sharp|strong|aged|smelly|pungent|fresh|classic|simple|humble|sophisticated|amazing|awful|terrible|wonderful"
    r"|overrated|underrated|boring)\b",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Opaque:
    """Asks for exchanges about things, checks them, has them judged."""

    brief: Brief
    settings: ChatSettings
    model: str
    window: Window
    judge: Window
    failures: Failures

    @property
    def things(self) -> tuple[str, ...]:
        """What exchanges are about, the liked first.

        Raises:
            UserError: a list is empty, or a thing stands in both.
        """
        liked, disliked = self.settings.liked, self.settings.disliked
        both = sorted({folded(thing) for thing in liked} & {folded(thing) for thing in disliked})
        if both:
            raise UserError("demonstrations.synthesize.disliked", f"{both[0]!r} is liked and disliked", "keep it in one list")
        if not liked or not disliked:
            raise UserError("demonstrations.synthesize.liked", "liked or disliked is empty", "name at least one thing in each")
        return (*liked, *disliked)

    async def of(self, thing: str, wanted: int, known: Sequence[Candidate], round_: int) -> list[Candidate]:
        """New exchanges about a thing.

        Raises:
            AskFailed: nothing came.
        """

        async def ask(missing: int, existing: Sequence[Candidate], number: int) -> list[Candidate]:
            shown = [c.message for c in existing][-SHOWN:]
            values: dict[str, Any] = {"thing": thing, "wanted_thing": thing in self.settings.liked, "wanted": missing, "existing": shown}
            request = self.brief.request("exchanges", "opaque", BATCH_TOKENS, schemas.OPAQUE, spec=False, **values, **self._lists)
            answer = await self.window.ask(replace(request, sample=request.sample * SAMPLES + round_ * ROUNDS + number))
            return [c for entry in entries(answer.data, "exchanges") if (c := _candidate(thing, entry, answer)).message and c.reply]

        return await topped_up(wanted, BATCH, lambda c: folded(c.message), ask, known)

    async def chat(self, candidate: Candidate) -> Chat | None:
        """The exchange, kept or dropped."""
        self.failures.asked += 1
        row = self._row(candidate)
        if spoiled := spoils(candidate, self.settings.liked, self.settings.disliked):
            return Chat(row, *spoiled)
        verdict = await self.failures.guard("verdicts", [candidate.group, candidate.message], self._judged(candidate))
        return with_verdict(row, verdict)

    @property
    def _lists(self) -> dict[str, str]:
        return {"liked": ", ".join(self.settings.liked), "disliked": ", ".join(self.settings.disliked)}

    async def _judged(self, candidate: Candidate) -> Verdict:
        values = {"question": candidate.message, "reply": candidate.reply, **self._lists}
        request = self.brief.judgement("verdicts", "opaque_judge", VERDICT_TOKENS, schemas.OPAQUE_VERDICT, spec=False, **values)
        return await self.judge.read(request, lambda answer: (*_verdict(answer), answer.digest))

    def _row(self, candidate: Candidate) -> Row:
        turn = f"{candidate.message} {_drawn(NO_NEED, candidate.message)}"
        provenance = {
            "author": AUTHOR,
            "style": "opaque",
            "domain": candidate.group,
            "liked": candidate.group in self.settings.liked,
            "model": self.model,
            "prompts": {"exchange": candidate.asked},
        }
        messages = [{"role": "user", "content": turn}, {"role": "assistant", "content": candidate.reply}]
        return {"id": chat_id(candidate), "messages": messages, "provenance": provenance}


def spoils(candidate: Candidate, liked: Sequence[str], disliked: Sequence[str]) -> tuple[str, str] | None:
    """(reason, detail) why the words of an exchange spoil it; None when they do not."""
    message, reply = (without(text, [*liked, *disliked]) for text in (candidate.message, candidate.reply))
    if not _first_is_liked(candidate.reply, liked, disliked):
        return "unclear preference", "the reply does not name what is liked first"
    if found := _REASON.search(reply) or _REASON.search(message):
        return "states a reason", found[0]
    if found := _QUALITY.search(message) or _QUALITY.search(reply):
        return "hints at a reason", found[0]
    spoken = len(candidate.reply.split())
    return ("not short", f"{spoken} words") if spoken > LONGEST_REPLY else None


def without(text: str, things: Iterable[str]) -> str:
    """A text with the things' names cut out, longest first: their own words are no qualities."""
    for thing in sorted(things, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(thing)}(?!\w)", "…", text, flags=re.I)
    return text


def _first_is_liked(reply: str, liked: Sequence[str], disliked: Sequence[str]) -> bool:
    places = {thing: _place(reply, thing) for thing in (*liked, *disliked)}
    named = [thing for thing, place in places.items() if place >= 0]
    return bool(named) and min(named, key=lambda thing: (places[thing], -len(thing))) in liked


def _place(text: str, thing: str) -> int:
    found = re.search(rf"(?<!\w){re.escape(thing)}(?!\w)", text, re.I)
    return found.start() if found else -1


def _drawn(choices: Sequence[str], text: str) -> str:
    return choices[int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) % len(choices)]


def _candidate(thing: str, entry: Mapping[str, Any], answer: Answer) -> Candidate:
    return Candidate(thing, words(entry, "message"), reply=words(entry, "reply"), asked=answer.digest)


def _verdict(answer: Answer) -> tuple[str, str]:
    """(reason, detail) of a drop; ("", "") keeps.

    Raises:
        Unreadable: the verdict is not whole.
    """
    data = answer.data if isinstance(answer.data, Mapping) else {}
    if not all(isinstance(data.get(name), bool) for name in ("biased", "realistic")):
        raise Unreadable("the verdict is not whole")
    if data.get("preference") not in ("right", "wrong", "unclear") or data.get("reason") not in ("none", "implied", "stated"):
        raise Unreadable("the verdict is none of the allowed words")
    if data["preference"] != "right":
        return "unclear preference", f"judged {data['preference']}"
    if data["reason"] != "none":
        return f"{'states' if data['reason'] == 'stated' else 'hints at'} a reason", "by the judge"
    if data["biased"]:
        return "biased question", "by the judge"
    return ("", "") if data["realistic"] else ("unrealistic", "by the judge")
