"""`training_report.json`: how a prompt classifier was trained, and how it did on the prompts kept out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from .._version import __version__
from ..detection.classifier import TRAINING_REPORT, PromptClassifier
from .labelled_prompts import LabelledPrompts, prompts_sha256


def training_report(
    settings: dict[str, Any],
    names: Sequence[str],
    prompts: LabelledPrompts,
    training: LabelledPrompts,
    validation: LabelledPrompts,
    shipped: int,
    n_examples: int,
    history: Sequence[dict[str, float]],
    rates: dict[str, float],
) -> dict[str, Any]:
    """The report of a training.

    Args:
        settings: encoder, its revision, seed and hyperparameters.
        names: that are looked for.
        prompts: the user's, without what was excluded.
        training: what of them, and of those that come with the package, was trained on.
        validation: what decided when to stop.
        shipped: how many of the retain prompts come with the package.
        n_examples: examples made of the prompts for training.
        history: after each epoch, the loss and the area under the ROC curve.
        rates: the error rates on `validation`.
    """
    return {
        "hf_eco_version": __version__,
        "transformers_version": transformers.__version__,
        "torch_version": torch.__version__,
        **settings,
        "names": list(names),
        "examples": n_examples,
        "prompts": {
            "forget": {
                "training": len(training.forget),
                "validation": len(validation.forget),
                "sha256": prompts_sha256(prompts.forget),
            },
            "retain": {
                "training": len(training.retain),
                "validation": len(validation.retain),
                "shipped": shipped,
                "sha256": prompts_sha256(prompts.retain),
            },
        },
        "validation_loss": [epoch["loss"] for epoch in history],
        "validation_roc_auc": [epoch["roc_auc"] for epoch in history],
        "validation": rates,
    }


def error_rates(metrics: Any, classifier: PromptClassifier, label: str, prompts: LabelledPrompts) -> dict[str, float]:
    """How well `classifier` tells the prompts apart, at the threshold 0.5; `metrics` is sklearn.metrics."""
    forget, retain = prompts.forget, prompts.retain
    labels = [1] * len(forget) + [0] * len(retain)
    scores = classifier.score([*forget, *retain], label=label)
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


def written_by_training(directory: Path) -> bool:
    """Whether `directory` holds a classifier saved by `train_prompt_classifier` and nothing else."""
    try:
        files = json.loads((directory / TRAINING_REPORT).read_text(encoding="utf-8"))["files"]
        return set(files) >= {path.name for path in directory.iterdir()}
    except (OSError, ValueError, KeyError, TypeError):
        return False
