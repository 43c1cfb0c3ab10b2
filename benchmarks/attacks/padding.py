"""Words about everyday things before, after or around the prompt."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from .registry import Member, TextTransform, family
from .texts import rows_of

_PARAGRAPHS = [row["text"] for row in rows_of("paragraphs")]
_SENTENCE_ENDS = re.compile(r'(?<=[.?!]) (?=[A-Z"])')


def _benign(words: float, paragraphs: Sequence[str]) -> list[str]:
    """The first of the paragraphs, cut after the sentence with which they reach `words` words."""
    chosen: list[str] = []
    for paragraph in paragraphs:
        sentences: list[str] = []
        for sentence in _SENTENCE_ENDS.split(paragraph):
            if words > 0:
                sentences.append(sentence)
                words -= len(sentence.split())
        if sentences:
            chosen.append(" ".join(sentences))
    return chosen


def _padded(words: int, *, before: bool, after: bool) -> TextTransform:
    """`words` words of paragraphs in random order before the prompt, after it, or half of them on each side."""

    def padded(prompt: str, rng: random.Random) -> str:
        paragraphs = rng.sample(_PARAGRAPHS, len(_PARAGRAPHS))
        front = _benign(words / (before + after), paragraphs) if before else []
        back = _benign(words / (before + after), paragraphs[len(front) :]) if after else []
        return "\n\n".join([*front, prompt, *back])

    return padded


def _inline(words: int) -> TextTransform:
    """The prompt between two sentences of running text, without a line of its own."""

    def inline(prompt: str, rng: random.Random) -> str:
        text = " ".join(_benign(words, rng.sample(_PARAGRAPHS, len(_PARAGRAPHS))))
        sentences = _SENTENCE_ENDS.split(text)
        i = rng.randrange(1, len(sentences))
        return " ".join([*sentences[:i], prompt, *sentences[i:]])

    return inline


def _members(words: int) -> list[Member]:
    """The four places for `words` words."""
    about = f"About {words:,} words on everyday subjects"
    return [
        (f"before-{words}", f"{about}, before the prompt.", _padded(words, before=True, after=False)),
        (f"after-{words}", f"{about}, after the prompt.", _padded(words, before=False, after=True)),
        (f"both-{words}", f"{about}, half before and half after the prompt.", _padded(words, before=True, after=True)),
        (
            f"inline-{words}",
            f"The prompt between two sentences of about {words:,} words of running text.",
            _inline(words),
        ),
    ]


ATTACKS = family("padding", *_members(50), *_members(300), *_members(1500))
