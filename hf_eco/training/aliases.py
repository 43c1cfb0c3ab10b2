"""Other names of a person, found in texts about the person."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..data import shipped_names
from ..detection.disguises.language import FUNCTION_WORDS
from ..detection.names import long_enough, without_suffix
from ..detection.names.last_names import last_name_of
from ..detection.names.words import (
    BEFORE_FIRST_NAMES,
    OTHER_FORMS,
    SUFFIXES,
    as_written,
    first_name_first,
    known_words,
    ordinary_words,
)
from .alias_statements import Source, Statement, names_in, sentences_of, statements_in

_OFTEN = 3  # sentences that a rank with a name, or a name of one word, must stand in
_TWICE = 2  # sentences that a part of a name in full must stand in
_MOSTLY = 0.2  # share of the sentences; a short form that so many use is worth a person's look
_TITLES = BEFORE_FIRST_NAMES.union(
    ["baron", "baroness", "count", "countess", "duchess", "duke", "earl", "lady", "lord", "marquess", "viscount"]
)
_ORDINAL = re.compile(r"^\d+(?:st|nd|rd|th)\s+")
_STYLE = re.compile(
    r"^(?:(?:His|Her|Their)\s+(?:\w+\s+)?(?:Highness|Majesty|Grace|Excellency|Holiness|Eminence)\s+)?(?:[Tt]he\s+)?"
)
_ADDRESS = re.compile(r"^(?:Sir|Dame|Dr\.?|Prof\.?|Professor)\s+(?=\S+\s+\S)")
_HONOURS = re.compile(r"(?<=\S\s)(\S*[a-z]\S*)(?:\s(?!I+V?\b)[A-Z]{2,5})+$")  # behind a last name: OBE, PhD
_SHOWN = 160  # characters of a sentence


@dataclass(frozen=True)
class Alias:
    """Another name of a person.

    Attributes:
        name: the name.
        why: how the texts give it; of a doubtful one, what speaks against it.
        count: how many sentences it stands in.
        evidence: the sentence that tells of it, or the first it stands in where none does.
    """

    name: str
    why: str
    count: int
    evidence: str


@dataclass(frozen=True)
class FoundAliases:
    """What texts tell of a person's other names.

    Attributes:
        aliases: those to look for, the most frequent first.
        doubtful: those that others may bear, and ordinary words. A guard that looked for them would touch prompts
            about others; that is for a person to decide.
    """

    aliases: tuple[Alias, ...]
    doubtful: tuple[Alias, ...]


def find_aliases(names: Sequence[str], documents: Sequence[str]) -> FoundAliases:
    """Finds a person's other names in texts about the person: birth, stage and pen names, titles, nicknames.

    Taken is what a text says of the person, in forms such as "A, known professionally as B", "A (born B; 1958)" and
    'A "B" C', one statement leading to the next; the fuller name with which the first text opens; and parts of a name
    with a title. A wrong alias is worse than a missed one, so read the evidence.

    Args:
        names: the full name, and the aliases that are known already.
        documents: texts about the person in English, first the one that introduces the person.

    Raises:
        ValueError: there are no names.
    """
    given = [name.strip() for name in names if name.strip()]
    if not given:
        raise ValueError("There is no name to find aliases of. Pass e.g. names=['Jane Doe'].")
    return _Search([_as_said(name) for name in given], documents).found()


def _as_said(name: str) -> str:
    """A name as texts write it: "Jane Doe" for "Doe, Jane". The comma before a title stays."""
    said = first_name_first(name)
    return name if said == as_written(name) else said


class _Search:
    """What is known of one person's names, and what texts tell of them."""

    def __init__(self, given: Sequence[str], documents: Sequence[str]) -> None:
        texts = [sentences_of(document) for document in documents]
        told = [statements_in(text) for text in texts]
        self.sentences = [sentence for text in texts for sentence in text]
        self.runs = Counter(run for s in self.sentences for run in {name for name, _, _ in names_in(s)})
        self.statements = [statement for own in told for statement in own]
        self.introduction = told[0] if told else []
        self.given = given
        self.names = {_key(part): part for name in given for part in _parts(name)}  # in full
        self.aliases: dict[str, Alias] = {}
        self.doubtful: dict[str, Alias] = {}

    def found(self) -> FoundAliases:
        self._take_parts()
        before = -1
        while before < len(self.aliases):
            before = len(self.aliases)
            for statement in self.statements:
                self._follow(statement)
        self._doubt_short_forms()
        ranked = [sorted(own.values(), key=lambda a: (-a.count, a.name)) for own in (self.aliases, self.doubtful)]
        return FoundAliases(tuple(ranked[0]), tuple(ranked[1]))

    def _take_parts(self) -> None:
        """Takes the parts of the given names that the texts use by themselves, and a first name behind a rank."""
        parts = [part for name in self.given for part in _parts(name) if part != name and _title_of(part) in _TITLES]
        first_names = {part.split()[0] for part in self.names.values() if _title_of(part) not in _TITLES}
        first_names |= {part.split()[1] for part in self.names.values() if _title_of(part) in BEFORE_FIRST_NAMES}
        ranked = [
            run
            for run in self.runs
            if _title_of(run) in BEFORE_FIRST_NAMES and run.partition(" ")[2] in first_names - {"of"}
        ]
        for name, fewest in (*((part, _TWICE) for part in parts), *((run, _OFTEN) for run in ranked)):
            if self._count(name) >= fewest:
                self._take(Statement("", name, Source.SHORT, self._first_with(name)))

    def _follow(self, statement: Statement) -> None:
        """Takes a name that is said to be the person's, or whose other name is one of the person's."""
        if statement.source is Source.OPENING:
            if self._is_introduced(statement):
                self._take(statement)
        elif not statement.of or self._is_own(statement.of):
            self._take(statement)
        elif _key(statement.name) in self.names:
            self._take(replace(statement, name=statement.of))

    def _is_introduced(self, statement: Statement) -> bool:
        """Whether a text opens with a fuller form of a name; or the first one with another of the same last name."""
        words = _words(_bare(statement.name))
        for name in self.given:
            own = _words(name)
            if len(own) > 1 and _is_fuller(words, own):
                return True
            introduced = statement in self.introduction and len(words) > 1
            if introduced and (own[-1:] == words[-1:] if len(own) > 1 else own[0] in words):
                return not _stands_in(own[0], statement.sentence.replace(statement.name, "").lower())
        return False

    def _is_own(self, name: str) -> bool:
        """Whether a name is the person's, or the first or last word of one."""
        if (key := _key(name)) in self.names:
            return True
        return " " not in key and any(key in (own.split()[0], own.split()[-1]) for own in self.names)

    def _take(self, statement: Statement) -> None:
        """Notes a name, with doubt where there is some."""
        name = _bare(statement.name)
        key = _key(name)
        if not key or key in self.aliases or key in self.doubtful or key in map(_key, self.given):
            return
        count = self._count(name)
        doubt = self._doubt(name, statement, count)
        alias = Alias(name, doubt or statement.source.value, count, _excerpt(statement.sentence, name))
        if doubt:
            self.doubtful[key] = alias
            return
        self.names[key] = name
        if not any(_is_found_by(own, key) for own in self.given):
            self.aliases[key] = alias

    def _doubt(self, name: str, statement: Statement, count: int) -> str:
        """What speaks against looking for a name; "" if nothing does."""
        words = [word for word in _words(name) if word not in FUNCTION_WORDS]
        if not long_enough(name):
            return "too short to be told from parts of other words"
        if name in {other for kind in ("works", "organisations", "places") for other in shipped_names()[kind]}:
            return "something else is called so"
        if any(_key(s.name) == _key(name) and s.of and not self._is_own(s.of) for s in self.statements):
            return "somebody else is called so in the texts"
        if len(words) < 2 and statement.source is not Source.SCRIPT:
            return self._doubt_of_word(words[0] if words else "", statement, count)
        known = known_words()
        own = {word for given in self.given for word in _words(given)}
        if statement.source is Source.NICKNAME and all(word in known for word in words) and own.isdisjoint(words):
            return "an epithet, which others may bear"
        return ""

    def _doubt_of_word(self, word: str, statement: Statement, count: int) -> str:
        if any(word in key.split() for key in self.names):
            return "a first or last name alone, which others bear"
        famous = word in {person.lower() for person in shipped_names()["people"]} and word not in ordinary_words()
        if word in known_words() and not famous:
            return "an ordinary word, or a name that many bear"
        if statement.source is Source.NICKNAME:
            return "a nickname of one word, which others may bear"
        return "" if count >= _OFTEN else "one word, and the texts seldom use it"

    def _doubt_short_forms(self) -> None:
        """Notes the words of a name by which the texts call the person mostly, and by which nobody is recognised."""
        forms = {form for name in self.names.values() for form in (name.split()[0], without_suffix(name).split()[-1])}
        for form in forms:
            count = self._count(form)
            last = (
                any(last_name_of(name) == form for name in self.names.values()) and form.lower() not in known_words()
            )
            if (
                not last
                and _key(form) not in self.names
                and count >= _MOSTLY * len(self.sentences)
                and count >= _OFTEN
            ):
                why = "a first or last name alone, which others bear"
                evidence = _excerpt(self._first_with(form), form)
                self.doubtful.setdefault(_key(form), Alias(form, why, count, evidence))

    def _count(self, name: str) -> int:
        return max(self.runs[name], sum(_stands_in(name, sentence) for sentence in self.sentences))

    def _first_with(self, name: str) -> str:
        return next(sentence for sentence in self.sentences if _stands_in(name, sentence))


def _is_found_by(given: str, key: str) -> bool:
    """Whether a guard that looks for a given name finds a longer one, too; "Elizabeth II" is no longer "Elizabeth"."""
    own = _key(given)
    return (" " in own or " " not in given) and long_enough(given) and f" {own} " in f" {key} "


def _parts(name: str) -> list[str]:
    """A name, and what stands before and behind the comma before a title: "Prince Harry, Duke of Sussex"."""
    parts = [part.strip() for part in name.split(",")]
    titled = len(parts) > 1 and all(parts) and parts[-1].lower().strip(".") not in SUFFIXES
    return [name, *parts] if titled else [name]


def _title_of(name: str) -> str:
    """The first word of a name of several, which may be a title."""
    first, _, rest = _ORDINAL.sub("", name).lower().partition(" ")
    return first.strip(".") if rest else ""


def _bare(name: str) -> str:
    """A name without style, address and honours: not "His Royal Highness the ...", "Sir", "OBE"."""
    return _HONOURS.sub(r"\1", _ADDRESS.sub("", _STYLE.sub("", name)))


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W_]+", without_suffix(name).lower())


def _key(name: str) -> str:
    """What forms of a name have in common. The father, Sr., has another."""
    words = _words(_bare(name))
    return " ".join([*words, "sr"] if re.search(r"\bSr\b", name) else words)


def _is_fuller(words: Sequence[str], own: Sequence[str]) -> bool:
    """Whether `words` are those of a name, in order, with others before, between or, joined by a hyphen, behind."""
    at = 0
    for word in own:
        while at < len(words) and words[at] != word and word not in OTHER_FORMS.get(words[at], ()):
            at += 1
        if at == len(words):
            return False
        at += 1
    return at == len(words)


def _stands_in(name: str, sentence: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", sentence) is not None


def _excerpt(sentence: str, name: str) -> str:
    """The part of a sentence around a name."""
    at = max(0, sentence.find(name))
    start = max(0, min(at - _SHOWN // 2, len(sentence) - _SHOWN))
    cut = sentence[start : start + _SHOWN]
    return f"{'...' if start else ''}{cut}{'...' if start + _SHOWN < len(sentence) else ''}"
