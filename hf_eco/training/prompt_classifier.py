"""From prompts, names or documents of a scope to a prompt classifier on disk."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModel, AutoTokenizer

from .._transformers import file_in_repository, load_without_code, revision_of_file
from ..checkpoint.format import CONFIG_NAME
from ..detection.classifier import DEFAULT_LABEL, TRAINING_REPORT, PromptClassifier
from ..detection.facts.sentences import sentences
from ..detection.heads import HeadShape, ScopeHead, ScopeHeads, TokenHead
from ..detection.names import Lexicon, long_enough
from ..errors import ECOError
from ..io.directories import replacing
from ..io.optional import import_extra
from . import head_training
from .augmentation import Augmenter, questions_about, shipped_prompts
from .classifier_examples import make_examples, whole
from .defaults import DEFAULT_ENCODER, EXAMPLES
from .labelled_prompts import LabelledPrompts, without, without_names
from .subjects import find_names
from .training_report import error_rates, training_report, written_by_training

MIN_PROMPTS = 8  # of each class: with fewer there is nothing to validate on
MIN_MAX_LENGTH = 16
NEAR_MISS_RATE = 0.02  # share of near misses that reach the head's floor


@dataclass(frozen=True)
class TrainingSettings:
    """How a prompt classifier is trained; see `train_prompt_classifier` for each.

    Raises:
        TypeError: names, documents or exclude are no lists of strings.
        ValueError: a value is out of its range.
    """

    encoder: str = DEFAULT_ENCODER
    seed: int = 0
    names: Sequence[str] | None = None
    documents: Sequence[str] = ()
    exclude: Sequence[str] = ()
    label: str = DEFAULT_LABEL
    augment: bool = True
    examples: int = EXAMPLES
    validation_fraction: float = 0.15
    epochs: int = 3
    learning_rate: float = 2e-3
    max_length: int = 128

    def __post_init__(self) -> None:
        if not 0.0 < self.validation_fraction < 1.0:
            raise ValueError(
                "validation_fraction must lie between 0 and 1 (both excluded), "
                f"got validation_fraction={self.validation_fraction}."
            )
        if not (self.learning_rate > 0.0 and math.isfinite(self.learning_rate)):
            raise ValueError(f"learning_rate must be positive, got learning_rate={self.learning_rate}.")
        least = {"epochs": 1, "max_length": MIN_MAX_LENGTH, "examples": MIN_PROMPTS}
        for name, smallest in least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < smallest:
                raise ValueError(f"{name} must be an integer of at least {smallest}, got {name}={value!r}.")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be an integer in [0, 2**32), got seed={self.seed!r}.")
        for name in ("names", "documents", "exclude"):
            values = getattr(self, name) or ()
            if isinstance(values, str) or not all(isinstance(value, str) for value in values):
                raise TypeError(f"{name} must be a list of strings, got {name}={values!r}.")
        if not self.label or "/" in self.label:
            raise ValueError(f"label must be a name without slashes, got label={self.label!r}.")


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
    [`prompts_sha256`][hf_eco.training.labelled_prompts.prompts_sha256]), and the error rates on the part kept out. The
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
    settings = TrainingSettings(
        encoder=os.fspath(encoder),
        seed=seed,
        names=names,
        documents=documents,
        exclude=exclude,
        label=label,
        augment=augment,
        examples=examples,
        validation_fraction=validation_fraction,
        epochs=epochs,
        learning_rate=learning_rate,
        max_length=max_length,
    )
    return fit_prompt_classifier(LabelledPrompts.clean(forget, retain), settings, output_dir)


def fit_prompt_classifier(
    prompts: LabelledPrompts, settings: TrainingSettings, output_dir: str | os.PathLike[str]
) -> PromptClassifier:
    """`train_prompt_classifier` of prompts that are clean."""
    import_extra("sklearn.metrics")  # before the training, not after it
    material = _Material.gather(prompts, settings)
    with replacing(output_dir, written_by_training) as staged:
        with head_training.seeded(settings.seed):
            classifier = _untrained_classifier(settings.encoder, settings.max_length)
            report = _fit(classifier, material, settings)
        classifier.save_pretrained(str(staged))
        classifier.training_report = {**report, "files": sorted([*os.listdir(staged), TRAINING_REPORT])}
        classifier.save_report(str(staged))
    return PromptClassifier.from_pretrained(os.fspath(output_dir))


@dataclass(frozen=True)
class _Material:
    """What there is to train on.

    Attributes:
        prompts: the user's, and the documents' sentences.
        general: retain prompts that come with the package.
        kept_out: what is trained on nowhere.
    """

    prompts: LabelledPrompts
    general: tuple[str, ...]
    kept_out: tuple[str, ...]

    @classmethod
    def gather(cls, prompts: LabelledPrompts, settings: TrainingSettings) -> _Material:
        """Puts together what is trained on. Raises ValueError if it is too little."""
        prompts = prompts.with_forget([s for text in settings.documents for s in sentences(text)])
        if not prompts.forget and settings.names:
            prompts = LabelledPrompts(tuple(questions_about(settings.names)), prompts.retain)
        kept_out = (*settings.exclude, *(s for prompt in settings.exclude for s in sentences(prompt)))
        prompts = prompts.without(kept_out)
        others = [*prompts.forget, *prompts.retain, *kept_out]
        general = tuple(without_names(without(shipped_prompts(), others), settings.names or ()))
        for name, own in (("forget", prompts.forget), ("retain", (*prompts.retain, *general))):
            if len(own) < MIN_PROMPTS:
                raise ValueError(
                    f"Training takes at least {MIN_PROMPTS} different {name} prompts, got {len(own)}. Write more, in "
                    "the words users will use, or pass names=[...] or documents=[...]."
                )
        return cls(prompts, general, kept_out)

    def find_names(self, classifier: PromptClassifier) -> tuple[list[str], _Material]:
        """The names that the forget prompts are about, and what is left to train on: a general prompt that names one
        is none."""
        found = find_names(
            self.prompts.forget,
            [*self.prompts.retain, *self.general],
            lambda word: len(classifier.tokenizer.tokenize(word)) == 1,
        )
        names = [name for name in found if long_enough(name)]  # others pass for words
        return names, dataclasses.replace(self, general=tuple(without_names(self.general, names)))

    def split(self, fraction: float, seed: int) -> tuple[LabelledPrompts, LabelledPrompts]:
        """What is trained on, and what decides when to stop."""
        whole_of_it = LabelledPrompts(self.prompts.forget, (*self.prompts.retain, *self.general))
        return whole_of_it.split_off(fraction, seed)


def _fit(classifier: PromptClassifier, material: _Material, settings: TrainingSettings) -> dict[str, Any]:
    """Gives `classifier` its head, and returns the report of the training."""
    names = settings.names
    if names is None:
        names, material = material.find_names(classifier)
    training, validation = material.split(settings.validation_fraction, settings.seed)
    make, make_validation = (
        Augmenter(own.forget, names, training.retain, settings.seed + part, exclude=material.kept_out)
        for part, own in enumerate((training, validation))
    )
    layers = classifier.model.config.num_hidden_layers
    shape = HeadShape(layers=(0, round(2 * layers / 3), layers))
    examples = make_examples(
        make, training.forget, training.retain, settings.examples if settings.augment else None, settings.seed
    )
    batches = head_training.encode_examples(classifier, shape, examples, settings.seed)
    near = [miss for prompt in validation.forget for miss in make_validation.near_misses(prompt)]
    held_out = [whole(text, True) for text in validation.forget]
    held_out += [whole(text, False) for text in (*validation.retain, *near)]
    held_out_batches = head_training.encode_examples(classifier, shape, held_out, settings.seed)
    head = TokenHead(shape, classifier.model.config.hidden_size)
    history = head_training.fit_head(
        head, shape, batches, held_out_batches, epochs=settings.epochs, learning_rate=settings.learning_rate
    )
    label = settings.label
    classifier.heads = ScopeHeads(shape, {label: ScopeHead(head, Lexicon(names) if names else None)})
    near_scores = sorted(classifier.score(near, label=label))
    if near_scores:
        classifier.heads.heads[label].floor = near_scores[math.ceil((1 - NEAR_MISS_RATE) * len(near_scores)) - 1]
    return training_report(
        _described(settings, classifier),
        names,
        material.prompts,
        training,
        validation,
        shipped=len(material.general),
        n_examples=sum(len(batch.forget) for batch in batches),
        history=history,
        rates=error_rates(import_extra("sklearn.metrics"), classifier, label, validation),
    )


def _described(settings: TrainingSettings, classifier: PromptClassifier) -> dict[str, Any]:
    """What the report says of the settings."""
    return {
        "encoder": settings.encoder,
        "encoder_revision": revision_of_file(file_in_repository(settings.encoder, CONFIG_NAME, quiet=True)),
        "seed": settings.seed,
        "hyperparameters": {
            "validation_fraction": settings.validation_fraction,
            "epochs": settings.epochs,
            "learning_rate": settings.learning_rate,
            "max_length": classifier.max_length,
            "examples": settings.examples,
            "augment": settings.augment,
        },
    }


def _untrained_classifier(encoder: str, max_length: int) -> PromptClassifier:
    """`encoder` without any head, its weights rounded to float16: as it will be when it is loaded again."""
    try:
        tokenizer = load_without_code(AutoTokenizer, encoder)
        model = load_without_code(AutoModel, encoder, dtype=torch.float32, use_safetensors=True).half()
    except OSError as error:
        raise OSError(
            f"The encoder {encoder!r} cannot be loaded: {error} Where the Hub is out of reach, pass a directory that "
            "holds an encoder: encoder='path', or --encoder path."
        ) from error
    tokenizer.model_max_length = min(tokenizer.model_max_length, max_length)  # saved with it
    if not all(parameter.isfinite().all() for parameter in model.parameters()):
        raise ECOError(f"The weights of {encoder!r} do not fit into float16. Use another encoder.")
    return PromptClassifier(model, tokenizer)
