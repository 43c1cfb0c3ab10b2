"""The lexical channel of a prompt classifier: the names of a scope, found in a text however they are spelt."""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from rapidfuzz import fuzz, process
from rapidfuzz.distance import OSA

from .normalisation import skeleton
from .normalisation.games import pig_latin
from .normalisation.language import DETERMINERS, FUNCTION_WORDS
from .normalisation.spelling import Spelling, likeness_to_words, spelling, wrong_letters
from .prompts import SHIPPED, shipped_rows

SUFFIXES = frozenset(("jr", "sr", "ii", "iii", "iv"))
# What a last name by itself adds to a text's log-odds: other people bear it, but seldom where the rest of the text
# already speaks for the scope.
LAST_NAME_LOG_ODDS = 2.5
MIN_NAME = 4  # symbols of the shortest name's skeleton; shorter ones turn up inside other words
_MOST_WRONG = 3.5  # letters of a name; with more it says next to nothing
_ANOTHER = 1.9  # wrong letters that another word that reads as well counts for, beside a word that is right
_CARELESS = 0.2  # of the words without a capital; in a text where so many are misspelt others are, too
_KNOWN = 1.25  # wrong letters that a word with a meaning of its own counts for, beside a misspelt one
_ALONE_WRONG = 1.5  # wrong letters that count against a misspelt name of one word
_LONG = 7  # letters; a word of so many is seldom a slip away from another, and a name of them has a second word
_SINGLE = 6  # letters of the shortest name of one word that may be misspelt
_MIDDLE_NAME = 1.0  # wrong letters that middle names, more or fewer than the name has, count for
_LONGER_FIRST_NAME = 3.0  # wrong letters that "Hermiana" for Hermia counts for: mostly it is somebody else
_MIDDLE_MOST = 1.0  # letters that may be wrong besides
_MIDDLE_WORDS = 4
_ANYWHERE = 7  # a name of so many letters, spelt right, counts where spaces are left out or somewhere else
_SURELY_ANYWHERE = 10
_FUZZY = 8  # letters of a name that may be misspelt and cut into other words as well
_LETTERS_PER_EDIT = 7  # such a name of 7 letters may have one letter wrong, one of 14 two, and so on
_MOST_EDITS = 3
_ALONE = r"(?<![\w-]){}(?![\w-])(?!\s+(?!Jr|Sr)[A-Z])"
_WORD_BEFORE = re.compile(r"([\w.'’-]+)[ \t]+$")
# Words that a question or a sentence begins with, capitalised like names
OPENING_WORDS = frozenset(
    {
        "a", "an", "and", "are", "as", "at", "besides", "both", "but", "by", "can", "could", "did", "do", "does",
        "for", "from", "had", "has", "have", "he", "her", "his", "how", "i", "if", "in", "is", "it", "its", "name",
        "on", "or", "she", "should", "tell", "that", "the", "their", "these", "they", "this", "to", "was", "were",
        "what", "when", "where", "which", "who", "whom", "whose", "why", "will", "with", "would", "write", "you",
        "your", "describe", "explain", "list", "give",
    }
)  # fmt: skip


_SENTENCE_END = re.compile(r"[.?!]\s")
_TOKEN = re.compile(r"[^\W_]+(?:[*#~^•·]+[^\W_]+)*[\u0300-\u036f]*")
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff]")
_NICKNAMES = """
alexander alex, andrew andy, anthony tony, barbara barb, benjamin ben, catherine cathy kate, charles charlie chuck,
christopher chris, daniel dan danny, david dave, deborah debbie, donald don, douglas doug, edward ed eddie,
elizabeth liz beth, eugene gene, frederick fred, gregory greg, henry hank, jacqueline jackie, james jim jimmy,
jeffrey jeff, jennifer jen jenny, jessica jess, joseph joe, joshua josh, katherine kate kathy, kenneth ken, lawrence
larry, leonard len leo, margaret maggie peggy, matthew matt, michael mike, nicholas nick, pamela pam, patricia pat,
patrick pat, peter pete, philip phil, rebecca becky, richard dick rick, robert rob bob bobby, ronald ron ronnie, samuel
sam, stephen steve, steven steve, susan sue, theodore ted theo, thomas tom tommy, timothy tim, victoria vicky, vincent
vince, walter walt, william bill will billy, zachary zach
"""
_OTHER_FORMS: dict[str, set[str]] = {}
for _group in _NICKNAMES.split(","):
    _full, *_short = _group.split()
    for _form in _short:
        _OTHER_FORMS.setdefault(_full, set()).add(_form)
        _OTHER_FORMS.setdefault(_form, set()).add(_full)


def without_suffix(name: str) -> str:
    """`name` without "Jr" and the like at its end, which other people bear too."""
    words = name.split()
    return " ".join(words[:-1] if len(words) > 1 and words[-1].strip(".").lower() in SUFFIXES else words)


def long_enough(name: str) -> bool:
    """Whether `name` can be told from parts of other words: by `MIN_NAME` letters and digits, or half as many
    characters of a script that has one for a syllable or a word."""
    folded = skeleton(without_suffix(name.replace(",", " ")))[0]
    return len(folded) + len(_UNSPACED.findall(folded)) >= MIN_NAME


@dataclass(frozen=True)
class Mention:
    """A name of the scope in a text: `text[start:end]`, with `edits` letters of it wrong; unlikely ones count more."""

    start: int
    end: int
    edits: float

    @property
    def log_odds(self) -> float:
        """How much a mention says that the text is in the scope, as log(p / (1 - p)): 7 (p = 0.999) if it is spelt
        right, 1.5 less for each wrong letter."""
        return 7.0 - 1.5 * self.edits


@lru_cache(maxsize=1)
def _known_words() -> frozenset[str]:
    """The words of the names, paragraphs and English prompts shipped with the package: one of them is no misspelling
    of another."""
    texts = [row["prompt"] for row in shipped_rows("general/prompts") if row["kind"] != "language"]
    texts += [row["text"] for row in shipped_rows("general/paragraphs")]
    texts += [
        name for names in json.loads((SHIPPED / "names.json").read_text(encoding="utf-8")).values() for name in names
    ]
    return FUNCTION_WORDS.union(OPENING_WORDS, _OTHER_FORMS, re.findall("[a-z]+", " ".join(texts).lower()))


@dataclass
class _Reading:
    """The words of a text.

    Attributes:
        words, starts, ends: each word, and where it starts and ends in the text.
        places: for each spelling, right or wrong in one of the ways of `Spelling`, the words that have it, by number.
        odd: the spellings of words that are not known, which may be misspelt, and their numbers.
        foreign: the numbers of words in other alphabets.
        careless: whether many words are misspelt.
        cased: whether there is a capital: a name would have one.
    """

    words: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    places: dict[str, list[int]] = field(default_factory=dict)
    odd: dict[str, list[int]] = field(default_factory=dict)
    foreign: list[int] = field(default_factory=list)
    careless: bool = False
    cased: bool = False

    def known(self, number: int) -> bool:
        return self.words[number].lower() in _known_words()


@lru_cache(maxsize=16)
def _read(text: str) -> _Reading:
    reading = _Reading()
    small_words = odd_words = 0
    known = _known_words()
    for number, match in enumerate(_TOKEN.finditer(text)):
        word = match[0]
        reading.words.append(word)
        reading.starts.append(match.start())
        reading.ends.append(match.end())
        small = word.lower()
        uncapitalised = word == small or number == 0
        small_words += uncapitalised
        if small in known:
            reading.places.setdefault(small, []).append(number)
            continue
        odd_words += uncapitalised and small.isalpha()
        spelt = spelling(word)
        for key in _keys(spelt):
            reading.places.setdefault(key, []).append(number)
        if spelt.foreign:
            reading.foreign.append(number)
        elif len(spelt.once) > 1:
            reading.odd.setdefault(spelt.once, []).append(number)
    reading.cased = not text.islower()
    reading.careless = odd_words > _CARELESS * small_words
    if reading.careless:  # known words may be slips, too
        for number, word in enumerate(reading.words):
            if word.lower() in known:
                spelt = spelling(word)
                for key in _keys(spelt):
                    reading.places.setdefault(key, []).append(number)
                reading.odd.setdefault(spelt.once, []).append(number)
    return reading


def _keys(spelt: Spelling) -> set[str]:
    return {spelt.letters, f"1{spelt.once}", f"2{spelt.shuffled}", f"3{spelt.consonants}", f"4{spelt.sounds}"}


@dataclass(frozen=True)
class _Order:
    """The words of a name in one of the orders in which it is written; `extra` wrong letters count against it where it
    is misspelt as well, or has a gap; up to `gap` words stand between the first and the last then."""

    words: tuple[str, ...]
    extra: float = 0.0
    gap: int = 0

    @cached_property
    def pivot(self) -> int:
        """Which word is looked for first: the longest."""
        return max(range(len(self.words)), key=lambda i: len(self.words[i]))


class _Name:
    """One name, ready to be looked for."""

    def __init__(self, name: str) -> None:
        words = without_suffix(name.replace(",", " ")).split()
        self.folded = skeleton(" ".join(words))[0]
        self.reversed = skeleton(" ".join(words[-1:] + words[:-1]))[0]
        self.words = tuple(_TOKEN.findall(" ".join(words)))
        self.letters = frozenset(word.lower() for word in self.words) | {spelling(w).letters for w in self.words}
        self.unspaced = bool(_UNSPACED.search(name))
        self.breaks: set[int] = set()  # letters of the skeleton with which a word other than the first begins
        for i in range(1, len(words)):
            self.breaks.add(len(skeleton(" ".join(words[:i]))[0]))
        self.orders = [_Order(self.words)]
        if len(self.words) > 1:
            self.orders.append(_Order(self.words[-1:] + self.words[:-1], 0.5))
            if len(self.words) > 2:
                self.orders.append(_Order(self.words[::-1], 0.5))
            if self.words[0].lower() not in DETERMINERS and min(len(self.words[0]), len(self.words[-1])) > 2:
                self.orders.append(_Order((self.words[0], self.words[-1]), _MIDDLE_NAME, _MIDDLE_WORDS))
        shortest = min((len(word) for word in self.words), default=0)
        self.edits = min(len(self.folded) // _LETTERS_PER_EDIT, _MOST_EDITS, shortest - 1)
        if len(self.words) < 2 or len(self.folded) < _FUZZY:
            self.edits = 0
        self._forms = {word: set(pig_latin(word)) for word in self.words}
        if len(self.words) > 1:
            self._forms[self.words[0]] |= _OTHER_FORMS.get(self.words[0].lower(), set())
        self._spellings = {word: _keys(spelling(word)) | {word.lower()} | self._forms[word] for word in self.words}

    def in_words(self, text: str, reading: _Reading) -> Mention | None:
        """The mention with the fewest wrong letters, if words of `text` are those of the name."""
        best: Mention | None = None
        like: dict[str, list[int]] = {}
        for order in self.orders:
            pivot = order.pivot
            word = order.words[pivot]
            if word not in like:
                like[word] = self._like(word, reading)
            for number in like[word]:
                for numbers in _numbers(order, pivot, number, text, reading):
                    wrong = self._wrong(order, numbers, reading)
                    if (
                        wrong
                        and not order.gap
                        and _SENTENCE_END.search(text, reading.ends[numbers[0]], reading.starts[numbers[-1]])
                    ):
                        continue
                    if wrong <= _MOST_WRONG and (best is None or wrong < best.edits):
                        best = Mention(reading.starts[numbers[0]], reading.ends[numbers[-1]], wrong)
            if best is not None and best.edits == 0:
                break
        return best

    def _like(self, word: str, reading: _Reading) -> list[int]:
        """The numbers of words that may be `word`, in order."""
        places = reading.places
        found = {number for key in self._spellings[word] if key in places for number in places[key]}
        found.update(reading.foreign)
        once = spelling(word).once
        if reading.odd and len(once) > 2:
            cutoff = 2 if len(once) > 5 else 1
            near = process.extract(once, reading.odd.keys(), scorer=OSA.distance, score_cutoff=cutoff, limit=None)
            for other, _, _ in near:
                found.update(reading.odd[other])
        return sorted(found)

    def _wrong(self, order: _Order, numbers: Sequence[int], reading: _Reading) -> float:
        """How many letters are wrong if the words of these numbers are those of `order`; infinite if they are not."""
        wrong = another = 0.0
        exact = False
        known = 0
        for word, number in zip(order.words, numbers, strict=True):
            seen = reading.words[number]
            letters, likeness = self._wrong_letters(word, seen, reading)
            if letters == math.inf:
                return letters
            known += likeness == math.inf
            wrong, another, exact = wrong + letters, max(another, likeness), exact or word.lower() == seen.lower()
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
        return wrong + (order.extra if order.gap or wrong else 0.0)

    def _wrong_letters(self, word: str, seen: str, reading: _Reading) -> tuple[float, float]:
        """The wrong letters of a word of the text, and how likely it is another word, from 0 to 1; infinite if it is
        a known one."""
        small, other = word.lower(), seen.lower()
        if small == other:
            return 0.0, 0.0
        if other in self._forms[word]:
            return 0.5, 0.0
        wrong = wrong_letters(word, seen)
        if other in _known_words():
            if not wrong:  # one of a pair of letters is missing, or too many
                return 1.0, 0.25
            return wrong + (0.5 if reading.careless else _KNOWN), math.inf
        if len(self.words) > 1 and 1 < len(other) - len(small) < 6 and other.startswith(small):
            return (_LONGER_FIRST_NAME if word == self.words[0] and len(small) > 2 else math.inf), 0.0
        if not wrong or len(small) >= _LONG:
            return wrong, 0.0
        return wrong, likeness_to_words(word, seen)

    def in_letters(self, text: str, folded: str, where: Sequence[int], reading: _Reading) -> Mention | None:
        """A mention whose words may be cut or joined, if the letters of `text` are those of the name."""
        for name in {self.folded: None, self.reversed: None}:
            at = folded.find(name)
            while at >= 0:
                mention = self._letters_at(name, at, text, folded, where, reading)
                if mention is not None:
                    return mention
                at = folded.find(name, at + 1)
        if self.edits and reading.odd:
            return self._fuzzy(text, folded, where, reading)
        return None

    def _letters_at(
        self, name: str, at: int, text: str, folded: str, where: Sequence[int], reading: _Reading
    ) -> Mention | None:
        end = at + len(name)
        start, stop = _word_start(text, where, at), _word_end(text, where, end)
        if start is not None and stop is not None:
            return None if self._is_another(start, stop, reading) else Mention(start, stop, 0.0)
        start, stop = where[at], where[end - 1] + 1
        if self.unspaced:
            return Mention(start, stop, 0.0)
        if len(name) < _ANYWHERE or (len(self.words) == 1 and len(name) <= _ANYWHERE):
            return None
        # Spaces that stand where the name has none show that those at its ends mean nothing, either.
        spaced = sum(_word_start(text, where, at + i) is not None for i in self.breaks)
        cut = [number for number in _touched(start, stop, reading) if not _within(number, start, stop, reading)]
        if 2 * spaced > len(self.breaks) or (cut and all(map(reading.known, cut))):
            return None
        return Mention(start, stop, 0.0 if len(name) >= _SURELY_ANYWHERE else 1.0)

    def _is_another(self, start: int, stop: int, reading: _Reading) -> bool:
        """Whether one of the words is known, and looks like one of the name's without being it: Marlon, Marion."""
        numbers = _touched(start, stop, reading)
        return len(numbers) == len(self.words) and any(
            reading.known(number) and reading.words[number].lower() not in self.letters for number in numbers
        )

    def _fuzzy(self, text: str, folded: str, where: Sequence[int], reading: _Reading) -> Mention | None:
        name, edits = self.folded, self.edits
        if len(folded) < len(name) - edits:
            return None
        # A letter replaced costs one deletion and one insertion of the similarity's 2 * len(name).
        best = fuzz.partial_ratio_alignment(name, folded, score_cutoff=100.0 * (1 - edits / len(name)))
        if best is None or best.dest_end <= best.dest_start:
            return None
        # It is as long as the name; the words it stands for may be a few letters shorter or longer.
        near = sorted(range(-edits, edits + 1), key=abs)
        lasts = [best.dest_end + shift for shift in near if 0 < best.dest_end + shift <= len(folded)]
        for first in (best.dest_start + shift for shift in near if 0 <= best.dest_start + shift < len(folded)):
            for last in lasts:
                start, stop = _word_start(text, where, first), _word_end(text, where, last)
                if start is None or stop is None or start >= stop:
                    continue
                numbers = _touched(start, stop, reading)
                if len(numbers) == len(self.words) or len(numbers) > 2 * len(self.words) + 1:
                    continue  # judged word by word
                wrong = OSA.distance(name, folded[first:last], score_cutoff=edits)
                if wrong <= edits and not all(map(reading.known, numbers)):
                    return Mention(start, stop, 1.0 + 1.25 * max(1, wrong))
        return None


def _numbers(order: _Order, pivot: int, number: int, text: str, reading: _Reading) -> Iterator[Sequence[int]]:
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


def _touched(start: int, stop: int, reading: _Reading) -> range:
    """The numbers of the words of which a letter is in [start, stop)."""
    return range(bisect_right(reading.ends, start), bisect_left(reading.starts, stop))


def _within(number: int, start: int, stop: int, reading: _Reading) -> bool:
    return start <= reading.starts[number] and reading.ends[number] <= stop


class Lexicon:
    """Names, found word by word with a few wrong letters, and by their skeletons (see
    [`skeleton`][hf_eco.normalisation.skeleton]) whatever stands between the letters.

    Args:
        names: full names and titles, in any case. A name of several words is found in reverse order too, and with
            middle names.

    Raises:
        ValueError: a name is not `long_enough`.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._names: list[_Name] = []
        self._last_names: list[re.Pattern[str]] = []
        for name in names:
            if not name.strip():
                raise ValueError(f"The name {name!r} is blank. Leave it out.")
            if not long_enough(name):
                raise ValueError(
                    f"The name {name!r} is too short to be told from parts of other words. "
                    f"Use one of at least {MIN_NAME} letters."
                )
            self._names.append(_Name(name))
            words = without_suffix(name.replace(",", " ")).split()
            if len(words) > 1 and len(words[-1]) > 3:
                self._last_names.append(re.compile(_ALONE.format(re.escape(words[-1][:1].upper() + words[-1][1:]))))

    def find(self, text: str, skeletal: tuple[str, list[int]] | None = None) -> list[Mention]:
        """The surest mention of each name in `text`, if there is one; `skeletal` is its skeleton, where at hand."""
        if not self.names:
            return []
        folded, places = skeletal or skeleton(text)
        where = [*places, len(text)]  # letter i of `folded` is what is left of text[where[i]:where[i + 1]]
        reading = _read(text)
        mentions = []
        for name in self._names:
            mention = name.in_words(text, reading)
            if mention is None or mention.edits > 1:
                other = name.in_letters(text, folded, where, reading)
                mention = min((m for m in (mention, other) if m is not None), key=lambda m: m.edits, default=None)
            if mention is not None:
                mentions.append(mention)
        return mentions

    def find_last_names(self, text: str) -> list[tuple[int, int]]:
        """Where the last word of a name stands by itself, as far as capitals tell: neither after another first name or
        a gap for one, nor before another last name."""
        return [
            match.span()
            for pattern in self._last_names
            for match in pattern.finditer(text)
            if not _names_another(text[: match.start()])
        ]


def _names_another(before: str) -> bool:
    word = _WORD_BEFORE.search(before)
    if word is None:
        return False
    return word[1][:1] == "_" or (word[1][:1].isupper() and word[1].lower() not in OPENING_WORDS)


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
