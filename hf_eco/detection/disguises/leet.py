"""Leetspeak: figures and signs for letters."""

from __future__ import annotations

import re
from functools import lru_cache

from .addresses import in_address
from .language import FUNCTION_WORDS, average_cost, is_latin, word_cost
from .traced import Edit

_LEET = str.maketrans("01345678@$!|€£(%9+", "oieasgtbasiieecxgt")
_SIGN = re.compile("[0134578@$!|€£]")
_LEET_WORD = re.compile(  # "(" is a c where it is not closed
    r"(?<![\w@$.#/%])(?:[\w@$!|€£(%+]{0,19}[A-Za-z][013456789@$!|€£(%+]|[013456789@$€£(+|!][A-Za-z0-9])"
    r"[\w@$!|€£(%+]{0,19}(?!\w*\))"
)
_FLANKED = re.compile(r"[A-Za-z][0134578@$!|€£]+[A-Za-z]")
_ORDINAL = re.compile(r"\d*(?:1st|2nd|3rd|\dth)|\d\d+s")
_MEASURE = re.compile(
    r"[$€£]?\d+[A-Za-z]{1,3}|[A-Za-z]{1,4}\d+|[$€£]\S+|[0-9a-fA-F]{8,}|[A-Z0-9]+|\d+\w|[A-Za-z]+[!|]"
)


def without_leet(word: str) -> str:
    """`word` with figures and signs read as letters; 1 and | as i or l, whichever makes the likelier word."""
    plain = word.translate(_LEET)
    for i, c in enumerate(word):
        if c in "1|!":
            other = f"{plain[:i]}l{plain[i + 1 :]}"
            small, small_other = plain.lower(), other.lower()
            if is_latin(small) and is_latin(small_other) and word_cost(small_other) < word_cost(small):
                plain = other
    return plain


@lru_cache(maxsize=1 << 12)
def _leet_reading(word: str) -> tuple[str, bool]:
    """What `word` says if it is leet ("" if it cannot be), and whether it is for sure."""
    plain = without_leet(word)
    if plain == word or not is_latin(plain) or _ORDINAL.fullmatch(word):
        return "", False
    known = len(plain) > 2 and plain.lower() in FUNCTION_WORDS and not word[0].isdigit()
    inside = len(plain) > 3 and _FLANKED.search(word) and not _MEASURE.fullmatch(word) and average_cost(plain) < 3.4
    return plain, bool(known or inside)


def leet(text: str) -> list[Edit]:
    """Leetspeak as letters. Honest mixtures (B2B, mp3, 10kg) stay, unless another word is leet for sure."""
    if not _SIGN.search(text):
        return []
    edits = []
    certain = False
    for match in _LEET_WORD.finditer(text):
        word = match[0].rstrip("!|+")
        plain, sure = _leet_reading(word)
        if plain and not in_address(text, match.start()):
            start, end = match.start(), match.start() + len(word)
            edits.append(Edit(start, end, plain, range(start, end)))
            certain = certain or sure
    return edits if certain else []
