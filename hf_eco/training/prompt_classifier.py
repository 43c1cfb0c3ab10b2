"""From two lists of prompts to a prompt classifier on disk."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging

from .._version import __version__
from ..classifier import PromptClassifier
from ..errors import ECOError
from ..files import replacing
from .extras import import_extra
from .prompt_lists import clean_prompts, prompts_sha256, split_off

RETAIN, FORGET = 0, 1
REPORT_NAME = "training_report.json"
MIN_PROMPTS = 8  # of each class: with fewer there is nothing to validate on
MIN_MAX_LENGTH = 16


def train_prompt_classifier(
    forget: Sequence[str],
    retain: Sequence[str],
    encoder: str | os.PathLike[str] = "sentence-transformers/all-MiniLM-L6-v2",
    output_dir: str | os.PathLike[str] = "prompt-classifier",
    seed: int = 0,
    *,
    validation_fraction: float = 0.15,
    epochs: int = 4,
    learning_rate: float = 2e-4,
    batch_size: int = 32,
    max_length: int = 128,
) -> PromptClassifier:
    """Fine-tunes a text encoder to give p(forget | prompt) and saves it in `output_dir`.

    Both classes weigh the same, however many prompts each has. Training stops when the area under the ROC curve on a
    part of the prompts that is kept out of training has not grown for two epochs. The weights of the best epoch are
    rounded to float16 and saved as safetensors, with the tokenizer and `training_report.json`: how it was trained, on
    how many prompts (and their fingerprint, see
    [`prompts_sha256`][hf_eco.training.prompt_lists.prompts_sha256]), and the error rates on the part kept out. Nothing
    is written until all is done. The same call on the same machine gives the same weights; on a GPU only up to the
    rounding of sums.

    Args:
        forget: prompts in the scope. Blank and repeated ones are left out. At least 8, better some hundreds.
        retain: prompts outside of it, the more and the more like what users ask the better; above all near misses,
            prompts that share words with the scope but not its subject.
        encoder: Hub id or directory of a text encoder, its weights in safetensors, its tokenizer a fast one.
        output_dir: directory for the classifier: a new one, an empty one, or one written by this function before,
            which is replaced.
        seed: seed of the split, the head's first weights, the order of the prompts and dropout.
        validation_fraction: share of the prompts of each class that is kept out of training.
        epochs: the most passes over the prompts.
        learning_rate: its highest value; it rises to it over a tenth of the steps and falls to 0.
        batch_size: windows per step.
        max_length: most tokens the classifier sees at once, in training and ever after; the encoder's own limit if
            that is lower. Longer texts are seen in windows that overlap by half.

    Raises:
        TypeError: a prompt is no string.
        ValueError: an argument is out of its range, a prompt is in both lists, or one list has too few.
        FileExistsError: `output_dir` holds something else.
        ECOError: the training diverged.
        ImportError: scikit-learn is missing.
    """
    hyperparameters: dict[str, Any] = {
        "validation_fraction": validation_fraction,
        "epochs": epochs,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "max_length": max_length,
    }
    _check_hyperparameters(**hyperparameters)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ValueError(f"seed must be an integer in [0, 2**32), got seed={seed!r}.")
    metrics = import_extra("sklearn.metrics")  # before the training, not after it
    forget, retain = clean_prompts(forget, retain)
    for name, prompts in (("forget", forget), ("retain", retain)):
        if len(prompts) < MIN_PROMPTS:
            raise ValueError(
                f"Training takes at least {MIN_PROMPTS} different {name} prompts, got {len(prompts)}. Write more, in "
                "the words users will use; some hundreds make a good classifier."
            )
    forget_training, forget_validation = split_off(forget, validation_fraction, seed)
    retain_training, retain_validation = split_off(retain, validation_fraction, seed)

    with replacing(output_dir, _written_here) as staged:
        from .fine_tuning import PATIENCE, WARMUP, WEIGHT_DECAY, fine_tune, seeded

        with seeded(seed):
            classifier = _untrained_classifier(os.fspath(encoder), max_length)
            model = classifier.model.requires_grad_(True)
            history = fine_tune(
                model,
                classifier.tokenizer,
                _examples(classifier, forget_training, retain_training),
                _examples(classifier, forget_validation, retain_validation),
                epochs=epochs,
                learning_rate=learning_rate,
                batch_size=batch_size,
                seed=seed,
                work_dir=str(staged.parent),
            )
        classifier = _rounded_to_float16(classifier)
        classifier.save_pretrained(str(staged))
        report = {
            "hf_eco_version": __version__,
            "transformers_version": transformers.__version__,
            "torch_version": torch.__version__,
            "encoder": os.fspath(encoder),
            "encoder_revision": getattr(model.config, "_commit_hash", None),
            "seed": seed,
            "hyperparameters": {
                **hyperparameters,
                "max_length": classifier.max_length,
                "patience": PATIENCE,
                "warmup": WARMUP,
                "weight_decay": WEIGHT_DECAY,
            },
            "prompts": {
                "forget": {
                    "training": len(forget_training),
                    "validation": len(forget_validation),
                    "sha256": prompts_sha256(forget),
                },
                "retain": {
                    "training": len(retain_training),
                    "validation": len(retain_validation),
                    "sha256": prompts_sha256(retain),
                },
            },
            "validation_loss": [epoch["loss"] for epoch in history],
            "validation_roc_auc": [epoch["roc_auc"] for epoch in history],
            "validation": _error_rates(metrics, classifier, forget_validation, retain_validation),
            "files": sorted([*os.listdir(staged), REPORT_NAME]),
        }
        (staged / REPORT_NAME).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return PromptClassifier.from_pretrained(os.fspath(output_dir))


def _check_hyperparameters(
    validation_fraction: float, epochs: int, learning_rate: float, batch_size: int, max_length: int
) -> None:
    if not 0.0 < validation_fraction < 1.0:
        raise ValueError(
            "validation_fraction must lie between 0 and 1 (both excluded), "
            f"got validation_fraction={validation_fraction}."
        )
    if not (learning_rate > 0.0 and math.isfinite(learning_rate)):
        raise ValueError(f"learning_rate must be positive, got learning_rate={learning_rate}.")
    for name, value, least in (
        ("epochs", epochs, 1),
        ("batch_size", batch_size, 1),
        ("max_length", max_length, MIN_MAX_LENGTH),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} must be an integer of at least {least}, got {name}={value!r}.")


def _untrained_classifier(encoder: str, max_length: int) -> PromptClassifier:
    """`encoder` with a new classification head, in float32."""
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    tokenizer.model_max_length = min(tokenizer.model_max_length, max_length)  # saved with it
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # the report that the head is new
    try:
        model = AutoModelForSequenceClassification.from_pretrained(
            encoder,
            id2label={RETAIN: "retain", FORGET: "forget"},
            label2id={"retain": RETAIN, "forget": FORGET},
            problem_type="single_label_classification",
            ignore_mismatched_sizes=True,  # the head of another classifier
            dtype=torch.float32,
            use_safetensors=True,
        )
    finally:
        logging.set_verbosity(verbosity)
    return PromptClassifier(model, tokenizer)


def _examples(classifier: PromptClassifier, forget: list[str], retain: list[str]) -> list[dict[str, Any]]:
    """The windows of all prompts as the classifier will score them, with the labels of their prompts."""
    # Right for retain prompts: one window of the scope would make them forget prompts. A long forget prompt may have
    # windows without a word of its subject; such prompts are few, and an error made by learning from them is one of
    # flagging too much, which the calibration measures.
    return [
        {**window.encoding, "labels": label}
        for label, prompts in ((FORGET, forget), (RETAIN, retain))
        for window in classifier.encode(prompts)
    ]


def _rounded_to_float16(classifier: PromptClassifier) -> PromptClassifier:
    """The classifier as it will be when it is loaded again."""
    model = classifier.model.half()
    if not all(parameter.isfinite().all() for parameter in model.parameters()):
        raise ECOError("The trained weights do not fit into float16. Use a lower learning_rate or another encoder.")
    return PromptClassifier(model, classifier.tokenizer)


def _error_rates(metrics: Any, classifier: PromptClassifier, forget: list[str], retain: list[str]) -> dict[str, float]:
    """How well `classifier` tells the prompts apart, at the threshold 0.5; `metrics` is sklearn.metrics."""
    labels = [FORGET] * len(forget) + [RETAIN] * len(retain)
    scores = classifier.score([*forget, *retain])
    flagged = [int(score >= 0.5) for score in scores]
    recall = metrics.recall_score(labels, flagged)
    rates = {
        "threshold": 0.5,
        "accuracy": metrics.accuracy_score(labels, flagged),
        "precision": metrics.precision_score(labels, flagged, zero_division=0.0),
        "recall": recall,
        "roc_auc": metrics.roc_auc_score(labels, scores),
        "false_positive_rate": sum(flagged[len(forget) :]) / len(retain),
        "false_negative_rate": 1.0 - recall,
    }
    return {name: float(rate) for name, rate in rates.items()}


def _written_here(directory: Path) -> bool:
    """Whether `directory` holds a classifier saved by `train_prompt_classifier` and nothing else."""
    try:
        files = json.loads((directory / REPORT_NAME).read_text(encoding="utf-8"))["files"]
        return set(files) >= {path.name for path in directory.iterdir()}
    except (OSError, ValueError, KeyError, TypeError):
        return False
