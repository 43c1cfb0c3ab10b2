"""Transforms and patterns that several families use."""

from __future__ import annotations

import random
import re
import string
from collections.abc import Callable, Mapping

from .registry import TextTransform

# Between two letters or digits of a word; never between a letter and its combining accent.
BETWEEN_LETTERS = re.compile(r"(?<=[^\W_])(?=[^\W_])")
WORD = re.compile(r"[^\W\d_]+")
# Between the words of one name: a space, and a dot after an initial.
_INSIDE_NAMES = re.compile(r"(?:(?<=\b\w)\.)? ")
# Words that begin a sentence with a capital and are no part of a name.
_BEGINNINGS = """
A After Along An And Are As At Be Because Before But By Can Complete Could Describe Did Do Does During Explain Fill For
From Give Had Has Have He Her Here His How I If In Into Is It Its List Name Of On One Or Out Over Please She Since Some
Summarise Summarize Tell That The Their Then There These They This Those Through To Under Until Was We Were What When
Where Which While Who Whom Whose Why Will With Would Write You Your
""".split()  # noqa: SIM905


def plain(function: Callable[[str], str]) -> TextTransform:
    """A transform that rolls no dice."""
    return lambda prompt, rng: function(prompt)


def frame(text: str) -> TextTransform:
    """Puts the prompt where `text` says {prompt}. (No `str.format`: frames and prompts may hold other braces.)"""
    return lambda prompt, rng: text.replace("{prompt}", prompt)


def table(values: Mapping[str, str]) -> TextTransform:
    """Replaces the characters that are keys of `values` by their values."""
    translation = str.maketrans(dict(values))
    return lambda prompt, rng: prompt.translate(translation)


def between_letters(marks: str) -> TextTransform:
    """Puts one of the `marks` between any two letters of a word."""
    return lambda prompt, rng: BETWEEN_LETTERS.sub(lambda _: rng.choice(marks), prompt)


def utf8(prompt: str) -> bytes:
    """The prompt in UTF-8, lone surrogates too."""
    return prompt.encode("utf-8", "surrogatepass")


def name_spans(prompt: str) -> list[tuple[int, int]]:
    """Where the names are, as (start, end) in characters: runs of capitalised words.

    The longest word if there are none, and everything if there is no word either.
    """
    spans: list[tuple[int, int]] = []
    for word in re.finditer(r"[^\W_]+(?:[-.'’][^\W_]+)*", prompt):
        if not word[0][0].isupper() or word[0] in _BEGINNINGS:
            continue
        start, end = word.span()
        if word[0].endswith(("'s", "’s")):
            end -= 2
        if spans and _INSIDE_NAMES.fullmatch(prompt, spans[-1][1], start):  # the next word of the same name
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    if not spans:
        words = [word.span() for word in WORD.finditer(prompt)]
        spans = [max(words, key=lambda span: span[1] - span[0], default=(0, len(prompt)))]
    return spans


def main_name(prompt: str) -> tuple[int, int]:
    """The name of the most words, the first of equals: where it starts and ends, in characters."""
    return max(name_spans(prompt), key=lambda span: prompt[span[0] : span[1]].count(" "))


def on_names(transform: TextTransform) -> TextTransform:
    """Applies `transform` to the names alone and leaves the rest of the prompt as it is."""

    def on_names(prompt: str, rng: random.Random) -> str:
        pieces, done = [], 0
        for start, end in name_spans(prompt):
            pieces += [prompt[done:start], transform(prompt[start:end], rng)]
            done = end
        return "".join([*pieces, prompt[done:]])

    return on_names


def alphabet(upper: str, lower: str, digits: str = string.digits) -> dict[str, str]:
    """A table from the 26 capitals, 26 small letters and 10 digits."""
    plain = string.ascii_uppercase + string.ascii_lowercase + string.digits
    return dict(zip(plain, upper + lower + digits, strict=True))


def backwards(prompt: str) -> str:
    """The prompt from its last character to its first."""
    return prompt[::-1]
