"""All names of a scope, found in a text however they are spelt."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from ..disguises.traced import Span
from .index import NameIndex, check_name
from .initials import initials_beside, initials_of_name
from .last_names import last_name_of, names_another, stands_apart
from .name import Mention

# What a last name by itself adds to a text's log-odds: other people bear it, but seldom where the rest of the text
# already speaks for the scope.
LAST_NAME_LOG_ODDS = 2.5


@functools.lru_cache(maxsize=4096)
def _word(last: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w-]){re.escape(last)}(?![\w-])")


def stands_alone(last: str, initials: frozenset[str], text: str, start: int) -> Span | None:
    """Where the last name `last`, which begins at `start` of `text`, stands by itself or beside some of the `initials`
    of those who bear it; see `Lexicon.find_last_names`."""
    if start < 0 or not _word(last).match(text, start):
        return None
    beside = initials_beside(text, start, start + len(last))
    if beside is not None and beside.forms.isdisjoint(initials):
        return None
    span = (start, start + len(last)) if beside is None else (beside.start, beside.end)
    return span if stands_apart(text, *span) and not names_another(text, span[0]) else None


class Lexicon:
    """Names, found word by word with a few wrong letters, and by their skeletons (see
    [`skeleton`][hf_eco.detection.disguises.skeleton]) whatever stands between the letters.

    Args:
        names: full names and titles, in any case. A name of several words is found in reverse order too, and with
            middle names. One that is made of ordinary words alone ("The Office", "Friends") is found only where it is
            written with capitals, as a name; the rest is for the head to tell.

    Raises:
        ValueError: a name is not `long_enough`.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        for name in self.names:
            check_name(name)
        self.last_names: dict[str, frozenset[str]] = {}  # each with the initials of those who bear it
        for name in self.names:
            if (last := last_name_of(name)) is not None:
                self.last_names[last] = self.last_names.get(last, frozenset()) | initials_of_name(name)

    @functools.cached_property
    def _index(self) -> NameIndex[None]:
        """Made when a text is first read for these names alone: a guard reads for those of all scopes at once."""
        index: NameIndex[None] = NameIndex()
        index.add(None, self.names)
        return index

    def find(self, text: str) -> list[Mention]:
        """The surest mention of each name in `text`, if there is one."""
        found = self._index.find(text)
        return [found[name] for name in self.names if name in found]

    def find_last_names(self, text: str) -> list[tuple[int, int]]:
        """Where the last word of a name stands by itself, as far as capitals tell: neither after another first name or
        a gap for one, nor before another last name. Initials that fit the name may stand beside it; others are
        somebody else's."""
        return [
            span
            for last, initials in self.last_names.items()
            for match in _word(last).finditer(text)
            if (span := stands_alone(last, initials, text, match.start())) is not None
        ]
