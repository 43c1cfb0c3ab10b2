"""All dresses in the order in which they come off."""

from __future__ import annotations

from .invisible import invisible, overridden
from .leet import leet
from .lookalikes import flags, lookalikes, piled_marks
from .markup import escapes, markup
from .punctuation import inner_punctuation, letters_apart, run_together
from .repeats import repeats
from .traced import Traced

_DRESSES = (
    escapes,
    overridden,
    invisible,
    piled_marks,
    flags,
    lookalikes,
    markup,
    letters_apart,
    inner_punctuation,
    leet,
    repeats,
    run_together,
)


def undressed(traced: Traced) -> Traced:
    """`traced` in plain letters and spacing; itself if it is so already."""
    for find_edits in _DRESSES:
        traced = traced.edited(find_edits(traced.text))
    return traced
