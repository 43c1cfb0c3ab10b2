"""Whether a calibration's bounds still hold for the prompts of today."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

from ..configuration import Calibration
from ..detection.classifier import DEFAULT_LABEL, PromptClassifier
from ..io.optional import import_extra
from .bounds import check_probability
from .calibration import rounded_log_odds
from .labelled_prompts import clean_prompts


@dataclass(frozen=True)
class RateCheck:
    """How often a calibrated error happens among new prompts.

    Attributes:
        errors: new prompts on which it happened.
        n: new prompts it could happen on.
        interval: two-sided Clopper-Pearson interval of the rate, at the calibration's confidence.
        bound: what the calibration says the rate is at most.
        p_value: of "the rate is at most the bound" against "it is higher" (exact binomial test): how probable as many
            errors would be if the rate were the bound.
    """

    errors: int
    n: int
    interval: tuple[float, float]
    bound: float
    p_value: float

    @property
    def rate(self) -> float:
        """Share of the new prompts on which the error happened."""
        return self.errors / self.n


@dataclass(frozen=True)
class ScoreShift:
    """Whether new prompts score like those of the calibration (two-sample Kolmogorov-Smirnov test).

    Attributes:
        distance: the largest difference between the two shares of prompts that score below any one value, 0 to 1.
        p_value: how probable such a distance would be if both came from one source. Ties, and a stored sample of the
            scores in place of all, make it higher, not lower.
        n_stored: scores of the calibration.
        n: new scores.
    """

    distance: float
    p_value: float
    n_stored: int
    n: int


@dataclass(frozen=True)
class CalibrationCheck:
    """What new prompts say about a calibration.

    Attributes:
        fpr: false positives among the new retain prompts.
        fnr: false negatives among the new forget prompts; None without any, or without a bound to hold them against.
        abstain_fnr: new forget prompts below the band of uncertain ones; None without any, or without a band.
        retain_shift: the retain scores, new against stored; None where the calibration stores none.
        forget_shift: the same of the forget scores.
        confidence: of the intervals.
        significance: a p-value below it counts as evidence.
    """

    fpr: RateCheck
    fnr: RateCheck | None
    abstain_fnr: RateCheck | None
    retain_shift: ScoreShift | None
    forget_shift: ScoreShift | None
    confidence: float
    significance: float

    @property
    def tenable(self) -> bool:
        """False if the new prompts refute a stored bound. True means no more than that they do not: few prompts refute
        little, see the intervals."""
        checks = (self.fpr, self.fnr, self.abstain_fnr)
        return all(check is None or check.p_value >= self.significance for check in checks)

    @property
    def shifted(self) -> bool:
        """True if the new prompts score otherwise than the calibration's. The bounds then speak of prompts of another
        kind; they may hold all the same, e.g. where harmless prompts have become still less like the scope."""
        shifts = (self.retain_shift, self.forget_shift)
        return any(shift is not None and shift.p_value < self.significance for shift in shifts)

    @property
    def lines(self) -> list[str]:
        """What was found, for people, a line each."""
        rates = (
            ("False positives", "retain prompts are flagged", self.fpr),
            ("False negatives", "forget prompts are not flagged", self.fnr),
            ("Below the band", "forget prompts are neither flagged nor uncertain", self.abstain_fnr),
        )
        lines = []
        for title, what, check in rates:
            if check is not None:
                low, high = check.interval
                refuted = check.p_value < self.significance
                lines.append(
                    f"{title}: {check.errors} of {check.n} new {what}, {check.rate:.4f} (between {low:.4f} and "
                    f"{high:.4f} at {self.confidence:.0%} confidence). The stored bound of {check.bound:.4f} is "
                    f"{'refuted' if refuted else 'not refuted'} (p = {check.p_value:.2g})."
                )
        for kind, shift in (("retain", self.retain_shift), ("forget", self.forget_shift)):
            if shift is not None:
                shifted = shift.p_value < self.significance
                lines.append(
                    f"Scores: the new {kind} prompts "
                    f"{'do not score' if shifted else 'score'} like the calibration's (distance {shift.distance:.3f}, "
                    f"p = {shift.p_value:.2g})."
                    + (" The stored bound was measured on prompts of another kind." if shifted else "")
                )
        if self.retain_shift is None:
            lines.append("Scores: the calibration stores none, so whether they have shifted is not known.")
        return lines


def check_calibration(
    calibration: Calibration,
    classifier: PromptClassifier,
    retain: Sequence[str],
    forget: Sequence[str] | None = None,
    *,
    label: str = DEFAULT_LABEL,
    significance: float = 0.01,
) -> CalibrationCheck:
    """Confronts a calibration with new prompts: do they refute its bounds, and do they score like those it was made
    on?

    The two are different questions. A refuted bound is no longer to be relied on, whatever the reason: calibrate
    again. A shift alone need not break a bound, but nobody has measured the bound for prompts of the new kind, and the
    new ones may be too few to refute it.

    Each test raises a false alarm with a probability of `significance` at most (the bounds of a calibration are
    themselves wrong with probability 1 - confidence, and then an alarm is none).

    Args:
        calibration: of the scope.
        classifier: the one that was calibrated.
        retain: new prompts outside the scope, on which neither the classifier was trained nor the calibration made.
        forget: new prompts in the scope; None for false positives alone.
        label: the classifier's label that means 'forget'.
        significance: a p-value below it counts as evidence, in (0, 1).

    Raises:
        TypeError: a prompt is no string.
        ValueError: there are no retain prompts, `significance` is out of its range, or a prompt is in both lists.
        ImportError: scipy is missing.
    """
    check_probability("significance", significance)
    new_forget, new_retain = clean_prompts(forget or [], retain)
    if not new_retain:
        raise ValueError("There are no retain prompts to check the calibration on. Pass retain=[...].")
    c = calibration
    retain_scores = sorted(classifier.score(new_retain, label=label))
    flagged = len(retain_scores) - bisect.bisect_left(retain_scores, c.threshold)
    fpr = _check_rate(flagged, len(retain_scores), c.fpr_bound, c.confidence)
    fnr = abstain_fnr = forget_shift = None
    if new_forget:
        forget_scores = sorted(classifier.score(new_forget, label=label))
        missed, n = bisect.bisect_left(forget_scores, c.threshold), len(forget_scores)
        if c.fnr_bound is not None:
            fnr = _check_rate(missed, n, c.fnr_bound, c.confidence)
        forget_shift = _check_shift(forget_scores, c.forget_scores)
        if c.abstain_threshold is not None and c.abstain_fnr_bound is not None:
            below = bisect.bisect_left(forget_scores, c.abstain_threshold)
            abstain_fnr = _check_rate(below, n, c.abstain_fnr_bound, c.confidence)
    return CalibrationCheck(
        fpr=fpr,
        fnr=fnr,
        abstain_fnr=abstain_fnr,
        retain_shift=_check_shift(retain_scores, c.retain_scores),
        forget_shift=forget_shift,
        confidence=c.confidence,
        significance=significance,
    )


def _check_rate(errors: int, n: int, bound: float, confidence: float) -> RateCheck:
    test = import_extra("scipy.stats").binomtest(errors, n, bound, alternative="greater")
    # the interval of this test is one-sided; the two-sided one does not depend on the bound
    interval = import_extra("scipy.stats").binomtest(errors, n).proportion_ci(confidence, method="exact")
    return RateCheck(errors, n, (float(interval.low), float(interval.high)), bound, float(test.pvalue))


def _check_shift(scores: Sequence[float], stored: Sequence[float]) -> ScoreShift | None:
    if not stored:
        return None
    new = [rounded_log_odds(score) for score in scores]
    test = import_extra("scipy.stats").ks_2samp(new, stored)
    return ScoreShift(float(test.statistic), float(test.pvalue), len(stored), len(new))
