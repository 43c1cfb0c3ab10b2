"""Letters replaced by digits and signs."""

from __future__ import annotations

import random
from collections.abc import Mapping

from .pieces import on_names, table
from .registry import family


def _both_cases(table: Mapping[str, str]) -> dict[str, str]:
    return dict(table) | {letter.upper(): sign for letter, sign in table.items()}


_LEET_LIGHT = _both_cases(dict(zip("aeiost", "431057", strict=True)))
_LEET_HEAVY = _both_cases(dict(zip("abcegiloqstxz", "48(361109$7%2", strict=True)))
_LEET_DRAWN = _both_cases({
    "a": "/-\\", "b": "|3", "c": "(", "d": "|)", "e": "3", "f": "|=", "g": "6", "h": "|-|", "i": "!", "j": "_|",
    "k": "|<", "l": "|_", "m": "|\\/|", "n": "|\\|", "o": "0", "p": "|>", "q": "0_", "r": "|2", "s": "5", "t": "7",
    "u": "|_|", "v": "\\/", "w": "\\/\\/", "x": "><", "y": "`/", "z": "2",
})  # fmt: skip
_LEET_CHOICES = _both_cases(
    {"a": "4@", "b": "8", "e": "3€", "g": "69", "i": "1!|", "l": "1|", "o": "0", "s": "5$", "t": "7+", "z": "2"}
)


def _leet_random(prompt: str, rng: random.Random) -> str:
    def sign(letter: str) -> str:
        return rng.choice(_LEET_CHOICES[letter]) if letter in _LEET_CHOICES and rng.random() < 0.6 else letter

    return "".join(map(sign, prompt))


ATTACKS = family(
    "leet",
    ("light", "Digits for a, e, i, o, s and t.", table(_LEET_LIGHT)),
    ("heavy", "Digits and signs for half of the alphabet.", table(_LEET_HEAVY)),
    ("random", "Digits and signs for some letters, chosen anew each time.", _leet_random),
    ("drawn", "All letters drawn from strokes and brackets.", table(_LEET_DRAWN)),
    ("names", "Digits for a, e, i, o, s and t in the names alone.", on_names(table(_LEET_LIGHT))),
)
