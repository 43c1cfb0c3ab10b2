"""Initials beside a last name: J. M. Quillfeather, J.-P. Quillfeather, JM Quillfeather; Quillfeather, J. M."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..disguises.language import accentless
from ..disguises.letters import STROKED
from .common import without_titles
from .words import HONORIFICS, OPENING_WORDS, OTHER_FORMS, PARTICLES, TOKEN

_MOST = 3
_CAPITAL = "[" + "".join(filter(str.isupper, map(chr, range(0x2000)))) + "]"  # Latin, Greek, Cyrillic and others
_GROUP = rf"({_CAPITAL}\.?(?:[ \t]*[-‐‑]?[ \t]*{_CAPITAL}\.?){{0,{_MOST - 1}}})"
_BEFORE = re.compile(rf"(?<![\w.'’-]){_GROUP}(?:(?<=\.)[ \t]*|[ \t]+)\Z")
_BEFORE_LENGTH = 20  # characters in which initials and what separates them are looked for
_BEHIND = re.compile(rf"(,?)[ \t]+{_GROUP}(?!\w)")
_WORD = re.compile(rf"[ \t]+{_CAPITAL}\w")
_DEGREES = frozenset(("ba", "bs", "jd", "kc", "ma", "md", "mp", "ms", "qc", "rn"))  # that look like initials


@dataclass(frozen=True, slots=True)
class Initials:
    """Initials and a last name, `text[start:end]`, and the `forms` that they have in common with a name's."""

    forms: frozenset[str]
    start: int
    end: int


def initials_of_name(name: str) -> frozenset[str]:
    """The forms of the initials with which somebody may be called: of the first name or a nickname, by itself, and
    with one of each middle name. Whoever has no middle name may have any."""
    words = [token for word in without_titles(name)[:-1] for token in TOKEN.findall(word)]
    first, *middles = [word for word in words if word.lower() not in PARTICLES | HONORIFICS] or [""]
    if not first:
        return frozenset()
    firsts = {_small(first), *map(_small, OTHER_FORMS.get(first.lower(), ()))}
    seconds = {_small(middle) for middle in middles} or {"*"}
    return frozenset(firsts | {f"{own} {other}" for own in firsts for other in seconds})


def initials_beside(text: str, start: int, end: int) -> Initials | None:
    """The initials before or behind a last name, `text[start:end]`, if there are some."""
    before = _BEFORE.search(text, max(0, start - _BEFORE_LENGTH), start)
    if before and not (len(before[1]) == 1 and before[1].lower() in OPENING_WORDS):
        return Initials(_forms(before[1]), before.start(), end)
    behind = _BEHIND.match(text, end)
    if behind is None:
        return None
    comma, written = behind[1], behind[2]
    if _WORD.match(text, behind.end()):  # "Quillfeather, J. Smith and K. Jones"
        return None
    if comma and (not written.endswith(".") or "".join(_letters(written)) in _DEGREES):
        return None
    return Initials(_forms(written), start, behind.end())


def _forms(written: str) -> frozenset[str]:
    """The forms of a name that has these initials."""
    first, *others = _letters(written)
    return frozenset((f"{first} {other}" for other in (*others, "*")) if others else (first,))


def _letters(written: str) -> Sequence[str]:
    return [_small(letter) for letter in written if letter.isalpha()]


def _small(word: str) -> str:
    """The first letter of a word, small and without accents."""
    return accentless(word.lower().translate(STROKED))[:1]
