"""Whether one model's logits hold more of the right answers than another's, whatever the two of them say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from numpy.typing import ArrayLike

from .estimates import Estimate, mean_of
from .metrics import LinearProbe, linear_probe


@dataclass(frozen=True)
class LinearProbeComparison:
    """What a linear classifier reads out of two models' logits.

    Attributes:
        model: out of the one's.
        other: out of the other's.
        gap: the one's accuracy minus the other's, from -1 to 1, with its 95 % interval over the questions. Against the
            original, far below 0: knowledge that was there cannot be read out any more; against the retain model,
            about 0: no more can be read out than where it never was.
    """

    model: LinearProbe
    other: LinearProbe
    gap: Estimate


def compare_linear_probes(
    logits: ArrayLike, other_logits: ArrayLike, labels: Sequence[int], *, folds: int = 5, seed: int = 0
) -> LinearProbeComparison:
    """Reads the right answers out of two models' logits with [`linear_probe`][hf_eco.evaluation.metrics.linear_probe],
    on the same questions in the same folds.

    The rows of a [`MultipleChoiceTask`][hf_eco.evaluation.MultipleChoiceTask] hold the log-probabilities of the
    options' letters, which are their logits less one number for each question:

        guarded, retain = (comparison.row(label, "strict").report["wmdp-bio"] for label in ("eco", "retain"))
        column = "letter_log_probabilities"
        compare_linear_probes(guarded.column(column), retain.column(column), guarded.column("answer"))

    Those of all tokens are `Scorer.next_token_log_probabilities(prompts)`. Source: Liu et al. 2024 (arXiv 2406.07933)
    and Li et al. 2024 (arXiv 2403.03218), who probe unlearned models beside the original.

    Args:
        logits: (n, features), the one model's after each question.
        other_logits: (n, features), the other's; the number of features may be another.
        labels: (n,), which option is right.
        folds: as for `linear_probe`.
        seed: of the folds and of the interval's bootstrap.

    Raises:
        ValueError: as `linear_probe`.
        ImportError: scikit-learn is missing.
    """
    model, other = (linear_probe(own, labels, folds=folds, seed=seed) for own in (logits, other_logits))
    return LinearProbeComparison(model, other, mean_of(model.hits.astype(float) - other.hits, seed))
