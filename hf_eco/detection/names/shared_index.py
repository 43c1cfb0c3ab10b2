"""An index that several detectors share, each with entries of its own."""

from __future__ import annotations

import threading
import weakref
from collections import Counter, deque
from collections.abc import Hashable, Iterable, Sequence
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
        self._left: deque[Iterable[_EntryT]] = deque()  # of detectors that are gone; any thread may append at any time
        self._users: Counter[_EntryT] = Counter()
        self._lock = threading.Lock()

    def enter(self, detector: object, entries: Sequence[_EntryT]) -> None:
        """Adds a detector's entries, for as long as it lives. Raises ValueError if one cannot be added, and then
        changes nothing."""
        with self._lock:
            new = [entry for entry in entries if entry not in self._users]
            for entry in new:
                self._table.check(entry)
            for entry in new:
                self._table.add(entry)
            self._users.update(entries)
            while self._left:
                for entry in self._left.popleft():
                    self._leave(entry)
        weakref.finalize(detector, self._left.append, entries).atexit = False

    def _leave(self, entry: _EntryT) -> None:
        self._users[entry] -= 1
        if not self._users[entry]:
            del self._users[entry]
            self._table.remove(entry)
