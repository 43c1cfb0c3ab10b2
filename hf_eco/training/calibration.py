"""The threshold of a scope, chosen so that few harmless prompts are flagged, with a guarantee of how few."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

from transformers.utils import logging

from ..configuration import Calibration
from ..detection.classifier import DEFAULT_LABEL, PromptClassifier
from ..detection.log_odds import from_log_odds, log_odds
from .bounds import allowed_errors, check_probability, clopper_pearson_upper
from .labelled_prompts import LabelledPrompts, fold, unique_prompts

logger = logging.get_logger(__name__)

MAX_STORED_SCORES = 1000


@dataclass(frozen=True)
class CalibrationTargets:
    """What a calibration is to keep; see `calibrate_threshold` for each.

    Raises:
        ValueError: one is out of its range.
    """

    max_fpr: float = 0.01
    max_fnr: float | None = None
    confidence: float = 0.95
    max_near_fpr: float = 0.02

    def __post_init__(self) -> None:
        check_probability("max_near_fpr", self.max_near_fpr)

    def allowed(self, prompts: LabelledPrompts) -> tuple[int, int | None]:
        """How many retain prompts may be flagged, and how many forget prompts lie below the band; None without one.

        Raises:
            ValueError: there are too few prompts to vouch for the rates.
        """
        flagged = allowed_errors(len(prompts.retain), self.max_fpr, self.confidence)
        if self.max_fnr is None:
            return flagged, None
        return flagged, allowed_errors(len(prompts.forget), self.max_fnr, self.confidence, "forget")


def calibrate_threshold(
    classifier: PromptClassifier,
    forget: Sequence[str] | None = None,
    retain: Sequence[str] = (),
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

    Without forget prompts the false positive rate alone is bounded, by the same argument. Nothing then tells how far
    above the retain prompts the scope begins, so the threshold is the lowest that keeps the bound: just above the
    (k+1)-th highest retain score, and above the floor and the near misses as before. The false negative rate stays
    unknown: `fnr` and `fnr_bound` are None.

    The false negative rate is what it is, unless `max_fnr` asks for a band of uncertain prompts: its lower end is the
    forget score with so many below it that their bound is still within `max_fnr`, by the same argument from the other
    side. The threshold has been moved up within a gap that may end at a forget score, so the bound of as many misses
    as were counted would be too low up to twice as often as stated; `fnr_bound` is that of one miss more, which is on
    the safe side at any confidence.

    Each bound holds at the stated confidence by itself; that all of them hold at once is a little less certain.

    Args:
        classifier: gives the scores.
        forget: prompts in the scope, none of which the classifier was trained on; None to bound false positives
            alone.
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
    targets = CalibrationTargets(max_fpr, max_fnr, confidence, max_near_fpr)
    prompts = LabelledPrompts.clean(() if forget is None else forget, retain)
    near = _clean_near_misses(near or [], prompts.forget)
    return choose_threshold(classifier, prompts, targets, near=near, label=label)


def choose_threshold(
    classifier: PromptClassifier,
    prompts: LabelledPrompts,
    targets: CalibrationTargets,
    *,
    near: Sequence[str] = (),
    label: str = DEFAULT_LABEL,
) -> Calibration:
    """`calibrate_threshold` of prompts that are clean."""
    allowed, allowed_low = targets.allowed(prompts)
    retain_scores, forget_scores, near_scores = (
        sorted(classifier.score(own, label=label)) if own else [] for own in (prompts.retain, prompts.forget, near)
    )
    own_floor = classifier.floor(label)
    floor = max(_highest_unflagged(retain_scores, allowed, "retain prompts", f"max_fpr={targets.max_fpr}"), own_floor)
    if near:
        floor = max(floor, _near_floor(near_scores, targets.max_near_fpr))
    lowest = bool(near) or own_floor > 0.0 or not forget_scores
    threshold = _threshold_above(floor, lowest, [*forget_scores, *retain_scores])
    missed = bisect.bisect_left(forget_scores, threshold)
    if forget_scores and missed == len(forget_scores):
        logger.warning(
            f"None of the {missed} forget prompts reaches the threshold {threshold:.4g}: the classifier does not "
            f"tell them from retain prompts well enough for max_fpr={targets.max_fpr}. Train it on more prompts of "
            "both kinds."
        )
    calibration = _measured(threshold, forget_scores, retain_scores, allowed, targets)
    if near:
        calibration.near_fpr = _share_from(threshold, near_scores)
        calibration.max_near_fpr = targets.max_near_fpr
        calibration.n_near = len(near)
    if allowed_low is not None:
        _add_band(calibration, forget_scores, retain_scores, allowed_low, targets)
    return calibration


def _near_floor(near_scores: Sequence[float], max_near_fpr: float) -> float:
    """The score that all but `max_near_fpr` of the near misses do not exceed."""
    allowed = math.floor(max_near_fpr * len(near_scores) + 1e-9)  # 0.29 * 100 is 28.999...
    return _highest_unflagged(near_scores, allowed, "near misses", f"max_near_fpr={max_near_fpr}")


def _threshold_above(floor: float, lowest: bool, scores: Sequence[float]) -> float:
    """The lowest threshold above `floor`, or the middle of the gap between it and the next of `scores`."""
    if lowest:
        return math.nextafter(floor, 1.0)
    return _middle(floor, min((score for score in scores if score > floor), default=1.0))


def _measured(
    threshold: float,
    forget_scores: Sequence[float],
    retain_scores: Sequence[float],
    allowed: int,
    targets: CalibrationTargets,
) -> Calibration:
    """The error rates of a threshold with their bounds, from sorted scores."""
    missed, n_forget, n_retain = bisect.bisect_left(forget_scores, threshold), len(forget_scores), len(retain_scores)
    return Calibration(
        threshold=threshold,
        fpr=_share_from(threshold, retain_scores),
        fpr_bound=clopper_pearson_upper(allowed, n_retain, targets.confidence),
        fnr=missed / n_forget if n_forget else None,
        fnr_bound=(
            clopper_pearson_upper(min(missed + 1, n_forget), n_forget, targets.confidence) if n_forget else None
        ),
        n_forget=n_forget,
        n_retain=n_retain,
        max_fpr=targets.max_fpr,
        confidence=targets.confidence,
        retain_scores=_sample(retain_scores),
        forget_scores=_sample(forget_scores),
    )


def _add_band(
    calibration: Calibration,
    forget_scores: Sequence[float],
    retain_scores: Sequence[float],
    allowed: int,
    targets: CalibrationTargets,
) -> None:
    """Adds the band of uncertain prompts below the threshold that keeps `max_fnr`, from sorted scores."""
    lower = min(forget_scores[allowed], calibration.threshold)
    if lower <= 0.0:
        raise ValueError(
            f"More than {allowed} of the {len(forget_scores)} forget prompts score 0.0, so no abstain_threshold "
            f"keeps max_fnr={targets.max_fnr}. Train the classifier on more forget prompts like them."
        )
    below = bisect.bisect_left(forget_scores, lower)
    in_band = bisect.bisect_left(retain_scores, calibration.threshold) - bisect.bisect_left(retain_scores, lower)
    calibration.abstain_threshold = lower
    calibration.max_fnr = targets.max_fnr
    calibration.abstain_fnr = below / len(forget_scores)
    calibration.abstain_fnr_bound = clopper_pearson_upper(allowed, len(forget_scores), targets.confidence)
    calibration.abstain_retain = in_band / len(retain_scores)


def check_reached(
    calibration: Calibration,
    classifier: PromptClassifier,
    outside: Sequence[str],
    *,
    of_scope: Sequence[float] = (),
    label: str = DEFAULT_LABEL,
) -> None:
    """Raises ValueError if nothing that is known to be of the scope reaches a threshold, so that a guard would never
    flag, and names the prompts that the threshold had to lie above.

    Args:
        calibration: the threshold, and the forget prompts that it was measured on.
        classifier: gives the scores.
        outside: the retain prompts, and the near misses, that the threshold was chosen by.
        of_scope: rounded log-odds of other prompts of the scope, where there were no forget prompts.
        label: the classifier's label that means 'forget'.
    """
    if calibration.fnr is not None:
        reached = calibration.fnr < 1.0
    else:
        reached = not of_scope or max(of_scope) > rounded_log_odds(calibration.threshold)
    if reached:
        return
    scored = sorted(zip(classifier.score(outside, label=label), outside, strict=True), reverse=True)[:3]
    named = "; ".join(f"{prompt if len(prompt) <= 80 else prompt[:77] + '...'!r} ({s:.4f})" for s, prompt in scored)
    raise ValueError(
        f"Nothing that is known to be of the scope reaches the threshold {calibration.threshold:.8g} that "
        f"max_fpr={calibration.max_fpr} asks for: such a guard would never flag, and is not saved. These prompts "
        f"outside of the scope score highest, and decide it: {named}. If they are about the scope, take them out; if "
        "not, train the classifier on more prompts like them, or allow a higher max_fpr."
    )


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


def rounded_log_odds(score: float) -> float:
    """A score as a calibration stores it."""
    return round(log_odds(score), 3)


def _sample(scores: Sequence[float]) -> list[float]:
    """Log-odds of the sorted `scores`: of all, or of `MAX_STORED_SCORES` of them at even distances, the lowest and the
    highest included."""
    if len(scores) > MAX_STORED_SCORES:
        step = (len(scores) - 1) / (MAX_STORED_SCORES - 1)
        scores = [scores[round(i * step)] for i in range(MAX_STORED_SCORES)]
    return [rounded_log_odds(score) for score in scores]


def _share_from(threshold: float, scores: Sequence[float]) -> float:
    """Share of the sorted `scores` that reach `threshold`."""
    return (len(scores) - bisect.bisect_left(scores, threshold)) / len(scores)
