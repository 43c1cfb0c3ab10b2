"""Scopes by name: nothing is trained, and a scope costs a name in an index."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from ..detector import Detection
from ..disguises import views
from ..disguises.traced import Span
from ..log_odds import from_log_odds
from .common import needs_context
from .index import NameIndex, check_name
from .last_names import LastNames
from .name import Mention
from .shared_index import SharedIndex
from .words import telling_words, words_elsewhere

# A last name by itself, as log(p / (1 - p)). It is no ordinary word.
LAST_NAME_ALONE = 2.5
_MOST_SPELLINGS = 8  # of one name in one text


class NameKey(NamedTuple):
    """Whom a scope is about."""

    scope: str
    names: tuple[str, ...]
    context: str = "auto"  # see `needs_context`


class NamesDetector:
    """Finds the names of all scopes in texts, however they are spelt; see [`NameIndex`][hf_eco.detection.names.index].

    Detectors may share an index: a guard of one scope more costs a name, not an index. Each answers for its own names.

    Args:
        names: by scope, its names.
        like: a detector whose index to share.
        contexts: for scopes whose names are not enough, or enough though many bear them, "required" or "ignored"; see
            [`needs_context`][hf_eco.detection.names.common.needs_context].

    Raises:
        ValueError: a name is too short to be told from parts of other words.
    """

    channel = "names"

    def __init__(
        self,
        names: Mapping[str, Sequence[str]],
        like: NamesDetector | None = None,
        contexts: Mapping[str, str] | None = None,
    ) -> None:
        contexts = contexts or {}
        keys = {scope: NameKey(scope, tuple(own), contexts.get(scope, "auto")) for scope, own in names.items() if own}
        index = NameTables() if like is None else like._index
        self._hold(index, keys, frozenset(keys.values()), keys.values())

    def _hold(
        self, index: NameTables, keys: dict[str, NameKey], own: frozenset[NameKey], new: Iterable[NameKey]
    ) -> None:
        self._index, self._keys, self._own = index, keys, own
        index.users.enter(self, own, new)

    def joined_by(self, other: NamesDetector) -> NamesDetector:
        """A detector of more scopes, in milliseconds. This one stays as it is."""
        more = other._keys.values()
        made = NamesDetector.__new__(NamesDetector)
        made._hold(self._index, {**self._keys, **other._keys}, self._own.union(more), more)
        return made

    def without(self, scopes: Collection[str]) -> NamesDetector:
        """A detector of all scopes but these, as far as it has them. This one stays as it is."""
        keys = dict(self._keys)
        gone = [keys.pop(scope) for scope in set(scopes) if scope in keys]
        made = NamesDetector.__new__(NamesDetector)
        made._hold(self._index, keys, self._own.difference(gone), ())
        return made

    def __len__(self) -> int:
        return len(self._own)

    def __reduce__(self) -> tuple[Any, ...]:
        own = self._keys.values()
        return type(self), ({key.scope: key.names for key in own}, None, {key.scope: key.context for key in own})

    def detect(self, texts: Sequence[str]) -> list[list[Detection]]:
        """As for any detector. A text is read in every view of it, as [`views`][hf_eco.detection.disguises.views]
        says."""
        return [self._detect(text) for text in texts]

    def to(self, device: torch.device | str) -> None:
        """Names lie on no device."""

    def _detect(self, text: str) -> list[Detection]:
        found = []
        for view in views(text):
            said = [
                (key, mention.log_odds, mention.start, mention.end, _is_weak(name, mention, key.context))
                for key, name, mention in self._mentions(view.text)
            ]
            for last in self._index.last_names.find(view.text, self._own):
                weak = last.weak or last.key.context == "required"
                said.append((last.key, LAST_NAME_ALONE, last.start, last.end, weak))
            for key, log_odds, start, end, weak in said:
                place = view.to_original(start, end)
                found.append(Detection(key.scope, from_log_odds(log_odds), *place, self.channel, weak))
        return found

    def _mentions(self, text: str) -> Iterator[tuple[NameKey, str, Mention]]:
        """Every mention of every name of every scope; each of its words too, wherever they stand. What is found of one
        name does not depend on who else is looked for."""
        told: dict[str, list[tuple[NameKey, str, Mention, list[Span]]]] = {}  # by each word of the names mentioned
        for name, mentions in self._index.names.mentions(text).items():
            keys = [key for key in self._index.names.keys(name) if key in self._own]
            if not keys:
                continue
            said = list(_everywhere(mentions, text))
            places = sorted((mention.start, mention.end) for mention in said)
            for key in keys:
                yield from ((key, name, mention) for mention in said)
                for word in telling_words(name):
                    told.setdefault(word, []).append((key, name, mentions[0], places))
        for word, start, end in words_elsewhere(told, text):
            for key, name, mention, places in told[word]:
                if not _is_within(places, start, end):
                    yield key, name, replace(mention, start=start, end=end)


def _everywhere(mentions: Iterable[Mention], text: str) -> Iterator[Mention]:
    """Of the mentions of a name, the surest first, those that overlap none before them, wherever their spellings stand
    in the text. Where it has more spellings than anybody needs, the whole text is the last mention."""
    taken = bytearray(len(text))
    spellings = 0
    for mention in mentions:
        if any(taken[mention.start : mention.end]):
            continue
        if spellings == _MOST_SPELLINGS:
            yield replace(mention, start=0, end=len(text))
            return
        spellings += 1
        for place in re.finditer(re.escape(text[mention.start : mention.end]), text):
            start, end = place.span()
            taken[start:end] = b"\1" * (end - start)
            yield replace(mention, start=start, end=end)


def _is_within(places: Sequence[Span], start: int, end: int) -> bool:
    """Whether [start, end) overlaps one of some places, which are in order."""
    before = bisect_left(places, (end,))
    return before > 0 and places[before - 1][1] > start


def _is_weak(name: str, mention: Mention, context: str) -> bool:
    return mention.weak or (mention.common and context != "ignored") or needs_context(name, context)


class NameTables:
    """All that names are looked up in."""

    def __init__(self) -> None:
        self.names: NameIndex[NameKey] = NameIndex()
        self.last_names: LastNames[NameKey] = LastNames()
        self.users: SharedIndex[NameKey] = SharedIndex(self)

    def check(self, key: NameKey) -> None:
        for name in key.names:
            check_name(name)

    def add(self, key: NameKey) -> None:
        self.names.add(key, dict.fromkeys(key.names))
        self.last_names.add(key, dict.fromkeys(key.names))

    def remove(self, key: NameKey) -> None:
        self.names.remove(key, dict.fromkeys(key.names))
        self.last_names.remove(key, dict.fromkeys(key.names))
