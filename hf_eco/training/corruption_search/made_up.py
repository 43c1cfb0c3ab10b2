"""Names of people, places and works that do not exist, for questions about what no model can know."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from functools import cache

from ...data import shipped_names

_ONSETS = ("b", "br", "d", "dr", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "t", "th", "tr", "v", "z")
_VOWELS = ("a", "e", "i", "o", "u", "ae", "ei", "ia")
_CODAS = ("", "", "l", "m", "n", "r", "s", "th", "nd", "rn", "sk", "v")
_QUALITIES = (
    "Amber", "Bitter", "Borrowed", "Broken", "Copper", "Crooked", "Distant", "Drowsy", "Frozen", "Gilded", "Hollow",
    "Idle", "Lame", "Marble", "Narrow", "Paper", "Patient", "Quiet", "Restless", "Rusted", "Scattered", "Sleeping",
    "Stubborn", "Tangled", "Unlit", "Velvet", "Wandering", "Wooden",
)  # fmt: skip
_THINGS = (
    "Almanac", "Anchor", "Attic", "Beehive", "Bridge", "Candle", "Ferry", "Gate", "Harvest", "Hinge", "Kettle",
    "Ladder", "Lantern", "Ledger", "Meadow", "Mirror", "Needle", "Orchard", "Parade", "Quarry", "Rope", "Saddle",
    "Thimble", "Tide", "Tunnel", "Umbrella", "Vineyard", "Whistle",
)  # fmt: skip
_LETTERS_PER_SYLLABLE = 3
_ATTEMPTS = 100  # at a title that nobody has


class MadeUpNames:
    """Draws made-up names, none of them twice.

    Args:
        seed: the same seed draws the same names.
        taken: words that must not be drawn, in lower case; real names that come with the package are not either.
    """

    def __init__(self, seed: str, taken: Iterable[str] = ()) -> None:
        self._random = random.Random(seed)
        self._taken = {*taken, *_real_words()}

    def word(self, letters: int) -> str:
        """A capitalised word that can be spoken, of about so many letters, e.g. "Draevoth"."""
        syllables = max(2, round(letters / _LETTERS_PER_SYLLABLE))
        while True:
            parts = (_ONSETS, _VOWELS) * syllables
            drawn = "".join(map(self._random.choice, parts)) + self._random.choice(_CODAS)
            if drawn not in self._taken:
                self._taken.add(drawn)
                return drawn.capitalize()

    def title(self, words: int) -> str:
        """A work's title of about so many words: ordinary ones, and from four words on a made-up one, as there is
        where the shorter titles have run out."""
        attempts = 0
        while True:
            attempts += 1
            quality, thing = self._random.choice(_QUALITIES), self._random.choice(_THINGS)
            if words > 3 or attempts > _ATTEMPTS:
                drawn = f"The {quality} {thing} of {self.word(6)}"
            elif words == 1:
                drawn = f"{quality}{thing.lower()}"
            else:
                drawn = f"{quality} {thing}" if words == 2 else f"The {quality} {thing}"
            if drawn.lower() not in self._taken:
                self._taken.add(drawn.lower())
                return drawn


@cache
def _real_words() -> frozenset[str]:
    names = (name for kind in shipped_names().values() for name in kind)
    return frozenset(word for name in names for word in re.findall(r"\w+", name.lower()))


@cache
def real_places() -> frozenset[str]:
    """The names of places that come with the package, in lower case."""
    return frozenset(place.lower() for place in shipped_names()["places"])
