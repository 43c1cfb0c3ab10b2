"""Words in reverse order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise, product

from .language import AUXILIARIES, DETERMINERS, PREPOSITIONS, QUESTION_WORDS
from .traced import Edit

# Pairs of words that English puts in this order all the time, and hardly ever in the other.
_IN_ORDER = frozenset(
    (*product(PREPOSITIONS, DETERMINERS), *product(QUESTION_WORDS, AUXILIARIES), *product(AUXILIARIES, DETERMINERS))
)
_OPENERS = QUESTION_WORDS | AUXILIARIES | {"tell", "explain", "describe", "name", "write", "give", "list"}
_LINE = re.compile(r"[^\n]+")


def is_backwards(words: Sequence[str]) -> bool:
    """Whether words in a row make more sense from the last to the first."""
    forwards = sum(pair in _IN_ORDER for pair in pairwise(words))
    back = _out_of_order(words)
    if forwards == back and words:
        return words[-1] in _OPENERS and words[0] not in _OPENERS
    return back > forwards


def _out_of_order(words: Sequence[str]) -> int:
    """How many pairs of neighbours would be in order the other way round."""
    return sum(pair in _IN_ORDER for pair in zip(words[1:], words, strict=False))


def turn_word_order(text: str) -> tuple[str, list[Edit]]:
    """Lines whose words stand in reverse order."""
    edits = []
    for line in _LINE.finditer(text):
        words = [token.strip(".,?!:;\"'").lower() for token in line[0].split()]
        back = _out_of_order(words)
        if not back:
            continue
        tokens = list(re.finditer(r"\S+", line[0]))
        opened = words[-1] in QUESTION_WORDS and (tokens[-1][0][0].isupper() or words[-1] == "who")
        sentence = tokens[0][0][0].isupper() and tokens[-1][0][-1] in ".?!"
        if (back > 1 or opened) and not sentence and is_backwards(words):
            order = [i for token in reversed(tokens) for i in (*range(*token.span()), token.end())][:-1]
            plain = " ".join(token[0] for token in reversed(tokens))
            sources = [line.start() + min(i, len(line[0]) - 1) for i in order]
            edits.append(Edit(*line.span(), plain, sources))
    return ("reversed words", edits) if edits else ("", [])
