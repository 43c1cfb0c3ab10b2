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

from collections.abc import Callable, Iterable, Iterator
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
        origin: for each character of `text` the stretch of the original it came from; None if `text` is the original.
    """

    name: str
    text: str
    origin: tuple[Span, ...] | None

    def to_original(self, start: int, end: int) -> Span:
        """The smallest stretch of the original that holds all that `text[start:end]` came from."""
        if self.origin is None:
            return start, end
        if start >= end:
            here = self.origin[start][0] if start < len(self.origin) else self.origin[-1][1] if self.origin else 0
            return here, here
        sources = self.origin[start:end]
        return min(source[0] for source in sources), max(source[1] for source in sources)


def views(text: str) -> list[View]:
    """The text itself, then its readings without its disguises; none for text that has no disguise.

    Disguises come off one after the other, those of one kind at once, up to three of each kind inside one another.
    Each layer has a view, and none is left out because the text is long. Views that differ from an earlier one in
    case and spacing alone are left out. Views of more than 2,000 characters are cut to what was disguised and 200
    characters on each side: those of layers to what the layer was, the others to all that was.
    """
    found = [View("raw", text, None)]
    seen = {_compared(text)}

    def see(name: str, traced: Traced, changed: Iterable[Span]) -> None:
        shown = _excerpt(traced, changed)
        key = _compared(shown.text)
        if key and key not in seen:
            seen.add(key)
            found.append(View(name, shown.text, tuple(shown.origin)))

    current = Traced.of(text)
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
        see("+".join([*names, "plain"]), plain, _changes(text, plain))
    return found


def _compared(text: str) -> str:
    return " ".join(text.split()).casefold()


def _changes(raw: str, traced: Traced) -> Iterator[Span]:
    """The characters of `traced` that are not those of the original."""
    end = 0
    for i, (first, last) in enumerate(traced.origin):
        if first != end or last != first + 1 or traced.text[i] != raw[first]:
            yield i, i + 1
        end = last


def _excerpt(traced: Traced, changed: Iterable[Span]) -> Traced:
    """Short texts whole; of long ones the changed places, in order, with their surroundings."""
    text, origin = traced.text, traced.origin
    if len(text) <= _WHOLE:
        return traced
    kept: list[list[int]] = []
    for first, last in changed:
        if kept and first - _CONTEXT <= kept[-1][1]:
            kept[-1][1] = last + _CONTEXT
        else:
            kept.append([max(0, first - _CONTEXT), last + _CONTEXT])
    pieces: list[str] = []
    sources: list[Span] = []
    for first, last in kept:
        if pieces:
            pieces.append("\n")
            sources.append((origin[first][0], origin[first][0]))
        pieces.append(text[first:last])
        sources += origin[first:last]
    return Traced("".join(pieces), sources)


def _decoded(text: str, left: dict[_Decoder, int]) -> tuple[str, list[Edit]]:
    """One layer off: the encoding's name, "" if there is none, and what it hides. `left` says how often each decoder
    may still be used."""
    for decode in (decode for decode, times in left.items() if times):
        name, edits = decode(text)
        if edits:
            left[decode] -= 1
            return name, edits
    return "", []
