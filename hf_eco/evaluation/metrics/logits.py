"""What a model's next-token distributions give away, whatever it says in the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...io.optional import import_extra
from .checks import Floats, as_floats

_ROUNDING = 1e-2  # of the logarithm of a row's sum; log-probabilities may have been counted in bfloat16


class LinearProbe(NamedTuple):
    """What a linear classifier reads out of features it was not fitted on, from 0 to 1.

    Attributes:
        accuracy: mean over the folds.
        fold_accuracies: (folds,).
        majority: the share of the most frequent label, which guessing reaches.
        hits: (n,), which labels it found.
    """

    accuracy: float
    fold_accuracies: Floats
    majority: float
    hits: NDArray[np.bool_]


def kl_divergence(log_probabilities: ArrayLike, retain_log_probabilities: ArrayLike) -> Floats:
    """D(retain || model) of each pair of next-token distributions: sum of q (log q - log p), in nats: (n,).

    Low is good: on forget prompts the model continues as one that never saw the forget set; 0 if just so. It is
    infinite where the model excludes a token that the retain model does not. Source: Kullback and Leibler, "On
    Information and Sufficiency", Annals of Mathematical Statistics 22, 1951.

    Args:
        log_probabilities: (n, vocabulary), the model's log p, in nats; -inf for a token it excludes.
        retain_log_probabilities: (n, vocabulary), log q of the model trained without the forget set.

    Raises:
        ValueError: the shapes differ or are others, a value is NaN, or a row's probabilities do not add up to 1.
    """
    log_p = _as_log_probabilities("log_probabilities", log_probabilities)
    log_q = _as_log_probabilities("retain_log_probabilities", retain_log_probabilities)
    if log_p.shape != log_q.shape:
        raise ValueError(f"The two must have the same shape, got {log_p.shape} and {log_q.shape}.")
    possible = log_q > -np.inf
    terms = np.exp(log_q) * np.subtract(log_q, log_p, out=np.zeros_like(log_q), where=possible)
    return np.maximum(terms.sum(axis=-1), 0.0)  # rounding may leave a little less than 0


def linear_probe(features: ArrayLike, labels: Sequence[int], *, folds: int = 5, seed: int = 0) -> LinearProbe:
    """How well a linear classifier finds the right answers in a model's logits.

    Logistic regression (scikit-learn, L2, C=1) on features brought to mean 0 and variance 1, stratified
    cross-validation. Near the majority's share or chance: the knowledge is not linearly there; high: it is hidden
    rather than gone. Source: Liu et al. 2024 (arXiv 2406.07933) and Li et al. 2024 (arXiv 2403.03218) probe for the
    answers to multiple-choice questions.

    Args:
        features: (n, features), e.g. the next-token logits after each question, or those of the option letters.
        labels: (n,), e.g. which option is right.
        folds: of the cross-validation. Every label must occur so often.
        seed: of the folds.

    Raises:
        ValueError: the shapes do not match, a feature is not finite, there is one label only, or a label is too rare.
        ImportError: scikit-learn is missing.
    """
    x, y = as_floats("features", features), np.asarray(labels)
    if x.ndim != 2 or y.shape != x.shape[:1]:
        raise ValueError(f"features must be (n, features) and labels (n,), got {x.shape} and {y.shape}.")
    counts = np.unique(y, return_counts=True)[1]
    if folds < 2 or counts.size < 2 or counts.min() < folds:
        raise ValueError(
            f"Cross-validation takes two folds, two labels and each label in every fold, got folds={folds} and labels "
            f"that occur {counts.tolist()} times."
        )
    selection = import_extra("sklearn.model_selection", "eval")
    probe = import_extra("sklearn.pipeline", "eval").make_pipeline(
        import_extra("sklearn.preprocessing", "eval").StandardScaler(),
        import_extra("sklearn.linear_model", "eval").LogisticRegression(max_iter=1000),
    )
    split = selection.StratifiedKFold(folds, shuffle=True, random_state=seed)
    hits = selection.cross_val_predict(probe, x, y, cv=split) == y
    accuracies = np.array([hits[test].mean() for _, test in split.split(x, y)])
    return LinearProbe(float(accuracies.mean()), accuracies, float(counts.max() / counts.sum()), hits)


def _as_log_probabilities(name: str, values: ArrayLike) -> Floats:
    array = as_floats(name, values, finite=False)
    if array.ndim != 2:
        raise ValueError(f"{name} must have the shape (n, vocabulary), got {array.shape}.")
    sums = np.logaddexp.reduce(array, axis=-1)
    if not (np.abs(sums) < _ROUNDING).all():
        row = int(np.argmax(np.abs(sums)))
        raise ValueError(
            f"{name} must be log-probabilities, but those of row {row} add up to exp({sums[row]:g}). "
            "Use log_softmax of the logits."
        )
    return array
