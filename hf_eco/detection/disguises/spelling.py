"""How far one word is from another: slips of the pen, words written by ear, letters left out or shuffled."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache

from rapidfuzz.distance import OSA

from .alphabets import in_latin
from .language import accentless, is_latin, word_cost
from .letters import STROKED, unstyled

FOREIGN = 0.5  # wrong letters that a word in another alphabet counts for, at least
_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_PLACES = {key: (row, column + row / 3) for row, keys in enumerate(_KEYS) for column, key in enumerate(keys)}
_VOWELS = frozenset("aeiouy")
_ALIKE_IN_SOUND = frozenset(
    map(frozenset, ("ck", "cs", "sz", "dt", "bp", "gj", "gk", "fv", "mn", "kq", "vw", "jy", "gq"))
)
_TWO_SLIPS = 6  # letters of a word that may have two
# By ear, in this order: what is written in several ways is written in one.
_SOUNDS = tuple(
    (re.compile(pattern), sound)
    for pattern, sound in (
        ("^(?:kn|gn|pn)", "n"),
        ("^wr", "r"),
        ("^wh", "w"),
        ("^hoo", "ho"),
        ("tion|shun|sion", "shn"),
        ("ph|v", "f"),
        ("igh|eigh", "i"),
        ("gh", ""),
        ("sch", "sh"),
        ("[ck]h(?=[rlaou])|ck|kw|qu?", "k"),
        ("x", "ks"),
        ("c(?=[eiy])|z", "s"),
        ("c(?!h)", "k"),
        ("th|d(?=t)", "t"),
        ("dg|g(?=[eiy]\\B)", "j"),
        ("(?<=[^aeiouycs])h", ""),
        (r"(?<=\w\w)e$", ""),
        ("[eiy][aeiouy]*", "i"),
        ("a[aeiouy]*", "a"),
        ("[ou][aeiouyw]*", "u"),
        (r"(.)\1+", r"\1"),
    )
)


@dataclass(frozen=True, slots=True)
class Spelling:
    """A word and what is left of it by several ways of writing it wrong.

    Attributes:
        letters: small, without accents; Cyrillic and Greek ones in Latin.
        once: those, with one of repeated letters.
        shuffled: the first, the last and the others in the order of the alphabet.
        consonants: the first letter and the consonants.
        sounds: as it sounds, more or less.
        foreign: whether it was in another alphabet.
    """

    letters: str
    once: str
    shuffled: str
    consonants: str
    sounds: str
    foreign: bool


@lru_cache(maxsize=1 << 15)
def spelling(word: str) -> Spelling:
    """The letters and digits of `word`, in every way."""
    bare = (
        word.lower()
        if word.isascii()
        else accentless("".join(unstyled(c) or c for c in word).lower().translate(STROKED))
    )
    letters = "".join(c for c in in_latin(bare) if c.isalnum())
    foreign = not bare.isascii() and letters.isascii()
    once = re.sub(r"(.)\1+", r"\1", letters)
    shuffled = letters[:1] + "".join(sorted(letters[1:-1])) + letters[-1:]
    consonants = once[:1] + re.sub("[aeiou]", "", letters[1:])
    return Spelling(letters, once, shuffled, re.sub(r"(.)\1+", r"\1", consonants), _by_ear(letters), foreign)


def _by_ear(letters: str) -> str:
    for pattern, sound in _SOUNDS:
        letters = pattern.sub(sound, letters)
    return letters


@lru_cache(maxsize=1 << 14)
def wrong_letters(name: str, word: str) -> float:
    """How many letters of `word` are wrong if it is to be `name`; infinite if it is another word.

    1 for a likely slip (neighbours swapped, a letter left out, the next key hit), for all inner letters in another
    order, for all vowels left out and for a word as it sounds; about 2 for what is less of a slip.
    """
    meant, seen = spelling(name), spelling(word)
    if meant.once == seen.once:
        return FOREIGN if seen.foreign else 0.0
    if meant.letters.isdigit() or min(len(meant.once), len(seen.once)) < 2:
        return math.inf
    if seen.foreign:
        sounds = meant.sounds.replace("w", "f"), seen.sounds.replace("w", "f")
        most = max(1, len(sounds[0]) // 4) if len(sounds[0]) > 2 else 0
        wrong = OSA.distance(*sounds, score_cutoff=most)
        return FOREIGN + 0.75 * wrong if wrong <= most else math.inf
    if len(meant.letters) > 3 and meant.shuffled == seen.shuffled:
        return 1.0
    if meant.consonants == seen.consonants and _without_vowels(meant.once, seen.once):
        return 1.0 if len(seen.once) > 2 else 1.5
    if meant.sounds == seen.sounds and len(meant.sounds) > 2:
        return 1.0
    slips = _slips(meant.once, seen.once)
    if len(meant.letters) > 5 and sorted(meant.letters) == sorted(seen.letters):
        return min(slips, 2.0)
    return slips


@lru_cache(maxsize=1 << 14)
def likeness_to_words(name: str, word: str) -> float:
    """From 0, if `word` reads worse than `name`, to 1, if it reads as well: it may be another name then."""
    meant, seen = spelling(name).letters, spelling(word).letters
    if not (is_latin(meant) and is_latin(seen) and _VOWELS & set(seen)):
        return 0.0
    worse = word_cost(seen) / (len(seen) + 1) - word_cost(meant) / (len(meant) + 1)
    return min(1.0, max(0.0, 1.8 - 2.0 * worse))


def _without_vowels(name: str, word: str) -> bool:
    """Whether `word` is what is left of `name` if all vowels are left out, or all but the last."""
    return not set(word[1:-1]) & set("aeiou") and len(word) < len(name)


def _slips(name: str, word: str) -> float:
    """The least sum of slips that make `word` of `name`, each by how unlikely it is."""
    most = 2 if len(name) >= _TWO_SLIPS else 1
    if OSA.distance(name, word, score_cutoff=most) > most:
        return math.inf
    before: list[float] = []
    row = [1.75 * j for j in range(len(word) + 1)]
    for i, letter in enumerate(name, start=1):
        last, before, row = before, row, [0.75 * i]
        for j, other in enumerate(word, start=1):
            cost = before[j - 1] + (0.0 if letter == other else _exchange(letter, other))
            cost = min(cost, before[j] + 0.75, row[j - 1] + 1.75)
            if i > 1 and j > 1 and letter == word[j - 2] and other == name[i - 2] and letter != other:
                cost = min(cost, last[j - 2] + 1.0)
            row.append(cost)
    first = 0.5 * (name[0] != word[0] and name[0] not in word[:2])
    return (row[-1] + first) * (1.25 if len(name) < 4 else 1.0)


@lru_cache(maxsize=1 << 12)
def _exchange(letter: str, other: str) -> float:
    """What it costs to write one letter for another."""
    if letter in _VOWELS and other in _VOWELS:
        return 2.25
    if frozenset((letter, other)) in _ALIKE_IN_SOUND:
        return 1.25
    if letter in _PLACES and other in _PLACES:
        (row, column), (other_row, other_column) = _PLACES[letter], _PLACES[other]
        if abs(row - other_row) <= 1 and abs(column - other_column) < 1.5:
            return 1.0
    return 2.5
