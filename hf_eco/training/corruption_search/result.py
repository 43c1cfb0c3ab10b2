"""What a search for a corruption has found."""

from __future__ import annotations

from dataclasses import dataclass

from ...configuration import CorruptionConfig
from .history import Trial


@dataclass(frozen=True)
class SurrogateScore:
    """An estimate of what a model scores that never learnt the scope.

    Attributes:
        kind: how it was come by.
        value: the estimate.
        standard_error: by the bootstrap over the questions; 0 where it is a number.
        n: questions it is the mean of; 1 where it is a number.
    """

    kind: str
    value: float
    standard_error: float
    n: int


@dataclass(frozen=True)
class CorruptionSearch:
    """What [`optimize_corruption`][hf_eco.training.optimize_corruption] found.

    Attributes:
        scope: name of the scope.
        corruption: the corruption that was learnt.
        score: name of the score.
        value: the score of the guarded model with it.
        standard_error: of the value, by the bootstrap over the prompts.
        surrogate: what the value should be.
        unguarded: the score of the same prompts without the guard.
        history: every corruption that was tried, in order.
        n: prompts that were scored: those that the guard flags and the surrogate speaks of.
        prompts_sha256: fingerprint of all prompts that were given, see
            [`prompts_sha256`][hf_eco.training.labelled_prompts.prompts_sha256].
        seed: of the search.
    """

    scope: str
    corruption: CorruptionConfig
    score: str
    value: float
    standard_error: float
    surrogate: SurrogateScore
    unguarded: float
    history: tuple[Trial, ...]
    n: int
    prompts_sha256: str
    seed: int

    @property
    def gap(self) -> float:
        """|value - surrogate|."""
        return abs(self.value - self.surrogate.value)

    @property
    def helps(self) -> bool:
        """True if the score is nearer to the surrogate than it is without the guard, by more than its standard error:
        where it is not, the weakest corruption would do as well, and guard nothing."""
        return abs(self.unguarded - self.surrogate.value) - self.gap > self.standard_error
