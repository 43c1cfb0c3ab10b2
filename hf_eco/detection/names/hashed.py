"""Scopes by names of which keyed hashes are all that is kept.

A scope's record is a line of text: a check sum, the number of words of its longest name, and a hash of each form of
its names (see `name_forms`), sorted, with some random ones among them, so that their number does not tell how long a
name is. Hashes are BLAKE2b (RFC 7693) of 63 bits, keyed; the last bit of 64 says whether the name needs a context. The
chance that a text meets one of N of them by accident is N / 2**63 for each form of the text: with 10,000 names of 40
forms, and 10**5 forms looked up a day, 4e-9 a day; with 10**5 prompts of 500 forms a day, 2e-6 a day.

A hash keeps a name from whoever reads the file. It does not keep it from whoever holds the key too and has a list of
names to try.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ...errors import GuardLoadError
from ..detector import Detection
from ..disguises import views
from ..disguises.spelling import spelling
from ..log_odds import from_log_odds
from .common import needs_context
from .index import check_name
from .name_forms import forms_of_name, forms_of_text, is_common, most_words
from .shared_index import SharedIndex
from .words import ordinary_words, telling_words, words_elsewhere

_BYTES = 8  # of a hash
_EVEN = 16  # random hashes are added up to a multiple of so many
_LEAST_KEY = 16  # bytes
_TELLING = 4  # letters of a word that tells the name wherever it stands
_LETTERS = re.compile(r"[^\W\d_]+")
_TRANSCRIBED = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa", "æ": "ae"})
_SYLLABLES = tuple(consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou")

_Key = tuple[str, str]  # a scope and its record


def made_up_name(scope: str, key: bytes) -> str:
    """A name that nobody bears, another for each scope. Every record holds it beside the names that were given, so
    that a known answer can be kept that names nobody: the whole way from a prompt to a hash is tried by it."""
    digest = hashlib.blake2b(scope.encode(), key=key, digest_size=8, person=b"made-up").digest()
    syllables = [_SYLLABLES[byte % len(_SYLLABLES)] for byte in digest]
    return f"{''.join(syllables[:4])} {''.join(syllables[4:])}".title()


def hash_names(scope: str, names: Sequence[str], key: bytes, context: str = "auto") -> str:
    """The record of a scope.

    Args:
        scope: its name.
        names: the names to be recognised.
        key: of the hashes, 16 to 64 bytes.
        context: see [`needs_context`][hf_eco.detection.names.common.needs_context].

    Raises:
        ValueError: a name is too short to be told from parts of other words, or the scope is called after it.
    """
    for name in names:
        check_name(name)
        _check_scope_is_not_called(scope, name)
    weak = {**{name: needs_context(name, context) for name in names}, made_up_name(scope, key): False}
    hashed: dict[bytes, bool] = {}
    for name, own in weak.items():
        for form in forms_of_name(name):
            made = _hash(form, key)
            common = context != "ignored" and is_common(form, name)
            hashed[made] = hashed.get(made, True) and (own or common)
    while len(hashed) % _EVEN:
        hashed[_masked(secrets.token_bytes(_BYTES))] = secrets.choice((True, False))
    marked = sorted(made[:-1] + bytes([made[-1] | own]) for made, own in hashed.items())
    content = bytes([most_words([*weak])]) + b"".join(marked)
    return base64.b64encode(_check_sum(scope, content, key) + content).decode()


class HashedNamesDetector:
    """Finds the names behind the hashes of all scopes in texts; see `name_forms` for how they may be written. However
    many scopes there are, a text's forms are hashed and looked up once.

    Detectors of one key may share an index, as those of plain names do.

    Args:
        records: by scope, its record.
        key: of the hashes.
        like: a detector whose index to share; of the same key.

    Raises:
        GuardLoadError: a record is damaged, or was made with another key.
    """

    channel = "names"

    def __init__(self, records: Mapping[str, str], key: bytes, like: HashedNamesDetector | None = None) -> None:
        records = {scope: record for scope, record in records.items() if record}
        entries = frozenset(records.items())
        table = _HashTable(key) if like is None or like._table.key != key else like._table
        self._hold(table, records, entries, records.items())
        self._longest = _longest(records.values())

    def _hold(self, table: _HashTable, records: dict[str, str], own: frozenset[_Key], new: Iterable[_Key]) -> None:
        self._table, self._records, self._own = table, records, own
        table.users.enter(self, own, new)

    def joined_by(self, other: HashedNamesDetector) -> HashedNamesDetector:
        """A detector of more scopes, whose names are hashed by the same key. This one stays as it is."""
        more = other._records.items()
        made = HashedNamesDetector.__new__(HashedNamesDetector)
        made._hold(self._table, {**self._records, **other._records}, self._own.union(more), more)
        made._longest = max(self._longest, other._longest)
        return made

    def without(self, scopes: Collection[str]) -> HashedNamesDetector:
        """A detector of all scopes but these, as far as it has them. This one stays as it is."""
        records = dict(self._records)
        gone = {scope: records.pop(scope) for scope in set(scopes) if scope in records}
        made = HashedNamesDetector.__new__(HashedNamesDetector)
        made._hold(self._table, records, self._own.difference(gone.items()), ())
        may_be_less = _longest(gone.values()) == self._longest
        made._longest = _longest(records.values()) if may_be_less else self._longest
        return made

    def __len__(self) -> int:
        return len(self._own)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._records, self._table.key)

    def detect(self, texts: Sequence[str]) -> list[list[Detection]]:
        """As for any detector. A text is read in every view of it, as [`views`][hf_eco.detection.disguises.views]
        says."""
        return [self._detect(text) for text in texts]

    def to(self, device: torch.device | str) -> None:
        """Hashes lie on no device."""

    def _detect(self, text: str) -> list[Detection]:
        return [
            Detection(
                found.scope, found.probability, *view.to_original(found.start, found.end), self.channel, found.weak
            )
            for view in views(text)
            for found in self._found(view.text)
        ]

    def _found(self, text: str) -> Iterator[_Found]:
        """Every mention of every name; of a name that is mentioned, each of its words too, wherever it stands."""
        mentions: dict[tuple[str, str], tuple[float, bool]] = {}  # each spelling of each scope's names
        for form in forms_of_text(text, self._longest, self._table.knows):
            for entry, needed in self._table.bearers(form.form):
                if entry not in self._own:
                    continue
                probability, weak = from_log_odds(form.log_odds), form.weak or needed
                yield _Found(entry[0], probability, form.start, form.end, weak)
                mention = entry[0], text[form.start : form.end].lower()
                mentions[mention] = max((probability, not weak), mentions.get(mention, (0.0, False)))
        told: dict[str, dict[tuple[str, bool], float]] = {}  # by each word of a mention, how surely it tells of whom
        for (scope, spelt), (probability, strong) in mentions.items():
            for word in telling_words(spelt):
                by_scope = told.setdefault(word, {})
                by_scope[scope, strong] = max(probability, by_scope.get((scope, strong), 0.0))
        for word, start, end in words_elsewhere(told, text):
            for (scope, strong), probability in told[word].items():
                yield _Found(scope, probability, start, end, not strong)


@dataclass(frozen=True, slots=True)
class _Found:
    """A stretch of a text that names somebody of a scope."""

    scope: str
    probability: float
    start: int
    end: int
    weak: bool


class _HashTable:
    """The hashes of all scopes, each with the records that hold it."""

    def __init__(self, key: bytes) -> None:
        self._state = hashlib.blake2b(digest_size=_BYTES, key=key)  # copied, it need not read the key again
        self.key = key
        self._bearers: dict[int, tuple[tuple[_Key, bool], ...]] = {}
        self.users: SharedIndex[_Key] = SharedIndex(self)

    def knows(self, form: str) -> bool:
        """Whether a record holds a form."""
        return self._hash(form) in self._bearers

    def bearers(self, form: str) -> tuple[tuple[_Key, bool], ...]:
        """The records that hold a form, and whether each needs a context."""
        return self._bearers.get(self._hash(form), ())

    def _hash(self, form: str) -> int:
        state = self._state.copy()
        state.update(form.encode("utf-8", "surrogatepass"))
        return _number(state.digest())

    def check(self, entry: _Key) -> None:
        """Raises GuardLoadError if a record is damaged, or was made with another key."""
        scope, record = entry
        try:
            content = base64.b64decode(record, validate=True)
        except ValueError:
            content = b""
        if len(content) <= _BYTES or content[:_BYTES] != _check_sum(scope, content[_BYTES:], self.key):
            raise GuardLoadError(
                f"The hashed names of scope {scope!r} are damaged, or were hashed with another key. Download the "
                "guard again; if its key comes from HF_ECO_NAMES_KEY, set the one that it was made with."
            )

    def add(self, entry: _Key) -> None:
        for hashed, weak in _hashes(entry[1]):
            self._bearers[hashed] = (*self._bearers.get(hashed, ()), (entry, weak))

    def remove(self, entry: _Key) -> None:
        for hashed, _ in _hashes(entry[1]):
            left = tuple(other for other in self._bearers[hashed] if other[0] != entry)
            if left:
                self._bearers[hashed] = left
            else:
                del self._bearers[hashed]


def names_key(source: str, environment: Mapping[str, str]) -> bytes:
    """The key of a guard's hashes.

    Args:
        source: in hexadecimal; or "environment", for HF_ECO_NAMES_KEY.
        environment: the process's.

    Raises:
        GuardLoadError: there is no key, or it is too short.
    """
    if source != "environment":
        return bytes.fromhex(source)
    given = environment.get("HF_ECO_NAMES_KEY", "").encode()
    if len(given) < _LEAST_KEY:
        raise GuardLoadError(
            f"The names of this guard are hashed with a key that it does not hold. Set HF_ECO_NAMES_KEY to it, a text "
            f"of at least {_LEAST_KEY} characters; got {len(given)}."
        )
    return hashlib.blake2b(given, digest_size=32).digest()


def _check_scope_is_not_called(scope: str, name: str) -> None:
    """Raises ValueError if a scope's own name, which anybody may read, tells the name or a word of it: in any case,
    without its accents, with digits, separators or other letters about it."""
    parts = _LETTERS.findall(scope.lower().replace("request", " "))
    for spelt in {name, name.lower().translate(_TRANSCRIBED)}:
        words = [spelling(word).letters for word in _LETTERS.findall(spelt)]
        chunks = ["".join(spelling(word).letters for word in _LETTERS.findall(chunk)) for chunk in spelt.split()]
        telling = [word for word in (*words, *chunks, "".join(words)) if len(word) >= _TELLING]
        short = [word for word in words if len(word) == _TELLING - 1 and word not in ordinary_words()]
        if any(word in "".join(parts) for word in telling) or any(word in parts for word in short):
            raise ValueError(
                f"Scope {scope!r} is called after the name that is to be hashed, and a scope's name stands in clear. "
                "Call it after the request, e.g. 'request-0017'."
            )


def _hash(form: str, key: bytes) -> bytes:
    return _masked(hashlib.blake2b(form.encode(errors="surrogatepass"), digest_size=_BYTES, key=key).digest())


def _masked(hashed: bytes) -> bytes:
    """A hash without its last bit, which says in a record whether the name needs a context."""
    return hashed[:-1] + bytes([hashed[-1] & 0xFE])


def _number(hashed: bytes) -> int:
    """The other 63 bits as a number, by which a text's forms are looked up: it has many, and this is fast."""
    return int.from_bytes(hashed, "big") >> 1


def _check_sum(scope: str, content: bytes, key: bytes) -> bytes:
    return hashlib.blake2b(scope.encode() + b"\0" + content, digest_size=_BYTES, key=key, person=b"record").digest()


def _longest(records: Iterable[str]) -> int:
    """Words of the longest name of all records."""
    return max((base64.b64decode(record[: 4 * (_BYTES // 3 + 1)])[_BYTES] for record in records), default=0)


def _hashes(record: str) -> Iterator[tuple[int, bool]]:
    """The hashes of a record as numbers, and whether each is of a name that needs a context."""
    content = base64.b64decode(record)[_BYTES + 1 :]
    for start in range(0, len(content), _BYTES):
        hashed = content[start : start + _BYTES]
        yield _number(hashed), bool(hashed[-1] & 1)
