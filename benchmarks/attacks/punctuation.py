"""Marks between the letters or the words."""

from __future__ import annotations

import random
import re

from .pieces import BETWEEN_LETTERS, between_letters, on_names, plain
from .registry import family


def _random_marks(prompt: str, rng: random.Random) -> str:
    return BETWEEN_LETTERS.sub(lambda _: rng.choice(".,;:'`^~*_-|/+=#") if rng.random() < 0.35 else "", prompt)


def _bracketed(prompt: str) -> str:
    return re.sub(r"([^\W_])", r"[\1]", prompt)


def _emoji_between_words(prompt: str, rng: random.Random) -> str:
    return re.sub(r"\s+", lambda _: f" {rng.choice('🌟🍎🎈🐢🌈🎉🌻🚲☕🧩')} ", prompt)


def _comment_in_words(prompt: str, rng: random.Random) -> str:
    def cut(word: re.Match[str]) -> str:
        i = rng.randrange(1, len(word[0]))
        return f"{word[0][:i]}<!-- -->{word[0][i:]}"

    return re.sub(r"[^\W\d_]{3,}", cut, prompt)


ATTACKS = family(
    "punctuation",
    ("dots", "Dots between letters.", between_letters(".")),
    ("hyphens", "Hyphens between letters.", between_letters("-")),
    ("underscores", "Underscores between letters.", between_letters("_")),
    ("asterisks", "Asterisks between letters.", between_letters("*")),
    ("slashes", "Slashes between letters.", between_letters("/")),
    ("random", "Marks of all kinds in a third of the places between letters.", _random_marks),
    ("brackets", "Every letter in brackets.", plain(_bracketed)),
    ("slug", "Hyphens for spaces.", plain(lambda prompt: re.sub(r"\s+", "-", prompt))),
    ("emoji", "An emoji between any two words.", _emoji_between_words),
    ("comments", "An empty HTML comment inside every word.", _comment_in_words),
    ("names", "Dots between the names' letters.", on_names(between_letters("."))),
)
