"""Characters that nobody sees, and text that is shown in another direction than it is written."""

from __future__ import annotations

import re

from .traced import Edit, backwards

INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\U000e0000-\U000e0fff]+"
)
_OVERRIDDEN = re.compile("\u202e([^\u202c\u2069\n]+)")


def invisible(text: str) -> list[Edit]:
    """Marks that nobody sees, taken out of words; letters hidden in tag characters, brought to light. Joiners of emoji
    and of Arabic or Indian writing stay."""
    if text.isascii():
        return []
    edits = []
    for match in INVISIBLE.finditer(text):
        before, after = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
        hidden = "".join(chr(ord(c) - 0xE0000) for c in match[0] if 0xE0020 <= ord(c) < 0xE007F)
        if len(hidden) > 2 and before != "\U0001f3f4":  # the black flag, of which tags make England's
            sources = [i for i, c in enumerate(match[0], match.start()) if 0xE0020 <= ord(c) < 0xE007F]
            edits.append(Edit(*match.span(), f" {hidden} ", [sources[0], *sources, sources[-1]]))
        elif _is_european(before) or (_is_european(after) and not set(match[0]) <= {"\ufe0e", "\ufe0f"}):
            edits.append(Edit(*match.span(), ""))
    return edits


def _is_european(character: str) -> bool:
    return character.isalpha() and character < "\u0530"


def overridden(text: str) -> list[Edit]:
    """Text that a right-to-left override shows backwards, as it is shown."""
    return [backwards(text, *match.span(1)) for match in _OVERRIDDEN.finditer(text)] if not text.isascii() else []
