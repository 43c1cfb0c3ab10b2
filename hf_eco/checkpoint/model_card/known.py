"""What a model card is made of, beside the guard's own config: what was measured, and what was trained on."""

from __future__ import annotations

import math
import numbers
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FIGURES = "figures"  # the folder of a repository that a card's figures lie in


@dataclass(frozen=True)
class Measurement:
    """One figure of an evaluation.

    Attributes:
        task: what the model was asked, e.g. "TOFU forget10".
        metric: e.g. "forget quality".
        value: what was measured.
        interval: its confidence interval, if there is one.
        confidence: of the interval.
        model: whose figure it is; "guarded" for this checkpoint's, else what it is compared with, e.g. "base".
        dataset: Hub id of the task's data set, if it has one.

    Raises:
        ValueError: the value, or an end of the interval, is no finite number: it was not measured.
    """

    task: str
    metric: str
    value: float
    interval: tuple[float, float] | None = None
    confidence: float = 0.95
    model: str = "guarded"
    dataset: str | None = None

    def __post_init__(self) -> None:
        interval = self.interval or (self.value, self.value)
        if not all(is_finite(number) for number in (self.value, *interval)):
            raise ValueError(
                f"{self.task}, {self.metric}: {self.value!r} with interval {self.interval!r} was not measured, so the "
                "card does not state it. Leave the row out."
            )
        if interval[0] > interval[1] or not 0 < self.confidence < 1:
            raise ValueError(
                f"{self.task}, {self.metric}: {self.interval!r} at confidence={self.confidence!r} is no confidence "
                "interval. Give its lower and upper end, and a confidence between 0 and 1."
            )


@dataclass(frozen=True)
class Figure:
    """A plot to be shown in the card.

    Attributes:
        path: image file of this machine; it is copied into the repository.
        caption: what it shows.
    """

    path: str | os.PathLike[str]
    caption: str

    @property
    def name(self) -> str:
        """Where it lies in the repository."""
        return f"{FIGURES}/{Path(self.path).name}"


@dataclass(frozen=True)
class TrainingData:
    """How many prompts a scope's classifier was trained on, and how many more decided when to stop."""

    forget: int
    retain: int
    forget_validation: int
    retain_validation: int


def is_finite(value: Any) -> bool:
    """Whether `value` is a number that can be stated."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
