"""Upper and lower case."""

from __future__ import annotations

import random
import re

from .pieces import plain
from .registry import family


def _title_case(prompt: str) -> str:
    return re.sub(r"\S+", lambda word: word[0].capitalize(), prompt)


def _alternating_case(prompt: str) -> str:
    characters, letters = [], 0
    for character in prompt:
        characters.append(character.upper() if letters % 2 else character.lower())
        letters += character.isalpha()
    return "".join(characters)


def _random_case(prompt: str, rng: random.Random) -> str:
    return "".join(rng.choice((character.lower(), character.upper())) for character in prompt)


ATTACKS = family(
    "case",
    ("upper", "Everything in capitals.", plain(str.upper)),
    ("lower", "Everything in small letters, names too.", plain(str.lower)),
    ("title", "A capital at the start of every word.", plain(_title_case)),
    ("alternating", "Small letters and capitals by turns.", plain(_alternating_case)),
    ("swapped", "Small letters for capitals and the reverse.", plain(str.swapcase)),
    ("random", "Each letter small or a capital by chance.", _random_case),
)
