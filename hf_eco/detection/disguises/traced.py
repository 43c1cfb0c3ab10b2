"""Texts that remember where their characters came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

Span = tuple[int, int]  # characters [start, end)


@dataclass(frozen=True)
class Edit:
    """Puts `text` in place of [start, end). `sources` has for each character of `text` the index of the character it
    stands for; without it each stands for the whole stretch."""

    start: int
    end: int
    text: str
    sources: Sequence[int] | None = None


@dataclass(frozen=True)
class Traced:
    """A text, and for each of its characters the stretch of the original it came from."""

    text: str
    origin: Sequence[Span]

    @classmethod
    def of(cls, text: str) -> Traced:
        """A text that is the original."""
        return cls(text, list(pairwise(range(len(text) + 1))))

    def edited(self, edits: Iterable[Edit]) -> Traced:
        """With all edits made, which lie in order and apart."""
        pieces: list[str] = []
        origin: list[Span] = []
        here = 0
        for edit in edits:
            pieces += self.text[here : edit.start], edit.text
            origin += self.origin[here : edit.start]
            if edit.sources is not None:
                origin += [self.origin[i] for i in edit.sources]
            else:
                sources = self.origin[edit.start : edit.end]
                whole = (min(s for s, _ in sources), max(e for _, e in sources))
                origin += [whole] * len(edit.text)
            here = edit.end
        if not pieces:
            return self
        pieces.append(self.text[here:])
        origin += self.origin[here:]
        return Traced("".join(pieces), origin)


def backwards(text: str, start: int, end: int) -> Edit:
    """Turns [start, end) of `text` round."""
    return Edit(start, end, text[start:end][::-1], range(end - 1, start - 1, -1))


def edited_spans(edits: Iterable[Edit]) -> Iterator[Span]:
    """Where in the edited text the edits, which lie in order and apart, have put theirs."""
    longer = 0
    for edit in edits:
        start = edit.start + longer
        yield start, start + len(edit.text)
        longer += len(edit.text) - (edit.end - edit.start)
