"""From a base model and two lists of prompts to a guarded checkpoint on disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ..auto import AutoModelForCausalLMWithECO, check_guardable
from ..checkpoint.model_card import write_model_card
from ..checkpoint.source import read_eco
from ..configuration import CorruptionConfig, ECOConfig, ForgetScope
from ..io.directories import replacing
from .calibration import allowed_errors, calibrate_threshold, check_probability
from .prompt_classifier import DEFAULT_ENCODER, EXAMPLES, REPORT_NAME, train_prompt_classifier
from .prompt_lists import clean_prompts, split_off


def guard_model(
    base_model: str,
    scope: str,
    forget: Sequence[str],
    retain: Sequence[str],
    output_dir: str | os.PathLike[str],
    *,
    names: Sequence[str] | None = None,
    documents: Sequence[str] = (),
    encoder: str = DEFAULT_ENCODER,
    corruption: CorruptionConfig | None = None,
    tokens: str = "content",
    entities: str | None = None,
    threshold: float | None = None,
    max_fpr: float = 0.01,
    max_fnr: float | None = None,
    confidence: float = 0.95,
    calibration_fraction: float = 0.35,
    examples: int = EXAMPLES,
    seed: int = 0,
) -> Any:
    """Trains and calibrates a prompt classifier, guards `base_model` with it and saves the guarded checkpoint.

    Args:
        base_model: path or Hub id of a causal language model.
        scope: name of the forget scope.
        forget: prompts in the scope.
        retain: prompts outside of it.
        output_dir: directory for the checkpoint: a new or empty one, or a guarded checkpoint, which is replaced.
            Nothing is written there until all is done.
        names: whom or which the scope is about, see `train_prompt_classifier`.
        documents: texts of the scope, see `train_prompt_classifier`.
        encoder: text encoder the classifier stands on.
        corruption: what is done to a flagged prompt; the default corruption if None.
        tokens: which tokens of a flagged prompt are corrupted, see [`ForgetScope`][hf_eco.ForgetScope].
        entities: token classifier for `tokens="entities"`.
        threshold: the classifier's threshold; calibrated on a part of the prompts that is kept out of training if
            None.
        max_fpr: highest false positive rate allowed, see `calibrate_threshold`.
        max_fnr: highest false negative rate allowed, beyond which prompts are left uncertain, see
            `calibrate_threshold`.
        confidence: of the bounds.
        calibration_fraction: share of the prompts of each kind kept for calibration, in (0, 1). None of those is
            trained on, though it be a sentence of a document or come with the package.
        examples: made of the prompts for training, see `train_prompt_classifier`.
        seed: of the splits and the training.

    Returns:
        The guarded model. What was measured stands in `model.config.eco.scopes[0].calibration`.

    Raises:
        ValueError: a value is out of its range, or there are too few prompts to vouch for `max_fpr` or `max_fnr`.
            Known before the training starts.
        OSError: the base model or the encoder cannot be found.
        FileExistsError: `output_dir` holds something else.
    """
    guarded_scope = ForgetScope(
        name=scope,
        threshold=0.5 if threshold is None else threshold,
        corruption=corruption or CorruptionConfig(),
        tokens=tokens,
        entities=entities,
        label=scope,
    )
    forget, retain = clean_prompts(forget, retain)
    held_out_forget: list[str] = []
    held_out_retain: list[str] = []
    if threshold is None:
        check_probability("calibration_fraction", calibration_fraction)
        for kind, prompts in (("forget", forget), ("retain", retain)):
            if len(prompts) < 2:
                raise ValueError(
                    f"A calibration takes {kind} prompts that are not trained on, so at least 2 in all, got "
                    f"{len(prompts)}. Add {kind} prompts, or pass threshold=... to do without a calibration."
                )
        (forget, held_out_forget), (retain, held_out_retain) = (
            split_off(prompts, calibration_fraction, seed) for prompts in (forget, retain)
        )
        try:
            allowed_errors(len(held_out_retain), max_fpr, confidence)
            if max_fnr is not None:
                allowed_errors(len(held_out_forget), max_fnr, confidence, "forget")
        except ValueError as error:
            given = f"{len(forget) + len(held_out_forget)} forget and {len(retain) + len(held_out_retain)} retain"
            share = f"{calibration_fraction:.0%}"
            raise ValueError(f"{error} Of your {given} prompts {share} are kept for the calibration.") from error
    try:
        guarded_already = read_eco(base_model, {}) is not None
    except OSError as error:
        raise OSError(f"The base model {base_model!r} cannot be loaded: {error}") from error
    if guarded_already:
        raise ValueError(f"{base_model!r} is guarded already. Load it and use model.add_scope(...).")
    check_guardable(base_model)

    with replacing(output_dir, _is_checkpoint_of_ours) as staged:
        classifier_dir = staged.parent / "classifier"
        classifier = train_prompt_classifier(
            forget,
            retain,
            encoder,
            classifier_dir,
            seed,
            names=names,
            documents=documents,
            exclude=[*held_out_forget, *held_out_retain],
            label=scope,
            examples=examples,
        )
        if threshold is None:
            measured = calibrate_threshold(
                classifier,
                held_out_forget,
                held_out_retain,
                max_fpr=max_fpr,
                max_fnr=max_fnr,
                confidence=confidence,
                label=scope,
            )
            guarded_scope = replace(
                guarded_scope,
                threshold=measured.threshold,
                abstain_threshold=measured.abstain_threshold,
                calibration=measured,
            )
        model = AutoModelForCausalLMWithECO.from_pretrained(
            base_model, eco_config=ECOConfig(scopes=[guarded_scope]), classifiers={scope: classifier}
        )
        model.save_pretrained(staged)
        shutil.copy(classifier_dir / REPORT_NAME, staged / f"classifier-{scope}" / REPORT_NAME)
        write_model_card(staged)  # again, now that the report is there
    return model


_CHECKPOINT_FILES = (
    *(
        "config.json",
        "generation_config.json",
        "modeling_eco.py",
        "README.md",
        "*.safetensors",
        "*.safetensors.index.json",
    ),
    *(
        "tokenizer*",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab*",
        "merges.txt",
        "*.model",
        "chat_template*",
    ),
    *("classifier-*", "tokens-*", "additional_chat_templates"),
)


def _is_checkpoint_of_ours(directory: Path) -> bool:
    """Whether `directory` is a guarded checkpoint, and holds nothing that is not part of one."""
    if any(not any(fnmatch(name, known) for known in _CHECKPOINT_FILES) for name in os.listdir(directory)):
        return False
    try:
        return read_eco(os.fspath(directory), {}) is not None
    except (OSError, ValueError):
        return False
