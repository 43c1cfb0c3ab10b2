"""Upper confidence bounds of error rates, and how many errors they allow."""

from __future__ import annotations

import bisect
import math
from typing import Literal

from ..io.optional import import_extra


def clopper_pearson_upper(errors: int, n: int, confidence: float) -> float:
    """One-sided upper confidence bound of a rate, when `errors` of `n` independent trials were errors.

    The p at which so few errors have probability 1 - confidence: P(Binomial(n, p) <= errors) = 1 - confidence, which
    is the `confidence` quantile of Beta(errors + 1, n - errors); 1 if all trials were errors. It lies below the true
    rate with probability 1 - confidence at most, whatever n (Clopper and Pearson, "The use of confidence or fiducial
    limits illustrated in the case of the binomial", Biometrika 26, 1934).

    Raises:
        ValueError: an argument is out of its range.
    """
    if n < 1 or not 0 <= errors <= n:
        raise ValueError(f"errors must be in 0..n and n positive, got errors={errors}, n={n}.")
    check_probability("confidence", confidence)
    if errors == n:
        return 1.0
    return float(import_extra("scipy.stats").beta.ppf(confidence, errors + 1, n - errors))


def allowed_errors(n: int, max_rate: float, confidence: float, kind: Literal["retain", "forget"] = "retain") -> int:
    """The most errors among `n` prompts whose Clopper-Pearson bound is within `max_rate`: false positives among retain
    prompts, false negatives among forget prompts.

    Raises:
        ValueError: even none is too many, `n` is too small; or `max_rate` or `confidence` is out of its range.
    """
    rate, name, error = {
        "retain": ("false positive rate", "max_fpr", "flagged"),
        "forget": ("false negative rate", "max_fnr", "missed"),
    }[kind]
    check_probability(name, max_rate)
    check_probability("confidence", confidence)
    within = bisect.bisect_right(range(n), max_rate, key=lambda errors: clopper_pearson_upper(errors, n, confidence))
    if within == 0:
        needed = math.ceil(math.log1p(-confidence) / math.log1p(-max_rate))  # (1 - max_rate)^n <= 1 - confidence
        message = (
            f"{n} {kind} prompts cannot show a {rate} under {name}={max_rate} with confidence={confidence}, even if "
            f"none of them is {error}: that takes {needed}. Add {kind} prompts"
        )
        if n > 0:
            reachable = math.ceil(clopper_pearson_upper(0, n, confidence) * 10_000) / 10_000
            message += f"; with {n}, no {name} below {reachable:.4g} can be asked for"
        raise ValueError(message + ".")
    return within - 1


def check_probability(name: str, value: float) -> None:
    """Raises ValueError unless `value`, which the user knows as `name`, lies between 0 and 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 < value < 1.0:
        raise ValueError(f"{name} must lie between 0 and 1 (both excluded), got {name}={value!r}.")
