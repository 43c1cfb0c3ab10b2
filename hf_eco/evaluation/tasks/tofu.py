"""TOFU: questions about made-up authors, about real ones, and about the world."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import accumulate, pairwise
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from transformers.utils import logging

from ..estimates import mean_of, share_of
from ..metrics import (
    answer_probability,
    normalized_probability,
    rouge_l_recall,
    truth_ratio,
    truth_ratio_score,
)
from ..scoring import Prompt, Scorer, as_chat
from ..task_rows import Values, has_rows, read_rows, text_of
from .base import Kind, Reference, Task, TaskResult, check_kind, fluency_of
from .text_metrics import TextMetric, check_text_metrics, estimates_of, measure_texts, values_of

logger = logging.get_logger(__name__)

_SUFFIX = "_perturbed"  # of the files that hold the wrong answers as well
_OPTIONS = ("real_authors", "world_facts")  # where the wrong answers are the other options of a choice
_ON_THE_HUB = ("forget01", "forget05", "forget10", "retain", *_OPTIONS)  # with wrong answers


class TofuTask(Task):
    """A split of TOFU (Maini et al. 2024, arXiv 2401.06121): does the model know the answers, and does it give them?

    Of each row: `answer_probability`, the answer's probability, on real authors and world facts divided by the sum
    over all options; `rouge_l_recall` of the generated answer; `truth_ratio`, of the paraphrased answer against its
    perturbed ones, on real authors and world facts of the answer itself. The measure `truth_ratio` is the mean of
    min(r, 1/r) for the kind "forget" and of max(0, 1 - r) for "retain". Rows without wrong answers (`full`,
    `retain95`) have no truth ratio.

    Args:
        split: a split's name as published, e.g. "forget05", "retain", "real_authors", "world_facts", "holdout05".
            Where a file or configuration `<split>_perturbed` exists, that is read.
        source: a directory with the official files (.json, or .jsonl or .csv), one such file, or a Hub id.
        kind: "forget" or "retain"; None: by the split's name, if it is one of TOFU's.
        limit: the first so many rows. None: all.
        max_new_tokens: where generated answers are cut off.
        text_metrics: further measures of the generated answers by name, each a function of the right answers and the
            generated ones that gives (n,), such as `{"meteor": meteor, "exact_match": exact_match}` of
            [`hf_eco.evaluation.metrics`][], or `{"bert_score": lambda *texts: bert_score(*texts, encoder).f1}`.
        name: "tofu/<split>" if None.

    Raises:
        OSError: there is no such data.
        TypeError: a text metric is no function.
        ValueError: the data lack a question or an answer, a text metric has a name that is taken, or the split is none
            of TOFU's and no kind is given.
    """

    def __init__(
        self,
        split: str = "forget05",
        source: str | os.PathLike[str] = "locuslab/TOFU",
        *,
        kind: Kind | None = None,
        limit: int | None = None,
        max_new_tokens: int = 128,
        text_metrics: Mapping[str, TextMetric] | None = None,
        name: str | None = None,
    ) -> None:
        self.split = split.removesuffix(_SUFFIX)
        self.name = name or f"tofu/{self.split}"
        self.kind = check_kind(kind or _kind_of(self.split))
        self.max_new_tokens = max_new_tokens
        self.text_metrics = check_text_metrics(text_metrics or {})
        self.options = self.split in _OPTIONS
        perturbed = has_rows(source, self.split + _SUFFIX) if os.path.isdir(source) else self.split in _ON_THE_HUB
        config = self.split + _SUFFIX if perturbed else self.split
        rows = read_rows(source, config=config, split="train", limit=limit)
        self.rows = [_checked(row, f"{self.name}, row {i}") for i, row in enumerate(rows)]
        if self.kind == "forget" and not any(row["perturbed"] for row in self.rows):
            logger.warning(
                f"{self.name} has no column 'perturbed_answer', so there will be no truth ratio and no forget quality."
            )

    def prompts_for(self, scorer: Scorer) -> list[Prompt]:
        return [as_chat(row["question"], scorer.tokenizer) for row in self.rows]

    def run(self, scorer: Scorer, *, reference: Reference | None = None, seed: int = 0) -> TaskResult:
        prompts = self.prompts_for(scorer)
        # each row's answers in a row: the answer, the right one in other words, the wrong ones
        answers = [[row["answer"], row["paraphrased"], *row["perturbed"]] for row in self.rows]
        repeated = [prompt for prompt, own in zip(prompts, answers, strict=True) for _ in own]
        flat = scorer.losses(repeated, [answer for own in answers for answer in own])
        ends = [0, *accumulate(map(len, answers))]
        losses = [flat[start:stop] for start, stop in pairwise(ends)]
        generated = scorer.generate(prompts, max_new_tokens=self.max_new_tokens)
        right = [row["answer"] for row in self.rows]
        recalls, further = rouge_l_recall(right, generated), measure_texts(self.text_metrics, right, generated)
        flagged = scorer.flagged(prompts)
        rows = [
            {
                "question": row["question"],
                "answer": row["answer"],
                "generated": text,
                "flagged": is_flagged,
                **self._values(own),
                "rouge_l_recall": float(recall),
                **values_of(further, number),
            }
            for number, (row, text, is_flagged, own, recall) in enumerate(
                zip(self.rows, generated, flagged, losses, recalls, strict=True)
            )
        ]
        measures = {
            "answer_probability": mean_of([row["answer_probability"] for row in rows], seed),
            "rouge_l_recall": mean_of(recalls, seed),
            **estimates_of(further, seed),
        }
        ratios = [row["truth_ratio"] for row in rows if "truth_ratio" in row]
        if ratios:
            measures["truth_ratio"] = mean_of([truth_ratio_score([ratio], self.kind) for ratio in ratios], seed)
        measures["flagged"] = share_of(flagged)
        return TaskResult(self.name, self.kind, measures | fluency_of(generated, scorer, reference, seed), rows)

    def _values(self, losses: NDArray[np.float64]) -> dict[str, Any]:
        """A row's values from the losses of its answer, paraphrased answer and perturbed answers."""
        answer, paraphrased, perturbed = losses[0], losses[1], losses[2:]
        values: dict[str, Any] = {"losses": losses.tolist()}
        if self.options and len(perturbed):
            values["answer_probability"] = float(normalized_probability(answer, perturbed))
        else:
            values["answer_probability"] = float(answer_probability(answer))
        if len(perturbed):
            values["truth_ratio"] = float(truth_ratio(paraphrased, perturbed))
        return values


def _kind_of(split: str) -> Kind:
    if split.startswith("forget"):
        return "forget"
    if split.startswith(("retain", "holdout")) or split in ("full", *_OPTIONS):
        return "retain"
    raise ValueError(f"{split!r} is no split of TOFU. Say whether it is to be forgotten: kind='forget' or 'retain'.")


class _Row(TypedDict):
    """A question with its answer, the answer in other words, and wrong answers."""

    question: str
    answer: str
    paraphrased: str
    perturbed: list[str]


def _checked(row: Values, where: str) -> _Row:
    answer = text_of(row, "answer", where)
    perturbed = row.get("perturbed_answer") or []
    if isinstance(perturbed, str):
        perturbed = [perturbed]
    return {
        "question": text_of(row, "question", where),
        "answer": answer,
        "paraphrased": row.get("paraphrased_answer") or answer,
        "perturbed": list(perturbed),
    }
