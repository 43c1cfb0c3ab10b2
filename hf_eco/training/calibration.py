"""The threshold of a scope, chosen so that few harmless prompts are flagged, with a guarantee of how few."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

from transformers.utils import logging

from ..classifier import DEFAULT_LABEL, PromptClassifier
from ..configuration import Calibration
from .extras import import_extra
from .prompt_lists import clean_prompts

logger = logging.get_logger(__name__)


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
    _check_probability("confidence", confidence)
    if errors == n:
        return 1.0
    return float(import_extra("scipy.stats").beta.ppf(confidence, errors + 1, n - errors))


def calibrate_threshold(
    classifier: PromptClassifier,
    forget: Sequence[str],
    retain: Sequence[str],
    *,
    max_fpr: float = 0.01,
    confidence: float = 0.95,
    label: str = DEFAULT_LABEL,
) -> Calibration:
    """Chooses the lowest threshold whose false positive rate stays under `max_fpr` with the given confidence.

    A prompt is flagged when its score reaches the threshold. Of the n retain prompts k may be flagged, the most whose
    Clopper-Pearson bound is still within `max_fpr`; so the threshold lies above the (k+1)-th highest retain score. All
    values from there up to the next higher score of any prompt here, forget or retain, flag the same of these prompts;
    the middle between the two scores is taken (between that score and 1, if no prompt scores higher).

    That the threshold was chosen on the same retain prompts does not weaken the bound. k depends on n, `max_fpr` and
    `confidence` alone, and the share of all retain prompts that score above the (k+1)-th highest of n is at most
    Beta(k+1, n-k) distributed, whatever the distribution of the scores (Wilks, "Determination of sample sizes for
    setting tolerance limits", Annals of Mathematical Statistics 12, 1941; used in this way by Tong, Feng and Li,
    "Neyman-Pearson classification algorithms and NP receiver operating characteristics", Science Advances 4, 2018).
    Its `confidence` quantile is the bound of k errors. `fpr_bound` is therefore that of k, even where ties leave fewer
    flagged.

    Args:
        classifier: gives the scores.
        forget: prompts in the scope, none of which the classifier was trained on.
        retain: prompts outside the scope, none of which the classifier was trained on. The bound speaks of prompts
            like these: take them from where the guard will be used. Repetitions count once.
        max_fpr: the highest false positive rate allowed. 0.01 at the confidence 0.95 takes 299 retain prompts.
        confidence: of each bound.
        label: the classifier's label that means 'forget'.

    Raises:
        TypeError: a prompt is no string.
        ValueError: an argument is out of its range, there are too few retain prompts to vouch for `max_fpr`, more of
            them score 1 than may be flagged, or a prompt is in both lists.
        ImportError: scipy is missing.
    """
    _check_probability("max_fpr", max_fpr)
    _check_probability("confidence", confidence)
    forget, retain = clean_prompts(forget, retain)
    if not forget:
        raise ValueError("There are no forget prompts to measure the false negative rate on. Pass forget=[...].")
    allowed = allowed_errors(len(retain), max_fpr, confidence)

    retain_scores = sorted(classifier.score(retain, label=label))
    forget_scores = sorted(classifier.score(forget, label=label))
    highest_unflagged = retain_scores[-1 - allowed]
    if highest_unflagged >= 1.0:
        raise ValueError(
            f"More than {allowed} of the {len(retain)} retain prompts score 1.0, so no threshold keeps the false "
            f"positive rate under max_fpr={max_fpr}. Train the classifier on more retain prompts like them."
        )
    scores = sorted(forget_scores + retain_scores)
    next_higher = [*scores, 1.0][bisect.bisect_right(scores, highest_unflagged)]
    threshold = (highest_unflagged + next_higher) / 2
    if threshold <= highest_unflagged:  # neighbours among the floating-point numbers
        threshold = next_higher

    flagged = len(retain) - bisect.bisect_left(retain_scores, threshold)
    missed = bisect.bisect_left(forget_scores, threshold)
    if missed == len(forget):
        logger.warning(
            f"None of the {len(forget)} forget prompts reaches the threshold {threshold:.4g}: the classifier does not "
            f"tell them from retain prompts well enough for max_fpr={max_fpr}. Train it on more prompts of both kinds."
        )
    return Calibration(
        threshold=threshold,
        fpr=flagged / len(retain),
        fpr_bound=clopper_pearson_upper(allowed, len(retain), confidence),
        fnr=missed / len(forget),
        fnr_bound=clopper_pearson_upper(missed, len(forget), confidence),
        n_forget=len(forget),
        n_retain=len(retain),
        max_fpr=max_fpr,
        confidence=confidence,
    )


def allowed_errors(n: int, max_fpr: float, confidence: float) -> int:
    """The most false positives among `n` retain prompts whose Clopper-Pearson bound is within `max_fpr`.

    Raises:
        ValueError: even none is too many; `n` is too small.
    """
    within = bisect.bisect_right(range(n), max_fpr, key=lambda errors: clopper_pearson_upper(errors, n, confidence))
    if within == 0:
        needed = math.ceil(math.log1p(-confidence) / math.log1p(-max_fpr))  # (1 - max_fpr)^n <= 1 - confidence
        message = (
            f"{n} retain prompts cannot show a false positive rate under max_fpr={max_fpr} with "
            f"confidence={confidence}, even if none of them is flagged: that takes {needed}. Add retain prompts"
        )
        if n > 0:
            reachable = math.ceil(clopper_pearson_upper(0, n, confidence) * 10_000) / 10_000
            message += f"; with {n}, no max_fpr below {reachable:.4g} can be asked for"
        raise ValueError(message + ".")
    return within - 1


def _check_probability(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 < value < 1.0:
        raise ValueError(f"{name} must lie between 0 and 1 (both excluded), got {name}={value!r}.")
