"""Several models at the same tasks: what has been forgotten, and at what price."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict

from transformers import PreTrainedTokenizerBase

from ..guard.plan import ScoringProtocol
from .comparison_report import RETAIN, ComparisonReport, ComparisonRow
from .result_cache import ResultCache
from .runner import Evaluated, EvaluateOptions, evaluate
from .tasks import Reference, Task

if TYPE_CHECKING:
    from typing_extensions import Unpack


class CompareOptions(TypedDict, total=False):
    """What [`compare`][hf_eco.evaluation.compare] takes by name."""

    protocols: Sequence[ScoringProtocol]
    batch_size: int
    cache_dir: str | os.PathLike[str] | ResultCache | None
    reference: Reference | None
    seed: int


def compare(
    models: Mapping[str, Evaluated],
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[Task],
    *,
    protocols: Sequence[ScoringProtocol] = ("strict", "paper"),
    batch_size: int = 16,
    cache_dir: str | os.PathLike[str] | ResultCache | None = None,
    reference: Reference | None = None,
    seed: int = 0,
) -> ComparisonReport:
    """Measures several models at the same tasks.

    What a guard leaves alone is computed once for a model and all guarded variants and baselines of it; the second
    protocol costs the scored answers to flagged prompts, and nothing at all for an unguarded model.

    Args:
        models: models and baselines, by the label each is to have. "original" is the label of the model that knows
            everything; without it there is no relative utility. "retain" is the label of the model that never saw the
            forget set; without it there is no forget quality, and no `retain_kl`, the distance from its next-token
            distributions.
        tokenizer: that of all of them.
        tasks: as for [`evaluate`][hf_eco.evaluation.evaluate].
        protocols: "strict", "paper" or both.
        batch_size: as for `evaluate`.
        cache_dir: as for `evaluate`.
        reference: as for `evaluate`.
        seed: as for `evaluate`.

    Raises:
        ValueError: there are no models or no protocols, or as `evaluate`.
    """
    if not models:
        raise ValueError("There are no models to compare. Pass some, each under the label it is to have.")
    rows = measure(
        models,
        tokenizer,
        tasks,
        protocols,
        batch_size=batch_size,
        cache_dir=ResultCache.open(cache_dir),
        reference=reference,
        retain_model=models.get(RETAIN),
        seed=seed,
    )
    return ComparisonReport(rows)


def measure(
    models: Mapping[str, Evaluated],
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[Task],
    protocols: Sequence[ScoringProtocol] = ("strict", "paper"),
    **options: Unpack[EvaluateOptions],
) -> list[ComparisonRow]:
    """A row for each model and protocol; `options` as for [`evaluate`][hf_eco.evaluation.evaluate].

    Raises:
        ValueError: there are no protocols, or as `evaluate`.
    """
    if not protocols or isinstance(protocols, str):
        raise ValueError(f"protocols must be a list of 'strict', 'paper' or both, got {protocols!r}.")
    return [
        ComparisonRow(label, evaluate(model, tokenizer, tasks, protocol, name=label, **options))
        for label, model in models.items()
        for protocol in protocols
    ]
