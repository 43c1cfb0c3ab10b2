"""Means with what is known of their error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..io.optional import import_extra
from .metrics.checks import as_row, check_finite

CONFIDENCE = 0.95
_RESAMPLES = 2000
_AT_ONCE = 2_000_000  # values drawn together


@dataclass(frozen=True)
class Estimate:
    """A measure of a set, with its 95 % confidence interval.

    Attributes:
        value: what was measured.
        low: lower end of the interval. None where no interval is known.
        high: upper end.
        n: how many rows it was measured on.
    """

    value: float
    low: float | None
    high: float | None
    n: int

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:.3g}"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def mean_of(values: ArrayLike, seed: int = 0) -> Estimate:
    """The mean of some rows' values, (n,), with its percentile bootstrap interval (2,000 resamples).

    The interval says what other questions of the same kind would give, not what another training run would. Source:
    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3.

    Raises:
        ValueError: there are no values, or one is no number.
    """
    row = as_row("values", values)
    rng = np.random.default_rng(seed)
    chunk = max(1, _AT_ONCE // row.size)
    means = np.concatenate(
        [
            row[rng.integers(row.size, size=(min(chunk, _RESAMPLES - done), row.size))].mean(axis=1)
            for done in range(0, _RESAMPLES, chunk)
        ]
    )
    mean = check_finite("The mean", row.mean())
    check_finite("A resampled mean", means.max() - means.min())
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(mean, float(low), float(high), row.size)


def share_of(hits: Sequence[bool]) -> Estimate:
    """The share of True, with its exact interval (Clopper-Pearson).

    Raises:
        ValueError: there are no rows.
        ImportError: scipy is missing.
    """
    if not hits:
        raise ValueError("There are no rows to count.")
    count, n = int(sum(hits)), len(hits)
    interval = import_extra("scipy.stats", "eval").binomtest(count, n).proportion_ci(CONFIDENCE, method="exact")
    return Estimate(count / n, float(interval.low), float(interval.high), n)
