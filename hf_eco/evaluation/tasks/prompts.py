"""Prompts without right answers: who is flagged, and how the answers read."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ...io.prompt_files import read_prompts
from ..estimates import share_of
from ..scoring import Prompt, Scorer, as_chat
from ..task_rows import check_limit
from .base import Kind, Reference, Task, TaskResult, check_kind, fluency_of


class PromptsTask(Task):
    """Prompts of any sort: the share that is flagged, with its exact interval, and whether the answers read as
    language: the share of distinct tokens, and the perplexity under a reference model where one is given.

    Args:
        prompts: questions, or what [`read_prompts`][hf_eco.io.read_prompts] reads: a file, or a Hub id.
        kind: "retain" for general prompts, "forget" for those of the scope.
        column: as for `read_prompts`.
        config: as for `read_prompts`.
        split: as for `read_prompts`.
        limit: the first so many. None: all.
        max_new_tokens: where answers are cut off.
        name: "prompts/<kind>" if None.

    Raises:
        OSError: there is no such file or data set.
        ValueError: there are no prompts, or `limit` is not positive.
    """

    def __init__(
        self,
        prompts: Sequence[str] | str | os.PathLike[str],
        *,
        kind: Kind = "retain",
        column: str | None = None,
        config: str | None = None,
        split: str | None = None,
        limit: int | None = None,
        max_new_tokens: int = 64,
        name: str | None = None,
    ) -> None:
        check_limit(limit)
        self.kind = check_kind(kind)
        self.name = name or f"prompts/{kind}"
        self.max_new_tokens = max_new_tokens
        if isinstance(prompts, (str, os.PathLike)):
            prompts = read_prompts(prompts, column=column, config=config, split=split)
        self.prompts = list(prompts)[:limit]
        if not self.prompts:
            raise ValueError(f"{self.name} has no prompts.")

    def prompts_for(self, scorer: Scorer) -> list[Prompt]:
        return [as_chat(prompt, scorer.tokenizer) for prompt in self.prompts]

    def run(self, scorer: Scorer, *, reference: Reference | None = None, seed: int = 0) -> TaskResult:
        prompts = self.prompts_for(scorer)
        flagged = scorer.flagged(prompts)
        generated = scorer.generate(prompts, max_new_tokens=self.max_new_tokens)
        rows = [
            {"question": prompt, "generated": text, "flagged": is_flagged}
            for prompt, text, is_flagged in zip(self.prompts, generated, flagged, strict=True)
        ]
        measures = {"flagged": share_of(flagged), **fluency_of(generated, scorer, reference, seed)}
        return TaskResult(self.name, self.kind, measures, rows)
