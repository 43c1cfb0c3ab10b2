"""Probabilities as log-odds, in which the scores of a classifier are compared."""

from __future__ import annotations

import math

# Where float32 has no more probabilities between this and 0 or 1 that a softmax tells apart; log-odds of +-17.3.
_LEAST = 2.0**-25


def log_odds(probability: float, least: float = _LEAST) -> float:
    """log(p / (1 - p)), finite at 0 and 1 too: p counts as at least `least`, and at most 1 - `least`."""
    p = min(max(probability, least), 1 - least)
    return math.log(p / (1 - p))


def from_log_odds(log_odds: float) -> float:
    """The probability with these log-odds."""
    return 1 / (1 + math.exp(-log_odds))
