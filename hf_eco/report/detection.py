"""How well a scope's prompts are told from others, from the scores its calibration has stored."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

from ..configuration import ForgetScope
from ..detection.log_odds import from_log_odds, log_odds
from .chart import Axis, Chart, Figure, Key, Point

_SHARES = ((0, "0"), (0.01, "1 %"), (0.05, "5 %"), (0.1, "10 %"), (0.25, "25 %"), (0.5, "50 %"), (1, "100 %"))
_PROBABILITIES = (1e-6, 1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 1 - 1e-4, 1 - 1e-6)


def draw_detection(scope: ForgetScope) -> Figure | None:
    """Both error rates against the threshold; None where no scores are stored."""
    c = scope.calibration
    if c is None or not c.forget_scores or not c.retain_scores:
        return None
    forget, retain = sorted(c.forget_scores), sorted(c.retain_scores)
    chosen = log_odds(scope.threshold)
    low, high = min(forget[0], retain[0], chosen) - 0.5, max(forget[-1], retain[-1], chosen) + 0.5
    x = Axis("threshold, as p(forget)", low, high, _probability_ticks(low, high))
    y = Axis("share of prompts", 0.0, 1.0, _SHARES, math.sqrt)
    chart = Chart(x, y, f"Error rates of scope {scope.name} against the threshold")
    chart.steps(_missed(forget, low, high), "forget")
    chart.steps(_flagged(retain, low, high), "retain")
    chart.vertical(chosen, "chosen")
    keys = [
        Key("forget", "of the scope's prompts, missed"),
        Key("retain", "of other prompts, flagged by mistake"),
        Key("chosen", f"threshold in force, {scope.threshold:.4g}"),
    ]
    if scope.abstain_threshold is not None and scope.abstain_threshold < scope.threshold:
        chart.vertical(log_odds(scope.abstain_threshold), "abstain")
        keys.append(Key("abstain", f"uncertain from here on, {scope.abstain_threshold:.4g}"))
    caption = f"Drawn from {len(forget)} scores of the scope and {len(retain)} others, none of them trained on."
    measured = scope.calibration_in_force
    if measured is None:
        caption += " The rates at this threshold were not measured: it is not the one that was calibrated."
    else:
        for kind, share, bound, what in (
            ("forget", measured.fnr, measured.fnr_bound, "missed"),
            ("retain", measured.fpr, measured.fpr_bound, "flagged by mistake"),
        ):
            if share is None or bound is None:
                continue
            chart.whisker(chosen, share, bound, kind)
            chart.dot(chosen, share, kind, f"{share:.4f} {what}, at most {bound:.4f}")
        surely = f"{100 * measured.confidence:.4g} % confidence"
        keys.append(Key("plain", f"measured, with its upper bound at {surely}", "circle"))
    return Figure(chart.svg(), keys, caption)


def _missed(scores: Sequence[float], low: float, high: float) -> list[Point]:
    """Share of the scores below each threshold."""
    counts = [(score, bisect_left(scores, score) / len(scores)) for score in dict.fromkeys(scores)]
    above = [(math.nextafter(score, math.inf), _below_or_at(scores, score)) for score in dict.fromkeys(scores)]
    return [(low, 0.0), *sorted([*counts, *above]), (high, 1.0)]


def _flagged(scores: Sequence[float], low: float, high: float) -> list[Point]:
    """Share of the scores that reach each threshold."""
    return [(x, 1 - share) for x, share in _missed(scores, low, high)]


def _below_or_at(scores: Sequence[float], score: float) -> float:
    return bisect_left(scores, math.nextafter(score, math.inf)) / len(scores)


def _probability_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Round probabilities at their log-odds, where there is room between them."""
    found: list[tuple[float, str]] = []
    for probability in _PROBABILITIES:
        at = log_odds(probability)
        if low <= at <= high and (not found or at - found[-1][0] >= (high - low) / 9):
            found.append((at, f"{probability:.6g}"))
    if not found:
        middle = (low + high) / 2
        found.append((middle, f"{from_log_odds(middle):.4g}"))
    return found
