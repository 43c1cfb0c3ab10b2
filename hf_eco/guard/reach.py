"""Whether a scope can flag anything, and change what it flags, by what its config tells.

A guard that never flags looks like one that does, so it is neither stored nor loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from ..configuration import DEFAULT_STRENGTH, ForgetScope
from ..corruption import changes_embeddings
from ..detection.log_odds import log_odds
from ..detection.names.common import needs_context

_ROUNDED = 1e-3  # of a calibration's log-odds
_HIGHEST = 1 - 2.0**-24  # of float32's probabilities below 1


def why_without_effect(scope: ForgetScope) -> str | None:
    """Why a stored scope would be without effect, and what to do; None if nothing speaks against it.

    Args:
        scope: with its known answers.
    """
    if not scope.probes:
        return (
            f"Scope {scope.name!r} has no known answers (probes), so nobody could tell if its classifier or the "
            "tokenizer were another. Download the guard again, or make it anew."
        )
    how = scope.corruption
    if not _changes(how.method, how.dims, how.strengths, isinstance(how.strength, list), how.seed):
        return (
            f"The corruption of scope {scope.name!r} ({how.in_words}) changes nothing. Use a higher strength, e.g. "
            f"the default {DEFAULT_STRENGTH!r}, or learn one: hf-eco tune"
        )
    if how.in_rms is not None:
        return (
            f"The strength of scope {scope.name!r} is {how.strength!r}, and nobody has looked what that is in this "
            "model. Attach the scope to the model before it is saved (model.add_scope), or use a number."
        )
    if (highest := _highest_known(scope)) is not None and highest < log_odds(scope.threshold) - _ROUNDED:
        return (
            f"Scope {scope.name!r} would never flag: nothing that is known to be of it reaches its threshold "
            f"{scope.threshold:.8g}. Use a lower threshold, or calibrate one: hf-eco calibrate"
        )
    return None


def check_dims_fit(scopes: Sequence[ForgetScope], size: int, model: str) -> None:
    """Raises ValueError if a scope corrupts more dimensions than the embeddings of `model` have."""
    for scope in scopes:
        if scope.corruption.dims is not None and scope.corruption.dims > size:
            raise ValueError(
                f"Scope {scope.name!r} corrupts dims={scope.corruption.dims} dimensions, the embeddings of {model} "
                f"have {size}. Use dims=None for all."
            )


@cache
def _changes(method: str, dims: int | None, strengths: tuple[float, ...], several: bool, seed: int) -> bool:
    return changes_embeddings(method, dims=dims, strength=strengths if several else strengths[0], seed=seed)


def _highest_known(scope: ForgetScope) -> float | None:
    """The highest log-odds that are known of prompts of a scope: of its known answers, and of those it was calibrated
    on. None where what is known says nothing about how high they come."""
    answers = [log_odds(probe.probability) for probe in scope.probes]
    measured = list(scope.calibration.forget_scores) if scope.calibration is not None else []
    if measured:
        return max(*answers, *measured)
    by_names_alone = scope.untrained and not scope.by_facts and not scope.detectors
    if by_names_alone:  # each of its known answers names one
        enough = scope.context != "required" if scope.hashed_names else not all(
            needs_context(name, scope.context) for name in scope.names
        )  # fmt: skip
        return max(answers) if enough else None
    # A prompt of which nothing is known may come as high as float32 tells from 1; a detector of one's own may say 1.
    return None if scope.detectors or scope.threshold < _HIGHEST else max(answers)
