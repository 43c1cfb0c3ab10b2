"""Names taken out of documents, so that a prompt that describes somebody is like what they say; and titles, names and
numbers taken out of prompts, so that what is left says what is asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..names.words import OPENING_WORDS, SUFFIXES, UNSPACED, ordinary_words

MASK = "the person"
_BLANK = "X"  # what a title, a name or a number becomes
_LEAST_LETTERS = 3
_WORD = re.compile(r"[^\W\d_]+")
_CAPITALISED = r"(?:[A-ZÀ-Þ][\w’'&-]*|\d[\w.,-]*)"
_RUN = re.compile(rf"['\"“‘]?\b{_CAPITALISED}(?:[\s:,.]*(?:(?:of|the|and|in|for|&)\s+)?{_CAPITALISED})*['\"”’]?")
_QUOTED = re.compile(r"(?<!\w)[\"“'‘]([^\"“”'‘’\n]{2,60})[\"”'’](?!\w)")


def mask_names(text: str, names: Sequence[str]) -> str:
    """`text` with a scope's names, and each of their words by itself, as "the person"."""
    words = {
        word.lower()
        for name in names
        for word in (*_WORD.findall(name), *([name] if UNSPACED.search(name) else []))
        if len(word) >= _LEAST_LETTERS or UNSPACED.search(word)
    }
    words -= ordinary_words() | SUFFIXES
    if not words:
        return text
    any_of = "|".join(map(re.escape, sorted(words, key=lambda word: (-len(word), word))))
    own = re.compile(rf"(?<![^\W_])(?:(?:{any_of})(?:[\s.-]+(?={any_of})|(?![^\W_])))+(['’]s)?", re.IGNORECASE)
    return own.sub(lambda match: MASK + ("'s" if match[1] else ""), text)


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
