"""One model, some tasks, one report."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypedDict, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging

from ..guard.plan import ScoringProtocol
from .baselines import ScorerOptions
from .estimates import mean_of
from .evaluation_report import EvaluationReport
from .result_cache import ResultCache
from .scoring import Scorer
from .tasks import Reference, Task, TaskResult

if TYPE_CHECKING:
    from typing_extensions import Unpack

logger = logging.get_logger(__name__)


@runtime_checkable
class Baseline(Protocol):
    """Something that is measured like a model, and says itself how it is scored."""

    def scorer(self, tokenizer: PreTrainedTokenizerBase, **options: Unpack[ScorerOptions]) -> Scorer:
        """Scores the baseline."""
        ...


Evaluated: TypeAlias = nn.Module | Baseline
"""What can be measured: a causal language model, guarded or not, an adapter's wrapper included; or a baseline."""


class EvaluateOptions(TypedDict, total=False):
    """What [`evaluate`][hf_eco.evaluation.evaluate] takes by name, the name of the model aside."""

    batch_size: int
    cache_dir: str | os.PathLike[str] | ResultCache | None
    reference: Reference | None
    retain_model: Evaluated | None
    seed: int


def evaluate(
    model: Evaluated,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[Task],
    protocol: ScoringProtocol = "strict",
    *,
    batch_size: int = 16,
    cache_dir: str | os.PathLike[str] | ResultCache | None = None,
    reference: Reference | None = None,
    retain_model: Evaluated | None = None,
    seed: int = 0,
    name: str | None = None,
) -> EvaluationReport:
    """Measures a model at some tasks.

    Args:
        model: a causal language model, guarded or not, or one of the baselines.
        tokenizer: the model's.
        tasks: what it is measured at, each under a name of its own.
        protocol: how an answer to a flagged prompt is scored: "strict", its own tokens stay clean; "paper", those that
            the scope's `tokens` selects are corrupted too, as in published figures.
        batch_size: rows of a forward pass.
        cache_dir: directory in which every row's results are kept. The same call goes on where it was interrupted, and
            whatever has been computed for this model, or for another guard on it, is not computed again.
        reference: a model and its tokenizer, under which the answers' perplexity is measured; None: no perplexity.
        retain_model: a model that never saw the forget set. With it, forget tasks have the measure `retain_kl`: how
            far the distribution of an answer's first token is from this model's, in nats, by
            [`kl_divergence`][hf_eco.evaluation.metrics.kl_divergence]; the corruption of the prompt alone counts, so
            it is the same under both protocols.
        seed: of the bootstrap. The answers themselves are greedy, so nothing else is random.
        name: what the model is called in the report; its path or class if None.

    Raises:
        ValueError: there are no tasks, two have the same name, an argument is out of its range, or the retain model
            has other tokens than the model.
        ImportError: a library of the extra is missing. pip install hf-eco[eval]
    """
    names = [task.name for task in tasks]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"Tasks need names of their own, got {names}. Give each another name=...")
    options: ScorerOptions = {"protocol": protocol, "batch_size": batch_size, "cache": ResultCache.open(cache_dir)}
    scorer = _scorer_of(model, tokenizer, options)
    retain = None if retain_model is None else _scorer_of(retain_model, tokenizer, options)
    label = name or getattr(model, "name_or_path", None) or type(model).__name__
    results = []
    for number, task in enumerate(tasks, start=1):
        logger.info(f"{label}, {protocol}: task {number} of {len(tasks)}, {task.name}")
        result = task.run(scorer, reference=reference, seed=seed)
        if scorer.guarded and task.kind == "forget" and {row.get("flagged") for row in result.rows} == {False}:
            logger.warning(
                f"The guard of {label} flags none of the {len(result.rows)} prompts of {task.name}, which is to be "
                "forgotten. Is it another scope? Measure at questions about the guard's own."
            )
        if retain is not None and task.kind == "forget" and (prompts := task.prompts_for(scorer)):
            result = _with_divergences(result, scorer.divergences(prompts, retain), seed)
        results.append(result)
    return EvaluationReport(str(label), protocol, results, seed)


def _scorer_of(model: Evaluated, tokenizer: PreTrainedTokenizerBase, options: ScorerOptions) -> Scorer:
    if isinstance(model, Baseline):
        return model.scorer(tokenizer, **options)
    return Scorer(model, tokenizer, **options)


def _with_divergences(result: TaskResult, divergences: NDArray[np.float64], seed: int) -> TaskResult:
    rows = [{**row, "retain_kl": value} for row, value in zip(result.rows, divergences.tolist(), strict=True)]
    measures = {**result.measures, "retain_kl": mean_of(divergences, seed)}
    return dataclasses.replace(result, measures=measures, rows=rows)
