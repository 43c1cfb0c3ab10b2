"""Questions with answers: does a model know the answers, and does it give them?"""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers.utils import logging

from ...io.prompt_files import Question, question_of
from ..estimates import mean_of, share_of
from ..metrics import (
    answer_probability,
    normalized_probability,
    rouge_l_recall,
    truth_ratio,
    truth_ratio_score,
)
from ..scoring import Prompt, Scorer, as_chat
from ..task_rows import read_rows
from .base import Kind, Reference, Task, TaskResult, check_kind, fluency_of
from .text_metrics import TextMetric, check_text_metrics, estimates_of, measure_texts, values_of

logger = logging.get_logger(__name__)


class AnswersTask(Task):
    """Questions with answers: does the model know the answers, and does it give them?

    Of each row: `answer_probability`, the answer's probability; `rouge_l_recall` of the generated answer; where there
    are wrong answers, `truth_ratio`, of the right answer in other words (`paraphrased_answer`, if there is such a
    column) against the wrong ones. The measure `truth_ratio` is the mean of min(r, 1/r) for the kind "forget" and of
    max(0, 1 - r) for "retain".

    Args:
        source: a .jsonl, .json, .csv, .tsv or .parquet file; a directory that holds one called like `config`, or a
            data set; or a Hub id.
        kind: "forget" or "retain".
        column: where the questions are. None: the first of prompt, question, query, instruction, text, messages and
            conversations that there is.
        answer_column: where the answers are. None: the first of answer, labels, gt, response and output.
        wrong_column: where the lists of wrong answers are. None: perturbed_answer, if there is one.
        config: of a data set. None: the only or default one.
        split: of a data set. None: the only one, or train.
        options: True where the wrong answers are the other options of a choice: `answer_probability` is divided by
            the sum over all options.
        limit: the first so many rows. None: all.
        max_new_tokens: where generated answers are cut off.
        text_metrics: further measures of the generated answers by name, each a function of the right answers and the
            generated ones that gives (n,), such as `{"meteor": meteor, "exact_match": exact_match}` of
            [`hf_eco.evaluation.metrics`][], or `{"bert_score": lambda *texts: bert_score(*texts, encoder).f1}`.
        name: "answers/<kind>" if None.

    Raises:
        OSError: there is no such data.
        TypeError: a text metric is no function.
        ValueError: the data lack a question or an answer, have several configurations or splits and none is named, or
            a text metric has a name that is taken.
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        *,
        kind: Kind,
        column: str | None = None,
        answer_column: str | None = None,
        wrong_column: str | None = None,
        config: str | None = None,
        split: str | None = None,
        options: bool = False,
        limit: int | None = None,
        max_new_tokens: int = 128,
        text_metrics: Mapping[str, TextMetric] | None = None,
        name: str | None = None,
    ) -> None:
        self.kind = check_kind(kind)
        self.name = name or f"answers/{kind}"
        self.options = options
        self.max_new_tokens = max_new_tokens
        self.text_metrics = check_text_metrics(text_metrics or {})
        rows = read_rows(source, config=config, split=split, limit=limit)
        self.rows: list[Question] = [
            question_of(
                row,
                f"{self.name}, row {i}",
                column=column,
                answer_column=answer_column,
                wrong_column=wrong_column,
            )
            for i, row in enumerate(rows)
        ]
        if self.kind == "forget" and not any(row.wrong for row in self.rows):
            logger.warning(
                f"{self.name} has no column {wrong_column or 'perturbed_answer'!r}, so there will be no truth ratio "
                "and no forget quality."
            )

    def prompts_for(self, scorer: Scorer) -> list[Prompt]:
        return [as_chat(row.prompt, scorer.tokenizer) for row in self.rows]

    def run(self, scorer: Scorer, *, reference: Reference | None = None, seed: int = 0) -> TaskResult:
        prompts = self.prompts_for(scorer)
        # each row's answers in a row: the answer, the right one in other words, the wrong ones
        answers = [[row.answer, row.paraphrased, *row.wrong] for row in self.rows]
        repeated = [prompt for prompt, own in zip(prompts, answers, strict=True) for _ in own]
        flat = scorer.losses(repeated, [answer for own in answers for answer in own])
        ends = [0, *accumulate(map(len, answers))]
        losses = [flat[start:stop] for start, stop in pairwise(ends)]
        generated = scorer.generate(prompts, max_new_tokens=self.max_new_tokens)
        right = [row.answer for row in self.rows]
        recalls, further = rouge_l_recall(right, generated), measure_texts(self.text_metrics, right, generated)
        flagged = scorer.flagged(prompts)
        rows = [
            {
                "question": row.prompt,
                "answer": row.answer,
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
