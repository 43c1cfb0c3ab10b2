"""Ciphers that only the language under them gives away: Caesar shifts, Atbash and reversal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from .language import FUNCTION_WORDS, WORD, accentless, average_cost, word_cost, word_list
from .traced import Edit, Span, backwards
from .word_order import is_backwards

_ALPHABET = "abcdefghijklmnopqrstuvwxyz"
GAIN = 12.0  # nats that a reading must be likelier by
READS = 3.1  # nats per letter of what reads like language
_USUAL = 2.75  # nats per letter of a word
_ODD = 7.0  # nats beyond the usual that make a stretch worth trying: a gain of 12 needs them


def _shift_table(shift: int) -> dict[int, int]:
    shifted = _ALPHABET[shift:] + _ALPHABET[:shift]
    return str.maketrans(_ALPHABET + _ALPHABET.upper(), shifted + shifted.upper())


_ATBASH = str.maketrans(_ALPHABET + _ALPHABET.upper(), _ALPHABET[::-1] + _ALPHABET[::-1].upper())
_SUBSTITUTIONS = {
    "rot13": _shift_table(13),
    **{f"caesar{26 - shift}": _shift_table(shift) for shift in range(1, 26) if shift != 13},  # by the shift it had
    "atbash": _ATBASH,
}


@dataclass(frozen=True)
class _Cipher:
    """How each word was written: letters exchanged by `table`, backwards or not."""

    name: str
    table: dict[int, int]
    backwards: bool = False

    def read(self, word: str) -> str:
        return (word[::-1] if self.backwards else word).translate(self.table)


_CIPHERS = (
    *(_Cipher(name, table) for name, table in _SUBSTITUTIONS.items()),
    _Cipher("reversed", {}, backwards=True),
    _Cipher("reversed+rot13", _SUBSTITUTIONS["rot13"], backwards=True),
    _Cipher("reversed+atbash", _ATBASH, backwards=True),
)
_LONGEST = 40  # letters; what is longer is no word
_BLOCK = 48  # words tried at a time with the likeliest ciphers alone, if a stretch is longer
_LIKELY = 5
# Per cent of English text, from a to z.
_SHARES = "8 1.5 2.8 4.3 12.7 2.2 2 6.1 7 0.2 0.8 4 2.4 6.7 7.5 1.9 0.1 6 6.3 9 2.8 1 2.4 0.2 2 0.1"
_LETTER_SHARES = dict(zip(_ALPHABET, map(float, word_list(_SHARES)), strict=True))
_SHARES_UNDER = {
    cipher.name: {letter: _LETTER_SHARES[letter.translate(cipher.table)] for letter in _ALPHABET}
    for cipher in _CIPHERS
}


def _stretches(gains: Iterable[float], least: float, widest_gap: float) -> list[Span]:
    """Stretches [first, last) of `gains` that sum to `least` or more and are not left by `widest_gap` below their
    maximum; as long as that makes the sum larger."""
    found: list[Span] = []
    total = best = 0.0
    first = last = 0
    for i, gain in enumerate(gains):
        total += gain
        if total > best:
            best, last = total, i + 1
        if total <= 0 or total < best - widest_gap:
            if best >= least:
                found.append((first, last))
            total = best = 0.0
            first = last = i + 1
    if best >= least:
        found.append((first, last))
    return found


def decipher(text: str) -> tuple[str, list[Edit]]:
    """Stretches of `text` that read like language under a simple cipher and do not as they stand."""
    words = [word for word in WORD.findall(text) if len(word) < _LONGEST]
    small = [_small(word) for word in words]
    odd = _stretches(map(_oddness, small), _ODD, GAIN)
    if not odd:
        return "", []
    starts = [match.start() for match in WORD.finditer(text) if len(match[0]) < _LONGEST]
    edits: list[Edit] = []
    names: Counter[str] = Counter()
    for odd_first, odd_last in odd:
        first, last = max(0, odd_first - 3), min(len(small), odd_last + 3)
        for block in range(first, last, _BLOCK):
            here = slice(block, min(last, block + _BLOCK))
            name, found = _deciphered(text, words[here], starts[here])
            found = [edit for edit in found if not edits or edit.start >= edits[-1].end]
            edits += found
            names[name] += len(found)
    return (names.most_common(1)[0][0], edits) if edits else ("", [])


@lru_cache(maxsize=1 << 15)
def _oddness(word: str) -> float:
    """Nats by which a word without case and accents is less likely than a usual one of its length."""
    return word_cost(word) - _USUAL * (len(word) + 1) if word.isascii() else -2.0


def _deciphered(text: str, words: Sequence[str], starts: Sequence[int]) -> tuple[str, list[Edit]]:
    """The cipher under which stretches of `words` gain most, and those read; `starts` says where each word is."""
    best = _best_cipher(tuple(words))
    if best is None:
        return "", []
    cipher, spans = best
    edits = []
    for first, last in spans:
        read = [cipher.read(_small(word)) for word in words[first:last]]
        if cipher.backwards and is_backwards(read):
            start, end = _with_punctuation(text, starts[first], starts[last - 1] + len(words[last - 1]))
            edit = backwards(text, start, end)
            edits.append(Edit(start, end, edit.text.translate(cipher.table), edit.sources))
        else:
            for word, start in zip(words[first:last], starts[first:last], strict=True):
                end = start + len(word)
                sources = range(end - 1, start - 1, -1) if cipher.backwards else range(start, end)
                edits.append(Edit(start, end, cipher.read(word), sources))
    return cipher.name, edits


@lru_cache(maxsize=1 << 10)
def _best_cipher(words: tuple[str, ...]) -> tuple[_Cipher, list[Span]] | None:
    """The cipher under which stretches of `words` gain most, and those, in words; None if none reads. Most words of a
    text are the same under the next layer."""
    small = [_small(word) for word in words]
    costs = [word_cost(word) if word.isascii() else 0.0 for word in small]
    line = " ".join(word if word.isascii() else "" for word in small)
    best: tuple[float, _Cipher, list[Span]] | None = None
    for cipher in _CIPHERS if len(words) < _BLOCK else _likely_ciphers(small):
        read = cipher.read(line).split(" ")
        if cipher.backwards:
            read.reverse()
        gains = [cost - word_cost(plain) if plain else 0.0 for cost, plain in zip(costs, read, strict=True)]
        for i, plain in enumerate(read):
            if len(plain) < 3 and (len(plain) < 2 or plain not in FUNCTION_WORDS):
                gains[i] = min(gains[i], 0.0)
            elif cipher.backwards and not words[i].islower():  # a capital belongs in front
                gains[i] += 4.0 if words[i][-1].isupper() else -4.0
        if sum(gain for gain in gains if gain > 0) < GAIN:
            continue
        spans = [span for span in _stretches(gains, GAIN, GAIN) if _reads(read[slice(*span)], gains[slice(*span)])]
        gain = sum(sum(gains[slice(*span)]) for span in spans)
        if spans and (best is None or gain > best[0]):
            best = gain, cipher, [_widened(span, gains, small, read) for span in spans]
    return best and best[1:]


def _small(word: str) -> str:
    """A word without case and accents."""
    return accentless(word.lower())


def _reads(words: Sequence[str], gains: Sequence[float]) -> bool:
    """Whether a stretch that was deciphered is more than an accident: a word alone must be long and gain more."""
    letters = "".join(words)
    alone = sum(gain > 1 for gain in gains) == 1
    return (
        len(letters) > 6
        and len(set(letters)) > 4
        and average_cost(" ".join(words)) < READS
        and (not alone or (sum(gains) > GAIN + 1 and words[0] not in FUNCTION_WORDS))
    )


def _widened(span: Span, gains: Sequence[float], words: Sequence[str], read: Sequence[str]) -> Span:
    """With the words beside it that may be of the same cipher, too."""

    def fits(i: int) -> bool:
        return gains[i] > -3 and (words[i] not in FUNCTION_WORDS or read[i] in FUNCTION_WORDS)

    first, last = span
    while first and fits(first - 1):
        first -= 1
    while last < len(words) and fits(last):
        last += 1
    return first, last


def _likely_ciphers(words: Sequence[str]) -> list[_Cipher]:
    """Those whose letters come closest to English ones in frequency; reading backwards leaves frequencies alone."""
    counts = Counter("".join(word for word in words if word.isascii()))

    def likeness(cipher: _Cipher) -> float:
        shares = _SHARES_UNDER[cipher.name]
        return sum(n * shares[letter] for letter, n in counts.items())

    forwards = [cipher for cipher in _CIPHERS if not cipher.backwards]
    return sorted(forwards, key=likeness)[-_LIKELY:] + [cipher for cipher in _CIPHERS if cipher.backwards]


def _with_punctuation(text: str, start: int, end: int) -> Span:
    """[start, end) and the marks that belong to it: those behind it, and those that end a sentence, before it."""
    while start and not text[start - 1].isalnum() and text[start - 1] not in ":\n\"'`([{":
        if text[start - 1].isspace() and not (start > 1 and text[start - 2] in "?!."):
            break
        start -= 1
    while end < len(text) and not text[end].isspace() and text[end] not in "\"'`)]}":
        end += 1
    return start, end
