"""Names that many people bear.

The frequencies are those of first and last names in the United States (US Census Bureau, "Frequently Occurring Names
from the 1990 Census": percent of the people of a sex, and of all people; the rarer ones are left out).
"""

from __future__ import annotations

import json
from functools import cache

from ...data import SHIPPED
from .words import BEFORE_FIRST_NAMES, HONORIFICS, first_name_first

_OF_EACH_SEX = 150e6  # people in the United States, about
_MANY = 5_000


@cache
def _census() -> dict[str, dict[str, float]]:
    return dict(json.loads((SHIPPED / "census.json").read_text(encoding="utf-8")))


def is_first_name(word: str) -> bool:
    """Whether a word, in any case, is a first name that is not rare."""
    return word.capitalize() in _census()["first"]


def bearers(name: str) -> int:
    """How many people in the United States bear a first and a last name, with or without a title before them, as if
    they went together by chance; 0 for rarer names, and for names of more words or of one."""
    words = without_titles(name)
    return _bearers(words[0], words[1]) if len(words) == 2 else 0


def ends_are_common(name: str) -> bool:
    """Whether thousands bear the first and the last name of `name`, whatever stands between them."""
    words = without_titles(name)
    return len(words) > 1 and _bearers(words[0], words[-1]) >= _MANY


def _bearers(first: str, last: str) -> int:
    shares = _census()["first"].get(first.capitalize(), 0.0), _census()["last"].get(last.capitalize(), 0.0)
    return round(_OF_EACH_SEX * shares[0] / 100 * shares[1] / 100)


def without_titles(name: str) -> list[str]:
    """The words of a name; of "Prince Harry" both, as without the title it would have no last name."""
    words = first_name_first(name).split()
    while len(words) > 2 and words[0].strip(".").lower() in HONORIFICS | BEFORE_FIRST_NAMES:
        words.pop(0)
    return words


def needs_context(name: str, context: str) -> bool:
    """Whether a name by itself tells too little of whom it is about.

    Args:
        name: the name.
        context: "required", always; "ignored", never; "auto", if thousands bear it.
    """
    return context == "required" or (context == "auto" and bearers(name) >= _MANY)
