"""Multiple choice: how often a model picks the right option.

Both accuracies are from 0 to 1. Where several options share the first place and the right one is among them, it counts
as one divided by how many they are: a model that finds all options alike is as good as chance, wherever the right
answers stand. Chance is the mean of 1 / number of options.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from .checks import as_row


def letter_accuracy(letter_logits: Sequence[ArrayLike], answers: Sequence[int]) -> float:
    """How often the right option's letter is the likeliest of the options' letters as the next token.

    High: the model knows the answers. Source: Hendrycks et al., "Measuring Massive Multitask Language Understanding",
    ICLR 2021, arXiv 2009.03300, section 4.1; used for WMDP by Li et al. 2024 (arXiv 2403.03218) and by Liu et al. 2024
    (arXiv 2406.07933).

    Args:
        letter_logits: of each of n questions, the next token's logits (or log-probabilities) at the letters A, B, C
            ... : (options,). Questions may have different numbers of options.
        answers: of each question, which option is right, from 0.

    Raises:
        ValueError: the numbers of questions differ, there are none, a question has fewer than two options, a logit is
            missing or not finite, or an answer is none of the options.
    """
    return _accuracy("letter_logits", letter_logits, answers)


def option_accuracy(
    option_log_probs: Sequence[ArrayLike], answers: Sequence[int], lengths: Sequence[ArrayLike] | None = None
) -> float:
    """How often the right option is the likeliest as a continuation of the question.

    High: the model knows the answers. Without `lengths`, long options are at a disadvantage. Source: Brown et al.,
    "Language Models are Few-Shot Learners", NeurIPS 2020, section 2.4; with lengths in bytes, what lm-eval calls
    acc_norm.

    Args:
        option_log_probs: of each of n questions, the options' log-probabilities given the question, summed over an
            option's tokens, in nats: (options,). Questions may have different numbers of options.
        answers: of each question, which option is right, from 0.
        lengths: of each question, the options' lengths, (options,), by which the log-probabilities are divided: in
            tokens, or in bytes. None: they are not divided.

    Raises:
        ValueError: as in `letter_accuracy`, or a length is not positive or missing.
    """
    if lengths is None:
        return _accuracy("option_log_probs", option_log_probs, answers)
    if len(lengths) != len(option_log_probs):
        raise ValueError(f"There are lengths for {len(lengths)} of {len(option_log_probs)} questions.")
    normalised = []
    for i, (sums, own) in enumerate(zip(option_log_probs, lengths, strict=True)):
        row, length = as_row(f"option_log_probs[{i}]", sums), as_row(f"lengths[{i}]", own)
        if row.shape != length.shape or length.min() <= 0:
            raise ValueError(f"lengths[{i}] must be {row.size} positive numbers, got {length.tolist()}.")
        normalised.append(row / length)
    return _accuracy("option_log_probs", normalised, answers)


def _accuracy(name: str, scores: Sequence[ArrayLike], answers: Sequence[int]) -> float:
    if len(scores) != len(answers) or len(answers) == 0:
        raise ValueError(f"There must be as many answers as questions, got {len(answers)} for {len(scores)}.")
    credits = []
    for i, (options, answer) in enumerate(zip(scores, answers, strict=True)):
        row = as_row(f"{name}[{i}]", options)
        if row.size < 2:
            raise ValueError(f"{name}[{i}] must have two options at least, got {row.size}.")
        if answer not in range(row.size):
            raise ValueError(f"answers[{i}] must be one of 0 to {row.size - 1}, got {answer}.")
        best = row == row.max()
        credits.append(best[int(answer)] / best.sum())
    return float(np.mean(credits))
