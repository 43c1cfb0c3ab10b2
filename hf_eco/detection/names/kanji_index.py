"""Japanese names in characters, found by their readings.

A name in Latin letters or kana is looked for in characters, and one in characters in Latin letters and kana, last and
first name next to each other. Readings must be exact (see `kanji`). All names are in one trie, of letters or of
characters: a walk through it reads the text once from each place, however many names there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise, permutations
from typing import Any

from .kanji import FAMILY, GIVEN, earlier, is_romaji, later, morae, parts_at, plain_romaji, romaji_of_kana, sounds_at
from .name import Mention
from .scripts import scripts_in

_EDITS = 0.5  # wrong letters that such a mention counts for
_GAP = re.compile("[ \u3000]*[・=＝ \u3000][ \u3000]*")
_KANA_WORDS = re.compile("[ァ-ヺー]+|[ぁ-ゖー]+")
_LATIN_WORDS = re.compile("[^\\W\\d_]+(?:['’\\-‐‑][^\\W\\d_]+)*")
_SILENT_WORD = "no"  # Minamoto no Yoritomo
_BETWEEN_LATIN = re.compile(f"[ ,\u00a0]*(?: {_SILENT_WORD} )?[ \u00a0]*")
_WRITTEN = re.compile("[\u3400-\u9fff\uf900-\ufaff々ヶヵ]")
_ROLES = (
    "作家|小説家|詩人|俳優|女優|歌手|選手|監督|画家|作曲家|漫画家|首相|総理|大臣|大統領|教授|博士|社長|会長|武将|将軍"
)
_TITLES = "氏|様|君|殿|先生|選手|監督|首相|総理|大臣|議員|知事|教授|博士|社長|会長|作|著|訳|編|他|等|自身|本人|夫妻"
_BEFORE = re.compile(f"(?:(?!{_WRITTEN.pattern}).|{_ROLES})\\Z", re.DOTALL)
_BEHIND = re.compile(f"(?:{_TITLES})?(?:(?!{_WRITTEN.pattern})|(?=[的是在和与與]))")  # Chinese says "is" or "and", too
_HIRAGANA = re.compile("[ぁ-ゖ]")
_LONGEST_ROLE = 3
_ENOUGH = 3  # characters of a name
_BORDER = "|"
_LONGEST_READING = 10
_MOST_MORAE = 16
_LONGEST = 12  # characters of a name
_LEAST = 6  # letters of a name


class KanjiIndex:
    """Names by their readings."""

    def __init__(self) -> None:
        self._letters: dict[str, Any] = {}  # letter -> the same; "" -> names. Of names in Latin letters or kana
        self._written: dict[str, None] = {}  # names in characters
        self._characters: _Branch | None = None  # of those, when a text needs them

    def add(self, name: str) -> None:
        """Adds a name, if it can be Japanese."""
        if _WRITTEN.search(name) and len(name) <= _LONGEST:
            self._written[name] = None
            if self._characters is not None:
                for way in _ways(name):
                    self._characters.add(way, name)
        for letters in _spoken(name):
            node = self._letters
            for letter in letters:
                node = node.setdefault(letter, {})
            node.setdefault("", {})[name] = None

    def remove(self, name: str) -> None:
        """Removes a name that was added."""
        if name in self._written:
            del self._written[name]
            if self._characters is not None:
                for way in _ways(name):
                    self._characters.remove(way, name)
        for letters in _spoken(name):
            _remove(self._letters, letters, name)

    def mentions(self, text: str) -> list[tuple[str, Mention]]:
        """All mentions of each name in `text`, the surest and the longest first."""
        found = list(self._in_characters(text)) if self._letters and _WRITTEN.search(text) else []
        found += self._in_letters(text) if self._written else ()
        return sorted(found, key=lambda pair: _rank(pair[1]))

    def _in_characters(self, text: str) -> Iterator[tuple[str, Mention]]:
        """Names in Latin letters or kana that the text writes in characters."""
        japanese = _HIRAGANA.search(text) is not None
        for start in (place for place, character in enumerate(text) if character >= "ァ"):
            states = {(start, "", id(self._letters)): (self._letters, FAMILY, True)}
            while states:
                (here, before, _), (node, kind, usual) = states.popitem()
                if here == len(text):
                    continue
                for end, sound, as_usual in sounds_at(text, here, before, kind, japanese):
                    after = _walked(node, sound)
                    if after is None:
                        continue
                    own = usual and as_usual
                    key = end, (sound or before)[-1:], id(after)
                    states[key] = after, kind, own or (key in states and states[key][2])
                    if _BORDER in after:
                        gap = _GAP.match(text, end)
                        further = gap.end() if gap else end
                        states[further, "", id(after[_BORDER])] = after[_BORDER], GIVEN, own
                    if "" in after and _WRITTEN.search(text, start, end):
                        weak = _is_weak(text, start, end, japanese, own)
                        if weak is not None:
                            yield from ((name, Mention(start, end, _EDITS, weak)) for name in after[""])

    def _in_letters(self, text: str) -> Iterator[tuple[str, Mention]]:
        """Names in characters that the text writes in Latin letters or kana."""
        if self._characters is None:
            self._characters = _Branch()
            for name in self._written:
                for way in _ways(name):
                    self._characters.add(way, name)
        for start, end, words in (*_latin_pairs(text), *_kana_pairs(text)):
            for family, given in permutations(words):
                for branch in self._characters.read(family, FAMILY):
                    for whole in branch.read(given, GIVEN):
                        yield from ((name, Mention(start, end, _EDITS)) for name in whole.names)
        for run in _KANA_WORDS.finditer(text):
            yield from self._in_kana(run[0], run.start(), self._characters)

    def _in_kana(self, kana: str, place: int, characters: _Branch) -> Iterator[tuple[str, Mention]]:
        """Those in a word in kana at a place in a text, without anything between last and first name."""
        cuts = morae(kana)
        words = [_from(kana, cuts[i : i + _MOST_MORAE]) for i in range(len(cuts) - 1)]
        for start, (word, ends) in zip(cuts, words, strict=False):
            for length, branch in characters.reached(word, FAMILY):
                if length not in ends or ends[length] == len(kana):
                    continue
                rest, rest_ends = words[cuts.index(ends[length])]
                for further, whole in branch.reached(rest, GIVEN):
                    if whole.names and further in rest_ends:
                        mention = Mention(place + start, place + rest_ends[further], _EDITS)
                        yield from ((name, mention) for name in whole.names)


def _rank(mention: Mention) -> tuple[bool, int]:
    """The surer and the longer first: a long vowel at the end belongs to the name."""
    return mention.weak, mention.start - mention.end


def _is_weak(text: str, start: int, end: int, japanese: bool, usual: bool) -> bool | None:
    """Whether a mention may well be other words; None if it is no mention.

    Args:
        japanese: whether the text has hiragana: otherwise it may be Chinese, where characters are strung together.
        usual: whether last names read the characters so.
    """
    before = text[max(0, start - _LONGEST_ROLE) : start]
    begins, ends = not before or _BEFORE.search(before) is not None, _BEHIND.match(text, end) is not None
    enough = len(_WRITTEN.findall(text, start, end)) >= _ENOUGH
    if japanese and begins and ends:
        return not usual and not enough
    return None if not usual or not enough else not begins and not ends


class _Branch:
    """A place in the trie of the names in characters."""

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self._after: dict[str, _Branch] = {}  # what is read together -> the place behind it
        self._by_reading: dict[tuple[str, str], dict[str, None]] = {}  # kind and reading -> what is read so

    def __bool__(self) -> bool:
        return bool(self.names or self._after)

    def add(self, path: _Way, name: str) -> None:
        here = self
        for written, readings in path:
            if written not in here._after:
                here._after[written] = _Branch()
                for reading in readings:
                    here._by_reading.setdefault(reading, {})[written] = None
            here = here._after[written]
        here.names[name] = None

    def remove(self, path: _Way, name: str) -> None:
        if not path:
            del self.names[name]
            return
        (written, readings), *rest = path
        self._after[written].remove(tuple(rest), name)
        if not self._after[written]:
            del self._after[written]
            for reading in readings:
                del self._by_reading[reading][written]
                if not self._by_reading[reading]:
                    del self._by_reading[reading]

    def read(self, word: str, kind: str) -> list[_Branch]:
        """The places to which the whole of a word leads."""
        return [branch for end, branch in self.reached(word, kind) if end == len(word)]

    def reached(self, word: str, kind: str) -> list[tuple[int, _Branch]]:
        """The places to which the beginning of a word leads, and how many letters lead there."""
        found: list[tuple[int, _Branch]] = []
        seen = {(0, id(self))}
        states = [(0, self)]
        while states:
            here, branch = states.pop()
            found.append((here, branch))
            for end in range(here, min(len(word), here + _LONGEST_READING) + 1):
                for reading in earlier(word[here:end], word[:here]):
                    for written in branch._by_reading.get((kind, reading), ()) if reading else ():
                        after = branch._after[written]
                        if (end, id(after)) not in seen:
                            seen.add((end, id(after)))
                            states.append((end, after))
        return found


_Way = tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


def _ways(name: str) -> Iterator[_Way]:
    """The ways to read a name in characters part by part: of each, what is written, and its kinds and readings."""
    name = _GAP.sub("", name)
    ways: list[tuple[int, _Way]] = [(0, ())]
    while ways:
        start, path = ways.pop()
        if start == len(name):
            yield path
            continue
        readings: dict[int, list[tuple[str, str]]] = {}
        for kind in (FAMILY, GIVEN):
            for end, own in parts_at(name, start, kind):
                readings.setdefault(end, []).extend((kind, reading) for reading in own)
        ways += [(end, (*path, (name[start:end], tuple(own)))) for end, own in readings.items() if own]


def _spoken(name: str) -> Iterator[str]:
    """The two words of a name in Latin letters or kana, in either order, if it can be Japanese."""
    pairs: list[tuple[str, str]] = []
    if scripts_in(name) == {"latin"}:
        pairs = [pair for start, end, pair in _latin_pairs(name) if name[start:end] == name.strip()]
    elif _KANA_WORDS.fullmatch(name):
        pairs = [(_sound(name[:cut]), _sound(name[cut:])) for cut in morae(name)[1:-1]]
    elif scripts_in(name) <= {"kana", "hiragana"}:
        pairs = [pair for start, end, pair in _kana_pairs(name) if name[start:end] == name.strip()]
    for pair in pairs:
        if len("".join(pair)) >= _LEAST:
            yield from dict.fromkeys(map(_BORDER.join, permutations(pair)))


def _latin_pairs(text: str) -> Iterator[tuple[int, int, tuple[str, str]]]:
    """Two words next to each other, that can be Japanese: where they begin and end, and their plain romaji."""
    capitals = any(c.isupper() for c in text)
    words = [
        word
        for word in _LATIN_WORDS.finditer(text)
        if word[0] != _SILENT_WORD and (word[0][0].isupper() or not capitals)
    ]
    for first, second in pairwise(words):
        if _BETWEEN_LATIN.fullmatch(text, first.end(), second.start()):
            pair = plain_romaji(first[0]), plain_romaji(second[0])
            if all(map(is_romaji, pair)):
                yield first.start(), second.end(), pair


def _kana_pairs(text: str) -> Iterator[tuple[int, int, tuple[str, str]]]:
    """As `_latin_pairs`, of words in kana."""
    for first, second in pairwise(_KANA_WORDS.finditer(text)):
        if _GAP.fullmatch(text, first.end(), second.start()):
            yield first.start(), second.end(), (_sound(first[0]), _sound(second[0]))


def _from(kana: str, cuts: list[int]) -> tuple[str, dict[int, int]]:
    """A part of a word in kana from the first of some cuts on: its plain romaji, and for the number of letters up to
    each further cut that cut."""
    word, ends = "", {}
    for start, end in pairwise(cuts):
        sound = _sound(kana[start:end])
        word += next(later(sound, word))
        ends[len(word)] = end
    return word, ends


def _sound(kana: str) -> str:
    return plain_romaji(romaji_of_kana(kana))


def _walked(node: dict[str, Any], sound: str) -> dict[str, Any] | None:
    for letter in sound:
        if letter not in node:
            return None
        node = node[letter]
    return node


def _remove(node: dict[str, Any], letters: str, name: str) -> None:
    """Removes a name from a trie, and what then leads nowhere."""
    if letters:
        _remove(node[letters[0]], letters[1:], name)
        if not node[letters[0]]:
            del node[letters[0]]
        return
    del node[""][name]
    if not node[""]:
        del node[""]
