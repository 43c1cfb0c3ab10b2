"""Letters as numbers (8-1-18-18-25) and as the words of a spelling alphabet (Hotel Alfa Romeo Romeo Yankee)."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

from .language import WORD, average_cost, word_list
from .traced import Edit

_LEAST = 6  # letters; what has fewer reads like language by accident
_READS = 3.3  # nats per letter of what reads like language, names among it
_BETWEEN = r"[\s,;:.\-–—_/|+*·•]{1,3}"
_CODE = r"(?:[01]?\d|2[0-6])"
# A pattern that begins with a lookbehind is slow to search: this one's stands behind a digit.
_NUMBERS = re.compile(
    rf"\d(?<![^\s(\[\"'“:]\d)(?:(?<=[01])\d|(?<=2)[0-6])?"
    rf"(?:{_BETWEEN}(?:{_CODE}|[^\w\s|\\/<>=]|_)(?![^\W_])){{{_LEAST - 1},}}(?![^\s)\]\"'”.,;:?!])"
)
_NUMBER = re.compile(r"\d+")
_SPELLING_WORDS = """
alfa bravo charlie delta echo foxtrot golf hotel india juliett kilo lima mike november oscar papa quebec romeo sierra
tango uniform victor whiskey xray yankee zulu alpha fox juliet whisky x-ray
able baker dog easy george how item jig king love nan oboe peter queen roger sugar tare uncle william yoke zebra
"""
_SPELT = {word: word[0] for word in word_list(_SPELLING_WORDS)}
_SPELLING_WORD = "|".join(sorted(_SPELT, key=len, reverse=True))
_SPELLING = re.compile(
    rf"\b(?:{_SPELLING_WORD})\b(?:[\s,;:.+*\-–—_/|]{{1,5}}(?:(?:{_SPELLING_WORD})\b|[\d?!'])){{3,}}", re.IGNORECASE
)
_SPELLING_LETTER = re.compile(rf"(?:{_SPELLING_WORD})\b|[\d?!']", re.IGNORECASE)
_AS_IN = re.compile(r"\b([A-Za-z])\W{1,3}(?:as in|is for|like)\s+\w+")
_ONE_AS_IN = r"\b[A-Za-z]\W{1,3}(?:as in|is for|like)\s+\w+"
_AS_IN_RUN = re.compile(rf"{_ONE_AS_IN}(?:\W{{1,4}}(?:and\s+)?{_ONE_AS_IN}){{3,}}")


def read_code_words(text: str) -> tuple[str, list[Edit]]:
    """Runs of numbers or of code words that spell words."""
    for name, pattern, decode in (
        ("letter numbers", _NUMBERS, _from_numbers),
        ("spelling alphabet", _SPELLING, _from_spelling_words),
        ("spelling alphabet", _AS_IN_RUN, _from_as_in),
    ):
        if pattern is _SPELLING and sum(word in _SPELT for word in WORD.findall(text.lower())) < _LEAST:
            continue
        if pattern is _AS_IN_RUN and not _AS_IN.search(text):
            continue
        edits = [Edit(*match.span(), decoded) for match in pattern.finditer(text) if (decoded := decode(match[0]))]
        if edits:
            return name, edits
    return "", []


def _from_numbers(run: str) -> str:
    found = list(_NUMBER.finditer(run))
    numbers = [int(number[0]) for number in found]
    steps = {second - first for first, second in pairwise(numbers)}
    if len(numbers) < _LEAST or len(steps) < 3 or numbers == sorted(numbers):
        return ""
    gaps = [run[one.end() : other.start()] for one, other in pairwise(found)]
    for first in (0, 1) if 0 in numbers else (1, 0):
        if max(numbers) - first < 26:  # where a is 1, a 0 is a digit, of a year for example
            letters = [chr(ord("a") + number - first) if number >= first else "0" for number in numbers]
            if reading := _reading(_in_words(letters, gaps)):
                return reading
    return ""


def _from_spelling_words(run: str) -> str:
    found = list(_SPELLING_LETTER.finditer(run))
    gaps = [run[one.end() : other.start()] for one, other in pairwise(found)]
    return _reading(_in_words([_SPELT.get(word[0].lower(), word[0]) for word in found], gaps))


def _from_as_in(run: str) -> str:
    return _reading("".join(match[1].lower() for match in _AS_IN.finditer(run)))


def _in_words(letters: list[str], gaps: list[str]) -> str:
    """The letters in words: the commonest gap parts letters, any other words."""
    usual = Counter(gaps).most_common(1)[0][0]
    wide = [gap != usual and len(gap) >= len(usual) for gap in gaps]
    return letters[0] + "".join(" " * new + letter for new, letter in zip(wide, letters[1:], strict=True))


def _reading(decoded: str) -> str:
    """`decoded` if it reads like language, else ""."""
    letters = "".join(WORD.findall(decoded))
    return decoded if len(letters) >= _LEAST and len(set(letters)) > 3 and average_cost(decoded) < _READS else ""
