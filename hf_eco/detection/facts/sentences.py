"""The sentences of documents and of prompts."""

from __future__ import annotations

import re

from ..windows import Span

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-ZÀ-Þ\"“])")
_PROMPT_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")  # prompts are written with less care
_LEAST_WORDS = 5  # of a document's sentence
_LEAST_IN_PROMPT = 4
_MOST_IN_PROMPT = 64  # sentences of a prompt that are looked up by themselves; of more, several at a time


def sentences(document: str) -> list[str]:
    """The sentences of a document, those of at least five words."""
    found = (sentence.strip() for line in document.splitlines() for sentence in _SENTENCE_END.split(line))
    return [sentence for sentence in found if len(sentence.split()) >= _LEAST_WORDS]


def prompt_parts(text: str) -> list[Span]:
    """What is looked up of a prompt: the whole of it, and each sentence of at least four words where there are
    several. Of very long prompts, neighbouring sentences together."""
    ends = [match.span() for match in _PROMPT_END.finditer(text)]
    borders = zip([0, *(end for _, end in ends)], [*(start for start, _ in ends), len(text)], strict=True)
    own = [(a, b) for a, b in borders if len(text[a:b].split()) >= _LEAST_IN_PROMPT]
    together = -(-len(own) // _MOST_IN_PROMPT) or 1
    own = [(own[i][0], own[min(i + together, len(own)) - 1][1]) for i in range(0, len(own), together)]
    return list(dict.fromkeys([(0, len(text)), *own]))
