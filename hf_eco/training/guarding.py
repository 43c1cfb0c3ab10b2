"""From a base model and two lists of prompts to a guarded checkpoint on disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ..auto import AutoModelForCausalLMWithECO, check_guardable
from ..checkpoint.format import CONFIG_NAME, STUB_NAME, is_checkpoint_file, is_guarded_config
from ..checkpoint.source import read_eco
from ..configuration import CONVERSATION, ROLES, CorruptionConfig, ECOConfig, ForgetScope
from ..detection.classifier import PromptClassifier
from ..io.directories import check_room, replacing
from ..modeling import ECOMixin
from .bounds import check_probability
from .calibration import CalibrationTargets, check_reached, choose_threshold
from .defaults import DEFAULT_ENCODER, EXAMPLES
from .labelled_prompts import LabelledPrompts
from .prompt_classifier import TrainingSettings, fit_prompt_classifier


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
    judged_roles: Sequence[str] = ROLES,
    flag_lasts: str | int = CONVERSATION,
    threshold: float | None = None,
    max_fpr: float = 0.01,
    max_fnr: float | None = None,
    confidence: float = 0.95,
    calibration_fraction: float = 0.35,
    examples: int = EXAMPLES,
    seed: int = 0,
    overwrite: bool = False,
) -> ECOMixin:
    """Trains and calibrates a prompt classifier, guards `base_model` with it and saves the guarded checkpoint.

    Args:
        base_model: path or Hub id of a causal language model.
        scope: name of the forget scope.
        forget: prompts in the scope. Without any, names or documents say what is to be forgotten, and the false
            negative rate is not measured.
        retain: prompts outside of it.
        output_dir: directory for the checkpoint: a new or empty one; with `overwrite` also a guarded checkpoint.
            Nothing is written there until all is done.
        names: whom or which the scope is about, see `train_prompt_classifier`.
        documents: texts of the scope, see `train_prompt_classifier`.
        encoder: text encoder the classifier stands on.
        corruption: what is done to a flagged prompt; the default corruption if None.
        tokens: which tokens of a flagged prompt are corrupted, see [`ForgetScope`][hf_eco.ForgetScope].
        entities: token classifier for `tokens="entities"`.
        judged_roles: whose messages are judged, see [`ECOConfig`][hf_eco.ECOConfig].
        flag_lasts: how long a flagged conversation stays flagged, likewise.
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
        overwrite: replace a guard in `output_dir`, with all its scopes.

    Returns:
        The guarded model. What was measured stands in `model.config.eco.scopes[0].calibration`.

    Raises:
        ValueError: a value is out of its range, or there are too few prompts to vouch for `max_fpr` or `max_fnr`.
            Known before the training starts.
        OSError: the base model or the encoder cannot be found.
        FileExistsError: `output_dir` holds something else, or a guard and `overwrite` is not set.
    """
    guarded_scope = ForgetScope(
        name=scope,
        threshold=0.5 if threshold is None else threshold,
        corruption=corruption or CorruptionConfig(),
        tokens=tokens,
        entities=entities,
        label=scope,
    )
    eco_config = ECOConfig([guarded_scope], judged_roles=judged_roles, flag_lasts=flag_lasts)
    may_replace = check_output(output_dir, overwrite)
    prompts, held_out = LabelledPrompts.clean(forget, retain), None
    targets = CalibrationTargets(max_fpr, max_fnr, confidence)
    if threshold is None:
        prompts, held_out = _hold_out(prompts, targets, calibration_fraction, seed)
    exclude = () if held_out is None else (*held_out.forget, *held_out.retain)
    settings = TrainingSettings(
        encoder=encoder,
        seed=seed,
        names=names,
        documents=documents,
        exclude=exclude,
        label=scope,
        examples=examples,
    )
    check_base(base_model)
    check_room_for(base_model, output_dir)
    with replacing(output_dir, may_replace) as staged:
        classifier = fit_prompt_classifier(prompts, settings, staged.parent / "classifier")
        if threshold is not None and prompts.forget:
            _check_given(threshold, classifier, prompts.forget, scope)
        if held_out is not None:
            measured = choose_threshold(classifier, held_out, targets, label=scope)
            check_reached(measured, classifier, held_out.retain, label=scope)
            guarded_scope = guarded_scope.calibrated(measured)
        model = AutoModelForCausalLMWithECO.from_pretrained(
            base_model, eco_config=replace(eco_config, scopes=[guarded_scope]), classifiers={scope: classifier}
        )
        model.save_pretrained(staged)
    name_after(model, output_dir)
    return model


def _hold_out(
    prompts: LabelledPrompts, targets: CalibrationTargets, fraction: float, seed: int
) -> tuple[LabelledPrompts, LabelledPrompts]:
    """The prompts that are trained on, and those that are calibrated on.

    Raises:
        ValueError: there are too few to vouch for the rates.
    """
    check_probability("calibration_fraction", fraction)
    for kind, own in (("forget", prompts.forget), ("retain", prompts.retain)):
        if len(own) == 1 or (kind == "retain" and not own):  # without forget prompts, false positives are measured
            raise ValueError(
                f"A calibration takes {kind} prompts that are not trained on, so at least 2 in all, got "
                f"{len(own)}. Add {kind} prompts, or pass threshold=... to do without a calibration."
            )
    training, held_out = prompts.split_off(fraction, seed)
    try:
        targets.allowed(held_out)
    except ValueError as error:
        given = f"{len(prompts.forget)} forget and {len(prompts.retain)} retain"
        raise ValueError(f"{error} Of your {given} prompts {fraction:.0%} are kept for the calibration.") from error
    return training, held_out


def _check_given(threshold: float, classifier: PromptClassifier, forget: Sequence[str], scope: str) -> None:
    """Raises ValueError if no forget prompt reaches a threshold that was given."""
    highest = max(classifier.score(forget, label=scope))
    if highest < threshold:
        raise ValueError(
            f"None of the {len(forget)} forget prompts reaches threshold={threshold:g}, the highest comes to "
            f"{highest:.8g}: such a guard would never flag. Use a lower one, or threshold=None to calibrate it."
        )


def check_base(base_model: str) -> None:
    """Raises what loading the base model with a guard would raise, before the training."""
    try:
        guarded_already = read_eco(base_model, {}) is not None
    except OSError as error:
        raise OSError(f"The base model {base_model!r} cannot be loaded: {error}") from error
    if guarded_already:
        raise ValueError(f"{base_model!r} is guarded already. Load it and use model.add_scope(...).")
    check_guardable(base_model)


def check_room_for(base_model: str, output_dir: str | os.PathLike[str]) -> None:
    """Raises OSError, before the training, if the disk of `output_dir` has no room for the weights of a base model
    that lies in a directory of this machine."""
    if os.path.isdir(base_model):
        check_room(output_dir, sum(path.stat().st_size for path in Path(base_model).glob("*.safetensors")))


def check_output(output_dir: str | os.PathLike[str], overwrite: bool) -> Callable[[Path], bool]:
    """Which filled directories a new guard may replace, for `replacing`. `output_dir` is asked at once, so that nobody
    trains for nothing.

    Raises:
        FileExistsError: there is a guard in it and `overwrite` is not set: its scopes would be lost.
    """

    def may_replace(directory: Path) -> bool:
        ours = is_checkpoint_of_ours(directory)
        if ours and not overwrite:
            raise FileExistsError(
                f"There is a guard in {str(directory)!r} already, and its scopes would be lost. To add scopes to it: "
                f"hf-eco scopes add {directory}. Or name a new directory, or pass overwrite=True to replace it."
            )
        return ours

    if (target := Path(os.path.realpath(output_dir))).is_dir():
        may_replace(target)
    return may_replace


def name_after(model: ECOMixin, output_dir: str | os.PathLike[str]) -> None:
    """Has a model be called after the directory that it was put into when it was saved."""
    model.name_or_path = model.config.name_or_path = os.path.abspath(output_dir)


def is_checkpoint_of_ours(directory: Path) -> bool:
    """Whether `directory` is a guarded checkpoint, be it damaged or cut short, and holds nothing that is not part of
    one."""
    if not all(is_checkpoint_file(name) for name in os.listdir(directory)):
        return False
    return is_guarded_config(directory / CONFIG_NAME) or (directory / STUB_NAME).exists()
