"""One run of transformers' Trainer: class weights, early stopping, the best weights kept, and nothing printed."""

from __future__ import annotations

import contextlib
import math
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import (
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging

from ..errors import ECOError
from .extras import import_extra

PATIENCE = 2  # epochs without a better one before training stops
WARMUP = 0.1  # share of the steps
WEIGHT_DECAY = 0.01


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


def fine_tune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    training: list[dict[str, Any]],
    validation: list[dict[str, Any]],
    *,
    epochs: int,
    learning_rate: float,
    batch_size: int,
    seed: int,
    work_dir: str,
) -> list[dict[str, float]]:
    """Trains all of `model`'s weights in place and leaves those of the best epoch.

    The best epoch is the one with the highest area under the ROC curve on the validation examples, of equal ones that
    with the lowest loss. What a threshold can do depends on the order of the scores alone; the loss, which punishes a
    few confident errors hard, is at its lowest long before the order is at its best.

    Args:
        training: examples, `{"input_ids": [...], ..., "labels": class}`.
        validation: examples that are only looked at to decide when to stop.
        work_dir: a directory for the Trainer, which leaves nothing there.

    Returns:
        After each epoch, the loss and the area under the ROC curve on the validation examples.

    Raises:
        ECOError: no epoch had a finite loss.
    """
    counts = Counter(example["labels"] for example in training)
    # "Balanced": each class weighs as much as the other in sum, and an example weighs 1 on average.
    weights = torch.tensor([len(training) / (len(counts) * counts[i]) for i in sorted(counts)])

    def weighted_loss(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
        # Divided by the number of examples, not by their weights as PyTorch's mean does: in a batch without the rare
        # class the weights would cancel.
        weight = weights.to(outputs.logits.device)
        return F.cross_entropy(outputs.logits, labels, weight=weight, reduction="sum") / len(labels)

    arguments = TrainingArguments(
        output_dir=work_dir,
        num_train_epochs=epochs,
        learning_rate=learning_rate,
        per_device_train_batch_size=batch_size,
        per_device_eval_batch_size=batch_size,
        max_grad_norm=float(weights.max()),  # Trainer's 1.0 would cut the rare class's gradients down again
        warmup_steps=WARMUP,
        weight_decay=WEIGHT_DECAY,
        train_sampling_strategy="group_by_length",
        seed=seed,
        eval_strategy="epoch",
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
        average_tokens_across_devices=False,  # weighted_loss is a mean already
    )

    def roc_auc(prediction: Any) -> dict[str, float]:
        margins = prediction.predictions[:, 1] - prediction.predictions[:, 0]
        if not np.isfinite(margins).all():
            return {"roc_auc": math.nan}
        return {"roc_auc": float(import_extra("sklearn.metrics").roc_auc_score(prediction.label_ids, margins))}

    keep_best = _KeepBest()
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=training,
        eval_dataset=validation,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_loss_func=weighted_loss,
        compute_metrics=roc_auc,
        callbacks=[keep_best, _ProgressBar()],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    if keep_best.weights is None:
        raise ECOError(
            f"Training diverged: the validation loss was {[epoch['loss'] for epoch in keep_best.epochs]}. "
            f"Use a learning_rate below {learning_rate}."
        )
    model.load_state_dict(keep_best.weights)
    return keep_best.epochs


class _KeepBest(TrainerCallback):
    """Keeps the weights of the best epoch in memory and stops when they have not been beaten for `PATIENCE` epochs.

    Trainer's own load_best_model_at_end writes a checkpoint per epoch and draws progress bars for it.
    """

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []
        self.weights: dict[str, Tensor] | None = None
        self._best = (-math.inf, -math.inf)
        self._best_epoch = 0

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        loss, roc_auc = kwargs["metrics"]["eval_loss"], kwargs["metrics"]["eval_roc_auc"]
        self.epochs.append({"loss": loss, "roc_auc": roc_auc})
        if math.isfinite(loss) and (roc_auc, -loss) > self._best:
            self._best, self._best_epoch = (roc_auc, -loss), len(self.epochs)
            state_dict = kwargs["model"].state_dict()
            self.weights = {name: tensor.detach().cpu().clone() for name, tensor in state_dict.items()}
        elif len(self.epochs) - self._best_epoch >= PATIENCE:
            control.should_training_stop = True


class _ProgressBar(TrainerCallback):
    """Trainer's own bar prints the metrics too, and cannot be turned off by `disable_progress_bar()` alone."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.bar = logging.tqdm(total=state.max_steps, desc="Training the prompt classifier", dynamic_ncols=True)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.bar.update(1)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.bar.close()
