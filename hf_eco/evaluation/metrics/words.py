"""The words of a text, in any script: what the metrics that compare texts count."""

from __future__ import annotations

import unicodedata

import regex

# Scripts that are written without spaces between words: East Asian characters and syllables, and the scripts of
# South-East Asia, which the line breaking algorithm (UAX 14) gives the class SA. Marks (vowels, tones) stay with the
# letter before them: \X is a grapheme cluster (UAX 29).
_SPACELESS = r"[[\p{L}\p{M}]&&[\p{Ideographic}\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{scx=Bopo}\p{sc=Yi}\p{lb=SA}]]"
_LETTER = r"[\p{L}\p{M}\p{N}]"
_GRAPHEME_OF_SPACELESS = rf"(?={_SPACELESS})\X\p{{M}}*+"
_WORD = rf"{_GRAPHEME_OF_SPACELESS}|(?:(?!{_SPACELESS}){_LETTER})+"

_SPACELESS_GRAPHEMES = regex.compile(_GRAPHEME_OF_SPACELESS, regex.V1)
_WORDS = regex.compile(_WORD, regex.V1)
_WORDS_AND_SYMBOLS = regex.compile(rf"{_WORD}|(?![\s\p{{Cc}}])\X", regex.V1)
# Joiners, soft hyphens and marks of direction stand within words; the zero-width space parts them.
_INVISIBLE = regex.compile(r"[\p{Cf}--\u200b]", regex.V1)
_VISIBLE = regex.compile(r"[^\s\p{Cc}\p{Cf}]", regex.V1)


def is_blank(text: str) -> bool:
    """Whether there is nothing to be seen in `text`: white space and format characters at most."""
    return _VISIBLE.search(text) is None


def folded(text: str) -> str:
    """`text` without what does not make it another one: case, composition (NFC), and invisible characters."""
    return unicodedata.normalize("NFC", _INVISIBLE.sub("", text).replace("\u200b", " ").casefold())


def words(text: str) -> list[str]:
    """The words of a text, folded: runs of letters, marks and digits; each character by itself in scripts without
    spaces. Where there are none, its symbols, so that "∞" is like itself."""
    plain = folded(text)
    return _WORDS.findall(plain) or words_and_symbols(plain)


def words_and_symbols(text: str) -> list[str]:
    """The words of a text, not folded, and what stands between them, each symbol by itself."""
    return _WORDS_AND_SYMBOLS.findall(text)


def spaced(text: str) -> str:
    """`text`, composed (NFC), with spaces around each character of a script that has none, for tokenisers that go by
    spaces. Other text stays as it is."""
    return _SPACELESS_GRAPHEMES.sub(r" \g<0> ", unicodedata.normalize("NFC", text))
