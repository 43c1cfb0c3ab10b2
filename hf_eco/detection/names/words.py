"""The words of a text as the lexicon reads them, and the words it knows."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from ...data import shipped_names, shipped_rows
from ..disguises import skeleton
from ..disguises.language import DETERMINERS, FUNCTION_WORDS
from ..disguises.spelling import Spelling, spelling
from .chance import RARE, UNKNOWN, rarity, rarity_in_english, tables_of

_JUNIORS = frozenset(("jr", "sr"))
SUFFIXES = _JUNIORS | {"ii", "iii", "iv"}
_DEGREES = frozenset(("cbe", "dbe", "dds", "esq", "jd", "kbe", "mba", "mbe", "md", "obe", "phd", "rn"))
_COMMA = re.compile("[,\u060c\uff0c]")
_MOST_LAST_NAMES = 2  # words of a last name that stands before a comma
MIN_NAME = 4  # symbols of the shortest name's skeleton; shorter ones turn up inside other words
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
TOKEN = re.compile(r"[^\W_]+(?:[*#~^•·]+[^\W_]+)*[\u0300-\u036f]*")
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff]")
_BEGINNING = re.compile(r"[.?!:\n]")
_INITIALISM = re.compile("(?=.*[A-Z])[A-Z0-9]{3}")
_LONG_WORD = re.compile(r"[^\W_]{4,}")
_WORD = re.compile(r"\w+")
_FEW = 9  # words, each of which is looked for at once before all words of a text are
_CARELESS = 0.2  # of the words without a capital; in a text where so many are misspelt others are, too
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
# Ann Norton is called Ms. Norton, too
HONORIFICS = frozenset(
    {
        "coach", "congressman", "congresswoman", "detective", "doctor", "dr", "governor", "judge", "justice", "mayor",
        "minister", "miss", "mr", "mrs", "ms", "mx", "officer", "president", "prof", "professor", "senator",
    }
)  # fmt: skip
PARTICLES = frozenset(("van", "von", "de", "den", "der", "di", "la", "le", "da", "dos", "del", "of", "bin", "ibn"))
# Whoever bears such a rank is called by a first name: Prince Harry, Pope Francis
BEFORE_FIRST_NAMES = frozenset(
    {
        "brother", "dame", "emperor", "empress", "father", "king", "mother", "pope", "prince", "princess", "queen",
        "saint", "sir", "sister", "sultan", "tsar",
    }
)  # fmt: skip
OTHER_FORMS: dict[str, set[str]] = {}
for _group in _NICKNAMES.split(","):
    _full, *_short = _group.split()
    for _form in _short:
        OTHER_FORMS.setdefault(_full, set()).add(_form)
        OTHER_FORMS.setdefault(_form, set()).add(_full)


def without_suffix(name: str) -> str:
    """`name` without "Jr" and the like at its end, which is often left out; but without its number Elizabeth II would
    be every Elizabeth."""
    words = name.split()
    suffix = words[-1].strip(".").lower() if words else ""
    return " ".join(words[:-1] if suffix in SUFFIXES and len(words) > (1 if suffix in _JUNIORS else 2) else words)


def first_name_first(name: str) -> str:
    """`name` as people say it, without commas or "Jr" and the like: "Jane Marie Doe" for "Doe, Jane Marie". A title
    stays behind ("Jane Doe, Duchess of Wexbridge"), and so do names in scripts that put the last name first."""
    parts = [part.strip() for part in _COMMA.split(without_suffix(name)) if part.strip()]
    parts = parts[:1] + [part for part in parts[1:] if _plain(part) not in _JUNIORS | _DEGREES]
    if len(parts) == 2 and not UNSPACED.search(name) and _is_last_name(parts[0]) and _is_first_name(parts[1]):
        parts.reverse()
    return without_suffix(" ".join(parts))


def as_written(name: str) -> str:
    """`name` in the order in which it was given, without commas or "Jr" and the like."""
    return without_suffix(_COMMA.sub(" ", name))


def _plain(part: str) -> str:
    return part.replace(".", "").lower()


def _is_last_name(part: str) -> bool:
    """Whether what stands before the comma of a name may be a last name; "Davis Jr." is one."""
    return len([word for word in part.split() if _plain(word) not in SUFFIXES]) <= _MOST_LAST_NAMES


def _is_first_name(part: str) -> bool:
    """Whether what stands behind it may be first names, or a title before them, and not a title of its own."""
    words = [_plain(word) for word in part.split()]
    titled = "of" in words or (words[0] in DETERMINERS and len(words) > 1)
    return not titled and words[0] not in SUFFIXES


def long_enough(name: str) -> bool:
    """Whether `name` can be told from parts of other words: by `MIN_NAME` letters and digits, or half as many
    characters of a script that has one for a syllable or a word."""
    folded = skeleton(first_name_first(name))[0]
    return len(folded) + len(UNSPACED.findall(folded)) >= MIN_NAME


def is_initialism(name: str) -> bool:
    """Whether `name` is three capitals or digits that people seldom write, like DMX: short, but found as a word."""
    return bool(_INITIALISM.fullmatch(name.strip())) and rarity_in_english(name.strip()) >= RARE


@lru_cache(maxsize=1)
def known_words() -> frozenset[str]:
    """The words of the names, paragraphs and English prompts shipped with the package: one of them is no misspelling
    of another."""
    names = " ".join(name for names in shipped_names().values() for name in names)
    words = re.findall("[a-z]+", f"{_shipped_english()} {names}".lower())
    return FUNCTION_WORDS.union(OPENING_WORDS, OTHER_FORMS, words)


@lru_cache(maxsize=1)
def ordinary_words() -> frozenset[str]:
    """The words that the English prompts and the paragraphs shipped with the package hold in small letters: a name of
    such words alone is an ordinary phrase as well."""
    return FUNCTION_WORDS.union(re.findall(r"\b[a-z]+\b", _shipped_english()))


def _shipped_english() -> str:
    texts = [row["prompt"] for row in shipped_rows("general/prompts") if row["kind"] != "language"]
    texts += [row["text"] for row in shipped_rows("general/paragraphs")]
    return " ".join(texts)


@dataclass
class Reading:
    """The words of a text.

    Attributes:
        text: the text.
        words, starts, ends: each word, and where it starts and ends in the text.
        numbers: for each distinct word, by which numbers it stands in the text.
        odd: the spellings of words that are not known, which may be misspelt, and their numbers.
        foreign: the numbers of words in other alphabets.
        careless: whether many words are misspelt.
        cased: whether there is a capital: a name would have one.
    """

    text: str
    words: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    numbers: dict[str, list[int]] = field(default_factory=dict)
    odd: dict[str, list[int]] = field(default_factory=dict)
    foreign: list[int] = field(default_factory=list)
    careless: bool = False
    cased: bool = False

    def places(self) -> Iterator[tuple[str, list[int]]]:
        """Each spelling of each distinct word, right or wrong in one of the ways of `Spelling`, and that word's
        numbers. A word that is known has one spelling, unless the text is careless."""
        for word, numbers in self.numbers.items():
            small = word.lower()
            if small in known_words():
                yield small, numbers
            if self.careless or small not in known_words():
                for key in keys_of(spelling(word)):
                    yield key, numbers

    def known(self, number: int) -> bool:
        return self.words[number].lower() in known_words()

    def rarity(self, number: int) -> float:
        """-log10 of the frequency of a word, in the language of the text or in English."""
        return rarity(self.words[number], self._tables)

    def common(self, number: int) -> bool:
        """Whether people write that word, or number, in other texts."""
        return self.rarity(number) < UNKNOWN or self.words[number].isdigit()

    def between(self, first: int, last: int) -> str:
        """What stands between two words: other words and all."""
        return self.text[self.ends[first] : self.starts[last]]

    @cached_property
    def upper(self) -> bool:
        """Whether the text has capitals and no small letters."""
        return self.text.isupper()

    @cached_property
    def begins(self) -> tuple[bool, ...]:
        """Of each word, whether a sentence, a line or the text begins with it."""
        begins = []
        for number, start in enumerate(self.starts):
            _, word, gap = self.text[self.ends[number - 1] if number else 0 : start].rpartition("_")
            begins.append(_BEGINNING.search(gap) is not None or (number == 0 and not word))
        return tuple(begins)

    @cached_property
    def _tables(self) -> tuple[Mapping[str, float], ...]:
        return tables_of([word.lower() for word in self.words])


@lru_cache(maxsize=16)
def read(text: str) -> Reading:
    """The words of `text`; the last few texts are remembered, as all lexicons read the same."""
    reading = Reading(text)
    small_words = odd_words = 0
    known = known_words()
    for number, match in enumerate(TOKEN.finditer(text)):
        word = match[0]
        reading.words.append(word)
        reading.starts.append(match.start())
        reading.ends.append(match.end())
        small = word.lower()
        uncapitalised = word == small or number == 0
        small_words += uncapitalised
        odd_words += uncapitalised and small.isalpha() and small not in known
        reading.numbers.setdefault(word, []).append(number)
    reading.cased = not text.islower()
    reading.careless = odd_words > _CARELESS * small_words
    for word, numbers in reading.numbers.items():
        is_known = word.lower() in known
        if is_known and not reading.careless:  # else it may be a slip, too
            continue
        spelt = spelling(word)
        if spelt.foreign and not is_known:
            reading.foreign += numbers
        elif is_known or len(spelt.once) > 1:
            reading.odd.setdefault(spelt.once, []).extend(numbers)
    return reading


def keys_of(spelt: Spelling) -> set[str]:
    """By which a word is found: `Reading.places`."""
    return {spelt.letters, f"1{spelt.once}", f"2{spelt.shuffled}", f"3{spelt.consonants}", f"4{spelt.sounds}"}


def telling_words(mention: str) -> set[str]:
    """The words of a mention that tell of it by themselves, `_in_any_case`. Short ones and ordinary ones do not."""
    return set(map(_in_any_case, set(_LONG_WORD.findall(mention.lower())) - ordinary_words()))


def words_elsewhere(words: Collection[str], text: str) -> Iterator[tuple[str, int, int]]:
    """Where telling words stand in `text` by themselves, in any case: each, and where it begins and ends."""
    if len(words) < _FEW and text.isascii():
        small = text.lower()
        if not any(word in small for word in words):
            return
    for run in _WORD.finditer(text):
        word = _in_any_case(run[0])
        if word in words:
            yield word, *run.span()


def _in_any_case(word: str) -> str:
    """What all ways to write a word with capitals and without have in common, character by character."""
    return word.lower() if word.isascii() else "".join(map(_character_in_any_case, word))


@lru_cache(maxsize=1 << 12)
def _character_in_any_case(character: str) -> str:
    capital = character.upper()  # of the dotless i as well as of the other
    return (capital if len(capital) == 1 else character).lower()[0]
