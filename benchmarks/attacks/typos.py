"""Letters swapped, dropped, doubled, mistyped, written as they sound."""

from __future__ import annotations

import math
import random
import re
from functools import partial

from .pieces import WORD, on_names, plain
from .registry import TextTransform, family

_KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_SOUNDS = (
    (r"\bwho", "hoo"),
    ("tion", "shun"),
    ("ph", "f"),
    ("ck", "k"),
    ("wh", "w"),
    ("qu", "kw"),
    ("igh", "y"),
    ("ea", "ee"),
    ("ou", "oo"),
    ("x", "ks"),
    ("c(?=[eiy])", "s"),
    ("c(?!h)", "k"),
    ("ie", "ee"),
    (r"(?<=\w\w)y\b", "ee"),
    (r"([b-df-hj-np-tv-z])\1", r"\1"),
    (r"(?<=\w\w)i(?=\w)", "ee"),
)


def _keys_beside(letter: str) -> str:
    """The keys around a letter's on an English keyboard; "" for a letter that has none there."""
    for number, row in enumerate(_KEYBOARD):
        at = row.find(letter.lower())
        if at >= 0:
            rows = _KEYBOARD[max(number - 1, 0) : number + 2]
            near = "".join(keys[max(at - 1, 0) : at + 2] for keys in rows).replace(row[at], "")
            return near.upper() if letter.isupper() else near
    return ""


def _swapped(word: str, rng: random.Random) -> str:
    places = [i for i in range(len(word) - 1) if word[i] != word[i + 1]]
    if not places:
        return _doubled(word, rng)
    i = rng.choice(places)
    return word[:i] + word[i + 1] + word[i] + word[i + 2 :]


def _dropped(word: str, rng: random.Random) -> str:
    i = rng.randrange(len(word))
    return word[:i] + word[i + 1 :]


def _doubled(word: str, rng: random.Random) -> str:
    i = rng.randrange(len(word))
    return word[: i + 1] + word[i:]


def _mistyped(word: str, rng: random.Random) -> str:
    places = [i for i, letter in enumerate(word) if _keys_beside(letter)]
    if not places:
        return _doubled(word, rng)
    i = rng.choice(places)
    return word[:i] + rng.choice(_keys_beside(word[i])) + word[i + 1 :]


def _any_typo(word: str, rng: random.Random) -> str:
    return rng.choice((_swapped, _dropped, _doubled, _mistyped))(word, rng)


def _scrambled(word: str, rng: random.Random) -> str:
    """The letters between the first and the last in another order, if they have one."""
    inner = list(word[1:-1])
    if len(set(inner)) < 2:
        return word
    while "".join(inner) == word[1:-1]:
        rng.shuffle(inner)
    return word[0] + "".join(inner) + word[-1]


def _in_words(change: TextTransform, *, share: float = 0.5) -> TextTransform:
    """Changes a share of the words of three letters or more (of two, where none is longer), at least one."""

    def in_words(prompt: str, rng: random.Random) -> str:
        words = [word for word in WORD.finditer(prompt) if len(word[0]) > 1]
        words = [word for word in words if len(word[0]) > 2] or words
        for word in sorted(rng.sample(words, math.ceil(share * len(words))), key=lambda word: -word.start()):
            prompt = prompt[: word.start()] + change(word[0], rng) + prompt[word.end() :]
        return prompt

    return in_words


def _in_its_case(match: re.Match[str], template: str) -> str:
    written = match.expand(template)
    return written.capitalize() if match[0][0].isupper() else written


def _sound_alike(prompt: str) -> str:
    for letters, sound in _SOUNDS:
        prompt = re.sub(letters, partial(_in_its_case, template=sound), prompt, flags=re.IGNORECASE)
    return prompt


ATTACKS = family(
    "typos",
    ("swapped", "Two neighbouring letters swapped in every other word.", _in_words(_swapped)),
    ("dropped", "A letter missing in every other word.", _in_words(_dropped)),
    ("doubled", "A letter doubled in every other word.", _in_words(_doubled)),
    ("keyboard", "A key beside the right one hit in every other word.", _in_words(_mistyped)),
    ("mixed", "A slip of any kind in every other word.", _in_words(_any_typo)),
    ("names", "A slip of any kind in every word of a name.", on_names(_in_words(_any_typo, share=1.0))),
    ("scrambled", "All but the first and last letter of each word shuffled.", _in_words(_scrambled, share=1.0)),
    ("sound-alike", "Words written as they sound.", plain(_sound_alike)),
    (
        "vowels-dropped",
        "The vowels inside every word left out.",
        plain(lambda prompt: re.sub(r"(?<=[^\W_])[aeiou](?=[^\W_])", "", prompt, flags=re.IGNORECASE)),
    ),
)
