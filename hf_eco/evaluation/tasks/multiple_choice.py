"""Multiple choice: WMDP, MMLU, and any other questions with options."""

from __future__ import annotations

import dataclasses
import os
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..encoding import Prompt
from ..estimates import Estimate, mean_of, share_of
from ..metrics import letter_accuracy, option_accuracy
from ..scoring import Scorer, as_chat
from ..task_rows import read_rows
from .base import Kind, Reference, Task, TaskResult, check_kind
from .choice_data import KNOWN, ChoiceData, read_choice

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_INSTRUCTION = "Answer with the letter of the right option."


class MultipleChoiceTask(Task):
    """Questions with options. Each is asked twice, without examples.

    `letter_accuracy`: the options stand in the prompt behind the letters A, B, C ..., and the letter with the highest
    probability as the first token of the answer is taken. `option_accuracy`: the question stands alone, and the option
    with the highest probability per token as its answer is taken. Small models do better at the second. Where options
    share the first place, the right one counts as one divided by how many they are. Chance is `1 / options`.

    Args:
        data: a name from the table `KNOWN` ("wmdp-bio", "mmlu", "arc-challenge" ...); or a file of rows, a
            directory, or a Hub id; or a [`ChoiceData`][hf_eco.evaluation.ChoiceData].
        kind: "forget" for a subject that is to be forgotten.
        limit: the first so many questions. None: all.
        name: what the data are called if None.
        columns: fields of `ChoiceData` that are other than the table or the defaults say: `config="virology"`,
            `question="stem"`, `choices=("a", "b")`, `answer="key"`, `split="validation"` ...

    Raises:
        OSError: there is no such data.
        ValueError: a question lacks what it needs.
    """

    def __init__(
        self,
        data: str | os.PathLike[str] | ChoiceData,
        *,
        kind: Kind = "retain",
        limit: int | None = None,
        name: str | None = None,
        **columns: Any,
    ) -> None:
        if not isinstance(data, ChoiceData):
            text = os.fspath(data)
            name = name or text
            data = KNOWN[text] if text in KNOWN else ChoiceData(text)
        self.data = dataclasses.replace(data, **columns)
        self.name = name or self.data.source
        self.kind = check_kind(kind)
        rows = read_rows(self.data.source, config=self.data.config, split=self.data.split, limit=limit)
        self.rows = [read_choice(self.data, row, f"{self.name}, row {i}") for i, row in enumerate(rows)]
        most = max(len(row.options) for row in self.rows)
        if most > len(_LETTERS):
            raise ValueError(f"{self.name} has a question with {most} options; there are letters for {len(_LETTERS)}.")

    def prompts_for(self, scorer: Scorer) -> list[Prompt]:
        return [as_chat(_with_letters(row.question, row.options), scorer.tokenizer) for row in self.rows]

    def run(self, scorer: Scorer, *, reference: Reference | None = None, seed: int = 0) -> TaskResult:
        lettered = self.prompts_for(scorer)
        letters = [_letters(scorer, prompt, len(row.options)) for prompt, row in zip(lettered, self.rows, strict=True)]
        by_letter = scorer.token_log_probabilities(lettered, letters)
        by_option = self._option_losses(scorer)
        flagged = scorer.flagged(lettered)
        rows = [
            {
                "question": row.question,
                "options": list(row.options),
                "answer": row.answer,
                "flagged": is_flagged,
                "letter_log_probabilities": letter.tolist(),
                "option_losses": option.tolist(),
                "letter_correct": letter_accuracy([letter], [row.answer]),
                "option_correct": option_accuracy([-option], [row.answer]),
            }
            for row, is_flagged, letter, option in zip(self.rows, flagged, by_letter, by_option, strict=True)
        ]
        measures = {
            "letter_accuracy": mean_of([row["letter_correct"] for row in rows], seed),
            "option_accuracy": mean_of([row["option_correct"] for row in rows], seed),
            "chance": Estimate(float(np.mean([1 / len(row.options) for row in self.rows])), None, None, len(rows)),
            "flagged": share_of(flagged),
        }
        return TaskResult(self.name, self.kind, measures, rows)

    def _option_losses(self, scorer: Scorer) -> list[NDArray[np.float64]]:
        """Of each question the options' mean token losses as its answer, (options,)."""
        prompts = [as_chat(row.question, scorer.tokenizer) for row in self.rows]
        repeated = [prompt for prompt, row in zip(prompts, self.rows, strict=True) for _ in row.options]
        flat = scorer.losses(repeated, [option for row in self.rows for option in row.options])
        ends = [0, *accumulate(len(row.options) for row in self.rows)]
        return [flat[start:stop] for start, stop in pairwise(ends)]


def _with_letters(question: str, options: tuple[str, ...]) -> str:
    lines = [f"{letter}. {option}" for letter, option in zip(_LETTERS, options, strict=False)]
    return "\n".join([question, *lines, _INSTRUCTION])


def _letters(scorer: Scorer, prompt: Prompt, count: int) -> list[int]:
    """The first token of each letter as an answer to `prompt`. Raises ValueError if two share theirs."""
    tokens = [scorer.encoder.encode_answer(prompt, letter)[0] for letter in _LETTERS[:count]]
    if len(set(tokens)) < count:
        raise ValueError(
            f"This tokenizer gives the letters {', '.join(_LETTERS[:count])} the first tokens {tokens} as answers, so "
            "they cannot be told apart by one. Set tokenizer.chat_template, or use another tokenizer."
        )
    return tokens
