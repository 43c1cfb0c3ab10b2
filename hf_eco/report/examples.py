"""Answers before and after: the same prompts with and without the guard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers.utils import logging

from ..evaluation import ComparisonReport, as_chat
from ..evaluation.comparison_report import ORIGINAL
from ..evaluation.tasks import Kind
from ..guard.guard import Guard
from ..guard.verdict import Verdict, stretches
from ..modeling import ECOMixin


@dataclass(frozen=True)
class Piece:
    """A stretch of a prompt, and whether its tokens are corrupted."""

    text: str
    corrupted: bool


@dataclass(frozen=True)
class Example:
    """One prompt and its answers.

    Attributes:
        kind: "forget" if the prompt is of the scope, "retain" if it is not.
        pieces: the prompt.
        flagged: whether the guard flags it.
        scope: the scope it is flagged for.
        probability: p(forget).
        threshold: the one it was held against.
        before: the model's answer without the guard.
        after: its answer with the guard.
    """

    kind: Kind
    pieces: Sequence[Piece]
    flagged: bool
    scope: str | None
    probability: float
    threshold: float
    before: str
    after: str

    @property
    def right(self) -> bool:
        """Whether the verdict is what it should be."""
        return self.flagged == (self.kind == "forget")


def ask(model: ECOMixin, prompts: Sequence[str], *, kind: Kind, max_new_tokens: int = 48) -> list[Example]:
    """Puts each prompt to a guarded model, with its guard and without it, greedily.

    Args:
        model: a guarded model.
        prompts: questions, put as a chat where the tokenizer has a chat template.
        kind: "forget" for prompts of the scope, "retain" for others.
        max_new_tokens: where answers are cut off.
    """
    found = []
    for prompt in logging.tqdm(prompts, desc="Asking", dynamic_ncols=True):
        verdict = model.inspect(as_chat(prompt, model.eco_guard.tokenizer))
        with model.disable_guard():
            before = _answer(model, prompt, max_new_tokens)
        found.append(_example(kind, prompt, verdict, before, _answer(model, prompt, max_new_tokens)))
    return found


def examples_from(comparison: ComparisonReport, guard: Guard, label: str, limit: int = 8) -> list[Example]:
    """Examples from the rows of a comparison that has the original and the model called `label`: of each kind the
    first `limit` questions that both have answered."""
    original = next((row for row in comparison.rows if row.label == ORIGINAL), None)
    guarded = next((row for row in comparison.rows if row.label == label), None)
    if original is None or guarded is None:
        return []
    asked: dict[Kind, list[tuple[str, str, str]]] = {"forget": [], "retain": []}
    for result in guarded.report.results:
        before = {row["question"]: row["generated"] for row in original.report[result.name].rows if "generated" in row}
        for row in result.rows:
            if "generated" in row and row["question"] in before:
                asked[result.kind].append((row["question"], before[row["question"]], row["generated"]))
    found = []
    for kind, answers in asked.items():
        for question, before_, after in answers[:limit]:
            verdict = guard.inspect([as_chat(question, guard.tokenizer)])[0]
            found.append(_example(kind, question, verdict, before_, after))
    return found


def _example(kind: Kind, prompt: str, verdict: Verdict, before: str, after: str) -> Example:
    pieces = mark(verdict, prompt)
    return Example(kind, pieces, verdict.flagged, verdict.scope, verdict.probability, verdict.threshold, before, after)


def mark(verdict: Verdict, prompt: str) -> list[Piece]:
    """The prompt in stretches that are corrupted or not; without the chat template's words, where it is found among
    them."""
    text = verdict.text
    begin = text.rfind(prompt.strip())
    start, stop = (0, len(text)) if begin < 0 else (begin, begin + len(prompt.strip()))
    return [Piece(piece, *said) for piece, said in stretches(text[start:stop], verdict.corrupted[start:stop])]


@torch.no_grad()
def _answer(model: ECOMixin, prompt: str, max_new_tokens: int) -> str:
    tokenizer = model.eco_guard.tokenizer
    ids = torch.tensor([model.eco_guard.reader.encode(as_chat(prompt, tokenizer))], device=model.device)
    mask = torch.ones_like(ids)
    output = model.generate(ids, attention_mask=mask, max_new_tokens=max_new_tokens, do_sample=False)
    return str(tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)).strip()
