"""Texts reduced to what is left of them whatever their dress, for matching names."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from .characters import one_of_alike
from .letters import STROKED, latin_twin_in_context, unstyled

_ONE_OF_ALIKE = dict(zip("l103456789", "iioeasgtbg", strict=True))
_SYMBOLS = {"!": "i", "|": "i", "$": "s", "@": "a"}
_PAIRS_ALIKE = {"rn": "m", "vv": "w"}


def skeleton(text: str) -> tuple[str, list[int]]:
    """What is left of `text` for matching names whatever their dress, and the index in `text` of each character of it.

    Letters and digits only, without case and marks; look-alikes are one letter (i l 1 ! |, o 0, s 5 $, rn m, vv w), of
    repeated letters one stays. Letters of other scripts that look like no Latin one are kept; of Chinese characters
    that stand for each other (traditional, simplified, Japanese) all are one. Compare skeletons with skeletons: they
    are not meant to be read.
    """
    letters: list[str] = []
    places: list[int] = []

    def put(letter: str, i: int) -> None:
        before = letters[-1] if letters else ""
        if pair := _PAIRS_ALIKE.get(before + letter):
            letters[-1] = pair
            if len(letters) > 1 and letters[-2] == pair:
                letters.pop()
                places.pop()
        elif letter != before or letter == "v":  # vv is a w
            letters.append(letter)
            places.append(i)

    for i, character in enumerate(text):
        if character in _SYMBOLS:
            inside = (i and text[i - 1].isalnum()) or character in "@$"
            if inside and i + 1 < len(text) and text[i + 1].isalnum():
                put(_SYMBOLS[character], i)
            continue
        for letter in _folded(character):
            put(letter, i)
    return "".join(letters), places


@lru_cache(maxsize=1 << 15)
def _folded(character: str) -> str:
    """`character` as letters of a skeleton: none for what is neither a letter nor a digit."""
    styled = unstyled(character) or latin_twin_in_context(character) or character
    plain = unicodedata.normalize("NFKD", styled.casefold().translate(STROKED))
    letters = [latin_twin_in_context(letter) or letter for letter in plain if letter.isalnum()]
    return one_of_alike("".join(_ONE_OF_ALIKE.get(letter, letter) for letter in letters))
