"""An index that several detectors share, each with entries of its own."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import deque
from collections.abc import Hashable, Iterable
from typing import Generic, Protocol, TypeVar

_EntryT = TypeVar("_EntryT", bound=Hashable)
_TableEntryT = TypeVar("_TableEntryT", contravariant=True)


class Table(Protocol[_TableEntryT]):
    """What entries stand in."""

    def check(self, entry: _TableEntryT) -> None:
        """Raises ValueError if the entry cannot be added."""

    def add(self, entry: _TableEntryT) -> None:
        """Adds an entry that is not there."""

    def remove(self, entry: _TableEntryT) -> None:
        """Removes an entry that is there."""


class SharedIndex(Generic[_EntryT]):
    """The entries of several detectors. One leaves when the next detector comes after the last that looked for it.

    Args:
        table: what they stand in.
    """

    def __init__(self, table: Table[_EntryT]) -> None:
        self._table = table
        self._there: set[_EntryT] = set()
        self._of: dict[int, frozenset[_EntryT]] = {}  # the entries of each detector that lives
        self._left: deque[int] = deque()  # detectors that are gone; any thread may append at any time
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def enter(self, detector: object, own: frozenset[_EntryT], new: Iterable[_EntryT]) -> None:
        """Adds a detector's entries, for as long as it lives.

        Args:
            detector: the detector.
            own: all of its entries.
            new: those of them that no other detector holds, or some more. The others are not looked at.

        Raises:
            ValueError: an entry cannot be added; then nothing is changed.
        """
        with self._lock:
            fresh = [entry for entry in dict.fromkeys(new) if entry not in self._there]
            for entry in fresh:
                self._table.check(entry)
            for entry in fresh:
                self._table.add(entry)
            self._there.update(fresh)
            number = next(self._numbers)
            self._of[number] = own
            while self._left:
                self._leave(self._of.pop(self._left.popleft()))
        weakref.finalize(detector, self._left.append, number).atexit = False

    def _leave(self, entries: frozenset[_EntryT]) -> None:
        for others in self._of.values():
            entries -= others
        for entry in entries:
            self._table.remove(entry)
        self._there -= entries
