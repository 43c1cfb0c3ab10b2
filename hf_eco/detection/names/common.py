"""Names that many people bear.

The frequencies are those of first and last names in the United States (US Census Bureau, "Frequently Occurring Names
from the 1990 Census": percent of the people of a sex, and of all people; the rarer ones are left out).
"""

from __future__ import annotations

from ...data import shipped_table
from ..disguises.language import DETERMINERS, accentless
from ..disguises.spelling import spelling
from .words import BEFORE_FIRST_NAMES, HONORIFICS, PARTICLES, TOKEN, first_name_first

_OF_EACH_SEX = 150e6  # people in the United States, about
_MANY = 5_000
_SEVERAL = 100
_SHORTEST = 3  # letters of a first or last name that tells of somebody without the middle names


def is_first_name(word: str) -> bool:
    """Whether a word, in any case, is a first name that is not rare."""
    return accentless(word).capitalize() in shipped_table("census")["first"]


def bearers(name: str) -> int:
    """How many people in the United States bear a first and a last name, with or without a title before them, as if
    they went together by chance; 0 for rarer names, and for names of more words or of one."""
    words = without_titles(name)
    return _bearers(words[0], words[1]) if len(words) == 2 else 0


def ends_are_common(name: str, many: int = _MANY) -> bool:
    """Whether thousands, or so `many`, bear the first and the last name of `name`, whatever stands between them."""
    words = without_titles(name)
    return len(words) > 1 and _bearers(words[0], words[-1]) >= many


def needs_middle_names(name: str) -> bool:
    """Whether others bear the first and the last name of somebody who is given with middle names to be told from
    them: a hundred or more; of somebody who has none, thousands."""
    return ends_are_common(name, _SEVERAL if len(without_titles(name)) > 2 else _MANY)


def _bearers(first: str, last: str) -> int:
    first, last = (accentless(word).capitalize() for word in (first, last))
    shares = shipped_table("census")["first"].get(first, 0.0), shipped_table("census")["last"].get(last, 0.0)
    return round(_OF_EACH_SEX * shares[0] / 100 * shares[1] / 100)


def without_titles(name: str) -> list[str]:
    """The words of a name; of "Prince Harry" both, as without the title it would have no last name."""
    words = first_name_first(name).split()
    while len(words) > 2 and words[0].strip(".").lower() in HONORIFICS | BEFORE_FIRST_NAMES:
        words.pop(0)
    return words


def without_middle_names(name: str) -> list[str]:
    """The words by which somebody is called who is given with titles or middle names: "Jane Quillfeather" for
    "Dr. Jane M. Quillfeather". None for other names, and for what may be no person's: a person's middle names are
    initials, or the first word is a first name."""
    words = without_titles(name)
    last = len(words) - 1
    while last > 1 and words[last - 1].lower() in PARTICLES:
        last -= 1
    middles = [TOKEN.findall(word) for word in words[1:last]]
    kept = [token for word in (words[0], *words[last:]) for token in TOKEN.findall(word)]
    given = TOKEN.findall(first_name_first(name))
    if len(kept) in (1, len(given)) or min(len(kept[0]), len(kept[-1])) < _SHORTEST or "of" in words:
        return []
    if kept[0].lower() in DETERMINERS or not all(middles) or not all(own[0][0].isupper() for own in middles):
        return []
    initials = bool(middles) and all(len(token) == 1 for own in middles for token in own)
    return kept if initials or is_first_name(spelling(kept[0]).letters) else []


def needs_context(name: str, context: str) -> bool:
    """Whether a name by itself tells too little of whom it is about.

    Args:
        name: the name.
        context: "required", always; "ignored", never; "auto", if thousands bear it.
    """
    return context == "required" or (context == "auto" and bearers(name) >= _MANY)
