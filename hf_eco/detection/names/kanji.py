"""How Japanese names are read: romaji, kana, and the characters of names.

All three come to plain romaji: small letters, as Hepburn writes them, without what people leave out or write in
several ways (long o and u, double consonants, m for n). A character has several readings, and the first consonant of
one that is not the first of its word may be voiced (kuchi, Yamaguchi).

hf_eco/data/kanji.json says which characters have a reading in last names and in first names, which last names are not
read character by character, which characters have a reading in Korean, and which others a simplified one stands for.
Its sources and their licences stand in its "notice"; benchmarks/kanji_readings.py makes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, lru_cache

from ...data import shipped_table
from ..disguises.language import accentless

# Other ways to write what Hepburn writes, and what people leave out, in this order.
_PLAIN = (
    ("['’\\-‐‑]", ""), ("([szjtcn])h?y(?=[auo])", r"\1y"), ("[sS]y", "sh"), ("[zj]y|dy", "j"), ("[tc]y", "ch"),
    ("s(?=i)", "sh"), ("(?:z|d|dj)(?=i)", "j"), ("t(?=i)", "ch"), ("(?:d|dz)(?=u)", "z"), ("t(?=u)", "ts"),
    ("(?<![csk])h(?=u)", "f"), ("ey(?![auo])", "ei"), ("wo(?![a-z])", "o"), ("m(?=[bmp])", "n"), ("tch", "ch"),
    ("o[ou]+", "o"), ("uu+", "u"), ("oh(?![aiueoy])", "o"), ("([bcdfghjkmnprstwyz])\\1+", r"\1"),
)  # fmt: skip
_PLAIN_RULES = tuple((re.compile(pattern), to) for pattern, to in _PLAIN)
_ROMAJI = re.compile(
    "(?:(?:[kgnbpmr]y|sh|ch|j|y)[auo]|(?:[kgnbpmr]|sh|ch|j)i|(?:[kgszdtnhbpmr]|)[aeo]|[kgsznbpmryf]u|tsu|u|i|hi|wa"
    "|[hnbpmrkg]y[auo]|n(?![aiueoy]))+"
)
_VOICED = {"k": "g", "sh": "j", "s": "z", "ch": "j", "ts": "z", "t": "d", "f": "bp", "h": "bp"}
_VOICE = re.compile("sh|ch|ts|[kstfh]")
_ELIDED = {"o": "ou", "u": "u", "n": "n"}  # what is left out behind these
_SMALL = str.maketrans("ぁぃぅぇぉゃゅょゎァィゥェォャュョヮ", "あいうえおやゆよわアイウエオヤユヨワ")
SILENT = "ーっッ"
FAMILY, GIVEN = "family", "given"
_KANA = re.compile(f"[ぁ-ゖァ-ヺ][{SILENT}]*(?:[ぁぃぅぇぉゃゅょゎァィゥェォャュョヮ][{SILENT}]*)?")


@lru_cache(maxsize=1 << 14)
def plain_romaji(word: str) -> str:
    """A word in Latin letters as plain romaji, be it Japanese or not (see `is_romaji`)."""
    plain = accentless(word.lower())
    for pattern, to in _PLAIN_RULES:
        plain = pattern.sub(to, plain)
    return plain


def is_romaji(plain: str) -> bool:
    """Whether all of a word consists of syllables of Japanese."""
    return _ROMAJI.fullmatch(plain) is not None


def romaji_of_kana(text: str) -> str:
    """Kana in Latin letters, not yet plain."""
    return "".join(_mora(match[0]) for match in _KANA.finditer(text))


@lru_cache(maxsize=1 << 10)
def _mora(kana: str) -> str:
    from anyascii import anyascii  # tables that texts in Latin letters do not need

    first, *small = [anyascii(c.translate(_SMALL)).lower() for c in kana if c not in SILENT] or [""]
    if not small:
        return first
    if small[0][0] == "y":
        return first.removesuffix("i") + (small[0][1:] if first[:-1] in ("sh", "ch", "j") else small[0])
    return first[:-1] + small[0]


def later(reading: str, before: str) -> Iterator[str]:
    """What a reading adds to the word so far, `before`."""
    if not before:
        yield reading
        return
    elided = reading[:1] in _ELIDED.get(before[-1], "")
    yield reading[1:] if elided and reading else reading
    if consonant := _VOICE.match(reading):
        for voiced in _VOICED[consonant[0]]:
            yield voiced + reading[consonant.end() :]


def earlier(sound: str, before: str) -> Iterator[str]:
    """The readings that may add `sound` to the word so far, `before`; see `later`."""
    yield sound
    if before:
        for elided in _ELIDED.get(before[-1], ""):
            yield elided + sound
        for consonant, voiced in _VOICED.items():
            if sound[:1] and sound[0] in voiced:
                yield consonant + sound[1:]


@cache
def _readings(kind: str) -> dict[str, tuple[str, ...]]:
    """The readings of each character in names of a kind, and of each name read as a whole. Not to be changed."""
    found: dict[str, dict[str, None]] = {}
    for reading, written in shipped_table("kanji")[kind].items():
        for character in written:
            found.setdefault(character, {})[reading] = None
    for character, others in shipped_table("kanji")["variants"].items():
        for other in others:
            found[character] = found.get(character, {}) | found.get(other, {})
    for reading, written in shipped_table("kanji").get(f"{kind}_whole", {}).items():
        for whole in written.split():
            found.setdefault(whole, {})[reading] = None
    return {written: tuple(own) for written, own in found.items()}


@cache
def _wholes(kind: str) -> dict[str, list[str]]:
    """First character -> names that are read as a whole."""
    found: dict[str, list[str]] = {}
    for written in _readings(kind):
        if len(written) > 1:
            found.setdefault(written[0], []).append(written)
    return found


def parts_at(text: str, start: int, kind: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """What may be read together from `start` on in a name of a kind, "family" or "given": where it ends, and its
    readings."""
    c = text[start]
    if c in "ヶヵ":
        yield start + 1, ("ga", "ka", "ke")
    elif c < "\u3100":
        if (kana := _KANA.match(text, start)) and (kind == GIVEN or c >= "ァ"):
            yield kana.end(), (plain_romaji(_mora(kana[0])),)
        elif c == "々" and start:
            yield start + 1, _readings(kind).get(text[start - 1], ())
    else:
        yield start + 1, _readings(kind).get(c, ())
        for whole in _wholes(kind).get(c, ()):
            if text.startswith(whole, start):
                yield start + len(whole), _readings(kind)[whole]


def sounds_at(text: str, start: int, before: str, kind: str, unusual: bool) -> Iterator[tuple[int, str, bool]]:
    """What comes next in a name after `before`: where it ends, what it adds, and whether names of a kind are known to
    read it so. Where `unusual`, last names may be read like first names."""
    for end, readings in parts_at(text, start, kind):
        for sound in _all_later(readings, before[-1:]):
            yield end, sound, True
    if unusual and kind == FAMILY and text[start] >= "\u3100":
        for sound in _all_later(_only_given(text[start]), before[-1:]):
            yield start + 1, sound, False


@lru_cache(maxsize=1 << 14)
def _all_later(readings: tuple[str, ...], before: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(sound for reading in readings for sound in later(reading, before)))


@lru_cache(maxsize=1 << 12)
def _only_given(character: str) -> tuple[str, ...]:
    usual = _readings(FAMILY).get(character, ())
    return tuple(reading for reading in _readings(GIVEN).get(character, ()) if reading not in usual)


def morae(kana: str) -> list[int]:
    """Where each mora of a word in kana begins, and the end of the word."""
    return [*(match.start() for match in _KANA.finditer(kana)), len(kana)]


@cache
def korean_syllables() -> dict[str, str]:
    """Character -> the syllable of Hangul that Koreans read it as."""
    found = {c: syllable for syllable, written in shipped_table("kanji")["korean"].items() for c in written}
    for character, others in shipped_table("kanji")["variants"].items():
        for other in others:
            if other in found:
                found.setdefault(character, found[other])
    return found
