"""How fluent texts are to a language model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from .checks import check_texts


class _Window(NamedTuple):
    ids: Tensor
    scored: int  # the last so many of the ids; what is before them is context


def perplexity(
    texts: Sequence[str],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    batch_size: int = 8,
    max_length: int = 512,
) -> float:
    """exp(mean over all tokens of all texts of -log p(token | text before it)), 1 or more.

    Low: the model finds the texts fluent. Texts that go round in circles are low as well, so read it together with
    `unique_token_ratio`, and against the perplexity of texts known to be good. Long texts weigh more than short ones.
    What the tokenizer puts before a text of its own accord is context; without that, a text's first token is not
    scored, as nothing comes before it. A text longer than `max_length` is read in windows that overlap by half: every
    token is scored once, with at least half a window before it (after the first window).

    Args:
        texts: n texts, e.g. generated answers.
        model: a causal language model, not the one under test. The texts are not corrupted only if it has no guard.
        tokenizer: the model's.
        batch_size: windows per forward pass.
        max_length: tokens in a window, at most; less if the model's config allows less.

    Raises:
        TypeError: a text is no string.
        ValueError: there are no texts, none has a token to score, an argument is out of its range, or the model gives
            no finite losses.
    """
    check_texts("texts", texts)
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None) or max_length
    if batch_size < 1 or max_length < 2:
        raise ValueError(f"batch_size must be 1 and max_length 2 at least, got {batch_size} and {max_length}.")
    encoded = tokenizer(list(texts), verbose=False)["input_ids"]
    windows = sorted(
        (window for ids in encoded for window in _windows(torch.tensor(ids), min(max_length, limit))),
        key=lambda window: len(window.ids),
    )
    if not windows:
        raise ValueError("No text has two tokens, so there is nothing to score.")
    total = sum(_loss(model, windows[i : i + batch_size]) for i in range(0, len(windows), batch_size))
    mean = total / sum(window.scored for window in windows)
    if not math.isfinite(mean):
        raise ValueError(f"{type(model).__name__} gives losses that are not finite; its weights are broken.")
    return math.exp(min(mean, 700.0))  # beyond it, no float


def _windows(ids: Tensor, length: int) -> list[_Window]:
    """Stretches of a text's ids, (tokens,), in which every id but the first is scored once."""
    windows, done = [], 1
    while done < len(ids):
        end = min(len(ids), length if done == 1 else done + length // 2)
        windows.append(_Window(ids[max(0, end - length) : end], end - done))
        done = end
    return windows


@torch.inference_mode()
def _loss(model: PreTrainedModel, windows: list[_Window]) -> float:
    """The summed loss of what is scored in some windows, in nats."""
    ids = pad_sequence([window.ids for window in windows], batch_first=True).to(model.device)
    mask = pad_sequence([torch.ones_like(window.ids) for window in windows], batch_first=True).to(model.device)
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    total = 0.0
    for row, window in enumerate(windows):  # one by one: a float32 copy of all logits may not fit
        stop, start = len(window.ids), len(window.ids) - window.scored
        loss = cross_entropy(logits[row, start - 1 : stop - 1].float(), ids[row, start:stop], reduction="sum")
        total += loss.item()
    return total
