"""Japanese names in characters, found by their readings.

A name in Latin letters or kana is looked for in characters, and one in characters in Latin letters and kana. Readings
must be exact (see `kanji`). All names are in one trie, of letters or of characters: a walk through it reads the text once
from each place, however many names there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import permutations
from typing import Any

from .kanji import earlier, is_romaji, later, parts_at, plain_romaji, romaji_of_kana
from .name import Mention
from .scripts import scripts_in

_EDITS = 0.5  # wrong letters that such a mention counts for
_GAP = re.compile("[ \u3000]*[・=＝ \u3000][ \u3000]*")
_KANA_WORD = "[ぁ-ゖァ-ヺー]+"
_KANA_WORDS = re.compile(_KANA_WORD)
_LATIN_WORDS = re.compile("[^\\W\\d_]+(?:['’\\-‐‑][^\\W\\d_]+)*")
_SILENT_WORD = "no"  # Minamoto no Yoritomo
_BETWEEN_LATIN = re.compile(f"[ ,\u00a0]*(?: {_SILENT_WORD} )?[ \u00a0]*")
_WRITTEN = re.compile("[\u3400-\u9fff\uf900-\ufaff々ヶヵ]")
_BORDER = "|"
_LONGEST_READING = 10
_MOST_MORAE = 16
_LEAST = 6  # letters of a name


class KanjiIndex:
    """Names by their readings."""

    def __init__(self) -> None:
        self._letters: dict[str, Any] = {}  # letter -> the same; "" -> names. Of names in Latin letters or kana
        self._written: dict[str, None] = {}  # names in characters
        self._characters: _Branch | None = None  # of those, when a text needs them

    def __bool__(self) -> bool:
        return bool(self._letters or self._written)

    def add(self, name: str) -> None:
        """Adds a name, if it can be Japanese."""
        if _WRITTEN.search(name):
            self._written[name] = None
            if self._characters is not None:
                for path in _paths(name):
                    self._characters.add(path, name)
        for path in _spoken(name):
            node = self._letters
            for letter in path:
                node = node.setdefault(letter, {})
            node.setdefault("", {})[name] = None

    def remove(self, name: str) -> None:
        """Removes a name that was added."""
        if name in self._written:
            del self._written[name]
            if self._characters is not None:
                for path in _paths(name):
                    self._characters.remove(path, name)
        for path in _spoken(name):
            _remove(self._letters, path, name)

    def find(self, text: str) -> dict[str, Mention]:
        """A mention of each name in `text`, by name."""
        found: dict[str, Mention] = {}
        if self._letters and _WRITTEN.search(text):
            for name, start, end in self._in_characters(text):
                found.setdefault(name, Mention(start, end, _EDITS))
        if self._written:
            for name, start, end in self._in_letters(text):
                found.setdefault(name, Mention(start, end, _EDITS))
        return found

    def _in_characters(self, text: str) -> Iterator[tuple[str, int, int]]:
        """Names in Latin letters or kana that the text writes in characters."""
        for start in range(len(text)):
            states = {(start, "", id(self._letters)): self._letters}
            while states:
                (here, before, _), node = states.popitem()
                if here == len(text):
                    continue
                for end, readings in parts_at(text, here):
                    for reading in readings:
                        for sound in later(reading, before):
                            after = _walked(node, sound)
                            if after is None:
                                continue
                            states[end, (sound or before)[-1:], id(after)] = after
                            if _BORDER in after:
                                gap = _GAP.match(text, end)
                                states[gap.end() if gap else end, "", id(after[_BORDER])] = after[_BORDER]
                            if "" in after and _WRITTEN.search(text, start, end):
                                yield from ((name, start, end) for name in after[""])

    def _in_letters(self, text: str) -> Iterator[tuple[str, int, int]]:
        """Names in characters that the text writes in Latin letters or kana."""
        if self._characters is None:
            self._characters = _Branch()
            for name in self._written:
                for path in _paths(name):
                    self._characters.add(path, name)
        for (start, first), (end, second) in _pairs(text):
            for family, given in ((first, second), (second, first)):
                for branch in self._characters.read(family):
                    for whole in branch.read(given):
                        yield from ((name, start, end) for name in whole.names)
        for run in _KANA_WORDS.finditer(text):
            for start, end, sound in _stretches(run[0]):
                for branch in self._characters.read(sound):
                    yield from ((name, run.start() + start, run.start() + end) for name in branch.names)


class _Branch:
    """A place in the trie of the names in characters."""

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self._after: dict[str, _Branch] = {}  # what is read together -> the place behind it
        self._by_reading: dict[str, dict[str, None]] = {}  # reading -> what is read so

    def __bool__(self) -> bool:
        return bool(self.names or self._after)

    def add(self, path: _Path, name: str) -> None:
        here = self
        for written, readings in path:
            if written not in here._after:
                here._after[written] = _Branch()
                for reading in readings:
                    here._by_reading.setdefault(reading, {})[written] = None
            here = here._after[written]
        here.names[name] = None

    def remove(self, path: _Path, name: str) -> None:
        if not path:
            self.names.pop(name, None)
            return
        (written, readings), *rest = path
        self._after[written].remove(tuple(rest), name)
        if not self._after[written]:
            del self._after[written]
            for reading in readings:
                del self._by_reading[reading][written]
                if not self._by_reading[reading]:
                    del self._by_reading[reading]

    def read(self, word: str) -> list[_Branch]:
        """The places to which the whole of a word leads."""
        found: dict[int, _Branch] = {}
        states = {(0, id(self)): self}
        while states:
            (here, _), branch = states.popitem()
            if here == len(word):
                found[id(branch)] = branch
            for end in range(here, min(len(word), here + _LONGEST_READING) + 1):
                for reading in earlier(word[here:end], word[:here]):
                    for written in branch._by_reading.get(reading, ()) if reading else ():
                        after = branch._after[written]
                        states[end, id(after)] = after
        return list(found.values())


_Path = tuple[tuple[str, tuple[str, ...]], ...]


def _paths(name: str, start: int = 0) -> Iterator[_Path]:
    """The ways to read a name in characters part by part."""
    if start == 0:
        name = _GAP.sub("", name)
    if start == len(name):
        yield ()
        return
    for end, readings in parts_at(name, start):
        for rest in _paths(name, end) if readings else ():
            yield ((name[start:end], readings), *rest)


def _spoken(name: str) -> Iterator[str]:
    """A name in Latin letters or kana, in either order, if it can be Japanese."""
    scripts = scripts_in(name)
    if scripts == {"latin"}:
        words = [plain_romaji(word) for word in _LATIN_WORDS.findall(name) if word != _SILENT_WORD]
    elif scripts and scripts <= {"kana", "hiragana"}:
        words = [plain_romaji(romaji_of_kana(word)) for word in _KANA_WORDS.findall(name)]
    else:
        return
    if len(words) in (1, 2) and all(map(is_romaji, words)) and sum(map(len, words)) >= _LEAST:
        if len(words) == 2 or scripts != {"latin"}:
            yield from dict.fromkeys(map(_BORDER.join, permutations(words)))


def _pairs(text: str) -> Iterator[tuple[tuple[int, str], tuple[int, str]]]:
    """Two words next to each other, that can be Japanese: (start of the first, word), (end of the second, word)."""
    capitals = any(c.isupper() for c in text)
    words = [
        (word.start(), word.end(), plain_romaji(word[0]))
        for word in _LATIN_WORDS.finditer(text)
        if word[0] != _SILENT_WORD and (word[0][0].isupper() or not capitals)
    ]
    kana = [(word.start(), word.end(), plain_romaji(romaji_of_kana(word[0]))) for word in _KANA_WORDS.finditer(text)]
    for own, between in ((words, _BETWEEN_LATIN), (kana, _GAP)):
        for (start, middle, first), (after, end, second) in zip(own, own[1:], strict=False):
            if is_romaji(first) and is_romaji(second) and between.fullmatch(text, middle, after):
                yield (start, first), (end, second)


def _stretches(kana: str) -> Iterator[tuple[int, int, str]]:
    """Parts of a word in kana, which begin and end with a mora: (start, end, plain romaji)."""
    cuts = [0]
    while cuts[-1] < len(kana):
        cuts.append(next(parts_at(kana, cuts[-1]))[0])
    for i, start in enumerate(cuts):
        for end in cuts[i + 4 : i + _MOST_MORAE]:
            yield start, end, plain_romaji(romaji_of_kana(kana[start:end]))


def _walked(node: dict[str, Any], sound: str) -> dict[str, Any] | None:
    for letter in sound:
        if letter not in node:
            return None
        node = node[letter]
    return node


def _remove(node: dict[str, Any], path: Iterable[str], name: str) -> None:
    """Removes a name from a trie, and what then leads nowhere."""
    way = [node]
    for letter in path:
        way.append(way[-1][letter])
    way[-1][""].pop(name, None)
    if not way[-1][""]:
        del way[-1][""]
    for letter, before, after in zip(reversed(list(path)), reversed(way[:-1]), reversed(way[1:]), strict=True):
        if not after:
            del before[letter]
