"""One name, looked for in a text: word by word, and in the text's letters whatever stands between them."""

from __future__ import annotations

import itertools
import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from rapidfuzz.distance import OSA

from ..disguises import skeleton
from ..disguises.games import pig_latin
from ..disguises.language import DETERMINERS, FUNCTION_WORDS
from ..disguises.spelling import likeness_to_words, spelling, wrong_letters
from .chance import COMMA, OTHER_WAY, SAID, SLIP
from .common import ends_are_common, needs_middle_names, without_middle_names
from .words import (
    OPENING_WORDS,
    OTHER_FORMS,
    TOKEN,
    UNSPACED,
    Reading,
    as_written,
    first_name_first,
    is_initialism,
    keys_of,
    known_words,
    ordinary_words,
)

_MOST_WRONG = 3.5  # letters of a name; with more it says next to nothing
_ANOTHER = 1.9  # wrong letters that another word that reads as well counts for, beside a word that is right
_KNOWN = 1.25  # wrong letters that a word with a meaning of its own counts for, beside a misspelt one
_ALONE_WRONG = 1.5  # wrong letters that count against a misspelt name of one word
_LONG = 7  # letters; a word of so many is seldom a slip away from another, and a name of them has a second word
_SINGLE = 6  # letters of the shortest name of one word that may be misspelt
_MIDDLE_NAME = 1.0  # wrong letters that middle names, more or fewer than the name has, count for
_LONGER_FIRST_NAME = 3.0  # wrong letters that "Hermiana" for Hermia counts for: mostly it is somebody else
_MIDDLE_MOST = 1.0  # letters that may be wrong besides
_MIDDLE_WORDS = 4
_MOST_SLIPS = 2.0  # that are counted against chance
_ANYWHERE = 7  # a name of so many letters, spelt right, counts where spaces are left out or somewhere else
_SURELY_ANYWHERE = 10
_FUZZY = 8  # letters of a name that may be misspelt and cut into other words as well
_LETTERS_PER_EDIT = 7  # such a name of 7 letters may have one letter wrong, one of 14 two, and so on
_MOST_EDITS = 3
SENTENCE_END = re.compile(r"[.?!]\s")


@dataclass(frozen=True)
class Mention:
    """A name of the scope in a text: `text[start:end]`, with `edits` letters of it wrong; unlikely ones count more.
    `weak` if it may well be somebody else's, which only sounds like it; `common` if only the first and the last name
    are the name's, and many bear those."""

    start: int
    end: int
    edits: float
    weak: bool = False
    common: bool = False

    @property
    def log_odds(self) -> float:
        """How much a mention says that the text is in the scope, as log(p / (1 - p)): 7 (p = 0.999) if it is spelt
        right, 1.5 less for each wrong letter."""
        return 7.0 - 1.5 * self.edits


@dataclass(frozen=True)
class _Order:
    """The words of a name in one of the orders in which it is written; `extra` wrong letters count against it where it
    is misspelt as well, or has a gap; up to `gap` words stand between the first and the last then. `common` if it has
    only the first and the last, and many bear those."""

    words: tuple[str, ...]
    extra: float = 0.0
    gap: int = 0
    common: bool = False

    @cached_property
    def pivot(self) -> int:
        """Which word is looked for first: the longest."""
        return max(range(len(self.words)), key=lambda i: len(self.words[i]))

    @cached_property
    def lower(self) -> tuple[str, ...]:
        """The words in small letters."""
        return tuple(word.lower() for word in self.words)

    @cached_property
    def others_first(self) -> tuple[int, ...]:
        """The words in the order in which they are compared: the pivot, which is known to be like, last."""
        return tuple(sorted(range(len(self.words)), key=lambda i: i == self.pivot))


def _likely_edits(likelier: float) -> float:
    """The wrong letters that make a mention as unsure as `likelier`, how much likelier it is than chance, as a power
    of ten."""
    return (7.0 - likelier * math.log(10)) / 1.5


class Name:
    """One name, ready to be looked for."""

    def __init__(self, name: str) -> None:
        words = first_name_first(name).split()
        self.folded = skeleton(" ".join(words))[0]
        self.words = tuple(TOKEN.findall(" ".join(words)))
        self.ordinary = all(word.lower() in ordinary_words() for word in self.words)
        titled = self.words[:1] and self.words[0].lower() in DETERMINERS  # "Hobbit the" begins another sentence
        self.reversed = self.folded if titled else skeleton(" ".join(words[-1:] + words[:-1]))[0]
        written = as_written(name)
        self.skeletons = tuple({self.folded: None, self.reversed: None, skeleton(written)[0]: None})  # all orders
        self.letters = frozenset(word.lower() for word in self.words) | {spelling(w).letters for w in self.words}
        self.unspaced = bool(UNSPACED.search(name))
        self.breaks: set[int] = set()  # letters of the skeleton with which a word other than the first begins
        for i in range(1, len(words)):
            self.breaks.add(len(skeleton(" ".join(words[:i]))[0]))
        self.initialism = is_initialism(name)
        self.orders = [] if self.initialism else [_Order(self.words)]
        if len(self.words) > 1:
            self.orders.append(_Order(self.words[-1:] + self.words[:-1], 0.5))
            if len(self.words) > 2:
                self.orders.append(_Order(self.words[::-1], 0.5))
            given = tuple(TOKEN.findall(written))
            if given not in [order.words for order in self.orders]:
                self.orders.append(_Order(given, 0.5))
            if self.words[0].lower() not in DETERMINERS and min(len(self.words[0]), len(self.words[-1])) > 2:
                self.orders.append(
                    _Order((self.words[0], self.words[-1]), _MIDDLE_NAME, _MIDDLE_WORDS, ends_are_common(name))
                )
            if (called := without_middle_names(name)) and not self.ordinary:
                self.orders.append(_Order(tuple(called), common=needs_middle_names(name)))
        shortest = min((len(word) for word in self.words), default=0)
        self.edits = min(len(self.folded) // _LETTERS_PER_EDIT, _MOST_EDITS, shortest - 1)
        if len(self.words) < 2 or len(self.folded) < _FUZZY:
            self.edits = 0
        self._forms = {word: set(pig_latin(word)) for word in (*self.words, *TOKEN.findall(written))}
        if len(self.words) > 1:
            self._forms[self.words[0]] |= OTHER_FORMS.get(self.words[0].lower(), set())
        self._spellings = {word: keys_of(spelling(word)) | {word.lower()} | self._forms[word] for word in self._forms}

    @property
    def pivots(self) -> tuple[str, ...]:
        """The words that are looked for first, one for each order, without repetition."""
        return tuple(dict.fromkeys(order.words[order.pivot] for order in self.orders if order.words))

    def spellings(self, word: str) -> set[str]:
        """The keys, as of `Reading.places`, by which a word of the name is found."""
        return self._spellings[word]

    def in_words(self, text: str, reading: Reading, like: Mapping[str, Sequence[int]]) -> Iterator[Mention]:
        """All mentions whose words are those of the name, which may overlap.

        Args:
            text: the text.
            reading: its words.
            like: the numbers of the words that may be each pivot of the name, in order.
        """
        for order in self.orders:
            if not order.words:
                continue
            pivot = order.pivot
            for number in like.get(order.words[pivot], ()):
                for numbers in _numbers(order, pivot, number, text, reading):
                    if order.gap and not self._middle_agrees(numbers, reading):
                        continue
                    wrong = self._wrong(order, numbers, reading)
                    if wrong > _MOST_WRONG:
                        continue
                    first, last = numbers[0], numbers[-1]
                    if (
                        (wrong or order is not self.orders[0])
                        and not order.gap
                        and SENTENCE_END.search(text, reading.ends[first], reading.starts[last])
                    ):
                        continue
                    if self.ordinary and not written_as_name(reading, first, last):
                        continue
                    yield Mention(reading.starts[first], reading.ends[last], wrong, common=order.common)

    def _middle_agrees(self, numbers: Sequence[int], reading: Reading) -> bool:
        """Whether a word between the first and the last is a middle name of the name, or its initial; whoever has none
        may have any."""
        own, seen = self.words[1:-1], reading.words[numbers[0] + 1 : numbers[-1]]
        return not own or any(_same_middle(word, other) for word in own for other in seen)

    def _wrong(self, order: _Order, numbers: Sequence[int], reading: Reading) -> float:
        """How many letters are wrong if the words of these numbers are those of `order`; infinite if they are not."""
        wrong = another = 0.0
        likelier = SAID
        exact = False
        known = 0
        for i in order.others_first:
            word, seen = order.words[i], reading.words[numbers[i]]
            letters, likeness = self._wrong_letters(word, seen, reading)
            if letters == math.inf:
                return letters
            known += likeness == math.inf
            wrong, another, exact = wrong + letters, max(another, likeness), exact or word.lower() == seen.lower()
            other_way = OTHER_WAY if word.lower() != seen.lower() else 0.0
            likelier += reading.rarity(numbers[i]) + SLIP * min(letters, _MOST_SLIPS) + other_way
        if known == len(order.words) or (known and exact and not reading.careless):
            return math.inf
        wrong *= 2 / max(2, len(order.words))
        if len(order.words) == 1 and wrong:
            if len(spelling(order.words[0]).once) < _SINGLE or (reading.words[numbers[0]].islower() and reading.cased):
                return math.inf
            wrong += _ALONE_WRONG
        if reading.careless:
            wrong *= 0.8
        if not exact and len(order.words) > 1:  # many share one word with the name, few share none and resemble it all
            wrong *= 0.75
        elif not reading.careless:
            wrong += another * _ANOTHER
        if order.gap and wrong > _MIDDLE_MOST:
            return math.inf
        comma = not order.gap and "," in reading.between(numbers[0], numbers[-1])
        forward = order is self.orders[0]
        if wrong or comma or not forward:
            likelier += (-COMMA if forward else COMMA) if comma else 0.0
            wrong = max(wrong, _likely_edits(likelier + (0.0 if forward else OTHER_WAY)))
        return wrong + (order.extra if order.gap or wrong else 0.0)

    def _wrong_letters(self, word: str, seen: str, reading: Reading) -> tuple[float, float]:
        """The wrong letters of a word of the text, and how likely it is another word, from 0 to 1; infinite if it is
        a known one."""
        small, other = word.lower(), seen.lower()
        if small == other:
            return 0.0, 0.0
        if other in self._forms[word]:
            return 0.5, 0.0
        wrong = wrong_letters(word, seen)
        if other in known_words():
            if not wrong:  # one of a pair of letters is missing, or too many
                return 1.0, 0.25
            return wrong + (0.5 if reading.careless else _KNOWN), math.inf
        if len(self.words) > 1 and 1 < len(other) - len(small) < 6 and other.startswith(small):
            return (_LONGER_FIRST_NAME if word == self.words[0] and len(small) > 2 else math.inf), 0.0
        if not wrong or len(small) >= _LONG:
            return wrong, 0.0
        return wrong, likeness_to_words(word, seen)

    def in_letters(
        self, text: str, folded: str, where: Sequence[int], reading: Reading, letters: Iterable[int]
    ) -> Iterator[Mention]:
        """All mentions whose words may be cut or joined, but whose letters are those of the name.

        Args:
            text: the text.
            folded: its skeleton.
            where: for each letter of it where it stands in the text, and the text's length.
            reading: its words.
            letters: the letters of the skeleton with which such a mention may begin.
        """
        if self.ordinary:
            return
        for at in letters:
            for name in self.skeletons:
                if folded.startswith(name, at):
                    mention = self._letters_at(name, at, text, folded, where, reading)
                    if mention is not None:
                        yield mention

    def _letters_at(
        self, name: str, at: int, text: str, folded: str, where: Sequence[int], reading: Reading
    ) -> Mention | None:
        end = at + len(name)
        start, stop = _word_start(text, where, at), _word_end(text, where, end)
        if start is not None and stop is not None:
            words = tuple(reading.words[number].lower() for number in _touched(start, stop, reading))
            judged = any(words == order.lower for order in self.orders)  # word by word
            return None if judged or self._is_another(start, stop, reading) else Mention(start, stop, 0.0)
        start, stop = where[at], where[end - 1] + 1
        if self.unspaced:
            return Mention(start, stop, 0.0)
        if len(name) < _ANYWHERE or (len(self.words) == 1 and len(name) <= _ANYWHERE):
            return None
        # Spaces that stand where the name has none show that those at its ends mean nothing, either.
        spaced = sum(_word_start(text, where, at + i) is not None for i in self.breaks)
        cut = [number for number in _touched(start, stop, reading) if not _within(number, start, stop, reading)]
        if 2 * spaced > len(self.breaks) or (cut and all(map(reading.common, cut))):
            return None
        return Mention(start, stop, 0.0 if len(name) >= _SURELY_ANYWHERE else 1.0)

    def _is_another(self, start: int, stop: int, reading: Reading) -> bool:
        """Whether one of the words is known, and looks like one of the name's without being it: Marlon, Marion."""
        numbers = _touched(start, stop, reading)
        return len(numbers) == len(self.words) and any(
            reading.known(number) and reading.words[number].lower() not in self.letters for number in numbers
        )

    def misspelt_in_letters(
        self, text: str, folded: str, where: Sequence[int], reading: Reading, letters: Iterable[int]
    ) -> Iterator[Mention]:
        """As `in_letters`, for those that are misspelt as well; they begin with a word and end with one."""
        name, edits = self.folded, self.edits
        if self.ordinary or not edits or not reading.odd:
            return
        near = sorted(range(-edits, edits + 1), key=abs)
        for at in letters:
            firsts = (at + shift for shift in near if 0 <= at + shift < len(folded))
            starts = [(first, start) for first in firsts if (start := _word_start(text, where, first)) is not None]
            if not starts:
                continue
            lasts = (at + len(name) + shift for shift in near if 0 < at + len(name) + shift <= len(folded))
            stops = [(last, stop) for last in lasts if (stop := _word_end(text, where, last)) is not None]
            for (first, start), (last, stop) in itertools.product(starts, stops):
                if start >= stop:
                    continue
                numbers = _touched(start, stop, reading)
                if len(numbers) == len(self.words) or len(numbers) > 2 * len(self.words) + 1:
                    continue  # judged word by word
                wrong = OSA.distance(name, folded[first:last], score_cutoff=edits)
                if wrong <= edits and not all(map(reading.common, numbers)):
                    yield Mention(start, stop, 1.0 + 1.25 * max(1, wrong))


def _same_middle(word: str, other: str) -> bool:
    word, other = spelling(word).letters, spelling(other).letters
    if min(len(word), len(other)) == 1:
        return word[:1] == other[:1]
    return wrong_letters(word, other) <= _MIDDLE_MOST


def written_as_name(reading: Reading, first: int, last: int) -> bool:
    """Whether ordinary words, from word `first` to word `last` of a text, are capitalised like a name, in a text that
    has small letters too, and by more than the beginning of a sentence."""
    every = range(first, last + 1)
    telling = [number for number in every if reading.words[number].lower() not in FUNCTION_WORDS] or every
    if reading.upper or not all(reading.words[number][0].isupper() for number in telling):
        return False
    return len(telling) > 1 or not reading.begins[first] or telling[0] > first


def _numbers(order: _Order, pivot: int, number: int, text: str, reading: Reading) -> Iterator[Sequence[int]]:
    """The words that may be those of a name of which word `number` is the one at `pivot`."""
    first = number - pivot
    if not order.gap:
        if first >= 0 and first + len(order.words) <= len(reading.words):
            yield range(first, first + len(order.words))
        return
    step = -1 if pivot else 1
    other = number + step
    while 0 <= other < len(reading.words) and abs(other - number) <= order.gap + 1:
        if abs(other - number) > 1:
            yield (other, number) if pivot else (number, other)
        middle = reading.words[other]
        gap = text[reading.ends[min(other, number)] : reading.starts[max(other, number)]]
        if not middle[0].isupper() or (len(middle) > 1 and middle.isupper()) or re.search(r"[^\s\w.'’-]", gap):
            return
        if middle.lower() in OPENING_WORDS:
            return
        other += step


def _touched(start: int, stop: int, reading: Reading) -> range:
    """The numbers of the words of which a letter is in [start, stop)."""
    return range(bisect_right(reading.ends, start), bisect_left(reading.starts, stop))


def _within(number: int, start: int, stop: int, reading: Reading) -> bool:
    return start <= reading.starts[number] and reading.ends[number] <= stop


def _word_start(text: str, where: Sequence[int], letter: int) -> int | None:
    """Where a word begins with `letter` of the skeleton; it may stand for the end of the word before, too."""
    places = range(where[letter], where[letter + 1])
    return next((i for i in places if _is_letter(text, i, where[letter]) and not text[i - 1 : i].isalnum()), None)


def _word_end(text: str, where: Sequence[int], end: int) -> int | None:
    """Where a word ends with the letter of the skeleton before `end`; the next may begin with the same letter."""
    places = range(where[end], where[end - 1], -1)
    return next((i for i in places if _is_letter(text, i - 1, where[end - 1]) and not text[i : i + 1].isalnum()), None)


def _is_letter(text: str, place: int, first: int) -> bool:
    return place == first or text[place].isalnum()
