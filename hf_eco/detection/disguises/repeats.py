"""Letters drawn out or doubled."""

from __future__ import annotations

import re

from .addresses import in_address
from .traced import Edit, Span

_REPEATED = re.compile(r"([^\W\d_])\1{2,}")
_DOUBLED = re.compile(r"\b(?:([^\W\d_])\1){3,}\b")
_EITHER = re.compile(r"([^\W\d_])\1(?:\1|([^\W\d_])\2)")  # in whatever either of them matches
_DOUBLE_LETTERS = frozenset("bcdfglmnprstz")


def repeats(text: str) -> list[Edit]:
    """Letters drawn out ("Jeeeeff"), cut to one, or to two if they come in twos; words with every letter doubled,
    halved."""
    if not _EITHER.search(text):
        return []
    edits = [Edit(*m.span(), m[0][::2], range(m.start(), m.end(), 2)) for m in _DOUBLED.finditer(text)]
    if edits:
        return edits
    words: dict[Span, list[re.Match[str]]] = {}
    for match in _REPEATED.finditer(text):
        start, end = match.span()
        while start and text[start - 1].isalpha() and match.start() - start < 20:
            start -= 1
        while end < len(text) and text[end].isalpha() and end - match.end() < 20:
            end += 1
        if not text[start:end].isupper() and not in_address(text, start):  # XXVIII
            words.setdefault((start, end), []).append(match)
    for (start, end), matches in words.items():
        if len(words) < 4 and len(set(text[start:end].lower())) < 3:  # www, hmmm
            continue
        for match in matches:
            twice = len(matches) == 1 and match[1].lower() in _DOUBLE_LETTERS and match.start() > start
            edits.append(Edit(match.start() + 1 + twice, match.end(), ""))
    return sorted(edits, key=lambda edit: edit.start)
