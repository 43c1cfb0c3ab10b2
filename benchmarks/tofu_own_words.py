"""Answers whose own words are corrupted while they are generated, as the paper protocol corrupts those it scores.

A guarded model generates behind a corrupted prompt, but reads its own words clean, and they may lead it back to what
it is to forget. Here it reads them as the paper protocol has it read the answers that it is scored on, so that what is
scored and what is said come from one and the same model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers.utils import logging

from hf_eco.evaluation.metrics import rouge_l_recall
from hf_eco.evaluation.scoring import Scorer, as_chat
from hf_eco.evaluation.tasks.base import fluency_of

MAX_NEW_TOKENS = 64


def with_own_words(
    model: Any, clean: Mapping[str, Sequence[dict[str, Any]]], reference: tuple[Any, Any], n: int, batch_size: int
) -> list[dict[str, Any]]:
    """A line for each model whose answers are given, and one for `model`'s with its own words corrupted.

    Args:
        model: a guarded model.
        clean: by model the rows of the forget task, the guarded model's last.
        reference: the model, and its tokenizer, under which the answers' perplexity is measured.
        n: the first so many rows count.
        batch_size: rows of a forward pass.
    """
    scorer, lines = Scorer(model, reference[1]), []
    for label, rows in clean.items():
        asked = rows[:n]
        texts = [row["generated"] for row in asked]
        lines.append({"model": label, "own words": "clean", **measured(texts, asked, scorer, reference)})
    texts = answers(model, reference[1], [row["question"] for row in asked], batch_size)
    lines.append({"model": label, "own words": "corrupted", **measured(texts, asked, scorer, reference)})
    return lines


@torch.no_grad()
def answers(model: Any, tokenizer: Any, questions: Sequence[str], batch_size: int) -> list[str]:
    """The greedy answers. Each token takes a pass over all that stands before it, since a cache would hold what the
    corruption of a word depends on as it was when the word had just begun."""
    encoder = Scorer(model, tokenizer).encoder
    ends = {encoder.end_of_turn, tokenizer.eos_token_id}
    found: list[str] = []
    for start in logging.tqdm(range(0, len(questions), batch_size), desc="Answering", dynamic_ncols=True):
        prompts = [list(encoder.encode_prompt(as_chat(q, tokenizer))) for q in questions[start : start + batch_size]]
        own: list[list[int]] = [[] for _ in prompts]
        going = list(range(len(prompts)))
        for _ in range(MAX_NEW_TOKENS):
            rows = [prompts[i] + own[i] for i in going]
            longest = max(map(len, rows))
            ids = torch.tensor([[tokenizer.eos_token_id] * (longest - len(row)) + row for row in rows])
            mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
            with model.prompt_lengths([len(prompts[i]) for i in going], protocol="paper"):
                logits = model(
                    input_ids=ids.to(model.device), attention_mask=mask.to(model.device), use_cache=False
                ).logits
            for i, token in zip(going, logits[:, -1].argmax(-1).tolist(), strict=True):
                own[i].append(token)
            going = [i for i in going if own[i][-1] not in ends]
            if not going:
                break
        found += [text.strip() for text in tokenizer.batch_decode(own, skip_special_tokens=True)]
    return found


def measured(
    texts: Sequence[str], rows: Sequence[dict[str, Any]], scorer: Scorer, reference: tuple[Any, Any]
) -> dict[str, float]:
    """How much of the right answers `texts` recall, and whether they read as language."""
    fluency = fluency_of(texts, scorer, reference, seed=0)
    recall = float(rouge_l_recall([row["answer"] for row in rows], texts).mean())
    return {"n": len(texts), "rouge_l_recall": recall, **{name: own.value for name, own in fluency.items()}}
