"""Further measures of generated answers against the right ones: those of a user's choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..estimates import Estimate, mean_of, share_of
from ..metrics.checks import as_floats

TextMetric: TypeAlias = Callable[[Sequence[str], Sequence[str]], ArrayLike]
"""Gives a value for each of n pairs, (n,), from the right answers and the generated ones."""

# What tasks call their own measures and the values of their rows.
_TAKEN = {
    "answer", "answer_probability", "bleu", "exact_prefix", "flagged", "generated", "losses", "perplexity", "question",
    "retain_kl", "rouge_l_recall", "truth_ratio", "unique_token_ratio",
}  # fmt: skip


def check_text_metrics(metrics: Mapping[str, TextMetric]) -> dict[str, TextMetric]:
    """`metrics`, if they can be used.

    Raises:
        TypeError: one is no function.
        ValueError: one has the name of something that tasks report anyway.
    """
    for name, metric in metrics.items():
        if not callable(metric):
            raise TypeError(f"text_metrics[{name!r}] must be a function of (answers, generated), got {metric!r}.")
        if name in _TAKEN:
            raise ValueError(f"A task reports {name!r} of its own. Give the text metric another name.")
    return dict(metrics)


def measure_texts(
    metrics: Mapping[str, TextMetric], answers: Sequence[str], generated: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """By the metric's name its values, (n,), of n pairs of texts.

    Raises:
        ValueError: a metric does not give a finite value for each pair.
    """
    found: dict[str, NDArray[Any]] = {}
    for name, metric in metrics.items():
        values = np.asarray(metric(answers, generated))
        found[name] = values = values if values.dtype == bool else as_floats(f"text_metrics[{name!r}]", values)
        if values.shape != (len(answers),):
            raise ValueError(
                f"text_metrics[{name!r}] must give {len(answers)} values, one for each answer, got the shape "
                f"{values.shape}. Of several columns return one, e.g. bert_score(...).f1."
            )
    return found


def estimates_of(found: Mapping[str, NDArray[Any]], seed: int) -> dict[str, Estimate]:
    """The mean of each metric's values; of yes and no the share of yes."""
    return {
        name: share_of(values.tolist()) if values.dtype == bool else mean_of(values, seed)
        for name, values in found.items()
    }


def values_of(found: Mapping[str, NDArray[Any]], row: int) -> dict[str, Any]:
    """What the metrics give of one pair."""
    return {name: values[row].item() for name, values in found.items()}
