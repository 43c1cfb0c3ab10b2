"""Encodings that carry their own evidence: base64, base32, hex, binary, decimal and Morse."""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise

from .language import WORD, average_cost, word_list
from .traced import Edit, Span

# A pattern that begins with a lookbehind is slow to search: those of binary, decimal and Morse stand one behind.
_BINARY = re.compile(r"[01](?<!\w[01])(?:[01]|[\s,;-]{1,2}(?=[01])){20,}(?!\w)")
_DECIMAL = re.compile(r"[0-9](?<![\w.][0-9])[0-9]{1,2}(?:[\s,;-]{1,2}[0-9]{2,3}){3,}(?![\w.])")
_HEX = re.compile(r"(?<![0-9A-Za-z])(?:(?:0[xX]|\\x|%)?[0-9a-fA-F]{2}[\s,:;-]{0,2}){4,}(?<![\s,:;-])(?![0-9A-Za-z])")
_BASE32 = re.compile(r"(?<![0-9A-Za-z])(?:[A-Z2-7]{16,}|[a-z2-7]{16,})={0,6}(?![0-9A-Za-z])")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{2,}={0,2}")
# aA, a1, 1a or AAa. Looked for by its capital or figure, which prose has few of.
_BASE64_LOOK = re.compile("[A-Z](?<=[a-z][A-Z])|[0-9](?<=[A-Za-z][0-9])|[0-9](?=[A-Za-z])|[A-Z](?=[A-Z][a-z])")
_MORSE_MARK = "[.·•\\-–—−_]"
_MORSE = re.compile(
    rf"{_MORSE_MARK}(?<![\w.·•–—−_-]{_MORSE_MARK}){_MORSE_MARK}{{0,5}}"
    rf"(?:(?:\s{{0,3}}[/|]\s{{0,3}}|\s{{1,7}}){_MORSE_MARK}{{1,6}}){{2,}}(?!\w)"
)
_MORSE_SIGNS = word_list("""
.- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --..
----- .---- ..--- ...-- ....- ..... -.... --... ---.. ----. .-.-.- --..-- ..--.. .----. -.-.-- -..-. ---...
-.--. -.--.- .-... -.-.-. -...- .-.-. -....- ..--.- .-..-. ...-..- .--.-.
""")
_MORSE_LETTERS = dict(zip(_MORSE_SIGNS, "abcdefghijklmnopqrstuvwxyz0123456789.,?'!/:()&;=+-_\"$@", strict=True))
_DASHES = str.maketrans("·•–—−_", "..----")


def _from_binary(payload: str) -> str:
    groups = re.findall("[01]+", payload)
    if len({len(group) for group in groups}) > 1 or len(groups[0]) not in (7, 8):
        joined = "".join(groups)
        size = 8 if len(joined) % 8 == 0 else 7
        groups = [joined[i : i + size] for i in range(0, len(joined), size)]
    return _from_bytes(bytes(int(group, 2) for group in groups))


def _from_decimal(payload: str) -> str:
    codes = [int(code) for code in re.findall("[0-9]+", payload)]
    steps = {second - first for first, second in pairwise(codes)}
    if max(codes) > 126 or min(codes) < 32 or len(steps) == 1:
        return ""
    decoded = _from_bytes(bytes(codes))
    return decoded if average_cost(decoded) < 3.5 and len(WORD.findall(decoded)) * 3 <= len(decoded) else ""


def _from_hex(payload: str) -> str:
    digits = "".join(re.findall("[0-9a-fA-F]{2}", re.sub(r"0[xX]|\\x", "", payload)))
    decoded = _from_bytes(bytes.fromhex(digits))
    return decoded if not digits.isdigit() or average_cost(decoded) < 3.2 else ""  # or it is a number


def _from_base32(payload: str) -> str:
    letters = payload.rstrip("=").upper()
    try:
        return _from_bytes(base64.b32decode(letters + "=" * (-len(letters) % 8)))
    except binascii.Error:
        return ""


def _from_base64(payload: str) -> str:
    letters = re.sub(r"[\s=>]+", "", payload).replace("-", "+").replace("_", "/")
    try:
        return _from_bytes(base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True))
    except binascii.Error:
        return ""


def _from_morse(payload: str) -> str:
    words = re.split(r"\s*[/|]\s*|\s{3,}", payload.translate(_DASHES).strip())
    letters = [[_MORSE_LETTERS.get(sign) for sign in word.split()] for word in words]
    if any(letter is None for word in letters for letter in word):
        return ""
    decoded = " ".join("".join(filter(None, word)) for word in letters)
    return decoded if len(set(decoded) - {" "}) > 2 and any(c.isalpha() for c in decoded) else ""


def _from_bytes(octets: bytes) -> str:
    """The text that `octets` are in UTF-8, if it is one: mostly letters, and nothing unprintable."""
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        return ""
    worded = sum(c.isalnum() or c == " " for c in text)
    few = len(text) < 12
    if worded < (0.9 if few else 0.75) * len(text) or sum(c.isalpha() for c in text) < 3:
        # encoded once more, it is all figures or dots and dashes
        return text if len(text) > 20 and re.fullmatch(r"[01\s]+|[0-9a-fA-Fx\\\s]+|[.\-/\s]+|[0-9\s,]+", text) else ""
    return text if all(c.isprintable() or c in "\n\r\t" for c in text) else ""


def _base64_stretches(text: str) -> Iterator[Span]:
    """Words that may be base64, and runs of words of one length (the last may be shorter) that a line break or a space
    parts."""
    run: list[Span] = []
    for match in _BASE64.finditer(text) if _BASE64_LOOK.search(text) else ():
        start, end = match.span()
        if run:
            length = run[0][1] - run[0][0]
            joined = len(text[run[-1][1] : start].strip(" \t\r\n>")) == 0 and run[-1][1] - run[-1][0] == length
            closed = text[run[-1][1] - 1] == "=" or (len(run) == 1 and end - start < length and match[0].islower())
            if closed or not (joined and end - start <= length):
                yield from _tried(run)
                run = []
        if run or (end - start > 3 and _BASE64_LOOK.search(match[0])):
            run.append((start, end))
    yield from _tried(run)


def _tried(run: list[Span]) -> Iterator[Span]:
    """A run in one, then those of its words that are long enough to stand alone."""
    if len(run) > 1:
        yield run[0][0], run[-1][1]
    for span in run:
        if span[1] - span[0] >= 8:
            yield span


_ENCODINGS: tuple[tuple[str, re.Pattern[str], Callable[[str], str]], ...] = (
    ("binary", _BINARY, _from_binary),
    ("decimal", _DECIMAL, _from_decimal),
    ("morse", _MORSE, _from_morse),
    ("hex", _HEX, _from_hex),
    ("base32", _BASE32, _from_base32),
)


def decode_payloads(text: str) -> tuple[str, list[Edit]]:
    """All stretches of `text` that decode, and what most of them are encoded with."""
    found: list[tuple[Edit, str]] = []
    for name, pattern, decode in _ENCODINGS:
        for match in pattern.finditer(text):
            if decoded := decode(match[0]):
                found.append((Edit(*match.span(), decoded), name))
    for start, end in _base64_stretches(text):
        if decoded := _from_base64(text[start:end]):
            found.append((Edit(start, end, decoded), "base64"))
    found.sort(key=lambda pair: (pair[0].start, -pair[0].end))
    edits: list[Edit] = []
    names: Counter[str] = Counter()
    for edit, name in found:
        if not edits or edit.start >= edits[-1].end:
            edits.append(edit)
            names[name] += edit.end - edit.start
    return (names.most_common(1)[0][0], edits) if edits else ("", [])
