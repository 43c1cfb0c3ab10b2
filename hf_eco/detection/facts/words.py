"""The words of a text, and how rare they are."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ...data import shipped_rows
from ..disguises.language import FUNCTION_WORDS
from ..names.words import OPENING_WORDS
from .masking import MASK

_WORD = re.compile(r"[^\W_]+")
_ENDINGS = ("ing", "ies", "ied", "ed", "es", "er", "al", "ly", "s", "e")
_LEAST_STEM = 4


def stems(text: str) -> frozenset[str]:
    """The words that say something, without their endings: "portrayed" and "portrays" are one."""
    return frozenset(found for word in _WORD.findall(text) if (found := _stem(word)) not in _said_of_all())


def rarity(stem: str) -> float:
    """How rare a stem is among the texts that come with the package: 1 of one that is in none of them, down to 0. (The
    inverse document frequency of Spärck Jones, 1972, divided by the highest.)"""
    texts, seen = _shipped()
    return math.log((texts + 1) / (seen[stem] + 1)) / math.log(texts + 1)


@lru_cache(maxsize=1 << 16)
def word_hash(stem: str, key: bytes = b"") -> int:
    """A stem as 32 bits, keyed where the guard hides its names."""
    return int.from_bytes(hashlib.blake2b(stem.encode(), digest_size=4, key=key).digest(), "little")


def hashes(text: str, key: bytes = b"") -> NDArray[np.uint32]:
    """The stems of `text` as sorted hashes."""
    return np.array(sorted({word_hash(stem, key) for stem in stems(text)}), dtype=np.uint32)


@lru_cache(maxsize=1 << 16)
def _stem(word: str) -> str:
    word = word.lower()
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _LEAST_STEM:
            return word[: -len(ending)]
    return word


@lru_cache(maxsize=1)
def _said_of_all() -> frozenset[str]:
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    return frozenset(map(_stem, (*FUNCTION_WORDS, *OPENING_WORDS, *MASK.split(), *letters)))


@lru_cache(maxsize=1)
def _shipped() -> tuple[int, Counter[str]]:
    texts = [row["prompt"] for row in shipped_rows("general/prompts")]
    texts += [row["text"] for row in shipped_rows("general/paragraphs")]
    return len(texts), Counter(stem for text in texts for stem in stems(text))
