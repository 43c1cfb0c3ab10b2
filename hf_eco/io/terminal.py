"""Text of somebody's on a terminal, which takes some characters for commands."""

from __future__ import annotations

import re
from collections.abc import Callable

# C0 and C1 controls but tab and newline, marks that change the direction of writing, and lone surrogates.
_COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str, write: Callable[[str], str] = repr) -> str:
    """`text` with what a terminal would obey written out, as Python does it (`\\x1b`).

    Args:
        text: somebody's.
        write: gives a character in quotes; `json.dumps` for text in JSON.
    """
    return _COMMANDS.sub(lambda found: write(found[0])[1:-1], text)
