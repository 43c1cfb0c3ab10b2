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

from dataclasses import dataclass

from .alphabets import transliterate
from .ciphers import decipher
from .code_words import read_code_words
from .dress import undressed
from .games import read_pig_latin, turn_upright
from .payloads import decode_payloads
from .skeletons import skeleton
from .strokes import read_strokes
from .traced import Span, Traced
from .word_order import turn_word_order

__all__ = ["View", "skeleton", "views"]

_DEPTH = 3  # payloads inside payloads
_MOST_VIEWS = 5  # the raw one among them
_WHOLE = 2_000  # characters; of a longer text a view shows only what was disguised
_CONTEXT = 200  # characters on each side of that
_DECODERS = (
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
    """The text itself, then its readings without its disguises, at most four; none for text that has no disguise.

    Views that differ from an earlier one in case and spacing alone are left out. Views of more than 2,000 characters
    are cut to what was disguised and 200 characters on each side; together they are at most 2 * len(text) + 4,000
    characters long.
    """
    found = [View("raw", text, None)]
    seen = {_compared(text)}
    left = 2 * len(text) + 2 * _WHOLE

    def see(name: str, traced: Traced) -> None:
        nonlocal left
        if traced.text is text:
            return
        shown = _excerpt(text, traced)
        key = _compared(shown.text)
        if key and key not in seen and len(found) < _MOST_VIEWS and len(shown.text) <= left:
            seen.add(key)
            left -= len(shown.text)
            found.append(View(name, shown.text, tuple(shown.origin)))

    current = Traced.of(text)
    plain = undressed(current)
    see("plain", plain)
    names: list[str] = []
    for _ in range(_DEPTH):
        name, decoded = _decoded(current)
        if not name and plain is not current:
            name, decoded = _decoded(plain)
        if not name:
            break
        names.append(name)
        see("+".join(names), decoded)
        current, plain = decoded, undressed(decoded)
    if names:
        see("+".join([*names, "plain"]), plain)
    return found


def _compared(text: str) -> str:
    return " ".join(text.split()).casefold()


def _excerpt(raw: str, traced: Traced) -> Traced:
    """Short texts whole; of long ones the changed places with their surroundings."""
    text, origin = traced.text, traced.origin
    if len(text) <= _WHOLE:
        return traced
    kept: list[list[int]] = []
    end = 0
    for i, (first, last) in enumerate(origin):
        if first != end or last != first + 1 or text[i] != raw[first]:
            if kept and i - _CONTEXT <= kept[-1][1]:
                kept[-1][1] = i + 1 + _CONTEXT
            else:
                kept.append([max(0, i - _CONTEXT), i + 1 + _CONTEXT])
        end = last
    pieces: list[str] = []
    sources: list[Span] = []
    for first, last in kept:
        if pieces:
            pieces.append("\n")
            sources.append((origin[first][0], origin[first][0]))
        pieces.append(text[first:last])
        sources += origin[first:last]
    return Traced("".join(pieces), sources)


def _decoded(traced: Traced) -> tuple[str, Traced]:
    """One layer off: the encoding's name, "" if there is none, and the text without it."""
    for decode in _DECODERS:
        name, edits = decode(traced.text)
        if edits:
            return name, traced.edited(edits)
    return "", traced
