"""Names and texts reduced to forms that can be compared as hashes: a text names somebody if both have a form in
common.

A hash tells nothing but whether two forms are the same, so each way of writing a name that is to be recognised is a
form of its own. The name's side lists all of them, once; the text's side lists those that its words could be.

| kind | form | found |
|---|---|---|
| exact | the words as they come, in any case and spelling of diacritics | anywhere |
| words | the words in any order | within a sentence |
| joined | the letters, spaces anywhere | anywhere |
| slip | one word of up to three without one letter, the others as they are | where people write no such word |
| nickname | another form of the first word ("Bob"), the others as they are | within a sentence |
| middle | the first word, a middle name or its initial if there is one, the last | with capitalised words between |
| short | the first word and the last, of whoever has middle names or titles | within a sentence |
| last | the last name, no ordinary word or first name | standing by itself |
| initials | the initial of the first name, another if there is one, the last name as above | beside each other |
| ordinary | the words of a name of ordinary words | written as a name |
| unspaced | characters of a script without spaces, of those that are alike one | anywhere |

A deletion on both sides is what a letter left out, added, replaced or swapped with its neighbour has in common with
what was meant (Garbe, "SymSpell", 2012).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from ..disguises.characters import one_of_alike
from ..disguises.language import DETERMINERS
from ..disguises.spelling import spelling
from .chance import COMMA, OTHER_WAY, SAID, SLIP, UNKNOWN
from .common import ends_are_common, needs_middle_names, without_middle_names
from .index import deletions
from .initials import initials_of_name
from .last_names import singular, standing_alone, telling_last_name
from .name import SENTENCE_END, written_as_name
from .words import OPENING_WORDS, OTHER_FORMS, TOKEN, UNSPACED, as_written, first_name_first, ordinary_words, read

_SURE = 7.0  # log-odds of a name that is spelt right, as of a `Mention`
_JOINED = 6.5  # less, so that a known answer tells which of the two has found a name
_NICKNAME = 2.9
_SLIP = 4.5
_SHORT_SLIP = 2.5  # in a word that is a slip away from many others
_MIDDLE = 5.5
_LAST = 2.5
_LONG = 7  # letters of a word that is seldom a slip away from another
_SHORTEST = 4  # letters of a word that may have a slip
_SHORTEST_SINGLE = 6  # if the name has no other word
_MIDDLE_WORDS = 4
_LAST_NAME_PARTS = 3  # of a last name with an apostrophe or a hyphen
_MOST_SLIPPED = 3  # words of a name that is found with a slip; of more, too many combinations would be tried
_MOST_JOINED = 4  # words that may be the letters of a name, however many it has
_LONGEST_UNSPACED = 12  # characters
_MOST_LETTERS = 400  # of a name: it has 100 characters, and one may be up to four letters
_REPEATED = re.compile(r"(.)\1+")
_NO_MIDDLE = re.compile(r"[^\s\w.'’-]")
_CHUNK = re.compile(r"\S+")
_UNSPACED_RUN = re.compile(rf"(?:{UNSPACED.pattern}|[・·=＝])+")


@dataclass(frozen=True, slots=True)
class TextForm:
    """A form that a name would have if `text[start:end]` were the name, with log(p / (1 - p)) that it is; `weak` if it
    tells little of whom it is about."""

    form: str
    start: int
    end: int
    log_odds: float
    weak: bool = False


def is_common(form: str, name: str) -> bool:
    """Whether a form of `name` has only its first and its last word, and many bear those."""
    kind = form.partition(" ")[0]
    return (kind == "middle" and ends_are_common(name)) or (kind == "short" and needs_middle_names(name))


def _middles_of_name(word: str) -> tuple[str, str]:
    """What a name's middle name has in common with one of a text that is the same, or if either is an initial."""
    return (word if len(word) > 1 else f"{word}+", f"{word[:1]}-")


def _middles_of_text(word: str) -> tuple[str, ...]:
    return (word, f"{word[:1]}+") if len(word) > 1 else (f"{word}-",)


def most_words(names: Sequence[str]) -> int:
    """How many words the longest of `names` has."""
    return max(len(TOKEN.findall(first_name_first(name))) for name in names)


def forms_of_name(name: str) -> set[str]:
    """All forms under which a name is recognised."""
    bare = first_name_first(name)
    words = [spelling(token).letters for token in TOKEN.findall(bare)]
    forms = {f"unspaced {one_of_alike(characters)}"} if (characters := "".join(UNSPACED.findall(bare))) else set()
    if all(word in ordinary_words() for word in words):
        return forms | {_form("ordinary", words)}
    titled = words[0] in DETERMINERS
    given = [spelling(token).letters for token in TOKEN.findall(as_written(name))]
    forms |= {_form("words", sorted(words))}
    forms |= {form for order in (words, given) for form in (_form("exact", order), _joined(order))}
    if not titled:
        forms.add(_joined(words[-1:] + words[:-1]))
    if (last := telling_last_name(name)) is not None:
        forms.add(f"last {last}")
        forms |= {f"initials {initials} {last}" for initials in initials_of_name(name)}
    shortest = _SHORTEST if len(words) > 1 else _SHORTEST_SINGLE
    for number, word in enumerate(words):
        if word.isalpha() and len(word) >= shortest and len(words) <= _MOST_SLIPPED:
            forms.update(_slips(words, number))
    if len(words) > 1:
        others = OTHER_FORMS.get(words[0], set())
        forms |= {_form("nickname", [other, *words[1:]]) for other in others}
        if called := [spelling(word).letters for word in without_middle_names(name)]:
            firsts = (called[0], *OTHER_FORMS.get(called[0], ()))
            forms |= {_form("short", [first, *called[1:]]) for first in firsts}
        if not titled and min(len(words[0]), len(words[-1])) > 2:
            middles = {form for word in words[1:-1] for form in _middles_of_name(word)} or {""}
            forms |= {_form("middle", [first, own, words[-1]]) for first in (words[0], *others) for own in middles}
    return forms


def forms_of_text(text: str, longest: int, known: Callable[[str], bool]) -> Iterator[TextForm]:
    """The forms of names that stand in `text`, of all that could.

    Args:
        text: the text.
        longest: words of the longest name that is looked for.
        known: whether a form is one of a name that is looked for.
    """
    words = _TextWords(text, known)
    for first in range(len(words.letters)):
        for behind in range(first + 1, min(first + max(longest, _MOST_JOINED), len(words.letters)) + 1):
            if words.behind_letters[behind] - words.behind_letters[first] > _MOST_LETTERS:
                break
            yield from words.forms(first, behind, longest)
        yield from words.with_middle_names(first)
    yield from _last_names(text, known)
    yield from _unspaced(text, known)


class _TextWords:
    """The words of a text."""

    def __init__(self, text: str, known: Callable[[str], bool]) -> None:
        self.text, self.known = text, known
        self.reading = read(text)
        self.letters = [spelling(word).letters for word in self.reading.words]
        self.behind_letters = [0, *accumulate(map(len, self.letters))]  # letters before each word
        self.rarities = [self.reading.rarity(number) for number in range(len(self.letters))]
        self.odd = [
            rarity >= UNKNOWN and not word.isdigit()
            for rarity, word in zip(self.rarities, self.reading.words, strict=True)
        ]
        self.ordinary = [word in ordinary_words() for word in self.letters]

    def forms(self, first: int, behind: int, longest: int) -> Iterator[TextForm]:
        """The forms of a name made of the words from `first` up to `behind`."""
        own, several = self.letters[first:behind], behind - first > 1
        start, end = self.reading.starts[first], self.reading.ends[behind - 1]
        if all(self.ordinary[first:behind]):
            known = len(own) <= longest and self.text[start].isupper() and self.known(form := _form("ordinary", own))
            if known and written_as_name(self.reading, first, behind - 1):
                yield TextForm(form, start, end, _SURE)
            return
        joined = len(own) > _MOST_JOINED or self.known(form := _joined(own))
        if joined and len(own) <= _MOST_JOINED:
            yield TextForm(form, start, end, min(_JOINED, self._surer(first, behind, 0.0)))
        if len(own) > longest:
            return
        # A name's words that are known exactly are known joined, too: a hash less for each stretch of a text.
        if joined and self.known(form := _form("exact", own)) and not self._comma(first, behind):
            yield TextForm(form, start, end, _SURE)
        if several and self.known(form := _form("words", sorted(own))) and self._in_one_sentence(first, behind):
            surer = self._surer(first, behind, COMMA if self._comma(first, behind) else 0.0)
            yield TextForm(form, start, end, surer)
        called = several and self.known(form := _form("short", own)) and not self._comma(first, behind)
        if called and self._in_one_sentence(first, behind):
            yield TextForm(form, start, end, min(_MIDDLE, self._surer(first, behind, 0.0)))
        short = several and own[0] in OTHER_FORMS and self.known(form := _form("nickname", own))
        if short and self._in_one_sentence(first, behind):
            yield TextForm(form, start, end, min(_NICKNAME, self._surer(first, behind, 0.0)))
        for number in range(first, behind) if len(own) <= _MOST_SLIPPED else ():
            if self.odd[number]:
                yield from self._slipped(first, behind, number)

    def _comma(self, first: int, behind: int) -> bool:
        return behind - first > 1 and "," in self.reading.between(first, behind - 1)

    def _in_one_sentence(self, first: int, behind: int) -> bool:
        return not SENTENCE_END.search(self.text, self.reading.ends[first], self.reading.starts[behind - 1])

    def _slipped(self, first: int, behind: int, number: int) -> Iterator[TextForm]:
        """The forms of a name of these words if the one of that number has a wrong letter."""
        own, several = self.letters[first:behind], behind - first > 1
        word, small = self.letters[number], self.reading.cased and self.reading.words[number].islower()
        if word.isalpha() and (len(word) >= _SHORTEST if several else len(word) >= _SHORTEST_SINGLE and not small):
            for form in filter(self.known, _slips(own, number - first)):
                most = _SLIP if several and len(word) >= _LONG else _SHORT_SLIP
                log_odds = min(most, self._surer(first, behind, SLIP))
                yield TextForm(form, self.reading.starts[first], self.reading.ends[behind - 1], log_odds)

    def _surer(self, first: int, behind: int, evidence: float) -> float:
        """Log-odds of a name that is written in another way, against that its words stand there by chance."""
        words = sum(self.rarities[first:behind])
        return min(_SURE, (SAID + OTHER_WAY + evidence + words) * math.log(10))

    def with_middle_names(self, first: int) -> Iterator[TextForm]:
        """The forms of a name whose first word is `first`, with capitalised words between that and its last."""
        words, starts, ends = self.reading.words, self.reading.starts, self.reading.ends
        for middle in range(first + 1, min(first + 1 + _MIDDLE_WORDS, len(words) - 1)):
            seen, between = words[middle], self.text[ends[first] : starts[middle]]
            if not seen[0].isupper() or (len(seen) > 1 and seen.isupper()) or seen.lower() in OPENING_WORDS:
                return
            if _NO_MIDDLE.search(between):
                return
            own = {form: None for word in self.letters[first + 1 : middle + 1] for form in _middles_of_text(word)}
            for seen in ("", *own):
                form = _form("middle", [self.letters[first], seen, self.letters[middle + 1]])
                if self.known(form):
                    rare = self.rarities[first] + self.rarities[middle + 1]
                    log_odds = min(_MIDDLE, (SAID + OTHER_WAY + rare) * math.log(10))
                    yield TextForm(form, starts[first], ends[middle + 1], log_odds)


def _last_names(text: str, known: Callable[[str], bool]) -> Iterator[TextForm]:
    places: dict[str, list[int]] = {}
    for chunk in _CHUNK.finditer(text):
        tokens = list(TOKEN.finditer(text, *chunk.span()))
        for number, token in enumerate(tokens):
            if not text[token.start()].islower():
                for other in tokens[number : number + _LAST_NAME_PARTS]:
                    for last in singular(text[token.start() : other.end()]):
                        places.setdefault(last, []).append(token.start())
    places = {last: own for last, own in places.items() if known(f"last {last}")}
    for found in standing_alone(text, places):
        for own in found.initialled:
            for initials in sorted(own.forms):
                yield TextForm(f"initials {initials} {found.last}", own.start, own.end, _LAST, found.weak)
        for start, end in () if found.initialled else found.bare:
            yield TextForm(f"last {found.last}", start, end, _LAST, found.weak)
        for start, end in found.families:
            yield TextForm(f"last {found.last}", start, end, _LAST, weak=True)


def _unspaced(text: str, known: Callable[[str], bool]) -> Iterator[TextForm]:
    for run in _UNSPACED_RUN.finditer(text):
        places = [place for place in range(*run.span()) if UNSPACED.match(text[place]) and text[place] != "・"]
        characters = one_of_alike("".join(text[place] for place in places))
        for first in range(len(places)):
            for last in range(first + 1, min(first + _LONGEST_UNSPACED, len(places))):
                if known(form := f"unspaced {characters[first : last + 1]}"):
                    yield TextForm(form, places[first], places[last] + 1, _SURE)


def _form(kind: str, words: Sequence[str]) -> str:
    return f"{kind} {' '.join(words)}"


def _joined(words: Sequence[str]) -> str:
    return f"joined {''.join(words)}"


def _slips(words: Sequence[str], number: int) -> Iterator[str]:
    before, behind = " ".join(words[:number]), " ".join(words[number + 1 :])
    for form in _deletions(words[number]):
        yield f"slip {before}~{form}~{behind}"


@lru_cache(maxsize=1 << 12)
def _deletions(word: str) -> frozenset[str]:
    return frozenset(deletions(_REPEATED.sub(r"\1", word), 1))
