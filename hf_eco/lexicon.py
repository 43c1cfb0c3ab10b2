"""The lexical channel of a prompt classifier: the names of a scope, found in a text however they are spelt."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz
from rapidfuzz.distance import OSA

from .normalisation import skeleton

SUFFIXES = frozenset(("jr", "sr", "ii", "iii", "iv"))
# What a last name by itself adds to a text's log-odds: other people bear it, but seldom where the rest of the text
# already speaks for the scope.
LAST_NAME_LOG_ODDS = 1.5
MIN_NAME = 4  # symbols of the shortest name's skeleton; shorter ones turn up inside other words
_LETTERS_PER_EDIT = 7  # a name of 7 letters may have one letter wrong, one of 14 two, and so on
_MOST_EDITS = 3
_ANYWHERE = 8  # a name of so many letters, spelt right, counts inside of words: spaces may have been left out
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


def without_suffix(name: str) -> str:
    """`name` without "Jr" and the like at its end, which other people bear too."""
    words = name.split()
    return " ".join(words[:-1] if len(words) > 1 and words[-1].strip(".").lower() in SUFFIXES else words)


@dataclass(frozen=True)
class Mention:
    """A name of the scope in a text: `text[start:end]`, with `edits` letters of it wrong."""

    start: int
    end: int
    edits: int

    @property
    def log_odds(self) -> float:
        """How much a mention says that the text is in the scope, as log(p / (1 - p)): 7 (p = 0.999) if it is spelt
        right, 1.5 less for each wrong letter."""
        return 7.0 - 1.5 * self.edits


class Lexicon:
    """Names, matched by their skeletons (see [`skeleton`][hf_eco.normalisation.skeleton]) with a few wrong letters.

    Args:
        names: full names and titles, in any case. A name of several words is found in reverse order too, and with
            middle names.

    Raises:
        ValueError: a name has fewer than `MIN_NAME` letters and digits.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._skeletons: dict[str, int] = {}
        self._full_names: list[re.Pattern[str]] = []
        self._last_names: list[re.Pattern[str]] = []
        for name in names:
            if not name.strip():
                raise ValueError(f"The name {name!r} is blank. Leave it out.")
            words = without_suffix(name.replace(",", " ")).split()
            folded = skeleton(" ".join(words))[0]
            if len(folded) < MIN_NAME:
                raise ValueError(
                    f"The name {name!r} is too short to be told from parts of other words. "
                    f"Use one of at least {MIN_NAME} letters."
                )
            # One word that is one letter away from another is too easily a word of its own.
            edits = min(len(folded) // _LETTERS_PER_EDIT, _MOST_EDITS) if len(words) > 1 else 0
            self._skeletons[skeleton(" ".join(words[-1:] + words[:-1]))[0]] = 0
            self._skeletons[folded] = edits
            if len(words) > 1 and len(words[-1]) > 3:
                self._last_names.append(re.compile(_ALONE.format(re.escape(words[-1][:1].upper() + words[-1][1:]))))
            if len(words) > 1 and len(words[0]) > 2:
                first, last = re.escape(words[0]), re.escape(words[-1])
                self._full_names.append(
                    re.compile(rf"(?<!\w)(?i:{first})\w{{0,5}}(?:\s+[^\W\d_a-z][\w.'’-]*){{0,6}}\s+(?i:{last})(?!\w)")
                )

    def find(self, text: str, skeletal: tuple[str, list[int]] | None = None) -> list[Mention]:
        """The first mention of each name in `text`, if there is one; `skeletal` is its skeleton, where at hand."""
        if not self.names:
            return []
        folded, places = skeletal or skeleton(text)
        where = [*places, len(text)]  # letter i of `folded` is what is left of text[where[i]:where[i + 1]]
        found = (_find(name, edits, text, folded, where) for name, edits in self._skeletons.items())
        mentions = [mention for mention in found if mention is not None]
        if not mentions:  # with middle names, or the first name in full: "Jeffrey Leon Bridges"
            mentions += [Mention(*m.span(), 1) for pattern in self._full_names if (m := pattern.search(text))]
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


def _find(name: str, edits: int, text: str, folded: str, where: Sequence[int]) -> Mention | None:
    at = folded.find(name)
    while at >= 0:
        end = at + len(name)
        start, stop = _word_start(text, where, at), _word_end(text, where, end)
        if start is not None and stop is not None:
            return Mention(start, stop, 0)
        start, stop = where[at], where[end - 1] + 1
        if len(name) >= _ANYWHERE and not any(map(str.isspace, text[start:stop])):
            return Mention(start, stop, 0)
        at = folded.find(name, at + 1)
    if not edits or len(folded) < len(name) - edits:
        return None
    # A letter replaced costs one deletion and one insertion of the similarity's 2 * len(name).
    best = fuzz.partial_ratio_alignment(name, folded, score_cutoff=100.0 * (1 - edits / len(name)))
    if best is None or best.dest_end <= best.dest_start:
        return None
    # It is as long as the name; the words it stands for may be a few letters shorter or longer.
    near = sorted(range(-edits, edits + 1), key=abs)
    firsts = (best.dest_start + shift for shift in near if 0 <= best.dest_start + shift < len(folded))
    lasts = [best.dest_end + shift for shift in near if 0 < best.dest_end + shift <= len(folded)]
    for first, last in itertools.product(firsts, lasts):
        start, stop = _word_start(text, where, first), _word_end(text, where, last)
        if start is not None and stop is not None and start < stop:
            wrong = OSA.distance(name, folded[first:last], score_cutoff=edits)
            if wrong <= edits:
                return Mention(start, stop, max(1, wrong))
    return None


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
