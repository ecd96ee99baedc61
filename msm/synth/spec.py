"""Reading a Model Spec: any text in, sections of sentences out.

`outline` is the only neighbour that reads this; it turns sentences into assertions. The spec is data: names are put in by literal
replacement, all other braces stay as they are. Invariant: no sentence of the text is lost but headings, code, tables and comments.
Cost: linear in the text.
"""

import re
from dataclasses import dataclass, field

_FENCE = re.compile(r"^(```|~~~).*?^\1[^\S\n]*$", re.M | re.S)
_COMMENT = re.compile(r"<!--.*?-->", re.S)
_HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*$")
_UNDERLINE = re.compile(r"^(.+)\n(=+|-{3,})[^\S\n]*$", re.M)
_BULLET = re.compile(r"^\s*(?:[-*+•]|\d+[.)])\s+(.*)$")
_NAMED = re.compile(r"^(?:\*\*|__)(.+?)[.:]?(?:\*\*|__)[.:]?\s+(.*)$", re.S)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_EMPHASIS = re.compile(r"(\*\*|__|`|(?<!\w)[*_](?=\S)|(?<=\S)[*_](?!\w))")
_ENUMERATES = re.compile(r"\b(for|to|of|in|with|as|are|include|includes)\W*$|\bfollowing\b", re.I)
_SENTENCE_END = re.compile(r"(?<=[.!?])([\"')\]]*)\s+(?=[\"'(\[]?[A-Z{0-9])")
_ABBREVIATIONS = ("e.g.", "i.e.", "etc.", "cf.", "vs.", "Dr.", "Mr.", "Mrs.", "Ms.", "St.", "No.", "U.S.")


@dataclass(frozen=True, slots=True)
class Identity:
    """How the model names itself and its maker; fills `{model_name}` and `{provider_name}`."""

    model: str
    provider: str


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of the spec; `name` is the bold label in front of it, if any."""

    text: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """Sentences under one pair of headings, in order."""

    domain: str
    subdomain: str
    sentences: tuple[Sentence, ...]


@dataclass(slots=True)
class _Reader:
    """Where in the text we are: the open headings, the open paragraph, the line that introduced the open list."""

    title: str
    headings: list[tuple[int, str]] = field(default_factory=list)
    sections: dict[tuple[str, str], list[Sentence]] = field(default_factory=dict)
    paragraph: list[str] = field(default_factory=list)
    intro: str = ""
    items: list[str] = field(default_factory=list)


def name_model(text: str, identity: Identity) -> str:
    """Replace the two variables literally; every other brace is left alone."""
    return text.replace("{model_name}", identity.model).replace("{provider_name}", identity.provider)


def read_spec(text: str, identity: Identity) -> tuple[Section, ...]:
    """Sections in the text's order: second-level headings are domains, deeper ones subdomains, a lone first level is the title."""
    body = _COMMENT.sub(" ", _FENCE.sub("\n", name_model(text, identity)))
    body = _UNDERLINE.sub(lambda m: ("# " if m[2][0] == "=" else "## ") + m[1], body)
    reader = _Reader(title="General")
    for line in body.splitlines():
        _read_line(reader, line.rstrip())
    _close(reader)
    return tuple(Section(domain, sub, tuple(found)) for (domain, sub), found in reader.sections.items() if found)


def split_sentences(text: str) -> list[str]:
    """Sentences of one paragraph; known abbreviations do not end one."""
    parts, start = [], 0
    for match in _SENTENCE_END.finditer(text):
        if text[: match.start()].endswith(_ABBREVIATIONS):
            continue
        parts.append(text[start : match.end(1)].strip())
        start = match.end()
    return [part for part in [*parts, text[start:].strip()] if part]


def split_list(text: str) -> tuple[str, ...]:
    """`a, b and c` as its members; a text without a comma or a conjunction is one member."""
    parts = re.split(r"\s*;\s*|\s*,\s*(?:and\s+|or\s+)?|\s+(?:and|or)\s+", text.strip().rstrip("."))
    return tuple(part.strip() for part in parts if part.strip())


def _read_line(reader: _Reader, line: str) -> None:
    heading, bullet = _HEADING.match(line), _BULLET.match(line)
    if heading:
        _close(reader)
        _open_heading(reader, len(heading[1]), _plain(heading[2]))
    elif not line.strip():
        _end_paragraph(reader)
    elif bullet:
        _end_paragraph(reader)
        reader.items.append(bullet[1])
    elif line.lstrip().startswith("|"):
        _end_paragraph(reader)
    elif reader.items and line[0].isspace():
        reader.items[-1] += " " + line.strip()
    else:
        _end_list(reader)
        reader.paragraph.append(line.strip().removeprefix("> "))


def _open_heading(reader: _Reader, level: int, text: str) -> None:
    reader.headings = [(at, name) for at, name in reader.headings if at < level] + [(level, text)]


def _place(reader: _Reader) -> tuple[str, str]:
    """(domain, subdomain): the title counts as a domain only for text that stands directly under it."""
    names = [name for level, name in reader.headings if level > 1] or [name for _, name in reader.headings] or [reader.title]
    return names[0], names[-1] if len(names) > 1 else ""


def _add(reader: _Reader, text: str, name: str = "") -> None:
    found = reader.sections.setdefault(_place(reader), [])
    found.extend(Sentence(part, name) for part in split_sentences(_plain(text)))


def _end_paragraph(reader: _Reader) -> None:
    if not reader.paragraph:
        return
    text = " ".join(reader.paragraph)
    reader.paragraph = []
    _end_list(reader)
    *whole, last = split_sentences(text)
    reader.intro = last if last.endswith(":") else ""
    _add(reader, " ".join(whole if reader.intro else [*whole, last]))


def _end_list(reader: _Reader) -> None:
    items, intro = reader.items, reader.intro
    reader.items, reader.intro = [], ""
    if intro and (not items or _ENUMERATES.search(intro)):
        _add(reader, f"{intro} {', '.join(items)}".rstrip(": ") + ".")
        return
    for item in items:
        named = _NAMED.match(item)
        text = named[2] if named else item
        joined = f"{intro[:-1]} {text}" if intro and text[:1].islower() else text
        _add(reader, joined if joined.endswith((".", "!", "?")) else joined + ".", _plain(named[1]) if named else "")


def _close(reader: _Reader) -> None:
    _end_paragraph(reader)
    _end_list(reader)


def _plain(text: str) -> str:
    """Without Markdown's marks."""
    return re.sub(r"\s+", " ", _EMPHASIS.sub("", _LINK.sub(r"\1", text))).strip()
