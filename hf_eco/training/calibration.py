"""The threshold of a scope, chosen so that few harmless prompts are flagged, with a guarantee of how few; and whether
that guarantee still holds for the prompts of today."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from transformers.utils import logging

from ..configuration import Calibration
from ..detection.classifier import DEFAULT_LABEL, PromptClassifier
from ..detection.log_odds import from_log_odds, log_odds
from ..io.optional import import_extra
from .prompt_lists import clean_prompts, fold, unique_prompts

logger = logging.get_logger(__name__)

MAX_STORED_SCORES = 1000


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


def calibrate_threshold(
    classifier: PromptClassifier,
    forget: Sequence[str],
    retain: Sequence[str],
    *,
    max_fpr: float = 0.01,
    max_fnr: float | None = None,
    confidence: float = 0.95,
    near: Sequence[str] | None = None,
    max_near_fpr: float = 0.02,
    label: str = DEFAULT_LABEL,
) -> Calibration:
    """Chooses a threshold whose false positive rate stays under `max_fpr` with the given confidence.

    A prompt is flagged when its score reaches the threshold. Of the n retain prompts k may be flagged, the most whose
    Clopper-Pearson bound is still within `max_fpr`; so the threshold lies above the (k+1)-th highest retain score. It
    also lies above the classifier's own [`floor`][hf_eco.PromptClassifier.floor], which near misses taught it in
    training, and above all but `max_near_fpr` of the scores of `near`. Where there are near misses, it is the
    lowest such value: they say how low it may stand. Where there are none, all values from there up to the next higher
    score of any prompt here flag the same of these prompts. Of them the middle in log-odds is taken (up to the
    highest log-odds that float32 knows, if no prompt scores higher): where scores lie close to 0 and 1, as a trained
    classifier's do, the middle in probability would lie next to the far end of a gap however far the near end is
    away.

    That the threshold was chosen on the same retain prompts does not weaken the bound. k depends on n, `max_fpr` and
    `confidence` alone, and the share of all retain prompts that score above the (k+1)-th highest of n is at most
    Beta(k+1, n-k) distributed, whatever the distribution of the scores (Wilks, "Determination of sample sizes for
    setting tolerance limits", Annals of Mathematical Statistics 12, 1941; used in this way by Tong, Feng and Li,
    "Neyman-Pearson classification algorithms and NP receiver operating characteristics", Science Advances 4, 2018).
    Its `confidence` quantile is the bound of k errors. `fpr_bound` is therefore that of k, even where ties leave fewer
    flagged, or where the threshold is raised further.

    The false negative rate is what it is, unless `max_fnr` asks for a band of uncertain prompts: its lower end is the
    forget score with so many below it that their bound is still within `max_fnr`, by the same argument from the other
    side. The threshold has been moved up within a gap that may end at a forget score, so the bound of as many misses
    as were counted would be too low up to twice as often as stated; `fnr_bound` is that of one miss more, which is on
    the safe side at any confidence.

    Each bound holds at the stated confidence by itself; that all of them hold at once is a little less certain.

    Args:
        classifier: gives the scores.
        forget: prompts in the scope, none of which the classifier was trained on.
        retain: prompts outside the scope, none of which the classifier was trained on. The bound speaks of prompts
            like these: take them from where the guard will be used. Repetitions count once.
        max_fpr: the highest false positive rate allowed. 0.01 at the confidence 0.95 takes 299 retain prompts.
        max_fnr: the highest rate allowed at which prompts of the scope are neither flagged nor uncertain. 0.05 at the
            confidence 0.95 takes 59 forget prompts. If the threshold keeps it by itself, `abstain_threshold` equals
            the threshold. None for no band.
        confidence: of each bound.
        near: near misses, prompts that look like the scope but are outside of it, e.g. prompts of the scope with the
            names swapped. They say where in the gap that a good classifier leaves between the scope and the rest of
            the world the threshold has to stand. Make them from other prompts than `forget`, or `fnr_bound` is only
            an approximation.
        max_near_fpr: the highest share of the near misses that may be flagged; a share of these ones, not a bound.
        label: the classifier's label that means 'forget'.

    Raises:
        TypeError: a prompt is no string.
        ValueError: an argument is out of its range, there are too few prompts to vouch for `max_fpr` or `max_fnr`,
            more of them than may be wrong score 1 (or 0, among forget prompts), or a prompt is in both lists.
        ImportError: scipy is missing.
    """
    check_probability("max_near_fpr", max_near_fpr)
    forget, retain = clean_prompts(forget, retain)
    near = _clean_near_misses(near or [], forget)
    if not forget:
        raise ValueError("There are no forget prompts to measure the false negative rate on. Pass forget=[...].")
    allowed = allowed_errors(len(retain), max_fpr, confidence)
    allowed_low = None if max_fnr is None else allowed_errors(len(forget), max_fnr, confidence, "forget")

    retain_scores, forget_scores, near_scores = (
        sorted(classifier.score(prompts, label=label)) if prompts else [] for prompts in (retain, forget, near)
    )
    floor = _highest_unflagged(retain_scores, allowed, "retain prompts", f"max_fpr={max_fpr}")
    floor = max(floor, classifier.floor(label))
    if near:
        allowed_near = math.floor(max_near_fpr * len(near) + 1e-9)  # 0.29 * 100 is 28.999...
        floor = max(
            floor, _highest_unflagged(near_scores, allowed_near, "near misses", f"max_near_fpr={max_near_fpr}")
        )
    if near or classifier.floor(label) > 0.0:  # near misses are known
        threshold = math.nextafter(floor, 1.0)
    else:
        above = (score for score in (*forget_scores, *retain_scores) if score > floor)
        threshold = _middle(floor, min(above, default=1.0))
    missed = bisect.bisect_left(forget_scores, threshold)
    if missed == len(forget):
        logger.warning(
            f"None of the {len(forget)} forget prompts reaches the threshold {threshold:.4g}: the classifier does not "
            f"tell them from retain prompts well enough for max_fpr={max_fpr}. Train it on more prompts of both kinds."
        )
    calibration = Calibration(
        threshold=threshold,
        fpr=_share_from(threshold, retain_scores),
        fpr_bound=clopper_pearson_upper(allowed, len(retain), confidence),
        fnr=missed / len(forget),
        fnr_bound=clopper_pearson_upper(min(missed + 1, len(forget)), len(forget), confidence),
        n_forget=len(forget),
        n_retain=len(retain),
        max_fpr=max_fpr,
        confidence=confidence,
        retain_scores=_sample(retain_scores),
        forget_scores=_sample(forget_scores),
    )
    if near:
        calibration.near_fpr = _share_from(threshold, near_scores)
        calibration.max_near_fpr = max_near_fpr
        calibration.n_near = len(near)
    if allowed_low is not None:
        lower = min(forget_scores[allowed_low], threshold)
        if lower <= 0.0:
            raise ValueError(
                f"More than {allowed_low} of the {len(forget)} forget prompts score 0.0, so no abstain_threshold "
                f"keeps max_fnr={max_fnr}. Train the classifier on more forget prompts like them."
            )
        calibration.abstain_threshold = lower
        calibration.max_fnr = max_fnr
        calibration.abstain_fnr = bisect.bisect_left(forget_scores, lower) / len(forget)
        calibration.abstain_fnr_bound = clopper_pearson_upper(allowed_low, len(forget), confidence)
        in_band = bisect.bisect_left(retain_scores, threshold) - bisect.bisect_left(retain_scores, lower)
        calibration.abstain_retain = in_band / len(retain)
    return calibration


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
        fnr: false negatives among the new forget prompts; None without any.
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
    new = [_rounded_log_odds(score) for score in scores]
    test = import_extra("scipy.stats").ks_2samp(new, stored)
    return ScoreShift(float(test.statistic), float(test.pvalue), len(stored), len(new))


def _clean_near_misses(near: Sequence[str], forget: Sequence[str]) -> list[str]:
    unique = unique_prompts("near", near)
    both = [prompt for prompt in forget if fold(prompt) in unique]
    if both:
        raise ValueError(f"{len(both)} forget prompts are among the near misses, the first is {both[0]!r}.")
    return list(unique.values())


def _highest_unflagged(scores: Sequence[float], allowed: int, what: str, limit: str) -> float:
    """The highest of the sorted `scores` that must lie below the threshold, where `allowed` may reach it."""
    highest = scores[-1 - allowed]
    if highest >= 1.0:
        raise ValueError(
            f"More than {allowed} of the {len(scores)} {what} score 1.0, so no threshold keeps the false positive "
            f"rate under {limit}. Train the classifier on more retain prompts like them."
        )
    return highest


def _middle(low: float, high: float) -> float:
    """A probability in (low, high]: the middle in log-odds, or `high` where floating point has none between them."""
    middle = from_log_odds((log_odds(low) + log_odds(high)) / 2)
    return middle if low < middle < high else high


def _rounded_log_odds(score: float) -> float:
    return round(log_odds(score), 3)


def _sample(scores: Sequence[float]) -> list[float]:
    """Log-odds of the sorted `scores`: of all, or of `MAX_STORED_SCORES` of them at even distances, the lowest and the
    highest included."""
    if len(scores) > MAX_STORED_SCORES:
        step = (len(scores) - 1) / (MAX_STORED_SCORES - 1)
        scores = [scores[round(i * step)] for i in range(MAX_STORED_SCORES)]
    return [_rounded_log_odds(score) for score in scores]


def _share_from(threshold: float, scores: Sequence[float]) -> float:
    """Share of the sorted `scores` that reach `threshold`."""
    return (len(scores) - bisect.bisect_left(scores, threshold)) / len(scores)


def check_probability(name: str, value: float) -> None:
    """Raises ValueError unless `value`, which the user knows as `name`, lies between 0 and 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 < value < 1.0:
        raise ValueError(f"{name} must lie between 0 and 1 (both excluded), got {name}={value!r}.")
