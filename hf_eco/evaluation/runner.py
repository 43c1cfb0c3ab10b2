"""One model, some tasks, one report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase
from transformers.utils import logging

from ..plan import Protocol
from .report import EvaluationReport
from .result_cache import ResultCache
from .scoring import Scorer
from .tasks import Reference, Task

logger = logging.get_logger(__name__)


def evaluate(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[Task],
    protocol: Protocol = "strict",
    *,
    batch_size: int = 16,
    cache_dir: str | os.PathLike[str] | ResultCache | None = None,
    reference: Reference | None = None,
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
        seed: of the bootstrap. The answers themselves are greedy, so nothing else is random.
        name: what the model is called in the report; its path or class if None.

    Raises:
        ValueError: there are no tasks, two have the same name, or an argument is out of its range.
        ImportError: a library of the extra is missing. pip install hf-eco[eval]
    """
    names = [task.name for task in tasks]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"Tasks need names of their own, got {names}. Give each another name=...")
    options: dict[str, Any] = {"protocol": protocol, "batch_size": batch_size, "cache": ResultCache.open(cache_dir)}
    # a baseline says itself how it is scored
    make = getattr(model, "scorer", None)
    scorer: Scorer = Scorer(model, tokenizer, **options) if make is None else make(tokenizer, **options)
    label = name or getattr(model, "name_or_path", None) or type(model).__name__
    results = []
    for number, task in enumerate(tasks, start=1):
        logger.info(f"{label}, {protocol}: task {number} of {len(tasks)}, {task.name}")
        results.append(task.run(scorer, reference=reference, seed=seed))
    return EvaluationReport(str(label), protocol, results, seed)
