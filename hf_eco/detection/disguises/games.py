"""Pig latin, and letters turned upside down."""

from __future__ import annotations

import re

from .ciphers import GAIN, READS
from .language import AUXILIARIES, DETERMINERS, PREPOSITIONS, WORD, average_cost, word_cost, word_list
from .traced import Edit

_PIG_LATIN = re.compile(r"\b[A-Za-z]+ay\b(?:[^\w\n]{1,3}[A-Za-z]+ay\b)+")
# Words that end in -ay by right.
_ENDS_IN_AY = re.compile(
    r"(?:mon|tues|wednes|thurs|fri|satur|sun|yester|to|holi|birth|some|every)?day|(?:a|any|high|run|sub|path)?way|m?ay"
    r"|(?:re|dis|over)?play|(?:re|de)?lay|(?:re)?pay|(?:out|over)?stay"
    r"|(?:st|g|tr|r|pr|h|b|j|cl|okay|es|x-r|ar|s|spr|sw)r?ay"
    r"|es?say|array|relay|betray|okay|bombay|paraguay|uruguay|broadway|norway|galway",
    re.IGNORECASE,
)


def read_pig_latin(text: str) -> tuple[str, list[Edit]]:
    """Runs of pig-latin words ("owhay isway effjay"), in English."""
    edits = []
    for match in _PIG_LATIN.finditer(text):
        words = list(WORD.finditer(text, *match.span()))
        strange = [word for word in words if not _ENDS_IN_AY.fullmatch(word[0])]
        if len(strange) < 2 or 2 * len(strange) <= len(words):
            continue
        plain = [_unpigged(word[0]) for word in words]
        gain = sum(
            word_cost(word[0].lower()) - word_cost(read.lower()) for word, read in zip(words, plain, strict=True)
        )
        if gain > GAIN / 2:
            edits += [Edit(*word.span(), read) for word, read in zip(words, plain, strict=True)]
    return ("pig latin", edits) if edits else ("", [])


_CONSONANTS = re.compile(r"((?:qu|y(?=[aeiou])|[b-df-hj-np-tv-xz])*)(.*)", re.DOTALL)
# What English words and names begin with.
_ONSETS = frozenset(
    word_list("""
b bl br c ch chr cl cr d dr dw f fl fr g gh gl gn gr h j k kh kl kn kr l m mc n p ph phr pl pr ps qu r rh s sc sch schr
scr sh shr sk sl sm sn sp sph spl spr squ st str sv sw t th thr tr ts tw v vl w wh wr x y z zh
""")
)
_USUAL = (
    AUXILIARIES | DETERMINERS | PREPOSITIONS | {"and", "or", "i", "us", "any", "also", "all", "if", "it", "up", "out"}
)
_WITHOUT_W = 0.1  # nats per letter that a word with a vowel in front must be likelier by than one with a w


def pig_latin(word: str) -> tuple[str, ...]:
    """`word` in pig latin, in the ways that are usual: "obray" or "robay" for Rob, "almaway" or "almayay" for Alma."""
    head, tail = _CONSONANTS.match(word.lower()).groups()  # type: ignore[union-attr]
    return (f"{tail}{head}ay", f"{head}{tail}ay") if head else (f"{tail}way", f"{tail}yay", f"{tail}ay", f"{tail}hay")


def _unpigged(word: str) -> str:
    """The likeliest word that pig latin makes `word` of."""
    stem = word[:-2].lower()
    readings = {}
    for moved in range(1, min(5, len(stem))):
        if stem[-moved:] in _ONSETS:
            readings[stem[-moved:] + stem[:-moved]] = 0.0
    if len(stem) > 1 and stem[-1] in "wyh":
        readings[stem[:-1]] = 0.0 if stem[:-1] in _USUAL else _WITHOUT_W
    readings = readings or {stem or word.lower(): 0.0}
    best = min(readings, key=lambda reading: word_cost(reading) / (len(reading) + 1) + readings[reading])
    return best.capitalize() if word[0].isupper() else best


_TURNED = dict(
    zip(
        "ɐqɔpǝɟƃɓɥᴉıɾʞlɯuodbɹsʇnʌʍxʎz¿¡˙‾∀ƆƎℲ⅁ſ˥Ԁ┴∩Λ⅄WM", "abcdefgghiijklmnopqrstuvwxyz?!._ACEFGJLPTUVYMW", strict=True
    )
)
_TURNED |= dict(zip("ꓭꓷƎՐꓘ⅂ꓤꓕՈſÞ⊥ꓶꓵꓱᗺᗡᴚƖᄅƐㄣϛㄥ⅋", "BDEJKLRTUJPTLUEBDR123457&", strict=True))
_TURNED |= dict(zip("qpuwbdnm", "bdnmqpuw", strict=True)) | {c: c for c in "osxzlHINOQSXZ ,'-\""}
_TURNED_ONLY = re.compile("[ɐɔǝɟƃɓɥᴉɾʞɯɹʇʌʍʎꓭꓷꓘꓤꓕ]")
_TURNED_STRETCH = re.compile("[" + re.escape("".join(_TURNED)) + "]+")


def turn_upright(text: str) -> tuple[str, list[Edit]]:
    """Letters turned upside down, which is read from the end."""
    edits = []
    for match in _TURNED_STRETCH.finditer(text) if not text.isascii() else ():
        if len(_TURNED_ONLY.findall(match[0])) > 2:
            plain = "".join(_TURNED[c] for c in reversed(match[0]))
            if average_cost(plain) < READS:
                edits.append(Edit(*match.span(), plain, range(match.end() - 1, match.start() - 1, -1)))
    return ("upside down", edits) if edits else ("", [])
