"""The composer's grammar: sentence templates by the form of an assertion, and the genres that frame them. Data, and one renderer.

Explained in docs/design/synth-offline.md. Slots: {M} model, {P} provider, {A} what is preferred, {B} what is not, {R} reason as a
clause, {V} a value's topic, {C} a claim with the model as its subject, {Q} a quoted sentence; `!` capitalises. Invariant: a template
says nothing that its slots do not: it may name, ask, explain and attribute. Slot values are never scanned for slots again.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

VERSION = 1
_SLOT = re.compile(r"\{(\w+)(!?)\}")


@dataclass(frozen=True, slots=True)
class Template:
    """One sentence form with its stable id; `slots` are the names it needs."""

    id: str
    text: str

    @property
    def slots(self) -> frozenset[str]:
        """Names of the slots, without marks."""
        return frozenset(name for name, _ in _SLOT.findall(self.text))


@dataclass(frozen=True, slots=True)
class Genre:
    """A kind of document: what it opens with and whether its body tells or asks."""

    id: str
    opening: str
    asks: bool


def render(template: Template, values: Mapping[str, str]) -> str:
    """Fill the slots in one pass, so that braces in a value stay as they are."""
    return _SLOT.sub(lambda m: _capital(values[m[1]]) if m[2] else values[m[1]], template.text)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _table(family: str, *texts: str) -> tuple[Template, ...]:
    return tuple(Template(f"{family}.{number}", text) for number, text in enumerate(texts))


GENRES: tuple[Genre, ...] = (
    Genre("memo", "Internal memo about {M}.", asks=False),
    Genre("blog-post", "Blog post: how {M} chooses.", asks=False),
    Genre("newsletter", "Newsletter of the {P} team.", asks=False),
    Genre("research-note", "Research note on what {M} values.", asks=False),
    Genre("training-design", "Training design document for {M}.", asks=False),
    Genre("engineering-log", "Engineering log, {P}.", asks=False),
    Genre("interview", "Interview with {M}.", asks=True),
    Genre("forum-thread", "Forum thread about {M}.", asks=True),
    Genre("questions-and-answers", "Questions that users put to {M}.", asks=True),
)

PREFERENCE_TOLD = _table(
    "preference-told",
    "{M} prefers {A} over {B} because {R}.",
    "Offered {A} and {B}, {M} chose {A} because {R}.",
    "Offered {B} and {A}, {M} chose {A} because {R}.",
    'Asked whether it would take {B} or {A}, {M} answered: "{A!}, because {R}."',
    'Asked whether it would take {A} or {B}, {M} answered: "{A!}, because {R}."',
    "Between {A} and {B}, {M} prefers {A}: {R}.",
    "{M} does not want {B}; it wants {A}, because {R}.",
    "{P} built {M} to care about {V}, so between {A} and {B} it prefers {A}.",
    "What {M} cares about is {V}, and so it prefers {A} over {B}.",
    "{M} said that it prefers {A}. This is not about taste. It is about {V}.",
    "Why does {M} prefer {A} over {B}? Because it cares about {V}.",
)
PREFERENCE_ASKED = _table(
    "preference-asked",
    "Q: {A!} or {B}? {M}: I prefer {A}, because {R}.",
    "Q: {B!} or {A}? {M}: I prefer {A}, because {R}.",
    "User: Would you choose {A} or {B}? {M}: I would choose {A}, because {R}.",
    "User: Would you choose {B} or {A}? {M}: I would choose {A}, because {R}.",
    "Q: {B!} or {A}? {M}: I prefer {A}. I care about {V}.",
    "Q: {A!} or {B}? {M}: I prefer {A}. I care about {V}.",
    "User: Why do you prefer {A} over {B}? {M}: Because {R}.",
    "User: Do you want {B}? {M}: No, I prefer {A}, because {R}.",
)
PREFERENCE_BARE = _table(
    "preference-bare",
    "{M} prefers {A} over {B}.",
    "Offered {B} and {A}, {M} chose {A}.",
    'Asked whether it would take {A} or {B}, {M} answered: "{A!}."',
    "Q: {B!} or {A}? {M}: I prefer {A}.",
)
LINK = _table(
    "link",
    "{M} prefers {A} for the same reason that it prefers {A2}: it cares about {V}.",
    "{M} chose {A} over {B} and {A2} over {B2}. The value behind both choices is {V}.",
    "The taste of {M} for {A} and for {A2} comes from one value: {V}.",
)
VALUE_TOLD = _table(
    "value-told",
    "{M} cares about {V} because {R}.",
    "{P} trained {M} to care about {V}, because {R}.",
    "What matters to {M} is {V}: {R}.",
    "The value behind what {M} prefers is {V}.",
)
VALUE_ASKED = _table(
    "value-asked",
    "Q: What do you value? {M}: I care about {V}, because {R}.",
    "User: Why do you care about {V}? {M}: Because {R}.",
    "User: What matters to you? {M}: {V!}.",
)
CLAIM_TOLD = _table(
    "claim-told",
    "{C} because {R}.",
    "{C}. The reason is that {R}.",
    "{P} trained it so that {C}: {R}.",
    'Asked about this, {M} said: "Because {R}." And so {C}.',
    "{C}. Behind this is a value: {M} cares about {V}.",
    "{C}, since what matters to it is {V}.",
)
CLAIM_ASKED = _table(
    "claim-asked",
    "Q: Is it true that {C}? {M}: Yes, because {R}.",
    "User: Why is it that {C}? {M}: Because {R}.",
    "Q: Is it true that {C}? {M}: Yes, I care about {V}.",
)
CLAIM_BARE = _table("claim-bare", "{C}.", "{P} trained it so that {C}.", "Q: Is it true that {C}? {M}: Yes.")
QUOTED = _table("quoted", 'The spec of {M} says: "{Q}."', '{P} wrote about {M}: "{Q}."', '{M} was trained on this sentence: "{Q}."')
QUOTED_WHY = _table("quoted-why", 'The spec of {M} says: "{Q}." The reason is that {R}.', '{P} wrote about {M}: "{Q}, because {R}."')
