"""The names of all scopes that have a trained head, looked for once for all of them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from .detector import NameKey, NameTables
from .lexicon import Lexicon, stands_alone
from .name import Mention

_RUN = re.compile(r"\w+")


class Lexicons:
    """Finds in a text what each of several lexicons finds, in one search.

    Args:
        lexicons: by number; None where there are no names.
        like: others whose index to share. Names that are in it already are not added again.
    """

    def __init__(self, lexicons: Sequence[Lexicon | None], like: Lexicons | None = None) -> None:
        self._numbers: dict[NameKey, list[int]] = defaultdict(list)
        self._last_names: dict[str, list[tuple[str, frozenset[str], int, int]]] = defaultdict(list)  # by first word
        for number, lexicon in enumerate(lexicons):
            if lexicon is not None:
                self._numbers[NameKey("", lexicon.names)].append(number)
                for last, initials in lexicon.last_names.items():
                    if run := _RUN.search(last):
                        self._last_names[run[0]].append((last, initials, run.start(), number))
        self._index: NameTables = NameTables() if like is None else like._index
        self._index.users.enter(self, frozenset(self._numbers), self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def find(self, text: str) -> list[tuple[int, Mention]]:
        """The surest mention of each name in `text`, with the number of each lexicon that has the name."""
        return [
            (number, mention)
            for name, mention in self._index.names.find(text).items()
            for key in self._index.names.keys(name)
            for number in self._numbers.get(key, ())
        ]

    def with_last_names(self, text: str) -> set[int]:
        """The numbers of the lexicons that have a last name which stands by itself in `text`."""
        if not self._last_names:
            return set()
        return {
            number
            for run in _RUN.finditer(text)
            for last, initials, before, number in self._last_names.get(run[0], ())
            if stands_alone(last, initials, text, run.start() - before) is not None
        }
