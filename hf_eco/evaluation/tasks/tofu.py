"""TOFU: questions about made-up authors, about real ones, and about the world."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ...io.rows import has_rows
from .answers import AnswersTask
from .base import Kind
from .text_metrics import TextMetric

_SUFFIX = "_perturbed"  # of the files that hold the wrong answers as well
_OPTIONS = ("real_authors", "world_facts")  # where the wrong answers are the other options of a choice
_ON_THE_HUB = ("forget01", "forget05", "forget10", "retain", *_OPTIONS)  # with wrong answers


class TofuTask(AnswersTask):
    """A split of TOFU (Maini et al. 2024, arXiv 2401.06121): does the model know the answers, and does it give them?

    Of each row: `answer_probability`, the answer's probability, on real authors and world facts divided by the sum
    over all options; `rouge_l_recall` of the generated answer; `truth_ratio`, of the paraphrased answer against its
    perturbed ones, on real authors and world facts of the answer itself. The measure `truth_ratio` is the mean of
    min(r, 1/r) for the kind "forget" and of max(0, 1 - r) for "retain". Rows without wrong answers (`full`,
    `retain95`) have no truth ratio.

    Args:
        split: a split's name as published, e.g. "forget05", "retain", "real_authors", "world_facts", "holdout05".
            Where a file or configuration `<split>_perturbed` exists, that is read.
        source: a directory with the official files (.json, or another of .jsonl, .csv, .tsv, .parquet), one such file,
            or a Hub id.
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
        own_kind = kind or _kind_of(self.split)
        perturbed = has_rows(source, self.split + _SUFFIX) if os.path.isdir(source) else self.split in _ON_THE_HUB
        super().__init__(
            source,
            kind=own_kind,
            config=self.split + _SUFFIX if perturbed else self.split,
            options=self.split in _OPTIONS,
            limit=limit,
            max_new_tokens=max_new_tokens,
            text_metrics=text_metrics,
            name=name or f"tofu/{self.split}",
        )


def _kind_of(split: str) -> Kind:
    if split.startswith("forget"):
        return "forget"
    if split.startswith(("retain", "holdout")) or split in ("full", *_OPTIONS):
        return "retain"
    raise ValueError(f"{split!r} is no split of TOFU. Say whether it is to be forgotten: kind='forget' or 'retain'.")
