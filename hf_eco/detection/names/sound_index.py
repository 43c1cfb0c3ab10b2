"""Names in another script than they were given in, found by sound.

A name and a stretch of a text are compared by what they sound like (see `sounds`). Which names are compared at all is
looked up by the classes of their consonants, so that the cost hardly grows with their number.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, islice, product

from .hearing import DISTANCES, HEARD, OPTIONS, R_IS_LOST, UNVOWELLED
from .kanji_index import KanjiIndex
from .name import Mention
from .scripts import CASED, Unit, scripts_in, units
from .sounds import GAP, MOST_KEYS, VOWELS, Distances, keys, may_begin, near_keys, weight
from .words import first_name_first

_FOREIGN = 0.5  # wrong letters that a name counts for at least
_WORST = 3.0  # wrong letters that one counts for which is just like enough
_SURE = 2.55  # of those with more, many are somebody else's
# By how much a name may sound different for each point of its weight beyond the least,
_LIKE, _LEAST = 0.38, 3.0
_LIKE_IN_PART = {
    "arabic": 0.3,
    "hebrew": 0.28,
    "indic": 0.36,
    "thai": 0.25,
    "hangul": 0.34,
    "kana": 0.46,
    "han": 0.46,
}  # in some scripts;
_LIKE_CUT, _LEAST_CUT = 0.25, 4.5  # where the words are cut in other places,
_LIKE_JOINED, _LEAST_JOINED = 0.08, 3.5  # or not at all, or there is one
_LIKE_JOINED_IN_PART = {"hangul": 0.2}
_LEAST_UNVOWELLED = 6.5
_REVERSED = 0.4  # of it all where the last name stands first
_OF_A_WORD = 0.36  # of its weight, by which each word may differ,
_OF_A_WORD_IN_PART = {"hangul": 0.32, "kana": 0.32, "han": 0.33}  # in some scripts
_LONGEST_UNDIVIDED = 4  # syllables of a name of East Asia, the first of which is the last name
_MOST_GAPS = 5
_PARTICLE = 3  # phonemes of a word before the last name that may be written in one with it
_MOST_KEYS = 32
_MOST_UNITS = 16
_MOST_KNOWN = 1 << 15


@dataclass(frozen=True, slots=True)
class _Heard:
    """A name in one of its readings and orders."""

    name: str
    phonemes: str
    weight: float
    extra: float  # wrong letters


@dataclass(frozen=True, slots=True)
class _Stretch:
    """What a stretch of a text sounds like.

    Attributes:
        names: those that sound like it, and how many letters are wrong.
        is_over: whether it is too long for any, and so is what begins with it.
        is_over_joined: whether none begins with it, as long as no gap comes.
        is_over_apart: whether none begins with it if a gap comes next.
    """

    names: dict[str, float]
    is_over: bool
    is_over_joined: bool
    is_over_apart: bool


class SoundIndex:
    """Names by their sounds; for each script of a text those that were given in another.

    Tables are made when the first text in a script comes. Not safe from several threads by itself.
    """

    def __init__(self) -> None:
        self._given: dict[str, dict[str, None]] = {}  # script -> names
        self._tables: dict[tuple[str, str], _Table] = {}
        self._kanji = KanjiIndex()

    def add(self, name: str) -> None:
        """Adds a name."""
        self._kanji.add(name)
        for script in _given_in(name):
            self._given.setdefault(script, {})[name] = None
            for (source, _), table in self._tables.items():
                if source == script:
                    table.add(name)

    def remove(self, name: str) -> None:
        """Removes a name that was added."""
        self._kanji.remove(name)
        for script in _given_in(name):
            del self._given[script][name]
            if not self._given[script]:
                del self._given[script]
            for (source, _), table in self._tables.items():
                if source == script:
                    table.remove(name)

    def mentions(self, text: str) -> Iterator[tuple[str, Mention]]:
        """All mentions of each name in `text` in scripts it was not given in."""
        if self._given.keys() <= {"latin"} and text.isascii():
            return
        yield from self._kanji.mentions(text)
        pairs = [
            (source, target)
            for target in sorted(scripts_in(text))
            for source in self._given
            if _differ(source, target)
        ]
        if not pairs:
            return
        read = units(text, frozenset(target for _, target in pairs))
        for target, alike in groupby(pairs, key=lambda pair: pair[1]):
            own = [unit for unit in read if unit.script == target]
            cased = target in CASED and any(c.isupper() for c in text)
            for source, _ in alike:
                yield from self._table(source, target).mentions(own, cased)

    def _table(self, source: str, target: str) -> _Table:
        if (source, target) not in self._tables:
            table = self._tables[source, target] = _Table(source, target)
            for name in self._given[source]:
                table.add(name)
        return self._tables[source, target]


def _given_in(name: str) -> list[str]:
    return sorted(scripts_in(name))[:1]


def _differ(source: str, target: str) -> bool:
    kana = ("kana", "hiragana")
    return source != target and not (source in kana and target in kana)


class _Table:
    """Names given in one script, for texts in another."""

    def __init__(self, source: str, target: str) -> None:
        self._source, self._target = source, target
        self._distances: Distances = DISTANCES[source] | DISTANCES[target]
        self._name_options = (OPTIONS[target] or HEARD.get(source, {}), source in UNVOWELLED)
        self._text_options = ({**OPTIONS[source], **HEARD.get(target, {})}, target in UNVOWELLED)
        self._ways = [(kind[0], len(own)) for kind, own in self._text_options[0].items() if len(own) > 1]
        self._name_keys: dict[str, tuple[int, tuple[str, ...]]] = {}  # of words; how short one is, and all
        self._text_keys: dict[str, tuple[int, tuple[str, ...]]] = {}
        self._heard: dict[str, dict[_Heard, None]] = {}  # key -> names
        self._beginnings: Counter[str] = Counter()  # of those keys; how many begin so
        self._endings: Counter[str] = Counter()
        self._known: dict[str, tuple[_Heard, ...]] = {}  # key of a text -> names, until one comes or goes
        self._known_beginnings: dict[str, bool] = {}  # likewise; whether a name may begin so
        self._known_stretches: dict[str, _Stretch] = {}  # phonemes of a text -> what they are, likewise

    def add(self, name: str) -> None:
        self._forget()
        for key, heard in self._entries(name):
            if key not in self._heard:
                self._heard[key] = {}
                self._beginnings.update(key[:i] for i in range(len(key) + 1))
                self._endings.update(key[i:] for i in range(len(key) + 1))
            self._heard[key][heard] = None

    def remove(self, name: str) -> None:
        self._forget()
        for key, heard in self._entries(name):
            if key in self._heard:
                self._heard[key].pop(heard, None)
                if not self._heard[key]:
                    del self._heard[key]
                    for i in range(len(key) + 1):
                        _take(self._beginnings, key[:i])
                        _take(self._endings, key[i:])

    def _forget(self) -> None:
        for known in (self._known, self._known_beginnings, self._known_stretches):
            known.clear()

    def _entries(self, name: str) -> Iterator[tuple[str, _Heard]]:
        for phonemes, extra in dict(_readings(name)).items():
            heard = _Heard(name, phonemes, self._weight(phonemes), extra)
            if heard.weight > _LEAST:
                for key in self._keys(phonemes, self._name_options, self._name_keys):
                    yield key, heard

    def _weight(self, phonemes: str) -> float:
        return weight(phonemes, self._target in UNVOWELLED, self._target in R_IS_LOST)

    def _keys(
        self,
        phonemes: str,
        options: tuple[dict[str, tuple[str, ...]], bool],
        known: dict[str, tuple[int, tuple[str, ...]]],
        longest: float = math.inf,
    ) -> list[str]:
        """The keys of a name or of a stretch of a text, put together of those of its words; none if even the shortest
        has more than `longest` classes."""
        if len(known) > _MOST_KNOWN:
            known.clear()
        least, of_words = 0, []
        for word in phonemes.split(GAP):
            if word not in known:
                own = tuple(keys(word, *options))
                known[word] = min(map(len, own)), own
            length, own = known[word]
            least += length
            if least > longest:
                return []
            of_words.append(own)
        return list(dict.fromkeys(map("".join, islice(product(*of_words), _MOST_KEYS))))

    def mentions(self, read: Sequence[Unit], cased: bool) -> Iterator[tuple[str, Mention]]:
        """All mentions of each name.

        Args:
            read: the units of the script.
            cased: whether names begin with capitals.
        """
        longest = max(map(len, self._heard), default=0) + 1  # classes of a key that is near
        gap = 0  # the next unit that a gap comes before
        for first, unit in enumerate(read):
            if not unit.begins or (cased and not unit.capital):
                continue
            while gap < len(read) and (gap <= first or not read[gap].near):
                gap += 1
            over: tuple[str, ...] = ()  # beginnings with which there is no name
            over_joined: tuple[str, ...] = ()  # ... unless a gap comes
            for last, readings in _windows(read, first, cased):
                for phonemes in readings:
                    if phonemes.startswith(over) or (GAP not in phonemes and phonemes.startswith(over_joined)):
                        continue
                    heard = self._stretch(phonemes, longest)
                    over += (phonemes,) * heard.is_over + (phonemes + GAP,) * heard.is_over_apart
                    over_joined += (phonemes,) * heard.is_over_joined
                    for name, edits in heard.names.items():
                        yield name, Mention(read[first].start, read[last].end, edits, weak=edits > _SURE)
                no_name = over if gap < first + _MOST_UNITS else over + over_joined
                if all(phonemes.startswith(no_name) for phonemes in readings):
                    break  # longer windows begin like these

    def _stretch(self, phonemes: str, longest: int) -> _Stretch:
        """What a stretch sounds like; remembered."""
        heard = self._known_stretches.get(phonemes)
        if heard is None:
            if len(self._known_stretches) >= _MOST_KNOWN:
                self._known_stretches.clear()
            heard = self._known_stretches[phonemes] = self._hear(phonemes, longest)
        return heard

    def _hear(self, phonemes: str, longest: int) -> _Stretch:
        keys = self._keys(phonemes, self._text_options, self._text_keys, longest)
        names: dict[str, float] = {}
        for key in keys:
            for heard in self._candidates(key) if GAP in phonemes else self._heard.get(key, ()):
                edits = self._edits(heard, phonemes)
                if edits is not None and edits < names.get(heard.name, math.inf):
                    names[heard.name] = edits
        is_over_joined = GAP not in phonemes and not self._may_go_on(phonemes, keys)
        return _Stretch(names, not keys, is_over_joined, not any(map(self._may_begin, keys)))

    def _may_begin(self, key: str) -> bool:
        """As `may_begin`."""
        if key not in self._known_beginnings:
            if len(self._known_beginnings) >= _MOST_KNOWN:
                self._known_beginnings.clear()
            self._known_beginnings[key] = may_begin(key, self._beginnings)
        return self._known_beginnings[key]

    def _may_go_on(self, phonemes: str, keys: Sequence[str]) -> bool:
        """Whether a name may begin like `phonemes`, which have these keys and no gap, and go on without one. The last
        class hangs on what comes next, unless a vowel has come."""
        ways = math.prod(ways for sound, ways in self._ways if sound in phonemes)
        settled = keys if phonemes[-1:] in VOWELS else [key[:-1] for key in keys]
        return ways > MOST_KEYS or any(key in self._beginnings for key in settled)

    def _candidates(self, key: str) -> tuple[_Heard, ...]:
        if key not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            near = near_keys(key, self._beginnings, self._endings)
            self._known[key] = tuple(dict.fromkeys(heard for other in near for heard in self._heard.get(other, ())))
        return self._known[key]

    def _edits(self, heard: _Heard, phonemes: str) -> float | None:
        """How many letters are wrong if `phonemes` are those of a name; None if they are not."""
        if GAP not in phonemes:
            least = _LEAST_UNVOWELLED if self._target in UNVOWELLED else _LEAST_JOINED
            most = _LIKE_JOINED_IN_PART.get(self._target, _LIKE_JOINED) * (heard.weight - least)
            cost = self._between(heard.phonemes.replace(GAP, ""), phonemes, most)
        else:
            same = heard.phonemes.count(GAP) == phonemes.count(GAP)
            most = (
                _LIKE_IN_PART.get(self._target, _LIKE) * (heard.weight - _LEAST)
                if same
                else _LIKE_CUT * (heard.weight - _LEAST_CUT)
            )
            most *= _REVERSED if heard.extra else 1.0
            compare = self._by_words if same else self._between
            cost = compare(heard.phonemes, phonemes, most)
        if cost > most:
            return None
        return _FOREIGN + heard.extra + (_WORST - _FOREIGN) * cost / max(most, 0.1)

    def _between(self, name: str, phonemes: str, most: float) -> float:
        """How far they are apart; the script of either may have changed the sounds of the other."""
        there = math.inf if self._target == "latin" else self._distances.between(name, phonemes, most)
        back = math.inf if self._source == "latin" else self._distances.between(phonemes, name, most)
        return min(there, back)

    def _by_words(self, name: str, phonemes: str, most: float) -> float:
        cost, of_a_word = 0.0, _OF_A_WORD_IN_PART.get(self._target, _OF_A_WORD)
        for word, heard in zip(name.split(GAP), phonemes.split(GAP), strict=True):
            cost += self._between(word, heard, min(most - cost, 0.1 + of_a_word * self._weight(word)))
            if cost > most:
                break
        return cost


def _take(counts: Counter[str], key: str) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]


def _windows(read: Sequence[Unit], first: int, cased: bool) -> Iterator[tuple[int, Sequence[str]]]:
    """The last unit and the phonemes, in each reading, of each stretch from unit `first` on that may be a name; each
    begins like one of those before."""
    heard, gaps = [""], 0
    for last in range(first, min(len(read), first + _MOST_UNITS)):
        here = read[last]
        if last > first:
            gaps += here.near == 1
            if here.near > 1 or gaps > _MOST_GAPS:
                break
        between = GAP * here.near if last > first else ""
        if len(heard) == len(here.sounds) == 1:
            heard = [heard[0] + between + here.sounds[0]]
        else:
            heard = list(dict.fromkeys(before + between + now for before, now in _by_reading(heard, here.sounds)))
        if here.ends and not (cased and here.begins and not here.capital):
            yield last, heard


def _by_reading(heard: Sequence[str], sounds: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What was heard so far with what comes next, each in the first reading, in the second and so on."""
    for i in range(max(len(heard), len(sounds))):
        yield heard[min(i, len(heard) - 1)], sounds[min(i, len(sounds) - 1)]


@lru_cache(maxsize=1 << 10)
def _readings(name: str) -> tuple[tuple[str, float], ...]:
    """The phonemes of a name, in each reading and order, and what each counts against it."""
    found = list(dict.fromkeys(_words(first_name_first(name))))
    made: dict[str, float] = {}
    for read in found:
        made.setdefault(GAP.join(read), 0.0)
        for own in _joined(read):
            made.setdefault(GAP.join(own), 0.0)
        if len(read) > 1:
            made.setdefault(GAP.join(read[-1:] + read[:-1]), 0.5)
    return tuple(made.items())


def _joined(words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The words of a name, particles before the last name (de, la, van) and that in one."""
    for i in range(1, len(words) - 1):
        if all(len(word) <= _PARTICLE for word in words[i:-1]):
            yield *words[:i], "".join(words[i:])


def _words(name: str) -> Iterator[tuple[str, ...]]:
    """The phonemes of the words of a name, in each reading; where nothing stands between them, also of the first
    syllable and the others, and of each."""
    read = units(name, scripts_in(name))
    for i in range(max((len(unit.sounds) for unit in read), default=0)):
        words: list[str] = []
        for unit in read:
            if unit.near or not words:
                words.append("")
            words[-1] += unit.sounds[min(i, len(unit.sounds) - 1)]
        yield tuple(filter(None, words))
        if len(words) == 1 and 1 < len(read) <= _LONGEST_UNDIVIDED and read[0].script in ("han", "hangul"):
            own = [unit.sounds[min(i, len(unit.sounds) - 1)] for unit in read]
            yield own[0], "".join(own[1:])
            yield tuple(own)
