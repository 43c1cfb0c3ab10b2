"""All names of a scope, found in a text however they are spelt."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from .index import NameIndex, check_name
from .last_names import last_name_of, names_another
from .name import Mention

# What a last name by itself adds to a text's log-odds: other people bear it, but seldom where the rest of the text
# already speaks for the scope.
LAST_NAME_LOG_ODDS = 2.5
_ALONE = r"(?<![\w-]){}(?![\w-])(?!\s+(?!Jr|Sr)[A-Z])"


@functools.lru_cache(maxsize=4096)
def _alone(last: str) -> re.Pattern[str]:
    return re.compile(_ALONE.format(re.escape(last)))


def stands_alone(last: str, text: str, start: int) -> bool:
    """Whether the last name `last`, which begins at `start` of `text`, stands by itself; see
    `Lexicon.find_last_names`."""
    return start >= 0 and _alone(last).match(text, start) is not None and not names_another(text, start)


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
        self.last_names = tuple(last for name in names if (last := last_name_of(name)) is not None)

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
        a gap for one, nor before another last name."""
        return [
            match.span()
            for last in self.last_names
            for match in _alone(last).finditer(text)
            if not names_another(text, match.start())
        ]
