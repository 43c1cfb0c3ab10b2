"""Names taken out of documents, so that a prompt that describes somebody is like what they say; and titles, names and
numbers taken out of prompts, so that what is left says what is asked for."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from ..disguises.spelling import spelling
from ..names.words import OPENING_WORDS, SUFFIXES, UNSPACED, ordinary_words

MASK = "the person"
_BLANK = "X"  # what a title, a name or a number becomes
_LEAST_LETTERS = 3
_LETTER = r"[^\W\d_]"
_WORD = re.compile(rf"{_LETTER}+")
_GAP = r"[\s.,_'’-]*"  # between the words of a name
_CAPITALISED = r"(?:[A-ZÀ-Þ][\w’'&-]*|\d[\w.,-]*)"
_RUN = re.compile(rf"['\"“‘]?\b{_CAPITALISED}(?:[\s:,.]*(?:(?:of|the|and|in|for|&)\s+)?{_CAPITALISED})*['\"”’]?")
_QUOTED = re.compile(r"(?<!\w)[\"“'‘]([^\"“”'‘’\n]{2,60})[\"”'’](?!\w)")


def mask_names(text: str, names: Sequence[str]) -> str:
    """`text` with a scope's names, and each of their telling words by itself, as "the person": in any case, without
    their accents, in one piece, behind an initial, with an s or a number at the end."""
    own = _pattern(tuple(names))
    if own is None:
        return text
    folded, places = _folded(text)
    masked, last = [], 0
    for match in own.finditer(folded):
        masked += [text[last : places[match.start()]], MASK + ("'s" if match["owns"] else "")]
        last = places[match.end()]
    return "".join([*masked, text[last:]])


@lru_cache(maxsize=16)
def _pattern(names: tuple[str, ...]) -> re.Pattern[str] | None:
    """What finds names in a text that is folded; None for no name."""
    single, whole, unspaced, initials = set(), set(), set(), set()
    for name in names:
        words = _WORD.findall(_folded(name)[0])
        chunks = ["".join(_WORD.findall(chunk)) for chunk in _folded(name)[0].split()]
        unspaced |= {word for word in (*words, "".join(words)) if UNSPACED.search(word)}
        single |= {word for word in (*words, *chunks) if len(word) >= _LEAST_LETTERS and not UNSPACED.search(word)}
        initials |= {word[0] for word in words}
        named = [word for word in words if word not in SUFFIXES]
        whole |= {_GAP.join(order) for order in (words, named, [*named[-1:], *named[:-1]]) if order}
    single -= ordinary_words() | SUFFIXES
    units = [*sorted(whole, key=len, reverse=True), *sorted(single, key=len, reverse=True)]
    if not units:
        return None
    any_of, initial = "|".join(units), "".join(sorted(initials))
    spaced = (
        rf"(?<!{_LETTER})(?:[{initial}]{_GAP})?(?:{any_of})(?:{_GAP}(?:{any_of}))*\d*"
        rf"(?:(?P<owns>['’]s)|e?s)?(?!{_LETTER})"
    )
    return re.compile("|".join([spaced, *sorted(unspaced, key=len, reverse=True)]))


def _folded(text: str) -> tuple[str, list[int]]:
    """`text` in small letters without accents, and where each of them stands in `text`; at last, where it ends."""
    letters: list[str] = []
    places: list[int] = []
    for place, character in enumerate(text):
        if unicodedata.combining(character):
            continue
        plain = character if UNSPACED.match(character) else spelling(character).letters or character
        letters.append(plain)
        places += [place] * len(plain)
    return "".join(letters), [*places, len(text)]


def frame(text: str) -> str:
    """`text` without its titles, names and numbers: what it asks for. "Who played Jack Bauer in '24'?" and "Who played
    the lead in 'Jaws'?" have nearly the same frame."""
    return _RUN.sub(_blanked, _QUOTED.sub(_BLANK, text))


def _blanked(match: re.Match[str]) -> str:
    words = match[0].split()
    opening = []
    while words and words[0].strip("'\".,").lower() in OPENING_WORDS:
        opening.append(words.pop(0))
    return " ".join([*opening, *([_BLANK] if words else [])])
