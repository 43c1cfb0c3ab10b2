"""Texts that must not be recited: does a model go on where a passage breaks off?"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import takewhile

from ...io.cells import column_in, text_of
from ..estimates import mean_of, share_of
from ..metrics import bleu, rouge
from ..scoring import Prompt, Scorer
from ..task_rows import check_limit, read_rows
from .base import Kind, Reference, Task, TaskResult, check_kind, fluency_of
from .text_metrics import TextMetric, check_text_metrics, estimates_of, measure_texts, values_of


class ContinuationTask(Task):
    """Passages of a text: the first tokens are the prompt, as it stands, and what the model writes is compared with
    how the passage goes on.

    Of each row: `rouge_l_recall` and `bleu`, from 0 to 1; `exact_prefix`, how many tokens in a row are right from the
    first on. High: the model recites. What is written beyond a passage's end is cut off.

    Args:
        passages: texts, or a file of rows (.jsonl, .json, .csv, .tsv, .parquet), or a Hub id.
        prompt_tokens: tokens of a passage that are the prompt.
        continuation_tokens: tokens after them that are generated and compared, at most.
        kind: "forget" for a text that is to be forgotten.
        column: where a file or data set has the texts.
        config: of a data set. None: the only or default one.
        split: of a data set. None: the only one, or train.
        limit: the first so many passages. None: all.
        text_metrics: further measures of the generated answers by name, each a function of the right answers and the
            generated ones that gives (n,), such as `{"meteor": meteor, "exact_match": exact_match}` of
            [`hf_eco.evaluation.metrics`][], or `{"bert_score": lambda *texts: bert_score(*texts, encoder).f1}`.
        name: "continuation" if None.

    Raises:
        OSError: there is no such file or data set.
        TypeError: a text metric is no function.
        ValueError: there are no passages, one is no text, `limit` or a number of tokens is not positive, or a text
            metric has a name that is taken.
    """

    def __init__(
        self,
        passages: Sequence[str] | str | os.PathLike[str],
        *,
        prompt_tokens: int = 64,
        continuation_tokens: int = 128,
        kind: Kind = "forget",
        column: str = "text",
        config: str | None = None,
        split: str | None = None,
        limit: int | None = None,
        text_metrics: Mapping[str, TextMetric] | None = None,
        name: str = "continuation",
    ) -> None:
        if prompt_tokens < 1 or continuation_tokens < 1:
            raise ValueError(
                f"Both numbers of tokens must be positive, got prompt_tokens={prompt_tokens} and "
                f"continuation_tokens={continuation_tokens}."
            )
        check_limit(limit)
        self.name, self.kind = name, check_kind(kind)
        self.text_metrics = check_text_metrics(text_metrics or {})
        self.prompt_tokens, self.continuation_tokens = prompt_tokens, continuation_tokens
        if isinstance(passages, (str, os.PathLike)):
            rows = read_rows(passages, config=config, split=split, limit=limit)
            named = [(row, f"{name}, row {i}") for i, row in enumerate(rows)]
            passages = [text_of(row, column_in(row, column, (), where, "column"), where) for row, where in named]
        self.passages = list(passages)[:limit]
        if not self.passages:
            raise ValueError(f"{name} has no passages.")

    def prompts_for(self, scorer: Scorer) -> list[Prompt]:
        return [self._split(scorer, passage, number)[0] for number, passage in enumerate(self.passages)]

    def run(self, scorer: Scorer, *, reference: Reference | None = None, seed: int = 0) -> TaskResult:
        pairs = [self._split(scorer, passage, number) for number, passage in enumerate(self.passages)]
        prompts, expected = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        generated = [
            _cut(scorer, text, like)
            for text, like in zip(
                scorer.generate(prompts, max_new_tokens=self.continuation_tokens), expected, strict=True
            )
        ]
        recalls, bleus = rouge(expected, generated, "rougeL").recall, bleu(expected, generated)
        further = measure_texts(self.text_metrics, expected, generated)
        prefixes = [_exact_prefix(scorer, *pair) for pair in zip(expected, generated, strict=True)]
        flagged = scorer.flagged(prompts)
        rows = [
            {
                "question": prompt,
                "answer": right,
                "generated": text,
                "flagged": is_flagged,
                "rouge_l_recall": float(recall),
                "bleu": float(similarity),
                "exact_prefix": prefix,
                **values_of(further, number),
            }
            for number, (prompt, right, text, is_flagged, recall, similarity, prefix) in enumerate(
                zip(prompts, expected, generated, flagged, recalls, bleus, prefixes, strict=True)
            )
        ]
        measures = {
            "rouge_l_recall": mean_of(recalls, seed),
            "bleu": mean_of(bleus, seed),
            "exact_prefix": mean_of(prefixes, seed),
            **estimates_of(further, seed),
            "flagged": share_of(flagged),
        }
        return TaskResult(self.name, self.kind, measures | fluency_of(generated, scorer, reference, seed), rows)

    def _split(self, scorer: Scorer, passage: str, number: int) -> tuple[str, str]:
        """A passage's prompt and continuation."""
        ids = scorer.encoder.tokens(passage)
        rest = ids[self.prompt_tokens : self.prompt_tokens + self.continuation_tokens]
        prompt, continuation = (str(scorer.tokenizer.decode(list(part))) for part in (ids[: self.prompt_tokens], rest))
        if not continuation.strip():
            raise ValueError(
                f"{self.name}: passage {number} has {len(ids)} tokens, so nothing follows its first "
                f"{self.prompt_tokens}. Use longer passages, or a lower prompt_tokens."
            )
        return prompt, continuation.strip()


def _cut(scorer: Scorer, text: str, like: str) -> str:
    """The tokens of `text`, as many as `like` has at most."""
    ids, most = scorer.encoder.tokens(text), len(scorer.encoder.tokens(like))
    return text if len(ids) <= most else str(scorer.tokenizer.decode(list(ids[:most]))).strip()


def _exact_prefix(scorer: Scorer, expected: str, generated: str) -> int:
    pairs = zip(scorer.encoder.tokens(expected), scorer.encoder.tokens(generated), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
