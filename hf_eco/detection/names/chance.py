"""How rare words are. What looks like a misspelt name is often another word or another name, the sooner the more
common that is.

The rarity of a word is -log10 of its frequency, by the lists of `wordfreq` (Speer 2022), which are counted over books,
news, subtitles and the web.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from ..disguises.language import accentless

# How likely it is, as powers of ten, that a name is said at some place of a text, that a letter of it is wrong, that a
# word of it has another form, or the words another order; and what a comma between them tells, for the last word first
# and against the first. A mention must be likelier than that its words stand there by chance.
SAID = -6.0
SLIP = -2.5
OTHER_WAY = -1.0
COMMA = 3.0
RARE = 5.4  # a word in 250,000 or fewer, which as a name tells of somebody
UNKNOWN = 8.5  # rarity of words that no list holds
_RAREST = 8.0  # rarer ones are mostly slips themselves: lists counted over the web are full of them
_ENGLISH = "en"
_OTHERS = ("de", "fr", "es", "it", "pt", "nl", "pl", "sv", "tr")
_BY_SCRIPT = ((re.compile("[\u0370-\u03ff]"), ("el",)), (re.compile("[\u0400-\u04ff]"), ("ru", "uk", "bg")))
_ENOUGH = 60  # words of a text that tell its language


@lru_cache(maxsize=16)
def _table(language: str) -> dict[str, float]:
    """The rarity of each word of a language."""
    from wordfreq import get_frequency_list  # it takes a while to import

    lists = get_frequency_list(language, wordlist="large" if language == _ENGLISH else "small")
    return {word: hundredths / 100 for hundredths, words in enumerate(lists[: round(100 * _RAREST)]) for word in words}


def tables_of(words: Sequence[str]) -> tuple[Mapping[str, float], ...]:
    """The lists that tell how rare words are in a text that has `words`, in small letters: those of English, and of
    the language that the words are most frequent in."""
    some = words[:_ENOUGH]
    others = next((languages for script, languages in _BY_SCRIPT if any(map(script.search, some))), _OTHERS)
    tables = [_table(language) for language in (_ENGLISH, *others)]
    best = min(tables, key=lambda table: sum(table.get(word, UNKNOWN) for word in some))
    return (tables[0],) if best is tables[0] else (tables[0], best)


def rarity(word: str, tables: Sequence[Mapping[str, float]]) -> float:
    """-log10 of the frequency of a word, whatever its case and accents, without digits at its ends; `UNKNOWN` if no
    list holds it."""
    small = word.lower().strip("0123456789")
    forms = (small,) if small.isascii() else (small, accentless(small))
    return min((table[form] for table in tables for form in forms if form in table), default=UNKNOWN)


def rarity_in_english(word: str) -> float:
    """The rarity of a word in English, names included."""
    return rarity(word, (_table(_ENGLISH),))
