"""From prompts, names or documents of a scope to a prompt classifier on disk."""

from __future__ import annotations

import json
import math
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
import transformers
from transformers import AutoModel, AutoTokenizer

from .._version import __version__
from ..detection.classifier import DEFAULT_LABEL, PromptClassifier
from ..detection.heads import HeadShape, ScopeHead, ScopeHeads, TokenHead
from ..detection.names import Lexicon, long_enough
from ..errors import ECOError
from ..io.directories import replacing
from ..io.optional import import_extra
from .augmentation import Augmenter, Example, questions_about, sentences, shipped_prompts
from .prompt_lists import clean_prompts, prompts_sha256, split_off, without, without_names
from .subjects import find_names

DEFAULT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
REPORT_NAME = "training_report.json"
MIN_PROMPTS = 8  # of each class: with fewer there is nothing to validate on
MIN_MAX_LENGTH = 16
EXAMPLES = 18_000  # five minutes on two cores with the default encoder
NEAR_MISS_RATE = 0.02  # share of near misses that reach the head's floor

_T = TypeVar("_T")
_FORGET_SHARE = 0.28  # of the examples that are of the scope; as many are near misses
_FORMS = 5  # of one prompt in one round, and near misses of it
_MOST_ROUNDS = 25
_LONG = 400  # characters of a prompt for which one window is taken
_MOST_WINDOWS = 12


def train_prompt_classifier(
    forget: Sequence[str] = (),
    retain: Sequence[str] = (),
    encoder: str | os.PathLike[str] = DEFAULT_ENCODER,
    output_dir: str | os.PathLike[str] = "prompt-classifier",
    seed: int = 0,
    *,
    names: Sequence[str] | None = None,
    documents: Sequence[str] = (),
    exclude: Sequence[str] = (),
    label: str = DEFAULT_LABEL,
    augment: bool = True,
    examples: int = EXAMPLES,
    validation_fraction: float = 0.15,
    epochs: int = 3,
    learning_rate: float = 2e-3,
    max_length: int = 128,
) -> PromptClassifier:
    """Trains a classifier that gives p(forget | prompt) and saves it in `output_dir`.

    The encoder stays as it is; a small head on its hidden states learns to say of every token how much it speaks for
    the scope (see [`hf_eco.detection.heads`][hf_eco.detection.heads]). What the prompts lack is made: the same prompts
    as statements, with the name left out, asked the other way round, framed by instructions in several languages,
    misspelt, in the midst of other text; and near misses, the same with other names, so that the subject and not the
    style decides. General prompts that come with the package stand for the rest of the world, beside `retain`. The
    names the scope is about are found in the prompts, and are looked for, however they are spelt, beside the head.

    Nothing is written until all is done: the encoder (rounded to float16), the head, the tokenizer, and
    `training_report.json`: how it was trained, on how many prompts (and their fingerprint, see
    [`prompts_sha256`][hf_eco.training.prompt_lists.prompts_sha256]), and the error rates on the part kept out. The
    same call on the same machine gives the same weights.

    Args:
        forget: prompts in the scope. Blank and repeated ones are left out. Some dozens to some hundreds; may be empty
            if there are names or documents.
        retain: prompts outside of it, the more like what users ask the better; above all near misses, prompts that
            share words with the scope but not its subject. May be empty.
        encoder: Hub id or directory of a text encoder, its weights in safetensors, its tokenizer a fast one; or of
            a classifier trained by this function, whose encoder the new one shares: a guard runs it once for both.
        output_dir: directory for the classifier: a new one, an empty one, or one written by this function before,
            which is replaced.
        seed: seed of the split, of what is made from the prompts, the head's first weights and dropout.
        names: full names of whom or which the scope is about (persons, books ...). Found in the prompts if None; an
            empty list for none.
        documents: texts of the scope; their sentences count as forget prompts.
        exclude: prompts kept for calibration, of both kinds. None of them and no sentence of one is trained on,
            whether it stands in a list, in a document, or among the prompts that come with the package. Without it
            the bounds of a calibration on them may be too low.
        label: what the scope is called among the scopes that share the encoder; `ForgetScope(label=...)` names it.
        augment: False to train on the prompts as they stand.
        examples: how many are made of the prompts, about; the time that training takes grows with it.
        validation_fraction: share of the prompts of each class that is kept out of training.
        epochs: passes over the examples.
        learning_rate: its highest value; it rises to it over a tenth of the steps and falls to 0.
        max_length: most tokens the classifier sees at once, in training and ever after; the encoder's own limit if
            that is lower. Longer texts are seen in windows that overlap by half.

    Raises:
        TypeError: a prompt is no string.
        ValueError: an argument is out of its range, a prompt is in both lists, or there are too few.
        FileExistsError: `output_dir` holds something else.
        ECOError: the training diverged.
        ImportError: scikit-learn is missing.
    """
    hyperparameters: dict[str, Any] = {
        "validation_fraction": validation_fraction,
        "epochs": epochs,
        "learning_rate": learning_rate,
        "max_length": max_length,
        "examples": examples,
    }
    _check_hyperparameters(**hyperparameters)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ValueError(f"seed must be an integer in [0, 2**32), got seed={seed!r}.")
    for argument, values in (("names", names or ()), ("documents", documents), ("exclude", exclude)):
        if isinstance(values, str) or not all(isinstance(value, str) for value in values):
            raise TypeError(f"{argument} must be a list of strings, got {argument}={values!r}.")
    if not label or "/" in label:
        raise ValueError(f"label must be a name without slashes, got label={label!r}.")
    metrics = import_extra("sklearn.metrics")  # before the training, not after it
    if isinstance(forget, str):
        raise TypeError("forget must be a list of prompts, got one string. Put it in a list.")
    forget, retain = clean_prompts([*forget, *(s for text in documents for s in sentences(text))], retain)
    if not forget and names:
        forget = questions_about(names)
    kept_out = [*exclude, *(s for prompt in exclude for s in sentences(prompt))]
    forget, retain = without(forget, kept_out), without(retain, kept_out)
    general = without_names(without(shipped_prompts(), [*forget, *retain, *kept_out]), names or ())
    for name, prompts in (("forget", forget), ("retain", [*retain, *general])):
        if len(prompts) < MIN_PROMPTS:
            raise ValueError(
                f"Training takes at least {MIN_PROMPTS} different {name} prompts, got {len(prompts)}. Write more, in "
                "the words users will use, or pass names=[...] or documents=[...]."
            )

    with replacing(output_dir, _written_here) as staged:
        from .head_training import encode_examples, fit_head, seeded

        with seeded(seed):
            classifier = _untrained_classifier(os.fspath(encoder), max_length)
            if names is None:
                found = find_names(
                    forget, [*retain, *general], lambda word: len(classifier.tokenizer.tokenize(word)) == 1
                )
                names = [name for name in found if long_enough(name)]  # others pass for words
                general = without_names(general, names)
            forget_training, forget_validation = split_off(forget, validation_fraction, seed)
            retain_training, retain_validation = split_off([*retain, *general], validation_fraction, seed)
            make, make_validation = (
                Augmenter(prompts, names, retain_training, seed + part, exclude=kept_out)
                for part, prompts in enumerate((forget_training, forget_validation))
            )
            layers = classifier.model.config.num_hidden_layers
            shape = HeadShape(layers=(0, round(2 * layers / 3), layers))
            training = encode_examples(
                classifier,
                shape,
                _examples(make, forget_training, retain_training, examples if augment else None, seed),
                seed,
            )
            near = [miss for prompt in forget_validation for miss in make_validation.near_misses(prompt)]
            validation = encode_examples(
                classifier,
                shape,
                [_whole(text, True) for text in forget_validation]
                + [_whole(text, False) for text in (*retain_validation, *near)],
                seed,
            )
            head = TokenHead(shape, classifier.model.config.hidden_size)
            history = fit_head(head, shape, training, validation, epochs=epochs, learning_rate=learning_rate)
        classifier.heads = ScopeHeads(shape, {label: ScopeHead(head, Lexicon(names) if names else None)})
        near_scores = sorted(classifier.score(near, label=label))
        if near_scores:
            classifier.heads.heads[label].floor = near_scores[math.ceil((1 - NEAR_MISS_RATE) * len(near_scores)) - 1]
        classifier.save_pretrained(str(staged))
        report = {
            "hf_eco_version": __version__,
            "transformers_version": transformers.__version__,
            "torch_version": torch.__version__,
            "encoder": os.fspath(encoder),
            "encoder_revision": getattr(classifier.model.config, "_commit_hash", None),
            "seed": seed,
            "hyperparameters": {**hyperparameters, "max_length": classifier.max_length, "augment": augment},
            "names": list(names),
            "examples": sum(len(batch.forget) for batch in training),
            "prompts": {
                "forget": {
                    "training": len(forget_training),
                    "validation": len(forget_validation),
                    "sha256": prompts_sha256(forget),
                },
                "retain": {
                    "training": len(retain_training),
                    "validation": len(retain_validation),
                    "shipped": len(general),
                    "sha256": prompts_sha256(retain),
                },
            },
            "validation_loss": [epoch["loss"] for epoch in history],
            "validation_roc_auc": [epoch["roc_auc"] for epoch in history],
            "validation": _error_rates(metrics, classifier, label, forget_validation, retain_validation),
            "files": sorted([*os.listdir(staged), REPORT_NAME]),
        }
        (staged / REPORT_NAME).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return PromptClassifier.from_pretrained(os.fspath(output_dir))


def _check_hyperparameters(
    validation_fraction: float, epochs: int, learning_rate: float, max_length: int, examples: int
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
        ("max_length", max_length, MIN_MAX_LENGTH),
        ("examples", examples, MIN_PROMPTS),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} must be an integer of at least {least}, got {name}={value!r}.")


def _untrained_classifier(encoder: str, max_length: int) -> PromptClassifier:
    """`encoder` without any head, its weights rounded to float16: as it will be when it is loaded again."""
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    tokenizer.model_max_length = min(tokenizer.model_max_length, max_length)  # saved with it
    model = AutoModel.from_pretrained(encoder, dtype=torch.float32, use_safetensors=True).half()
    if not all(parameter.isfinite().all() for parameter in model.parameters()):
        raise ECOError(f"The weights of {encoder!r} do not fit into float16. Use another encoder.")
    return PromptClassifier(model, tokenizer)


def _examples(
    make: Augmenter, forget: Sequence[str], retain: Sequence[str], count: int | None, seed: int
) -> list[Example]:
    """What is learnt from, about `count`: forms of the forget prompts, as many near misses, and retain prompts. The
    prompts as they stand if None."""
    if count is None:
        return [_whole(text, True) for text in forget] + [_whole(text, False) for text in retain]
    rng = random.Random(seed)
    positives, near = [], []
    wanted = round(_FORGET_SHARE * count)
    for _ in range(min(max(1, round(wanted / (_FORMS * len(forget)))), _MOST_ROUNDS)):
        for prompt in forget:
            _, *others = make.positives(prompt)
            positives += [make.example(text, True) for text in (prompt, *_some(rng, others, _FORMS - 1))]
            near += [make.example(text, False) for text in _some(rng, make.near_misses(prompt), _FORMS)]
    general = []
    for prompt in retain:
        general += [_whole(prompt, False)] * min(1 + len(prompt) // _LONG, _MOST_WINDOWS)
        general.append(make.example(prompt, False))
    examples = [*_some(rng, positives, wanted), *_some(rng, near, wanted)]
    return examples + _some(rng, general, count - len(examples))


def _whole(prompt: str, forget: bool) -> Example:
    return Example(prompt, forget, 0, len(prompt))


def _some(rng: random.Random, choices: Sequence[_T], most: int) -> list[_T]:
    return list(choices) if len(choices) <= most else rng.sample(choices, most)


def _error_rates(
    metrics: Any, classifier: PromptClassifier, label: str, forget: list[str], retain: list[str]
) -> dict[str, float]:
    """How well `classifier` tells the prompts apart, at the threshold 0.5; `metrics` is sklearn.metrics."""
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


def _written_here(directory: Path) -> bool:
    """Whether `directory` holds a classifier saved by `train_prompt_classifier` and nothing else."""
    try:
        files = json.loads((directory / REPORT_NAME).read_text(encoding="utf-8"))["files"]
        return set(files) >= {path.name for path in directory.iterdir()}
    except (OSError, ValueError, KeyError, TypeError):
        return False
