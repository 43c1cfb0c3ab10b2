"""The sentences of all scopes: one table, of which few rows are looked at for a prompt.

A vector is kept on a grid: each number as a whole multiple of 1 / `GRID`. The product of two such vectors, of length
1, is exact in float32, in whatever order it is summed; so what a scope's sentences say of a prompt is the same to the
bit whichever other scopes there are. Which rows are near is told by the signs of their numbers first, a bit each: the
share of signs in which two vectors differ is about the angle between them, in half turns (Charikar, "Similarity
estimation techniques from rounding algorithms", STOC 2002).
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

GRID = 2048  # squared, the most that a product of two vectors comes to: less than 2^24, up to which float32 is exact
LEAST_COSINE = 0.42  # sentences less near say nothing
_SPARE = 1.25  # room that is made, for the rows to come: they are seldom copied
_SIGNS = 0.40  # share of signs that may differ; of those as near as LEAST_COSINE, few differ in more


@dataclass(frozen=True)
class ScopeFacts:
    """One scope's sentences.

    Attributes:
        vectors: (sentences, hidden), on the grid.
        words: the hashes of each sentence's words, one sentence behind the other.
        counts: (sentences,), how many words each has.
    """

    vectors: NDArray[np.int16]
    words: NDArray[np.uint32]
    counts: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.counts)


@dataclass(frozen=True)
class Near:
    """Sentences that are near a text, one entry each.

    Attributes:
        scopes: the number of each sentence's scope, see `FactBank.name_of`.
        cosines: how near.
        weight: the weight of the text's words that it has.
    """

    scopes: NDArray[np.int64]
    cosines: NDArray[np.float32]
    weight: NDArray[np.float64]


def on_grid(vectors: NDArray[np.float32]) -> NDArray[np.int16]:
    """Vectors of length 1 on the grid."""
    return np.rint(vectors * GRID).astype(np.int16)


class FactBank:
    """The sentences of some scopes. It never changes: with a scope more or less it is another, which shares the rows.

    Args:
        mean: (hidden,), where the signs of vectors change.
        table: the rows; new ones if None.
        scopes: by name, the number of each scope and its rows.
        rows: how many of the table's rows it knows.
    """

    def __init__(
        self,
        mean: NDArray[np.float32],
        table: _Table | None = None,
        scopes: Mapping[str, tuple[int, int, int]] | None = None,
        rows: int = 0,
    ) -> None:
        self.mean = mean
        self._table = _Table(len(mean)) if table is None else table
        self._scopes = dict(scopes or {})
        self._rows = rows
        self._names = {number: name for name, (number, _, _) in self._scopes.items()}
        self._own = np.zeros(max(self._names, default=-1) + 1, dtype=bool)
        self._own[list(self._names)] = True
        self._arrays = self._table.arrays  # later rows may come to lie in others

    def __contains__(self, scope: object) -> bool:
        return scope in self._scopes

    def __len__(self) -> int:
        return len(self._scopes)

    def __iter__(self) -> Iterator[str]:
        return iter(self._scopes)

    def __getitem__(self, scope: str) -> ScopeFacts:
        _, start, stop = self._scopes[scope]
        a = self._arrays
        words = a.words[a.first[start] : a.first[stop]]
        return ScopeFacts(a.vectors[start:stop], words, np.diff(a.first[start : stop + 1]).astype(np.int32))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (self.mean, {scope: self[scope] for scope in self})

    def name_of(self, number: int) -> str:
        """The scope of a number."""
        return self._names[number]

    def joined_by(self, facts: FactBank | Mapping[str, ScopeFacts]) -> FactBank:
        """With more scopes. This one stays as it is."""
        facts = {scope: facts[scope] for scope in facts}
        if not facts:
            return self
        table, own, rows = self._table, dict(self._scopes), self._rows
        with table.lock:
            if table.rows != rows:  # somebody else has added rows behind those of this one
                fresh = FactBank(self.mean).joined_by({scope: self[scope] for scope in self})
                return fresh.joined_by(facts)
            numbers = iter(range(table.scopes, table.scopes + len(facts)))
            for scope, given in facts.items():
                number = next(numbers)
                own[scope] = (number, rows, rows + len(given))
                rows += len(given)
            table.append(list(facts.values()), self.mean)
            return FactBank(self.mean, table, own, rows)

    def without(self, scopes: Collection[str]) -> FactBank:
        """Without some scopes. This one stays as it is. Where most rows are of scopes that have gone, they are left
        behind."""
        gone = set(scopes)
        left = {name: place for name, place in self._scopes.items() if name not in gone}
        if 2 * sum(stop - start for _, start, stop in left.values()) < self._rows:
            return FactBank(self.mean).joined_by({name: self[name] for name in left})
        return FactBank(self.mean, self._table, left, self._rows)

    def near(self, vector: NDArray[np.int16], words: Mapping[int, float]) -> Near:
        """The sentences near a text.

        Args:
            vector: (hidden,), of the text, on the grid.
            words: by hash, the weight of each of its words.
        """
        a, rows = self._arrays, self._rows
        differing = np.zeros(rows, dtype=np.uint16)
        for own, column in zip(signs(vector[None], self.mean)[:, 0], a.signs, strict=True):
            differing += np.bitwise_count(column[:rows] ^ own)
        found = np.flatnonzero(differing <= _SIGNS * len(self.mean))
        found = found[self._own[np.minimum(a.scopes[found], len(self._own) - 1)] & (a.scopes[found] < len(self._own))]
        products = a.vectors[found].astype(np.float32) @ vector.astype(np.float32)
        near = products >= LEAST_COSINE * GRID * GRID
        found, cosines = found[near], products[near] / np.float32(GRID * GRID)
        return Near(a.scopes[found].astype(np.int64), cosines, _words_in_common(a, found, words))


@dataclass(frozen=True)
class _Arrays:
    """A table's columns, longer than there are rows."""

    vectors: NDArray[np.int16]  # (rows, hidden)
    signs: NDArray[np.uint64]  # (hidden / 64, rows)
    scopes: NDArray[np.int32]  # (rows,)
    first: NDArray[np.int64]  # (rows + 1,), where each row's words begin
    words: NDArray[np.uint32]


class _Table:
    """Rows that are only ever added to. Whoever holds its arrays may read the rows that were there."""

    def __init__(self, hidden: int) -> None:
        self.lock = threading.RLock()
        self.rows = self.scopes = 0
        columns = -(-hidden // 64)
        self.arrays = _Arrays(
            np.empty((0, hidden), np.int16),
            np.empty((columns, 0), np.uint64),
            np.empty(0, np.int32),
            np.zeros(1, np.int64),
            np.empty(0, np.uint32),
        )

    def append(self, facts: list[ScopeFacts], mean: NDArray[np.float32]) -> None:
        """Adds the rows of scopes, numbered on. Call it with the lock held."""
        start, stop = self.rows, self.rows + sum(map(len, facts))
        used = int(self.arrays.first[start])
        a = self._make_room(stop, used + sum(len(own.words) for own in facts))
        vectors = np.concatenate([own.vectors for own in facts])
        a.vectors[start:stop] = vectors
        a.signs[:, start:stop] = signs(vectors, mean)
        a.scopes[start:stop] = np.repeat(np.arange(self.scopes, self.scopes + len(facts)), [len(own) for own in facts])
        words = np.concatenate([own.words for own in facts])
        a.words[used : used + len(words)] = words
        a.first[start + 1 : stop + 1] = used + np.cumsum(np.concatenate([own.counts for own in facts]))
        self.rows, self.scopes, self.arrays = stop, self.scopes + len(facts), a

    def _make_room(self, rows: int, words: int) -> _Arrays:
        a = self.arrays
        if rows > len(a.vectors):
            more = int(_SPARE * rows) - len(a.vectors)
            grown = [np.concatenate([old, np.empty((more, *old.shape[1:]), old.dtype)]) for old in
                     (a.vectors, a.scopes, a.first)]  # fmt: skip
            columns = np.concatenate([a.signs, np.empty((len(a.signs), more), np.uint64)], axis=1)
            a = _Arrays(grown[0], columns, grown[1], grown[2], a.words)
        if words > len(a.words):
            more = int(_SPARE * words) - len(a.words)
            a = _Arrays(a.vectors, a.signs, a.scopes, a.first, np.concatenate([a.words, np.empty(more, np.uint32)]))
        return a


def signs(vectors: NDArray[np.int16], mean: NDArray[np.float32]) -> NDArray[np.uint64]:
    """In which numbers each vector lies above the mean, as bits, (hidden / 64, vectors)."""
    packed = np.packbits(vectors > mean * GRID, axis=1)
    padded = np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8)))
    return np.ascontiguousarray(padded.view(np.uint64).T)


def _words_in_common(a: _Arrays, rows: NDArray[np.int64], words: Mapping[int, float]) -> NDArray[np.float64]:
    """For each row the weight of the words it shares with a text."""
    counts = a.first[rows + 1] - a.first[rows]
    of = np.repeat(np.arange(len(rows)), counts)
    before = np.cumsum(counts) - counts  # words of the rows before
    own = a.words[np.arange(len(of)) + np.repeat(a.first[rows] - before, counts)]
    if not words:
        return np.zeros(len(rows))
    known = np.array(sorted(words), dtype=np.uint32)
    weights = np.array([words[word] for word in sorted(words)])
    found = np.minimum(np.searchsorted(known, own), len(known) - 1)
    weight = np.bincount(of, np.where(known[found] == own, weights[found], 0.0), len(rows))
    return weight.astype(np.float64)


def _rebuilt(mean: NDArray[np.float32], facts: Mapping[str, ScopeFacts]) -> FactBank:
    return FactBank(mean).joined_by(facts)
