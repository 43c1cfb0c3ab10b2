"""Last names that stand by themselves."""

from __future__ import annotations

import re
from collections.abc import Container, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from .chance import RARE, rarity_in_english
from .common import is_first_name
from .words import BEFORE_FIRST_NAMES, HONORIFICS, OPENING_WORDS, TOKEN, first_name_first, ordinary_words

_FOLLOWED = re.compile(r"\s+(?!Jr|Sr)[A-Z]")
# each word is tried once, from its beginning: from every letter of it would take the square of its length
_WORD_BEFORE = re.compile(r"(?<![\w.'’-])([\w.'’-]+)(?![\w.'’-])[\"”’)]*[ \t]+$")
_PARTICLES = frozenset(("van", "von", "de", "den", "der", "di", "la", "le", "da", "dos", "del", "of", "bin", "ibn"))
# "in Norton", "Ernst & Young", "Ypsilanti, Mich., when": a place, a firm, a word cut short
_BEFORE_OTHERS, _BEHIND_OTHERS = re.compile(r"(?:&|\bin)\s*$"), re.compile(r"\s*&|\.\s*[,a-z]")
_SHORTEST = 4  # letters
_BEFORE = 200  # characters before a last name that are looked at
_FEW_WORDS = 100  # of a text. Longer ones introduce those they speak of
_KeyT = TypeVar("_KeyT", bound=Hashable)


@dataclass(frozen=True, slots=True)
class LastName(Generic[_KeyT]):
    """A last name that stands by itself, `text[start:end]`; it tells little of whom it is about if it is `weak`."""

    key: _KeyT
    start: int
    end: int
    weak: bool


def last_name_of(name: str) -> str | None:
    """The last word of a full name, capitalised; None if it is short, the name has one word, or the last is a place
    (Duke of Sussex) or a first name (Prince Harry)."""
    words = first_name_first(name).split()
    if len(words) < 2 or len(words[-1]) < _SHORTEST or words[-2].lower() == "of":
        return None
    if len(words) == 2 and words[0].lower() in BEFORE_FIRST_NAMES:
        return None
    return words[-1][:1].upper() + words[-1][1:]


def telling_last_name(name: str) -> str | None:
    """The last name, if it is neither an ordinary word nor a first name as well."""
    last = last_name_of(name)
    return None if last is None or last.lower() in ordinary_words() or is_first_name(last) else last


def is_frequent(last: str) -> bool:
    """Whether a last name stands in so many texts that it tells little."""
    return rarity_in_english(last) < RARE


def standing_alone(text: str, places: Mapping[str, Sequence[int]]) -> Iterator[tuple[str, int, int, bool]]:
    """The last names that stand by themselves: each, where, and whether it tells little there.

    Args:
        text: the text.
        places: for each last name all the places where it begins in the text.
    """
    long = bool(places) and len(TOKEN.findall(text)) > _FEW_WORDS
    for last, starts in places.items():
        if not any(names_another(text, start) for start in starts):
            for start in starts:
                if _stands_alone(text, start, start + len(last)):
                    yield last, start, start + len(last), long


def names_another(text: str, start: int) -> bool:
    """Whether `text`, before a last name that begins at `start`, ends in another first name, or in a gap for one."""
    word = _WORD_BEFORE.search(text[max(0, start - _BEFORE) : start])
    if word is None:
        return False
    if word[1].lower().strip(".") in HONORIFICS:
        return False
    return word[1][:1] == "_" or (word[1][:1].isupper() and word[1].lower() not in OPENING_WORDS)


class LastNames(Generic[_KeyT]):
    """The last names of all scopes. One counts where it stands by itself, as far as capitals tell: neither behind
    another first name nor before another last name, and nowhere in the text behind another first name. One that is a
    word or a first name as well tells of nobody, one that is frequent, or stands in a long text, tells little."""

    def __init__(self) -> None:
        self._bearers: dict[str, dict[_KeyT, None]] = {}  # last name -> keys
        self._by_token: dict[str, dict[str, None]] = {}  # its first word -> last names

    def add(self, key: _KeyT, names: Iterable[str]) -> None:
        """Adds the last names among `names`."""
        for last, token in self._of(names):
            self._bearers.setdefault(last, {})[key] = None
            self._by_token.setdefault(token, {})[last] = None

    def remove(self, key: _KeyT, names: Iterable[str]) -> None:
        """Removes them; `names` are all those of the key."""
        for last, token in dict(self._of(names)).items():
            del self._bearers[last][key]
            if not self._bearers[last]:
                del self._bearers[last]
                self._by_token[token].pop(last)
                if not self._by_token[token]:
                    del self._by_token[token]

    def find(self, text: str, among: Container[_KeyT]) -> list[LastName[_KeyT]]:
        """Each last name that stands by itself, for each key `among` all that bears it."""
        places: dict[str, list[int]] = {}
        for match in TOKEN.finditer(text):
            for last in tuple(self._by_token.get(match[0], ())):
                if text.startswith(last, match.start()):
                    places.setdefault(last, []).append(match.start())
        return [
            LastName(key, start, end, weak or is_frequent(last))
            for last, start, end, weak in standing_alone(text, places)
            for key in tuple(self._bearers.get(last, ()))
            if key in among
        ]

    def _of(self, names: Iterable[str]) -> Iterator[tuple[str, str]]:
        """The last names that tell of somebody, each with its first word."""
        for name in names:
            last = telling_last_name(name)
            if last is not None and (token := TOKEN.match(last)):
                yield last, token[0]


def _stands_alone(text: str, start: int, end: int) -> bool:
    before, behind = text[max(0, start - _BEFORE) : start], text[end : end + 10]
    if any(c.isalnum() or c in "_-" for c in before[-1:] + behind[:1]) or _FOLLOWED.match(behind):
        return False
    if _BEFORE_OTHERS.search(before) or _BEHIND_OTHERS.match(behind):
        return False
    word = _WORD_BEFORE.search(before)
    return not (word and word[1] in _PARTICLES) and not names_another(text, start)
