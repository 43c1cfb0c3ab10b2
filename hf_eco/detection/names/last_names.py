"""Last names that stand by themselves."""

from __future__ import annotations

import re
from collections.abc import Container, Hashable, Iterable, Iterator
from typing import Generic, TypeVar

from .words import OPENING_WORDS, TOKEN, known_words, without_suffix

_FOLLOWED = re.compile(r"\s+(?!Jr|Sr)[A-Z]")
_WORD_BEFORE = re.compile(r"([\w.'’-]+)[ \t]+$")
_SHORTEST = 4  # letters
_BEFORE = 200  # characters before a last name that are looked at
_KeyT = TypeVar("_KeyT", bound=Hashable)


def last_name_of(name: str) -> str | None:
    """The last word of a full name, capitalised; None if it is short, or the name has one word."""
    words = without_suffix(name.replace(",", " ")).split()
    if len(words) < 2 or len(words[-1]) < _SHORTEST:
        return None
    return words[-1][:1].upper() + words[-1][1:]


def names_another(before: str) -> bool:
    """Whether the text before a last name ends in another first name, or in a gap for one."""
    word = _WORD_BEFORE.search(before)
    if word is None:
        return False
    return word[1][:1] == "_" or (word[1][:1].isupper() and word[1].lower() not in OPENING_WORDS)


class LastNames(Generic[_KeyT]):
    """The last names of all scopes. One counts where it stands by itself, as far as capitals tell: neither behind
    another first name nor before another last name. One that is a word as well tells of nobody."""

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

    def find(self, text: str, among: Container[_KeyT]) -> list[tuple[_KeyT, int, int]]:
        """(key, start, end) of each last name that stands by itself, for each key `among` all that bears it."""
        found = []
        for match in TOKEN.finditer(text):
            for last in tuple(self._by_token.get(match[0], ())):
                start, end = match.start(), match.start() + len(last)
                if text.startswith(last, start) and stands_alone(text, start, end):
                    found += [(key, start, end) for key in tuple(self._bearers.get(last, ())) if key in among]
        return found

    def _of(self, names: Iterable[str]) -> Iterator[tuple[str, str]]:
        """The last names that tell of somebody, each with its first word."""
        for name in names:
            last = last_name_of(name)
            if last is not None and last.lower() not in known_words() and (token := TOKEN.match(last)):
                yield last, token[0]


def stands_alone(text: str, start: int, end: int) -> bool:
    before, behind = text[start - 1 : start], text[end : end + 1]
    if any(c.isalnum() or c in "_-" for c in before + behind) or _FOLLOWED.match(text, end):
        return False
    return not names_another(text[max(0, start - _BEFORE) : start])
