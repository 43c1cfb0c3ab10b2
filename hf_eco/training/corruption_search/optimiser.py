"""Finding where a function of one or several parameters is nearest to zero, from its values alone.

The function is a residual, score minus surrogate. Parameters are searched in log space, because a strength of 1 is to
10 as 10 to 100. None of the searches has an end of its own to report: whoever evaluates the residual keeps the points,
and ends a search by raising [`Enough`][hf_eco.training.corruption_search.optimiser.Enough].
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

Point = tuple[float, ...]
Residual = Callable[[Point], float]

_SMALLEST_STEP = 0.01  # in log space: one per cent
_GOLDEN = (math.sqrt(5) - 1) / 2
# Exponents of Spall's gain sequences ("Implementation of the simultaneous perturbation algorithm for stochastic
# optimization", IEEE Transactions on Aerospace and Electronic Systems 34, 1998)
_STEP_DECAY, _PERTURBATION_DECAY = 0.602, 0.101
_FINER = 4  # steps of the finer grid for each of the coarse one's
_MOST_STEPS = 1000  # of a search that nobody ends


class Enough(Exception):
    """Raised by a residual to end the search: a point is near enough, or there have been enough of them."""


@dataclass(frozen=True)
class Parameter:
    """What is learnt.

    Attributes:
        name: "strength", "dims" or "strengths".
        low: its lowest value, positive.
        high: its highest.
        whole: True if only integers will do.
    """

    name: str
    low: float
    high: float
    whole: bool = False

    def at(self, x: float) -> float:
        """The value at `x` in log space, to four figures; beyond the bounds, the bound."""
        value = float(round(math.exp(x))) if self.whole else float(f"{math.exp(x):.4g}")
        return min(max(value, self.low), self.high)

    def grid(self, count: int) -> list[float]:
        """At most `count` values at even distances in log space, both bounds among them, from low to high."""
        xs = np.linspace(math.log(self.low), math.log(self.high), max(count, 2))
        return sorted({self.at(x) for x in xs})


def search(
    residual: Residual,
    parameters: Sequence[Parameter],
    seed: int,
    noise: Residual = lambda _: 0.0,
    without: float | None = None,
) -> None:
    """Evaluates `residual` at ever better points until it raises `Enough` or no step is left to take.

    First a coarse grid from the weakest values on, up to the first at which the residual changes its sign; then a
    finer one, likewise, from the value before on, or from the one before that where that value's residual is no larger
    than its noise: it may have come to zero before, and fallen back by chance. Then two-point finite differences
    between the two values where the sign changes. If it never does, they start from the best value of the grid.

    If the weakest value has gone past zero already, that is, its residual has another sign than that of no corruption
    at all, stronger ones are not tried: they lead farther away.

    Of whole numbers golden sections instead of all that follows the coarse grid. Of several parameters a grid, in full
    if one is of whole numbers, otherwise all rising together; then simultaneous perturbation from its best point.

    Args:
        residual: of a point.
        parameters: what a point is made of.
        seed: of the directions of simultaneous perturbation.
        noise: standard error of the residual of a point that was evaluated.
        without: the residual of no corruption at all; None if it is not known.
    """
    if len(parameters) > 1:
        points: Iterable[Point]
        if any(parameter.whole for parameter in parameters):
            points = itertools.product(*(parameter.grid(3 if parameter.whole else 4) for parameter in parameters))
        else:
            points = zip(*(parameter.grid(7) for parameter in parameters), strict=True)
        found = {point: residual(point) for point in points}
        nearest = min(found, key=lambda point: abs(found[point]))
        simultaneous_perturbation(residual, nearest, parameters, seed)
        return
    (parameter,) = parameters
    decades = math.log10(parameter.high / parameter.low)
    values = parameter.grid(max(3, round(decades * (2 if parameter.whole else 1)) + 1))
    if without is not None and without * residual((values[0],)) < 0:
        return
    residuals = _up_to_a_change(residual, values)
    if _changes(residuals):
        before, last = len(residuals) - 2, len(residuals) - 1
    else:
        best = min(range(len(values)), key=lambda i: abs(residuals[i]))
        before, last = max(best - 1, 0), min(best + 1, len(values) - 1)
    if parameter.whole:
        golden_section(residual, int(values[before]), int(values[last]))
        return
    if not _changes(residuals):
        ends = math.log(values[before]), math.log(values[last])
        finite_differences(residual, math.log(values[best]), *ends, parameter, None)
        return
    if before > 0 and abs(residuals[before]) <= noise((values[before],)):
        before -= 1
    finer = Parameter(parameter.name, values[before], values[last]).grid(_FINER * (last - before) + 1)
    residuals = _up_to_a_change(residual, finer)
    low, high = finer[len(residuals) - 2], finer[len(residuals) - 1]
    share = residuals[-2] / (residuals[-2] - residuals[-1])  # where the line through both is zero
    start = math.log(low) * (1 - share) + math.log(high) * share
    finite_differences(residual, start, math.log(low), math.log(high), parameter, residuals[-2] > 0)


def _up_to_a_change(residual: Residual, values: Sequence[float]) -> list[float]:
    """The residuals of `values` up to the first that has another sign than the one before."""
    residuals: list[float] = []
    for value in values:
        residuals.append(residual((value,)))
        if _changes(residuals):
            break
    return residuals


def _changes(residuals: Sequence[float]) -> bool:
    """True if the last one has another sign than the one before."""
    return len(residuals) > 1 and (residuals[-1] > 0) != (residuals[-2] > 0)


def finite_differences(
    residual: Residual, start: float, low: float, high: float, parameter: Parameter, sign_at_low: bool | None
) -> None:
    """Steps along the slope between two points: x <- x - r(x) / slope, slope = (r(x + c) - r(x)) / c.

    c is a quarter of the interval at first, and half as much with each step; no step is longer than two c unless the
    residual changes its sign within [low, high]: then the interval shrinks to where it does, and a step that would
    leave it goes to its middle. Ends when a step is below one per cent.

    Args:
        residual: of a strength.
        start: where to begin, in log space.
        low, high: the interval, in log space.
        parameter: turns log space into values.
        sign_at_low: whether the residual is positive at `low` and not at `high`, or the other way round; None if it
            has the same sign at both.
    """
    c, x = (high - low) / 4, start
    crossed = sign_at_low is not None

    def at(place: float) -> float:
        nonlocal low, high
        found = residual((parameter.at(place),))
        if crossed and (found > 0) == sign_at_low:
            low = max(low, place)
        elif crossed:
            high = min(high, place)
        return found

    r = at(x)
    for _ in range(_MOST_STEPS):
        other = x + min(c, high - x) if high - x >= x - low else x - min(c, x - low)  # where there is more room
        if abs(other - x) < _SMALLEST_STEP:
            return
        slope = (at(other) - r) / (other - x)
        step = -r / slope if slope != 0 else math.copysign(math.inf, other - x)
        if not crossed:
            step = min(max(step, -2 * c), 2 * c)
        new = x + step
        if crossed and not low < new < high:
            new = (low + high) / 2
        new = min(max(new, low), high)
        if abs(new - x) < _SMALLEST_STEP:
            return
        found = at(new)
        if crossed or abs(found) < abs(r):
            x, r = new, found
        c /= 2


def simultaneous_perturbation(residual: Residual, start: Point, parameters: Sequence[Parameter], seed: int) -> None:
    """Spall's simultaneous perturbation ("Multivariate stochastic approximation using a simultaneous perturbation
    gradient approximation", IEEE Transactions on Automatic Control 37, 1992): all parameters are moved at once, each
    up or down by chance, and two values tell how far to go along that direction, whatever their number.

    x <- x + t * delta with delta in {-1, 1}^d, t = -r / slope, slope = (r(x + c delta) - r(x - c delta)) / 2c: the
    gain is that at which a linear residual would be zero. c falls as (k + 1)^-0.101, the longest step, at first 1.5 in
    log space, as (k + 1)^-0.602. A step that leads to a worse point is not taken.
    """
    rng = random.Random(seed)
    bounds = [(math.log(p.low), math.log(p.high)) for p in parameters]
    x, r = [math.log(value) for value in start], residual(start)

    def moved(by: float, delta: Sequence[int]) -> list[float]:
        return [min(max(a + by * d, low), high) for a, d, (low, high) in zip(x, delta, bounds, strict=True)]

    def at(place: Sequence[float]) -> float:
        return residual(tuple(p.at(a) for p, a in zip(parameters, place, strict=True)))

    for k in range(_MOST_STEPS):
        c, longest = 0.7 / (k + 1) ** _PERTURBATION_DECAY, 1.5 / (k + 1) ** _STEP_DECAY
        delta = [rng.choice((-1, 1)) for _ in parameters]
        up, down = at(moved(c, delta)), at(moved(-c, delta))
        slope = (up - down) / (2 * c)
        t = -r / slope if slope != 0 else longest
        new = moved(min(max(t, -longest), longest), delta)
        found = at(new)
        if abs(found) < abs(r):
            x, r = new, found


def golden_section(residual: Residual, low: int, high: int) -> None:
    """Looks for the whole number from `low` to `high` at which |residual| is least, as if there were one valley
    between (Kiefer, "Sequential minimax search for a maximum", Proceedings of the AMS 4, 1953); in log space."""

    def cost(value: int) -> float:
        return abs(residual((float(value),)))

    while high - low > 3:
        a, b = math.log(low), math.log(high)
        left = min(max(round(math.exp(b - _GOLDEN * (b - a))), low + 1), high - 2)
        right = min(max(round(math.exp(a + _GOLDEN * (b - a))), left + 1), high - 1)
        if cost(left) <= cost(right):
            high = right
        else:
            low = left
    for value in range(low, high + 1):
        cost(value)
