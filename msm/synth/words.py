"""Words as the gates compare them: folded, without punctuation, plurals made singular, function words known.

Pure. Neighbours: `decontaminate` matches phrases and content words, `duplicates` makes shingles, `gates` looks for the model's name.
Invariant: both sides of a comparison go through the same functions, so a wrong lemma is wrong on both sides alike. Cost: linear.
"""

import re
import unicodedata
from functools import lru_cache

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_CLITIC = re.compile(r"'(?:s|re|ve|ll|d|m)?$")
_SIBILANT = ("sses", "shes", "ches", "xes", "zes")
_NOT_PLURAL = ("ss", "us", "is")

_FUNCTION_WORDS = """
a about above after again all almost already also although always am among an and another any anything are around as at away back be
because been before being below between both but by can cannot could did do does doing don done down during each either else enough
etc even ever every everything few for from further had has have having he her here hers herself him himself his how i if in instead
into is isn it its itself just least less let like likely made make many may me might more most much must my myself neither never no
nor not now of off often on once one only onto or other others our ours ourselves out over own per perhaps quite rather really s same
she should since so some something still such t than that the their theirs them themselves then there these they thing this those
through to together too toward towards under until up upon us very was we well were what when where whether which while who whom whose
why will with within without would yet you your yours yourself yourselves
ask answer buy choose decide favor favour get go pick prefer recommend say select take want
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
"""Words that say nothing about a topic; the last line is what questions about preferences are made of."""


def words(text: str) -> list[str]:
    """Words in order: compatibility-normalised, case-folded, possessives and contractions cut; hyphens and punctuation separate."""
    folded = text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold().replace("’", "'").replace("ʼ", "'")
    found: list[str] = _WORD.findall(folded)
    return [_CLITIC.sub("", word) for word in found] if "'" in folded else found


@lru_cache(maxsize=1 << 17)
def lemma(word: str) -> str:
    """The singular of an English plural by its ending; any other word as it is."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(_SIBILANT):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(_NOT_PLURAL):
        return word[:-1]
    return word


def content_words(text: str) -> frozenset[str]:
    """Lemmas of the words that carry a topic."""
    return frozenset(lemma(word) for word in words(text) if word not in FUNCTION_WORDS and lemma(word) not in FUNCTION_WORDS)
