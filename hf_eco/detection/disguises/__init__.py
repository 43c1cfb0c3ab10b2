"""What a text looks like once its disguises are off: the views that a prompt classifier scores beside the text itself.

Three things are undone. Dressing (look-alike letters, zero-width marks, letters spaced apart, leetspeak, markup) gives
the "plain" view; encodings that carry their own evidence (base64, hex, Morse) and ciphers that only the language they
hide gives away (Caesar shifts, reversal, pig latin) give a view each, nested ones too. Text without a disguise has no
view but itself, so it costs one scan. Everything here runs in linear time, and no `str` makes it raise.

| file | what is in it |
|---|---|
| `__init__` | `views`, which peels the layers off one by one |
| `skeletons` | `skeleton`, for matching names |
| `dress` | the dresses in the order in which they come off; each is a function from a text to its edits |
| `lookalikes`, `invisible`, `markup`, `punctuation`, `leet`, `repeats` | those functions |
| `payloads`, `code_words`, `strokes`, `games`, `word_order`, `ciphers` | what decodes; each gives a name and edits |
| `alphabets` | Cyrillic and Greek letters in Latin ones, which decodes, too |
| `spelling` | how far one word is from another |
| `traced` | texts that remember where their characters came from, and edits of them |
| `letters`, `language`, `addresses` | what looks like a letter, reads like a word, is an address |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from .alphabets import transliterate
from .ciphers import decipher
from .code_words import read_code_words
from .dress import undressed
from .games import read_pig_latin, turn_upright
from .payloads import decode_payloads
from .skeletons import skeleton
from .strokes import read_strokes
from .traced import Edit, Span, Traced, edited_spans
from .word_order import turn_word_order

__all__ = ["View", "skeleton", "views"]

_DEPTH = 3  # disguises of one kind inside one another
_WHOLE = 2_000  # characters; of a longer text a view shows only what was disguised
_CONTEXT = 200  # characters on each side of that
_STRETCH = 200  # characters that are looked for in earlier views
_Decoder = Callable[[str], tuple[str, list[Edit]]]
_DECODERS: tuple[_Decoder, ...] = (
    decode_payloads,
    read_code_words,
    read_strokes,
    transliterate,
    turn_upright,
    read_pig_latin,
    turn_word_order,
    decipher,
)


@dataclass(frozen=True)
class View:
    """A text as it reads with a disguise taken off.

    Attributes:
        name: what was done: "raw" (nothing), "plain", or the payload's encodings from the outside in, "base64+rot13".
        text: the text to score.
        starts: for each character of `text` where the stretch of the original it came from starts.
        ends: where that stretch ends.
    """

    name: str
    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    def to_original(self, start: int, end: int) -> Span:
        """The smallest stretch of the original that holds all that `text[start:end]` came from."""
        if self.name == "raw":
            return start, end
        if start >= end:
            here = self.starts[start] if start < len(self.starts) else self.ends[-1] if self.ends else 0
            return here, here
        return min(self.starts[start:end]), max(self.ends[start:end])


def views(text: str) -> list[View]:
    """The text itself, then its readings without its disguises; none for text that has no disguise.

    Disguises come off one after the other, those of one kind at once, up to three of each kind inside one another.
    Each layer has a view, and none is left out because the text is long. Views that differ from an earlier one in
    case and spacing alone are left out. Views of more than 2,000 characters are cut to what was disguised and 200
    characters on each side: those of layers to what the layer was, the others to all that was, as far as no earlier
    view shows it.
    """
    current = Traced.of(text)
    found = [View("raw", text, current.starts, current.ends)]
    seen = {_compared(text)}

    def see(name: str, traced: Traced, changed: Iterable[Span]) -> None:
        shown = _excerpt(traced, changed)
        key = _compared(shown.text)
        if key and key not in seen:
            seen.add(key)
            found.append(View(name, shown.text, shown.starts, shown.ends))

    plain = undressed(current)
    if plain is not current:
        see("plain", plain, _changes(text, plain))
    names: list[str] = []
    left = dict.fromkeys(_DECODERS, _DEPTH)
    while True:
        under, (name, edits) = current, _decoded(current.text, left)
        if not name and plain is not current:
            under, (name, edits) = plain, _decoded(plain.text, left)
        if not name:
            break
        names.append(name)
        current = under.edited(edits)
        see("+".join(names), current, edited_spans(edits))
        plain = undressed(current)
    if names and plain is not current:
        see("+".join([*names, "plain"]), plain, _new(plain, found))
    return found


def _compared(text: str) -> str:
    return " ".join(text.split()).casefold()


def _changes(raw: str, traced: Traced) -> Iterator[Span]:
    """The characters of `traced` that are not those of the original."""
    end = 0
    for i, (character, first, last) in enumerate(zip(traced.text, traced.starts, traced.ends, strict=True)):
        if first != end or last != first + 1 or character != raw[first]:
            yield i, i + 1
        end = last


def _new(traced: Traced, seen: Iterable[View]) -> Iterator[Span]:
    """Stretches of `traced` that none of some views shows. Whatever is shorter than half of one lies within one."""
    text, starts, ends = traced.text, traced.starts, traced.ends
    left: dict[tuple[str, int, int], Span] = {}  # what they say and where they come from -> where they are
    for first in range(0, len(text), _STRETCH // 2):
        last = min(first + _STRETCH, len(text))
        left[text[first:last], starts[first], ends[last - 1]] = first, last
    beginnings = {start for _, start, _ in left}
    for view in seen:
        for i, start in enumerate(view.starts):
            if start in beginnings:
                said = view.text[i : i + _STRETCH]
                left.pop((said, start, view.ends[i + len(said) - 1]), None)
    yield from left.values()


def _excerpt(traced: Traced, changed: Iterable[Span]) -> Traced:
    """Short texts whole; of long ones the changed places, in order, with their surroundings."""
    if len(traced.text) <= _WHOLE:
        return traced
    kept: list[list[int]] = []
    for first, last in changed:
        if kept and first - _CONTEXT <= kept[-1][1]:
            kept[-1][1] = last + _CONTEXT
        else:
            kept.append([max(0, first - _CONTEXT), last + _CONTEXT])
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for first, last in kept:
        if pieces:
            pieces.append("\n")
            starts.append(traced.starts[first])
            ends.append(traced.starts[first])
        pieces.append(traced.text[first:last])
        starts += traced.starts[first:last]
        ends += traced.ends[first:last]
    return Traced("".join(pieces), starts, ends)


def _decoded(text: str, left: dict[_Decoder, int]) -> tuple[str, list[Edit]]:
    """One layer off: the encoding's name, "" if there is none, and what it hides. `left` says how often each decoder
    may still be used."""
    for decode in (decode for decode, times in left.items() if times):
        name, edits = decode(text)
        if edits:
            left[decode] -= 1
            return name, edits
    return "", []
