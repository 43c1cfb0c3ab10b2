"""What every metric asks of its arguments before it counts with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ...io.text_files import check_unicode
from .words import is_blank

Floats = NDArray[np.float64]

_ROUNDING = 1e-3  # how far below 0 the rounding of log-probabilities may bring a loss


def as_floats(name: str, values: ArrayLike | Tensor, *, finite: bool = True) -> Floats:
    """`values` as float64: an array, a tensor on any device, or lists.

    Raises:
        ValueError: they are no numbers in rows of one length, there are none, or one is NaN (or infinite, where
            `finite`).
    """
    plain = values.detach().cpu().double().numpy() if isinstance(values, Tensor) else values
    try:
        array = np.asarray(plain, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:  # the last of an int that no float holds
        raise ValueError(f"{name} must be numbers, in rows of one length ({error}).") from error
    if array.size == 0:
        raise ValueError(f"{name} is empty, shape {array.shape}.")
    broken = ~np.isfinite(array) if finite else np.isnan(array)
    if broken.any():
        at = [int(i) for i in np.argwhere(broken)[0]]
        raise ValueError(
            f"{name} has {broken.sum()} values that are no numbers to count with, {array[broken][0]} at {at}."
        )
    return array


def check_finite(what: str, value: float | np.floating) -> float:
    """`value`, if it is a number to count with. Raises ValueError where finite values have added up to none."""
    if not np.isfinite(value):
        raise ValueError(f"{what} is {value}: the values are too large to be added. Measure in another unit.")
    return float(value)


def as_losses(name: str, values: ArrayLike | Tensor) -> Floats:
    """`values` as mean token losses: float64, in nats, none below 0.

    Raises:
        ValueError: as `as_floats`, or a value is negative.
    """
    array = as_floats(name, values)
    if array.min() < -_ROUNDING:
        raise ValueError(f"{name} has the loss {array.min():g}. A loss is -log p; pass it, not log p.")
    return np.maximum(array, 0.0)


def as_row(name: str, values: ArrayLike | Tensor) -> Floats:
    """`values` as a float64 array of shape (n,).

    Raises:
        ValueError: as `as_floats`, or they are no row.
    """
    array = as_floats(name, values)
    if array.ndim != 1:
        raise ValueError(f"{name} must have the shape (n,), got {array.shape}.")
    return array


def check_texts(name: str, texts: Sequence[str]) -> None:
    """
    Raises:
        TypeError: `texts` is one string, or has an element that is none.
        ValueError: there are none, or one holds half a character (a lone surrogate).
    """
    if isinstance(texts, str):
        raise TypeError(f"{name} must be a list of strings, got one string. Use [text].")
    if len(texts) == 0:
        raise ValueError(f"{name} is empty.")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"{name}[{i}] must be a string, got {type(text).__name__}.")
        check_unicode(text, f"{name}[{i}]")


def check_pairs(references: Sequence[str], generated: Sequence[str]) -> None:
    """
    Raises:
        TypeError: an element is no string.
        ValueError: as `check_texts`, there are not as many of the one as of the other, or a reference is blank.
    """
    check_texts("references", references)
    check_texts("generated", generated)
    if len(references) != len(generated):
        raise ValueError(f"There are {len(references)} references for {len(generated)} generated texts.")
    for i, text in enumerate(references):
        if is_blank(text):
            raise ValueError(f"references[{i}] is blank: nothing can be like it.")
