"""Cyrillic and Greek letters in Latin ones."""

from __future__ import annotations

import re

from .language import word_list as _list
from .traced import Edit

_CYRILLIC = _list("""
а a б b в v г g ґ g д d е e ё e є e ж zh з z и i і i ї i й y ј j к k л l љ l м m н n њ n о o п p р r с s т t ћ c у u
ў u ф f х h ц ts ч ch џ j ш sh щ sh ъ - ы y ь - э e ю yu я ya ђ d
""")
_GREEK = _list("""
α a ά a β v γ g δ d ε e έ e ζ z η i ή i θ th ι i ί i ϊ i ΐ i κ k λ l μ m ν n ξ x ο o ό o π p ρ r σ s ς s τ t υ u
ύ u ϋ u ΰ u φ f χ h ψ ps ω o ώ o
""")
# What two letters together say of a foreign sound.
_SOUNDS = {"дж": "j", "μπ": "b", "ντ": "d", "γκ": "g", "τζ": "j", "ου": "u", "αι": "e", "ει": "i", "οι": "i"}
_LATIN = _SOUNDS | {
    letter: "" if latin == "-" else latin
    for table in (_CYRILLIC, _GREEK)
    for letter, latin in zip(table[::2], table[1::2], strict=True)
}
_LETTERS = re.compile("|".join(sorted(_LATIN, key=len, reverse=True)), re.IGNORECASE)
_WORD = re.compile("[\u0370-\u03ff\u0400-\u045f\u0490\u0491][\u0370-\u03ff\u0400-\u045f\u0490\u0491'’]*")
_LEAST_ENGLISH = 1 / 8  # of the words
# English function words as they come out, which are no words of Russian or Greek.
_BY_EAR = {
    "vho": "who", "vhat": "what", "vhich": "which", "vhen": "when", "vhere": "where", "vhy": "why", "hov": "how",
    "vit": "with", "vere": "were", "vould": "would",
} | {word: word for word in _list("is of in and for from did does has are about hat have born name")}  # fmt: skip


def in_latin(text: str) -> str:
    """`text` with Cyrillic and Greek letters in Latin ones, letter by letter, as they sound in names."""
    return text if text.isascii() else _LETTERS.sub(_read, text)


def _read(match: re.Match[str]) -> str:
    latin = _LATIN.get(match[0].lower(), match[0])
    return latin.capitalize() if match[0][0].isupper() else latin


def transliterate(text: str) -> tuple[str, list[Edit]]:
    """English in Cyrillic or Greek letters, in Latin ones; Russian, Greek ... stay."""
    words = [] if text.isascii() else [match for match in _WORD.finditer(text)]
    plain = [in_latin(word[0]) for word in words]
    english = sum(word.lower() in _BY_EAR for word in plain)
    if not english or english < _LEAST_ENGLISH * len(words):
        return "", []
    spelt = [_BY_EAR.get(word, word) for word in plain]
    return "other alphabet", [Edit(*word.span(), latin) for word, latin in zip(words, spelt, strict=True)]
