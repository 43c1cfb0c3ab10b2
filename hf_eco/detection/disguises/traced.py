"""Texts that remember where their characters came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

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
    """A text, and for each of its characters where the stretch of the original that it came from starts and ends.

    These are numbers in lists, not pairs: the garbage collector looks at every pair that there is, and a long text has
    many characters.
    """

    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    @classmethod
    def of(cls, text: str) -> Traced:
        """A text that is the original."""
        return cls(text, range(len(text)), range(1, len(text) + 1))

    def edited(self, edits: Iterable[Edit]) -> Traced:
        """With all edits made, which lie in order and apart."""
        pieces: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        here = 0
        for edit in edits:
            pieces += self.text[here : edit.start], edit.text
            starts += self.starts[here : edit.start]
            ends += self.ends[here : edit.start]
            if edit.sources is not None:
                starts += [self.starts[i] for i in edit.sources]
                ends += [self.ends[i] for i in edit.sources]
            else:
                starts += [min(self.starts[edit.start : edit.end])] * len(edit.text)
                ends += [max(self.ends[edit.start : edit.end])] * len(edit.text)
            here = edit.end
        if not pieces:
            return self
        pieces.append(self.text[here:])
        starts += self.starts[here:]
        ends += self.ends[here:]
        return Traced("".join(pieces), starts, ends)


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
