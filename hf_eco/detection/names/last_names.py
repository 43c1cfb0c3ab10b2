"""Last names that stand by themselves."""

from __future__ import annotations

import re
from collections.abc import Container, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from ..disguises.traced import Span
from .chance import RARE, rarity_in_english
from .common import is_first_name
from .initials import Initials, initials_beside, initials_of_name
from .words import BEFORE_FIRST_NAMES, HONORIFICS, OPENING_WORDS, PARTICLES, TOKEN, first_name_first, ordinary_words

_FOLLOWED = re.compile(r"\s+(?!Jr|Sr)[A-Z]")
# each word is tried once, from its beginning: from every letter of it would take the square of its length
_WORD_BEFORE = re.compile(r"(?<![\w.'’-])([\w.'’-]+)(?![\w.'’-])[\"”’)]*[ \t]+$")
# "in Norton", "Ernst & Young", "Ypsilanti, Mich., when": a place, a firm, a word cut short
_BEFORE_OTHERS, _BEHIND_OTHERS = re.compile(r"(?:&|\bin)\s*$"), re.compile(r"\s*&|\.\s*[,a-z]")
# "the Quillfeathers", "the Joneses"
_FAMILY, _FAMILY_BEFORE = re.compile(r"(?:s|(?<=[sxzh])es)\b"), re.compile(r"\b[Tt]he[ \t]+\Z")
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


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a last name stands by itself in a text.

    Attributes:
        last: the last name.
        bare: where it stands without anything.
        initialled: where it stands with initials. They may be another's; then the bare ones are, too.
        families: where it stands for all who bear it, "the Quillfeathers".
        weak: whether it tells little of whom it is about.
    """

    last: str
    bare: list[Span]
    initialled: list[Initials]
    families: list[Span]
    weak: bool


def standing_alone(text: str, places: Mapping[str, Sequence[int]]) -> Iterator[Standing]:
    """The last names that stand by themselves, and not behind another first name anywhere in the text.

    Args:
        text: the text.
        places: for each last name all the places where it begins in the text.
    """
    long = bool(places) and len(TOKEN.findall(text)) > _FEW_WORDS
    for last, starts in places.items():
        own = Standing(last, [], [], [], long or is_frequent(last))
        for start in starts:
            end = start + len(last)
            initials = initials_beside(text, start, end)
            if names_another(text, start if initials is None else initials.start):
                break
            if initials is not None:
                apart = stands_apart(text, initials.start, initials.end)
                own.initialled.append(initials if apart else replace(initials, forms=frozenset()))
            elif family := _family(text, start, end):
                own.families.append(family)
            elif _stands_alone(text, start, end):
                own.bare.append((start, end))
        else:
            yield own


def stands_apart(text: str, start: int, end: int) -> bool:
    """Whether `text[start:end]` is no part of a longer word, and no other last name follows."""
    around = text[max(0, start - 1) : start] + text[end : end + 1]
    return not any(c.isalnum() or c in "_-" for c in around) and not _FOLLOWED.match(text, end)


def _family(text: str, start: int, end: int) -> Span | None:
    """The last name in the plural, if it stands for a family."""
    plural = _FAMILY.match(text, end)
    if plural is None or not _FAMILY_BEFORE.search(text, max(0, start - _BEFORE), start):
        return None
    return (start, plural.end()) if stands_apart(text, start, plural.end()) else None


def singular(word: str) -> tuple[str, ...]:
    """A word, and what it may be the plural of."""
    return (word, *(word[: -len(ending)] for ending in ("s", "es") if word.endswith(ending)))


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
    another first name nor before another last name, and nowhere in the text behind another first name. Initials that
    fit a name of the scope are its own, others are somebody else's. One that is a word or a first name as well tells
    of nobody, one that is frequent, stands for a family, or stands in a long text, tells little."""

    def __init__(self) -> None:
        self._bearers: dict[str, dict[_KeyT, frozenset[str]]] = {}  # last name -> keys, each with its initials
        self._by_token: dict[str, dict[str, None]] = {}  # its first word -> last names

    def add(self, key: _KeyT, names: Iterable[str]) -> None:
        """Adds the last names among `names`."""
        for name, last, token in self._of(names):
            bearers = self._bearers.setdefault(last, {})
            bearers[key] = bearers.get(key, frozenset()) | initials_of_name(name)
            self._by_token.setdefault(token, {})[last] = None

    def remove(self, key: _KeyT, names: Iterable[str]) -> None:
        """Removes them; `names` are all those of the key."""
        for last, token in {last: token for _, last, token in self._of(names)}.items():
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
            for word in singular(match[0]):
                for last in tuple(self._by_token.get(word, ())):
                    if text.startswith(last, match.start()):
                        places.setdefault(last, []).append(match.start())
        return [
            LastName(key, start, end, weak)
            for found in standing_alone(text, places)
            for key, initials in tuple(self._bearers.get(found.last, {}).items())
            if key in among
            for start, end, weak in _own(found, initials)
        ]

    def _of(self, names: Iterable[str]) -> Iterator[tuple[str, str, str]]:
        """The names whose last names tell of somebody, each with that and its first word."""
        for name in names:
            last = telling_last_name(name)
            if last is not None and (token := TOKEN.match(last)):
                yield name, last, token[0]


def _own(found: Standing, initials: frozenset[str]) -> Iterator[tuple[int, int, bool]]:
    """Where a last name may be that of somebody with some initials, and whether it tells little there."""
    fitting = [beside for beside in found.initialled if not beside.forms.isdisjoint(initials)]
    yield from ((start, end, True) for start, end in found.families)
    if fitting or not found.initialled:
        yield from ((beside.start, beside.end, found.weak) for beside in fitting)
        yield from ((start, end, found.weak) for start, end in found.bare)


def _stands_alone(text: str, start: int, end: int) -> bool:
    before, behind = text[max(0, start - _BEFORE) : start], text[end : end + 10]
    if not stands_apart(text, start, end) or _BEFORE_OTHERS.search(before) or _BEHIND_OTHERS.match(behind):
        return False
    word = _WORD_BEFORE.search(before)
    return not (word and word[1] in PARTICLES)
