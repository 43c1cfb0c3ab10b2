"""What can be learnt of a corruption, and which of those that were tried is the best."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...configuration import CorruptionConfig
from ...corruption import check_strengths, heeded_parameters
from .history import Trial
from .objective import Floats
from .optimiser import Parameter

_RESAMPLES = 1000


def find_parameters(
    corruption: CorruptionConfig, names: Sequence[str] | None, bounds: tuple[float, float], hidden: int
) -> list[Parameter]:
    """What is to be learnt of a corruption: the parameters, that of each dimension's strength once for each.

    Args:
        corruption: its method and dims count.
        names: of the parameters; None: the strength if the method heeds it, else the dims.
        bounds: of the strength.
        hidden: size of the embeddings, the most dims.

    Raises:
        ValueError: a name is unknown, the method does not heed it or takes no strengths, dims do not go without the
            strengths there are, or the bounds are none.
    """
    low, high = bounds
    if not (math.isfinite(high) and 0 < low < high):
        raise ValueError(f"bounds must be two positive strengths, the lower one first, got {bounds}. Use (1e-2, 1e4).")
    method, dims = corruption.method, corruption.dims or hidden
    known = {"strength": Parameter("strength", low, high), "dims": Parameter("dims", 1, hidden, whole=True)}
    heeded = heeded_parameters(method)
    if not heeded:
        raise ValueError(f"Corruption {method!r} has neither strength nor dims to learn. Use another method.")
    if names is None:
        return [known[heeded[0]]]
    wanted = [names] if isinstance(names, str) else list(names)
    if wanted == ["dims"] and isinstance(corruption.strength, list):
        raise ValueError(
            f"The scope has a strength for each of its {len(corruption.strength)} dimensions, so dims cannot be "
            "learnt alone. Give it one strength for all, or learn ('strength', 'dims') or 'strengths'."
        )
    if wanted == ["strengths"]:
        check_strengths(method, dims, dims)
        return [Parameter("strengths", low, high)] * dims
    if not wanted or len(set(wanted)) < len(wanted) or not set(wanted) <= set(heeded):
        raise ValueError(
            f"parameters={names!r}, but what {method!r} heeds is {heeded}. Use some of these, or 'strengths' alone."
        )
    return [known[name] for name in known if name in wanted]


def choose(trials: Sequence[Trial], surrogate: float, tolerance: float, seed: int, hidden: int) -> Trial:
    """The trial that is nearest to the surrogate; of those within the tolerance the weakest.

    Where all trials lie on one side of the surrogate, farther than the tolerance, it is not to be reached, and more
    corruption is of no use: then the weakest is chosen of those that are as good as the nearest, that is, farther by
    no more than the standard error of that difference, by the bootstrap over the prompts, both on the same resamples.
    The weakest changes the embeddings least: level * sqrt(dims), in which the noise's length grows.
    """

    def gap(trial: Trial) -> float:
        return max(abs(trial.score - surrogate), tolerance)

    def weakness(trial: Trial) -> tuple[float, float]:
        return trial.level * math.sqrt(trial.dims or hidden), trial.dims or hidden

    nearest = min(trials, key=lambda trial: (gap(trial), weakness(trial)))
    if gap(nearest) <= tolerance or len({trial.score > surrogate for trial in trials}) > 1:
        return nearest
    nearest_gaps = np.abs(_resampled(np.array(nearest.values), seed) - surrogate)

    def as_good(trial: Trial) -> bool:
        error = np.std(np.abs(_resampled(np.array(trial.values), seed) - surrogate) - nearest_gaps)
        return gap(trial) - gap(nearest) <= error

    return min(filter(as_good, trials), key=weakness)


def standard_error(values: Floats, seed: int) -> float:
    """Of the mean of `values`, (n,), by the bootstrap; 0 where there is one."""
    return float(np.std(_resampled(values, seed)))


def _resampled(values: Floats, seed: int) -> NDArray[np.float64]:
    """(resamples,): means of as many values drawn from `values` with replacement, the same draws for the same n."""
    draws = np.random.default_rng(seed).integers(len(values), size=(_RESAMPLES, len(values)))
    return values[draws].mean(axis=1)
