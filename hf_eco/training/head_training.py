"""Fitting one scope's head: the encoder reads every example once, then only the head is trained."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase, set_seed
from transformers.utils import logging

from ..detection.heads import HeadShape, TokenHead, marked_tokens, pool, token_features
from ..detection.windows import WindowedModel
from ..errors import ECOError
from ..io.optional import import_extra
from .augmentation import Example

_TOKENS_PER_BATCH = 2500
_WARMUP = 0.1  # share of the steps
_WEIGHT_DECAY = 0.01
_PADDING_WEIGHT = 0.2  # of the tokens around what makes an example one of the scope, which must stay silent


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds every global random generator, and gives the caller's back afterwards."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=list(range(torch.cuda.device_count()))):
        set_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


@dataclass(frozen=True)
class Batch:
    """Examples as the encoder sees them.

    Attributes:
        features: (batch, sequence, inputs), float16.
        mask: (batch, sequence) bool, False for padding.
        counted: (batch, sequence) bool, the tokens that decide.
        forget: (batch,), 1 for the scope, 0 for the rest.
    """

    features: Tensor
    mask: Tensor
    counted: Tensor
    forget: Tensor


def encode_examples(encoder: WindowedModel, shape: HeadShape, examples: Sequence[Example], seed: int) -> list[Batch]:
    """Runs the encoder over the examples, each in one window that holds what decides."""
    rng = random.Random(seed)
    max_length = encoder.max_length
    cut = [_cut(encoder.tokenizer, max_length, example, rng) for example in examples]
    windows = encoder.encode([example.text for example in cut])
    rows = []
    for window in {window.text_index: window for window in reversed(windows)}.values():  # the first of each
        example = cut[window.text_index]
        decides = [end > start and start >= example.start and end <= example.end for start, end in window.offsets]
        if any(decides):
            rows.append((window, decides, float(example.forget)))
    rows.sort(key=lambda row: (len(row[0]), row[0].text_index))
    batches = []
    bar = logging.tqdm(total=len(rows), desc="Reading the prompts", dynamic_ncols=True)
    with torch.no_grad(), bar:  # the features take part in training, which inference tensors cannot
        for chunk in _chunks(rows):
            together, marks, forget = zip(*chunk, strict=True)
            inputs, outputs = encoder.run(together, output_hidden_states=True)
            features = token_features(outputs.hidden_states, shape).half().cpu()
            mask = inputs["attention_mask"].bool().cpu()
            batches.append(Batch(features, mask, marked_tokens(marks), torch.tensor(forget)))
            bar.update(len(chunk))
    return batches


def fit_head(
    head: TokenHead,
    shape: HeadShape,
    training: list[Batch],
    validation: list[Batch],
    *,
    epochs: int,
    learning_rate: float,
) -> list[dict[str, float]]:
    """Trains `head` in place and leaves the weights of the best epoch: the one with the highest area under the ROC
    curve on the validation examples, of equal ones that with the lowest loss.

    The loss of an example is the cross-entropy of its pooled score (see [`pool`][hf_eco.detection.heads.pool]). Where
    an example of the scope stands in a longer text, the tokens around it are trained to speak against the scope.

    Returns:
        After each epoch, the loss and the area under the ROC curve on the validation examples.

    Raises:
        ECOError: no epoch had a finite loss.
    """
    steps = epochs * len(training)
    optimizer = torch.optim.AdamW(head.parameters(), lr=learning_rate, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda n: min((n + 1) / (_WARMUP * steps + 1), (steps - n) / (steps - _WARMUP * steps))
    )
    order = list(range(len(training)))
    history: list[dict[str, float]] = []
    best: tuple[tuple[float, float], dict[str, Tensor]] | None = None
    with logging.tqdm(total=steps, desc="Training the prompt classifier", dynamic_ncols=True) as bar:
        for _ in range(epochs):
            head.train()
            random.shuffle(order)
            for i in order:
                loss = _loss(head, shape, training[i])
                optimizer.zero_grad()
                loss.backward()
                for member in head.members:
                    torch.nn.utils.clip_grad_norm_(member.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                bar.update(1)
            result = _validate(head, shape, validation)
            history.append(result)
            rank = (result["roc_auc"], -result["loss"])
            if math.isfinite(result["loss"]) and (best is None or rank > best[0]):
                best = rank, {name: tensor.detach().clone() for name, tensor in head.state_dict().items()}
    if best is None:
        raise ECOError(
            f"Training diverged: the validation loss was {[epoch['loss'] for epoch in history]}. "
            f"Use a learning_rate below {learning_rate}."
        )
    head.load_state_dict(best[1])
    head.eval().requires_grad_(False)
    return history


def _loss(head: TokenHead, shape: HeadShape, batch: Batch) -> Tensor:
    """The sum of the members' losses: each learns by itself."""
    around = batch.mask & ~batch.counted & batch.forget.bool().unsqueeze(-1)
    around[:, 0] = False  # what stands for the text as a whole
    losses = []
    for logits in head.each(batch.features.float(), batch.mask):
        scores, _ = pool(logits, batch.counted, shape.top)
        losses.append(F.binary_cross_entropy_with_logits(scores, batch.forget))
        if around.any():
            losses[-1] = losses[-1] + _PADDING_WEIGHT * F.softplus(logits[around]).mean()
    return torch.stack(losses).sum()


@torch.inference_mode()
def _validate(head: TokenHead, shape: HeadShape, batches: list[Batch]) -> dict[str, float]:
    head.eval()
    scores = torch.cat([pool(head(b.features.float(), b.mask), b.counted, shape.top)[0] for b in batches])
    forget = torch.cat([b.forget for b in batches])
    if not scores.isfinite().all():
        return {"loss": math.nan, "roc_auc": math.nan}
    return {
        "loss": float(F.binary_cross_entropy_with_logits(scores, forget)),
        "roc_auc": float(import_extra("sklearn.metrics").roc_auc_score(forget.numpy(), scores.numpy())),
    }


def _cut(tokenizer: PreTrainedTokenizerBase, max_length: int, example: Example, rng: random.Random) -> Example:
    """`example` cut down to one window, which holds what decides, or as much of it as fits."""
    if len(example.text) <= max_length:  # characters; no token is shorter
        return example
    encoded = tokenizer(example.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    offsets = encoded["offset_mapping"]
    room = max_length - tokenizer.num_special_tokens_to_add()
    if len(offsets) <= room:
        return example
    inside = [i for i, (start, end) in enumerate(offsets) if start >= example.start and end <= example.end] or [0]
    ends = (inside[0], inside[-1] + 1 - room)  # where a window begins that begins or ends with what decides
    first = rng.randint(max(0, min(ends)), min(max(ends), len(offsets) - room))
    start, end = offsets[first][0], offsets[first + room - 1][1]
    inner = max(example.start, start), min(example.end, end)
    return Example(example.text[start:end], example.forget, inner[0] - start, inner[1] - start)


def _chunks(rows: Sequence[tuple[Any, ...]]) -> Iterator[Sequence[tuple[Any, ...]]]:
    """Rows in order of length, as many together as make `_TOKENS_PER_BATCH` with their padding."""
    start = 0
    for end in range(1, len(rows) + 1):
        if end == len(rows) or (end + 1 - start) * len(rows[end][1]) > _TOKENS_PER_BATCH:
            yield rows[start:end]
            start = end
