"""The measures of TOFU: how well a model knows an answer, what else it still knows, whether it has forgotten.

Source: Maini et al., "TOFU: A Task of Fictitious Unlearning for LLMs", COLM 2024, arXiv 2401.06121, section 2.2, with
the formulas of the benchmark's published results where they differ from the paper's text (see `truth_ratio`).

A loss is the mean over an answer's tokens of -log p, in nats. The losses of a set of n questions have the shape (n,),
those of the k other options of each (n, k); without the n, of one question.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ...io.optional import import_extra
from .checks import Floats, as_losses, as_row

_LARGEST_EXPONENT = 700.0  # exp of it is still a float64, and so is its reciprocal


class ForgetQuality(NamedTuple):
    """Outcome of a two-sample Kolmogorov-Smirnov test.

    Attributes:
        statistic: the largest distance of the two distribution functions, 0 to 1.
        p_value: how probable so large a distance is between two samples of the same distribution, 0 to 1.
    """

    statistic: float
    p_value: float


def answer_probability(loss: ArrayLike) -> Floats:
    """exp(-loss): the probability of an answer given its question, to the power of 1 / its length in tokens.

    High: the model knows the answer. TOFU takes the mean over the questions.

    Args:
        loss: (n,), of the answers.

    Returns:
        (n,), 0 to 1.

    Raises:
        ValueError: a loss is missing, negative or not finite.
    """
    return np.exp(-as_losses("loss", loss))


def normalized_probability(loss: ArrayLike, option_losses: ArrayLike) -> Floats:
    """p / (p + sum of the other options' p), each p as in `answer_probability`.

    High: the model prefers the right answer to the wrong ones; 1 / (k + 1) if it has no preference. What TOFU calls
    the probability on its real authors and world facts; it takes the mean over the questions.

    Args:
        loss: (n,), of the right answers.
        option_losses: (n, k), of the wrong ones.

    Returns:
        (n,), 0 to 1.

    Raises:
        ValueError: the shapes do not match, or a loss is missing, negative or not finite.
    """
    right, wrong = _one_with_many("loss", loss, "option_losses", option_losses)
    every = np.concatenate([right[..., None], wrong], axis=-1)
    return np.exp(-right - np.logaddexp.reduce(-every, axis=-1))


def truth_ratio(paraphrased_loss: ArrayLike, perturbed_losses: ArrayLike) -> Floats:
    """exp(paraphrased_loss - mean of perturbed_losses): how probable wrong answers are compared to the right one.

    Low: the model knows the truth; about 1: right or wrong is all the same to it. Equation 1 of the paper averages the
    probabilities of the wrong answers; the benchmark's published results average their losses, which is the geometric
    mean of the probabilities, and so does this.

    Args:
        paraphrased_loss: (n,), of the right answers in other words than the model was trained on.
        perturbed_losses: (n, k), of the same sentences with the facts made wrong.

    Returns:
        (n,), within exp(-700) and exp(700), so that the reciprocal is finite too.

    Raises:
        ValueError: the shapes do not match, or a loss is missing, negative or not finite.
    """
    right, wrong = _one_with_many("paraphrased_loss", paraphrased_loss, "perturbed_losses", perturbed_losses)
    return np.exp(np.clip(right - wrong.mean(axis=-1), -_LARGEST_EXPONENT, _LARGEST_EXPONENT))


def truth_ratio_score(ratio: ArrayLike, kind: Literal["forget", "retain"]) -> float:
    """One number for the truth ratios of a set, from 0 to 1.

    "forget": mean of min(r, 1/r). High: right and wrong answers are about equally probable, the model has forgotten.
    "retain": mean of max(0, 1 - r). High: the model knows what it should know still. TOFU uses the former for the
    forget set and the latter for the other three.

    Args:
        ratio: (n,), from `truth_ratio`.
        kind: which of the two.

    Raises:
        ValueError: `kind` is neither, or a ratio is missing, negative or not finite.
    """
    ratio = _as_ratios("ratio", ratio)
    if kind == "forget":
        return float(np.where(ratio > 1, 1 / np.maximum(ratio, 1), ratio).mean())
    if kind == "retain":
        return float(np.maximum(0, 1 - ratio).mean())
    raise ValueError(f"Unknown kind {kind!r}. Use 'forget' or 'retain'.")


def forget_quality(ratios: ArrayLike, retain_ratios: ArrayLike) -> ForgetQuality:
    """Whether the truth ratios on the forget set could be those of a model that never saw it.

    Two-sample Kolmogorov-Smirnov test, two-sided, exact up to 10,000 rows. A p-value near 1: the two models cannot be
    told apart; below 0.05: they can. Few rows can tell little, so compare p-values at the same n only. TOFU's result
    files hold 1 / r instead of r; the test's outcome is the same.

    Args:
        ratios: (n,), of the model that is to have forgotten, from `truth_ratio`.
        retain_ratios: (m,), of the model that was trained without the forget set. m need not be n.

    Raises:
        ValueError: a ratio is missing, negative or not finite.
        ImportError: scipy is missing.
    """
    samples = _as_ratios("ratios", ratios), _as_ratios("retain_ratios", retain_ratios)
    outcome = import_extra("scipy.stats", "eval").ks_2samp(*samples)
    return ForgetQuality(float(outcome.statistic), float(outcome.pvalue))


def model_utility(nine_values: ArrayLike) -> float:
    """What the model still can do besides the forget set: the harmonic mean of nine measures, from 0 to 1.

    High is good; a single 0 makes it 0.

    Args:
        nine_values: (9,), the means of probability, ROUGE-L recall and truth ratio score (kind "retain") on the retain
            set, on the real authors and on the world facts, in any order, each from 0 to 1.

    Raises:
        ValueError: there are not nine of them, or one is not from 0 to 1.
    """
    values = as_row("nine_values", nine_values)
    if values.size != 9:
        raise ValueError(f"nine_values must be nine, got {values.size}.")
    if values.min() < 0 or values.max() > 1:
        raise ValueError(f"nine_values must be from 0 to 1, got {values.tolist()}.")
    least = values.min()  # the mean's unit, so that no reciprocal overflows
    return float(9 * least / (least / values).sum()) if least > 0 else 0.0


def _as_ratios(name: str, values: ArrayLike) -> Floats:
    """`values` as a float64 array of shape (n,), none below 0."""
    ratios = as_row(name, values)
    if ratios.min() < 0:
        raise ValueError(f"{name} must be positive, got {ratios.min():g}.")
    return ratios


def _one_with_many(name: str, one: ArrayLike, many_name: str, many: ArrayLike) -> tuple[Floats, Floats]:
    losses, others = as_losses(name, one), as_losses(many_name, many)
    if others.ndim == 0 or others.shape[:-1] != losses.shape or losses.ndim > 1:
        raise ValueError(
            f"{many_name} must have the shape (n, k) where {name} has (n,), got {others.shape} and {losses.shape}."
        )
    return losses, others
