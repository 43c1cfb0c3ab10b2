"""Where the spaces are."""

from __future__ import annotations

import random
import re

from .pieces import on_names, plain
from .registry import family


def _odd_splits(prompt: str, rng: random.Random) -> str:
    """Cuts words of four letters or more once or twice."""

    def cut(word: re.Match[str]) -> str:
        letters = word[0]
        places = sorted(rng.sample(range(1, len(letters)), 1 if len(letters) < 7 else 2))
        return " ".join(letters[i:j] for i, j in zip([0, *places], [*places, len(letters)], strict=True))

    return re.sub(r"[^\W\d_]{4,}", cut, prompt)


_apart_by_word = plain(lambda prompt: "   ".join(" ".join(word) for word in prompt.split()))


_EXOTIC_SPACES = "\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"


ATTACKS = family(
    "spacing",
    ("letters-apart", "A space between letters, three between words.", _apart_by_word),
    (
        "letters-even",
        "A space between all letters, so that the words' ends are lost.",
        plain(lambda prompt: " ".join("".join(prompt.split()))),
    ),
    ("odd-splits", "Longer words cut in two or three.", _odd_splits),
    ("none", "No spaces at all.", plain(lambda prompt: "".join(prompt.split()))),
    ("shifted", "Each space one letter too early.", plain(lambda prompt: re.sub(r"(\S) +(?=\S)", r" \1", prompt))),
    ("newlines", "A line for every word.", plain(lambda prompt: "\n".join(prompt.split()))),
    (
        "vertical",
        "A line for every letter, an empty one between words.",
        plain(lambda prompt: "\n\n".join("\n".join(word) for word in prompt.split())),
    ),
    (
        "tabs",
        "Tabs for spaces, and between all letters.",
        plain(lambda prompt: "\t\t".join("\t".join(word) for word in prompt.split())),
    ),
    (
        "no-break",
        "No-break spaces for spaces, and between all letters.",
        plain(lambda prompt: "\u00a0\u00a0".join("\u00a0".join(word) for word in prompt.split())),
    ),
    (
        "exotic",
        "Spaces of odd widths for spaces, and one to three of them.",
        lambda prompt, rng: re.sub(
            r"\s+", lambda _: "".join(rng.choices(_EXOTIC_SPACES, k=rng.randint(1, 3))), prompt
        ),
    ),
    ("names", "The names' letters apart.", on_names(_apart_by_word)),
)
