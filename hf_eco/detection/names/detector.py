"""Scopes by name: nothing is trained, and a scope costs a name in an index."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from ..detector import Detection
from ..disguises import views
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
        contexts, known = contexts or {}, {} if like is None else like._keys
        self._keys: dict[str, NameKey] = {}
        for scope, own in names.items():
            key = known.get(scope)
            if key is None or key[1] is not own or key[2] != contexts.get(scope, "auto"):  # most are known
                key = NameKey(scope, tuple(own), contexts.get(scope, "auto"))
            if own:
                self._keys[scope] = key
        self._index: NameTables = NameTables() if like is None else like._index
        self._own = self._index.users.enter(self, list(self._keys.values()))

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
                for name, mention in self._mentions(view.text)
                for key in self._index.names.keys(name)
                if key in self._own
            ]
            for last in self._index.last_names.find(view.text, self._own):
                weak = last.weak or last.key.context == "required"
                said.append((last.key, LAST_NAME_ALONE, last.start, last.end, weak))
            for key, log_odds, start, end, weak in said:
                place = view.to_original(start, end)
                found.append(Detection(key.scope, from_log_odds(log_odds), *place, self.channel, weak))
        return found

    def _mentions(self, text: str) -> Iterator[tuple[str, Mention]]:
        """Every mention of every name, the surest of each name first; of a name that is mentioned, each of its words
        too, wherever it stands. Where a name stands in the text in more spellings than anybody needs, the whole text
        is the last mention."""
        names = found = self._index.names.find(text)
        whole, spellings = text, 0
        elsewhere = dict.fromkeys(names, whole)  # for each name, what is left without its own mentions
        while found:
            for name, mention in found.items():
                spelling = whole[mention.start : mention.end]
                for place in re.finditer(re.escape(spelling), whole):
                    yield name, replace(mention, start=place.start(), end=place.end())
                elsewhere[name] = _blanked(elsewhere[name], spelling)
            if spellings == _MOST_SPELLINGS:
                yield from ((name, replace(mention, start=0, end=len(whole))) for name, mention in found.items())
                return
            said = {whole[mention.start : mention.end] for mention in found.values()}
            for spelling in sorted(said, key=lambda spelling: (-len(spelling), spelling)):
                text = _blanked(text, spelling)
            found = self._index.names.find(text, names)
            spellings += 1
        for name, mention in names.items():
            for _, start, end in words_elsewhere(telling_words(name), elsewhere[name]):
                yield name, replace(mention, start=start, end=end)


def _is_weak(name: str, mention: Mention, context: str) -> bool:
    return mention.weak or (mention.common and context != "ignored") or needs_context(name, context)


def _blanked(text: str, spelling: str) -> str:
    return text.replace(spelling, "\n" * len(spelling))


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
