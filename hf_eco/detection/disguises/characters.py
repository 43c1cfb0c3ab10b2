"""Chinese characters of which one stands for the other: traditional, simplified and Japanese forms, and variants.

hf_eco/data/kanji.json says in "alike" which those are; benchmarks/kanji_readings.py makes it. Hashed names depend on
which of them stands for all, the first: whoever changes the table keeps that.
"""

from __future__ import annotations

from functools import cache

from ...data import shipped_table


@cache
def _alike() -> dict[str, str]:
    """Character -> the one that stands for all that are alike."""
    groups = shipped_table("kanji")["alike"].split()
    return {character: group[0] for group in groups for character in group[1:]}


def one_of_alike(text: str) -> str:
    """`text`, character by character, with one of those that are alike in place of all."""
    if max(text, default="") < "\u3400":
        return text
    return "".join(_alike().get(character, character) for character in text)
