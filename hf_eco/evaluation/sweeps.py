"""One scope's corruption, stronger and weaker: what does it do?"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from torch import nn
from transformers import PreTrainedTokenizerBase

from ..configuration import ForgetScope
from ..corruption import heeded_parameters
from ..modeling import find_guarded
from .comparison_report import RETAIN, ComparisonReport
from .comparisons import CompareOptions, measure
from .result_cache import ResultCache
from .runner import Evaluated
from .tasks import Task

if TYPE_CHECKING:
    from typing_extensions import Unpack


class _Settings(CompareOptions, total=False):
    retain_model: Evaluated | None


def sweep_strength(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[Task],
    strengths: Sequence[float],
    *,
    scope: str | None = None,
    others: Mapping[str, Evaluated] | None = None,
    **options: Unpack[CompareOptions],
) -> ComparisonReport:
    """Measures a guarded model with one scope's corruption at several strengths; afterwards it is as it was.

    Args:
        model: a guarded model.
        tokenizer: the model's.
        tasks: as for [`evaluate`][hf_eco.evaluation.evaluate].
        strengths: the strengths, 0 or more.
        scope: the scope's name; may be None if there is only one.
        others: models by label to compare with, such as "original" and "retain".
        options: as for [`compare`][hf_eco.evaluation.compare].

    Raises:
        GuardError: the model has no guard.
        ValueError: there are no strengths, one is negative, the corruption's method has no strength, or there are
            several scopes and none is named.
        KeyError: there is no such scope.
    """
    return _sweep("strength", strengths, model, tokenizer, tasks, scope, others, options)


def sweep_dims(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[Task],
    dims: Sequence[int],
    *,
    scope: str | None = None,
    others: Mapping[str, Evaluated] | None = None,
    **options: Unpack[CompareOptions],
) -> ComparisonReport:
    """Measures a guarded model with one scope's corruption on several numbers of dimensions; afterwards it is as it
    was. Of methods that zero or flip, this is all there is to choose.

    Args:
        model: a guarded model.
        tokenizer: the model's.
        tasks: as for [`evaluate`][hf_eco.evaluation.evaluate].
        dims: dimensions of a token's embedding that are corrupted, 1 to all of them.
        scope: as for `sweep_strength`.
        others: as for `sweep_strength`.
        options: as for [`compare`][hf_eco.evaluation.compare].

    Raises:
        GuardError: the model has no guard.
        ValueError: there are no dims, one is out of range, the corruption's method heeds none, or there are several
            scopes and none is named.
        KeyError: there is no such scope.
    """
    weight: Any = find_guarded(model).get_input_embeddings().weight
    hidden = int(weight.shape[-1])
    if any(number > hidden for number in dims):
        raise ValueError(f"The embeddings have {hidden} dimensions, got dims={list(dims)}. Use 1 to {hidden}.")
    return _sweep("dims", dims, model, tokenizer, tasks, scope, others, options)


def _sweep(
    name: Literal["strength", "dims"],
    values: Sequence[float],
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[Task],
    scope: str | None,
    others: Mapping[str, Evaluated] | None,
    options: CompareOptions,
) -> ComparisonReport:
    swept = _scope_of(model, scope)
    before = swept.corruption
    if not values:
        raise ValueError(f"There is nothing to measure scope {swept.name!r} at. Pass some values of {name}.")
    if name not in (heeded := heeded_parameters(before.method)):
        instead = f"Use sweep_{heeded[0]}()." if heeded else "Compare it with another method."
        raise ValueError(
            f"The corruption of scope {swept.name!r} is {before.method!r}, to which its {name} makes no difference. "
            f"{instead}"
        )
    changes: list[dict[str, Any]] = [{name: value} for value in values]
    corruptions = [dataclasses.replace(before, **change) for change in changes]
    others = others or {}
    settings: _Settings = {
        **options,
        "cache_dir": ResultCache.open(options.get("cache_dir")),
        "retain_model": others.get(RETAIN),
    }
    rows = measure(others, tokenizer, tasks, **settings)
    try:
        for corruption in corruptions:
            swept.corruption, value = corruption, getattr(corruption, name)
            found = measure({f"{name} {value:g}": model}, tokenizer, tasks, **settings)
            rows += [dataclasses.replace(row, **{name: value}) for row in found]
    finally:
        swept.corruption = before
    return ComparisonReport(rows)


def _scope_of(model: nn.Module, name: str | None) -> ForgetScope:
    config = find_guarded(model).eco_guard.config
    if name is not None:
        return config.scope(name)
    if len(config.scopes) != 1:
        raise ValueError(f"Which of the scopes {[own.name for own in config.scopes]}? Pass scope=...")
    return config.scopes[0]
