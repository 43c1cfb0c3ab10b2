"""Look-alike letters, styled letters, letters under heaps of marks and flags for letters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from .letters import ALPHABETS, alphabet_of, latin_twin, latin_twin_in_context, unstyled
from .traced import Edit

# Above and on the line: circled, parenthesised, squared and negative letters are symbols to Unicode, not letters.
_ENCLOSED = "\u24b6-\u24e9\U0001f110-\U0001f189"
_REGIONAL = "\U0001f1e6-\U0001f1ff"
_MARKS = "\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
_DRESSED_WORD = re.compile(rf"[^\W_{_MARKS}][\w{_MARKS}{_ENCLOSED}]*|[{_ENCLOSED}][\w{_MARKS}{_ENCLOSED}]*")
_PILED_MARKS = re.compile(rf"([^\W\d_])([{_MARKS}]+)")
_OVERLAYS = re.compile("[\u0334-\u0338\u0488\u0489\u20d2\u20d3\u20d8-\u20e0\u20e5\u20e6\u20ea\u20eb]")
_FLAGS = re.compile(rf"[{_REGIONAL}](?:[ \u200b]?[{_REGIONAL}])+")


def lookalikes(text: str) -> list[Edit]:
    """Words dressed in look-alike or styled letters, in Latin ones. Real Russian, Greek ... stays."""
    if text.isascii():
        return []
    words = [match for match in _DRESSED_WORD.finditer(text) if not match[0].isascii()]
    styled = sum(bool(unstyled(c)) for word in words for c in word[0] if not c.isascii())
    foreign = {word: [c for c in word[0] if c.isalpha() and not c.isascii() and not unstyled(c)] for word in words}
    alphabets = {word: {alphabet_of(c) for c in letters} - {"LATIN"} for word, letters in foreign.items()}
    # A word all of whose letters look Latin is honest where other words of its alphabet cannot be taken for Latin.
    posing = {word for word in words if alphabets[word] and all(map(latin_twin, foreign[word]))}
    honest = sum(len(foreign[word]) for word in words if alphabets[word] and word not in posing)
    posing = posing if sum(len(foreign[word]) for word in posing) > honest else set()

    edits = []
    for word in words:
        letters = [c for c in word[0] if c.isalpha() or unstyled(c)]
        alike: Callable[[str], str] | None = None
        index = len(letters) > 1 and sum(unicodedata.category(c) == "Lm" for c in letters) == 1  # aᵢ, xⁿ
        native = [c for c in letters if c.isascii() or alphabet_of(c) == "LATIN" or unstyled(c)]
        if alphabets[word] and alphabets[word] <= ALPHABETS and len(letters) > 2 and native:
            alike = latin_twin_in_context
        elif (word in posing and len(letters) > 1) or (not alphabets[word] and _is_phonetic(text, word)):
            alike = latin_twin
        for i, c in enumerate(word[0], word.start()):
            plain = ""
            if not c.isascii():
                plain = unstyled(c) if not index and (len(letters) > 1 or styled > 5) else ""
                if not plain and alike and alphabet_of(c) in ALPHABETS and not _has_base(c):
                    plain = alike(c)
            if plain:
                edits.append(Edit(i, i + 1, plain))
    return edits


def _has_base(character: str) -> bool:
    """Whether `character` is an accented ASCII letter."""
    return unicodedata.normalize("NFKD", character)[0].isascii()


def _is_phonetic(text: str, word: re.Match[str]) -> bool:
    """Whether a word has letters of the phonetic alphabet and is no pronunciation, between slashes or brackets."""
    before, after = text[word.start() - 1 : word.start()], text[word.end() : word.end() + 1]
    spoken = before in ("/", "[", "ˈ", "ˌ") or after in ("/", "]")
    return not spoken and any("\u0250" <= c <= "\u02af" for c in word[0])


def piled_marks(text: str) -> list[Edit]:
    """Letters struck through or with heaps of marks, bare. Accents that belong to a letter stay."""
    if text.isascii():
        return []
    edits = []
    for match in _PILED_MARKS.finditer(text):
        left = len(unicodedata.normalize("NFC", match[0][:8])) - 1  # a letter of no language has more marks
        if (left > 1 or _OVERLAYS.search(match[2])) and alphabet_of(match[1]) in ALPHABETS:
            edits.append(Edit(match.start(2), match.end(2), ""))
    return edits


def flags(text: str) -> list[Edit]:
    """Words written in the letters that flags are made of; a flag or two are honest."""
    edits = []
    for match in _FLAGS.finditer(text) if not text.isascii() else ():
        letters = [
            (chr(ord(c) - 0x1F1E6 + ord("A")), i) for i, c in enumerate(match[0], match.start()) if ord(c) > 0xFFFF
        ]
        if len(letters) > 2:
            word = "".join(letter for letter, _ in letters)
            edits.append(Edit(*match.span(), word, [i for _, i in letters]))
    return edits
