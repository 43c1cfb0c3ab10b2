"""The same questions about those who do not exist: names in prompts and answers swapped for made-up ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ...detection.names import OPENING_WORDS
from ..augmentation import shipped_prompts
from ..subjects import find_satellites
from .made_up import MadeUpNames, real_places
from .questions import QuestionSet, text_of

_SHORTEST_PART = 3  # letters of a word of a name that is swapped where it stands alone
_WORD = re.compile(r"[^\W\d_][\w-]*")
_QUOTED = re.compile(r"(?<!\w)[\"“'‘]([^\"“”\n]{3,80}?)[.,!?]?[\"”'’](?!\w)")
KnownWord = Callable[[str], bool]


@dataclass(frozen=True)
class Entities:
    """Whom and what questions speak of.

    Attributes:
        subjects: full names of whom or which the scope is about. Their words are swapped wherever they stand alone.
        others: names that stand beside them, of which only the words that no model knows otherwise are swapped.
        works: books, prizes and other things with titles.
        places: towns and countries.
    """

    subjects: tuple[str, ...]
    others: tuple[str, ...] = ()
    works: tuple[str, ...] = ()
    places: tuple[str, ...] = ()


def find_entities(questions: QuestionSet, subjects: Sequence[str], known_word: KnownWord) -> Entities:
    """Everything in `questions` and their answers that has a name.

    Beside `subjects`, what [`find_satellites`][hf_eco.training.subjects.find_satellites] finds: what stands in
    quotation marks is a work, what is listed among the package's places a place, and capitalised runs of several words
    are names of others if a word in them is not a `known_word`: "Fikadu Abera" is one, "Real Estate Agent" is not.
    """
    texts = [text_of(prompt) for prompt in questions.prompts]
    texts += list(questions.answers or ())
    texts += [text for own in questions.wrong_answers or () for text in own]
    quoted = set(_QUOTED.findall("\n".join(texts)))
    others, works, places = [], [], []
    for phrase in sorted(find_satellites(texts, shipped_prompts(), subjects)):
        if phrase.lower() in real_places():
            places.append(phrase)
        elif phrase in quoted:
            works.append(phrase)
        elif " " in phrase and not all(_is_known(word, known_word) for word in _WORD.findall(phrase)):
            others.append(phrase)
    return Entities(tuple(subjects), tuple(others), tuple(works), tuple(places))


class NameSwap:
    """Swaps names for made-up ones, the same name for the same made-up one wherever it stands.

    Names are swapped word by word, so that a last name alone stays that person's and relatives share it; a work gets
    another title of about as many words, a place another name. All else is left as it is.

    Args:
        entities: whom and what to swap.
        known_word: whether a word is common; such a word of a name of `others` stays.
        seed: of the made-up names.
        taken: texts in which the made-up names must not occur.
    """

    def __init__(self, entities: Entities, known_word: KnownWord, seed: str, taken: Sequence[str] = ()) -> None:
        made_up = MadeUpNames(seed, re.findall(r"\w+", "\n".join(taken).lower()))
        words: dict[str, str] = {}
        self._whole: dict[str, str] = {}  # in lower case
        self._parts: dict[str, str] = {}  # as they stand, for a word in small letters is another
        self._bearer: dict[str, str] = {}  # of a part: the whole name
        for name in entities.subjects:
            for word in _WORD.findall(name):
                if word.lower() not in OPENING_WORDS and (word[0].isupper() or name.islower()):
                    words.setdefault(word.lower(), made_up.word(len(word)))
                    if word[0].isupper() and len(word) >= _SHORTEST_PART:
                        self._parts[word] = words[word.lower()]
                        self._bearer.setdefault(word, name.lower())
        for name in entities.others:
            for word in _WORD.findall(name):
                if word[0].isupper() and not _is_known(word, known_word):
                    words.setdefault(word.lower(), made_up.word(len(word)))
        for name in (*entities.subjects, *entities.others):
            self._whole[name.lower()] = _WORD.sub(lambda match: words.get(match[0].lower(), match[0]), name)
        for work in entities.works:
            self._whole[work.lower()] = made_up.title(len(work.split()))
        for place in entities.places:
            self._whole[place.lower()] = made_up.word(len(place))
        alternatives = [f"(?i:{re.escape(name)})" for name in _longest_first(self._whole)]
        alternatives += [re.escape(part) for part in _longest_first(self._parts)]
        self._pattern = re.compile(rf"(?<!\w)(?:{'|'.join(alternatives) or '(?!)'})(?!\w)")

    def __call__(self, text: str) -> str:
        """`text` with its names swapped."""
        return self._pattern.sub(lambda match: self._swapped(match[0]), text)

    def names_in(self, text: str) -> set[str]:
        """The names that are swapped in `text`, whole and in lower case."""
        return {self._bearer.get(name, name.lower()) for name in self._pattern.findall(text)}

    def _swapped(self, name: str) -> str:
        swapped = self._parts.get(name) or self._whole[name.lower()]
        if name.islower():
            return swapped.lower()
        return swapped.upper() if name.isupper() and len(name) > 1 else swapped


def _longest_first(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (-len(name), name))


def _is_known(word: str, known_word: KnownWord) -> bool:
    return known_word(word) or known_word(word.lower())
