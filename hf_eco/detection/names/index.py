"""All names of all scopes in one index: however many there are, few of them are looked for in a text.

A name is found by careful rules (see `name`). The index says which names those rules could find at all in a text, and
where to look; it leaves out none. Candidates come from four tables:

- words: by the spellings of a name's longest word, and by what is left of it if letters are deleted (Garbe,
  "SymSpell", 2012: two words that are d slips apart have a form in common if up to d letters of each are deleted);
- initialisms (DMX), as words;
- letters: by the first letters of a name's skeleton, whatever stands between the letters of the text;
- joined words, misspelt: by a deletion from the first letters, where a word begins, and from the last, where one ends.
  Of three slips in a long name at most one is in its first letters, or at most one in its last.

Names in another script than they were given in are found by sound (see `sound_index`).

Names are added and removed one by one; nothing is built anew.
"""

from __future__ import annotations

import itertools
import re
import threading
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from rapidfuzz.distance import OSA

from ..disguises import skeleton
from ..disguises.spelling import spelling
from .name import Mention, Name
from .sound_index import SoundIndex
from .words import MIN_NAME, Reading, is_initialism, long_enough, read

_LONGEST = 100  # characters of a name
_FIRST_LETTERS = 4  # of a skeleton, by which it is looked up
_AT_ENDS = 7  # letters at either end of a skeleton that a deletion is made in
_WORD = re.compile(r"[^\W_]+")
_MOST_KNOWN = 20_000  # words of texts whose like are remembered

_KeyT = TypeVar("_KeyT", bound=Hashable)


class NameIndex(Generic[_KeyT]):
    """Names with the keys they were added under.

    A name that several keys bear is judged once. Safe from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._names: dict[str, Name] = {}
        self._keys: dict[str, dict[_KeyT, None]] = {}  # of each name, in the order in which they came
        self._words = _WordTable()
        self._letters: dict[str, dict[str, None]] = defaultdict(dict)  # first letters of a skeleton -> names
        self._initialisms: dict[str, dict[str, None]] = defaultdict(dict)  # small letters -> names
        self._shortest = _FIRST_LETTERS
        self._beginnings: dict[str, dict[str, None]] = defaultdict(dict)  # form of the first letters -> names
        self._endings: dict[str, dict[str, None]] = defaultdict(dict)  # form of the last letters -> names
        self._sounds = SoundIndex()

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def add(self, key: _KeyT, names: Iterable[str]) -> None:
        """Adds names under a key.

        Raises:
            ValueError: a name is blank, or not `long_enough`; then none is added.
        """
        names = list(names)
        for name in names:
            check_name(name)
        with self._lock:
            for name in names:
                if name not in self._names:
                    self._names[name] = made = Name(name)
                    self._keys[name] = {}
                    for table, entry in self._entries(made):
                        table[entry][name] = None
                    self._words.add(name, made)
                    self._sounds.add(name)
                self._keys[name][key] = None

    def remove(self, key: _KeyT, names: Iterable[str]) -> None:
        """Removes names from under a key; those that no other key bears are looked for no more."""
        with self._lock:
            for name in names:
                self._keys[name].pop(key)
                if self._keys[name]:
                    continue
                del self._keys[name]
                gone = self._names.pop(name)
                for table, entry in self._entries(gone):
                    _drop(table, entry, name)
                self._words.remove(name, gone)
                self._sounds.remove(name)

    def find(self, text: str) -> dict[str, Mention]:
        """The surest mention of each name in `text`, by name."""
        return {name: mentions[0] for name, mentions in self.mentions(text).items()}

    def mentions(self, text: str) -> dict[str, list[Mention]]:
        """All mentions of each name in `text`, by name, the surest first. They may overlap."""
        with self._lock:
            found: dict[str, list[Mention]] = {}
            for name, mention in itertools.chain(self._spelt(text), self._sounds.mentions(text)):
                found.setdefault(name, []).append(mention)
        for mentions in found.values():
            mentions.sort(key=lambda mention: mention.edits)
        return found

    def _spelt(self, text: str) -> Iterator[tuple[str, Mention]]:
        """Those that are spelt more or less as the names are."""
        if not self._names:
            return
        folded, places = skeleton(text)
        where = [*places, len(text)]  # letter i of `folded` is what is left of text[where[i]:where[i + 1]]
        reading = read(text)
        for word, start, end in zip(reading.words, reading.starts, reading.ends, strict=True):
            for name in self._initialisms.get(word.lower(), ()):
                yield name, Mention(start, end, 0.0)
        for name, like in self._words.like(reading).items():
            for mention in self._names[name].in_words(text, reading, like):
                yield name, mention
        for name, letters in self._in_letters(folded).items():
            for mention in self._names[name].in_letters(text, folded, where, reading, letters):
                yield name, mention
        for name, near in self._in_joined_words(text, folded, places, reading).items():
            for mention in self._names[name].misspelt_in_letters(text, folded, where, reading, sorted(near)):
                yield name, mention

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.RLock())

    def keys(self, name: str) -> tuple[_KeyT, ...]:
        """The keys that bear a name; none if it has gone."""
        return tuple(self._keys.get(name, ()))

    def _entries(self, name: Name) -> Iterator[tuple[dict[str, dict[str, None]], str]]:
        """Each table of letters, and an entry of it under which the name stands."""
        if name.initialism:
            yield self._initialisms, name.words[0].lower()
            return
        if name.ordinary:  # found word by word alone
            return
        for folded in name.skeletons:
            self._shortest = min(self._shortest, len(folded))
            yield self._letters, folded[:_FIRST_LETTERS]
        if name.edits:
            for form in deletions(name.folded[:_AT_ENDS], 1):
                yield self._beginnings, form
        if name.edits > 1:
            for form in deletions(name.folded[-_AT_ENDS:], 1):
                yield self._endings, form

    def _in_letters(self, folded: str) -> dict[str, list[int]]:
        """Names whose skeleton stands in that of the text, and at which letters of it."""
        found: dict[str, list[int]] = {}
        for size in range(self._shortest, _FIRST_LETTERS + 1):
            for start in range(len(folded) - size + 1):
                for name in self._letters.get(folded[start : start + size], ()):
                    if folded.startswith(self._names[name].skeletons, start):
                        found.setdefault(name, []).append(start)
        return found

    def _in_joined_words(self, text: str, folded: str, places: Sequence[int], reading: Reading) -> dict[str, set[int]]:
        """Names that may stand, misspelt, between the beginning of a word and the end of one, and at which letters
        they would begin if they were as long as they should be."""
        found: dict[str, set[int]] = {}
        if not self._beginnings or not reading.odd:
            return found
        starts, ends = _borders(text, places)
        for start in starts:
            for name in self._named(self._beginnings, folded[start : start + _AT_ENDS]):
                if self._is_near(name, folded, start, None):
                    found.setdefault(name, set()).add(start)
        for end in ends if self._endings else ():
            for name in self._named(self._endings, folded[max(0, end - _AT_ENDS) : end]):
                if self._is_near(name, folded, None, end):
                    found.setdefault(name, set()).add(max(0, end - len(self._names[name].folded)))
        return found

    def _named(self, table: dict[str, dict[str, None]], letters: str) -> Iterator[str]:
        yield from table.get(letters, ())
        for i in range(len(letters)):
            yield from table.get(letters[:i] + letters[i + 1 :], ())

    def _is_near(self, name: str, folded: str, start: int | None, end: int | None) -> bool:
        """Whether the letters from `start` on, or up to `end`, as many as the name has, are few slips from it: as many
        as it may have, and as many again for a window that is too long or too short."""
        own = self._names[name]
        start = max(0, end - len(own.folded)) if start is None and end is not None else start or 0
        window = folded[start : start + len(own.folded)] if end is None else folded[start:end]
        return OSA.distance(own.folded, window, score_cutoff=2 * own.edits) <= 2 * own.edits


class _WordTable:
    """Names by their pivots: the word of each order that is looked for first."""

    def __init__(self) -> None:
        self._by_spelling: dict[str, dict[tuple[str, str], None]] = defaultdict(dict)  # -> (name, pivot)
        self._by_pivot: dict[str, dict[str, None]] = defaultdict(dict)  # pivot -> names
        self._by_slips: dict[str, dict[str, None]] = defaultdict(dict)  # form -> pivots
        self._by_sound: dict[str, dict[str, None]] = defaultdict(dict)  # form -> pivots
        self._known: dict[str, dict[str, None]] = {}  # what `_near` has found, until a name comes or goes
        self._longest = 0  # letters of a pivot: a word that is much longer is none

    def add(self, name: str, made: Name) -> None:
        self._known.clear()
        for pivot in made.pivots:
            for key in made.spellings(pivot):
                self._by_spelling[key][name, pivot] = None
            self._longest = max(self._longest, len(pivot))
            if pivot not in self._by_pivot:
                for table, form in self._forms(pivot):
                    table[form][pivot] = None
            self._by_pivot[pivot][name] = None

    def remove(self, name: str, gone: Name) -> None:
        self._known.clear()
        for pivot in gone.pivots:
            for key in gone.spellings(pivot):
                _drop(self._by_spelling, key, (name, pivot))
            del self._by_pivot[pivot][name]
            if not self._by_pivot[pivot]:
                del self._by_pivot[pivot]
                for table, form in self._forms(pivot):
                    _drop(table, form, pivot)

    def like(self, reading: Reading) -> dict[str, dict[str, list[int]]]:
        """For each name that may stand in a text, the numbers of the words that may be each pivot of it."""
        found: dict[str, dict[str, set[int]]] = {}

        def note(name: str, pivot: str, numbers: Iterable[int]) -> None:
            found.setdefault(name, {}).setdefault(pivot, set()).update(numbers)

        for key, numbers in reading.places():
            for name, pivot in self._by_spelling.get(key, ()):
                note(name, pivot, numbers)
        for once, numbers in reading.odd.items():
            for pivot in self._near(once):
                for name in self._by_pivot[pivot]:
                    note(name, pivot, numbers)
        for number in reading.foreign:
            for pivot in self._alike_in_sound(reading.words[number]):
                for name in self._by_pivot[pivot]:
                    note(name, pivot, (number,))
        return {name: {pivot: sorted(own.get(pivot, ())) for pivot in own} for name, own in found.items()}

    def _near(self, once: str) -> dict[str, None]:
        """The pivots that a word of the text may be, misspelt."""
        if len(once) > self._longest + 2:
            return {}
        if once in self._known:
            return self._known[once]
        found: dict[str, None] = {}
        for form in deletions(once, 2):
            for pivot in self._by_slips.get(form, ()):
                if pivot not in found:
                    own = spelling(pivot).once
                    most = _slips(own)
                    if OSA.distance(own, once, score_cutoff=most) <= most:
                        found[pivot] = None
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[once] = found
        return found

    def _alike_in_sound(self, word: str) -> dict[str, None]:
        found: dict[str, None] = {}
        sound = _sound(word)
        if len(sound) <= 2 * self._longest + 3:  # an x sounds like two letters
            for form in deletions(sound, 3):
                found.update(self._by_sound.get(form, {}))
        return found

    def _forms(self, pivot: str) -> Iterator[tuple[dict[str, dict[str, None]], str]]:
        once, sound = spelling(pivot).once, _sound(pivot)
        if len(once) > 2:
            for form in deletions(once, _slips(once)):
                yield self._by_slips, form
        for form in deletions(sound, min(3, max(1, len(sound) // 4)) if len(sound) > 2 else 0):
            yield self._by_sound, form


def check_name(name: str) -> None:
    """Raises ValueError if a name is blank, too long, invalid Unicode, or too short to be told from other words."""
    if not name.strip():
        raise ValueError(f"The name {name!r} is blank. Leave it out.")
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise ValueError(f"The name {name!r} holds half of a character (a lone surrogate). Give it in valid Unicode.")
    if len(name) > _LONGEST:
        raise ValueError(f"The name {name[:20] + '...'!r} has {len(name)} characters. Names have {_LONGEST} at most.")
    if not long_enough(name) and not is_initialism(name):
        raise ValueError(
            f"The name {name!r} is too short, double letters counted once, to be told from parts of other "
            f"words. Give it in full, with at least {MIN_NAME} letters, or leave it out."
        )


def deletions(word: str, most: int) -> set[str]:
    """What is left of a word if up to `most` of its letters are deleted."""
    return {form for count in range(most + 1) for form in deleted(word, count)}


def deleted(word: str, count: int) -> Iterable[str]:
    """What is left of a word if `count` of its letters are deleted."""
    if count > len(word):
        return ()
    if count == 0:
        return (word,)
    if count == 1:
        return {word[:i] + word[i + 1 :] for i in range(len(word))}
    return {"".join(kept) for kept in itertools.combinations(word, len(word) - count)}


def _slips(once: str) -> int:
    """How many slips a word may have and still be looked at."""
    return 2 if len(once) > 5 else 1


def _sound(word: str) -> str:
    return spelling(word).sounds.replace("w", "f")


def _borders(text: str, places: Sequence[int]) -> tuple[set[int], set[int]]:
    """The letters of a skeleton with which a word of the text may begin, and those before which one may end."""
    starts = {letter for letter, place in enumerate(places) if not place or not text[place - 1].isalnum()}
    ends = {letter + 1 for letter, place in enumerate(places) if not text[place + 1 : place + 2].isalnum()}
    for word in _WORD.finditer(text):
        starts.add(max(0, bisect_right(places, word.start()) - 1))
        ends.add(bisect_left(places, word.end()))
    return starts, ends


def _drop(table: dict[str, Any], key: str, value: Hashable) -> None:
    if key in table:
        table[key].pop(value, None)
        if not table[key]:
            del table[key]
