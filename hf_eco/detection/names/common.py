"""Names that many people bear.

The frequencies are those of first and last names in the United States (US Census Bureau, "Frequently Occurring Names
from the 1990 Census": percent of the people of a sex, and of all people; the rarer ones are left out).
"""

from __future__ import annotations

import json
from functools import cache

from ...data import SHIPPED
from .words import first_name_first

_OF_EACH_SEX = 150e6  # people in the United States, about
_MANY = 5_000


@cache
def _census() -> dict[str, dict[str, float]]:
    return dict(json.loads((SHIPPED / "census.json").read_text(encoding="utf-8")))


def is_first_name(word: str) -> bool:
    """Whether a word, in any case, is a first name that is not rare."""
    return word.capitalize() in _census()["first"]


def bearers(name: str) -> int:
    """How many people in the United States bear a name of two words, as if first and last names went together by
    chance; 0 for rarer names, and for names of more words or of one."""
    words = first_name_first(name).split()
    if len(words) != 2:
        return 0
    first, last = _census()["first"].get(words[0].capitalize(), 0.0), _census()["last"].get(words[1].capitalize(), 0.0)
    return round(_OF_EACH_SEX * first / 100 * last / 100)


def needs_context(name: str, context: str) -> bool:
    """Whether a name by itself tells too little of whom it is about.

    Args:
        name: the name.
        context: "required", always; "ignored", never; "auto", if thousands bear it.
    """
    return context == "required" or (context == "auto" and bearers(name) >= _MANY)
