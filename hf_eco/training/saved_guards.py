"""Changing a guard on disk: its threshold, its corruption, its scopes. The base model's weights are never written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..auto import AutoModelForCausalLMWithECO
from ..checkpoint.loading import read_guard
from ..checkpoint.source import find_guard, read_eco
from ..checkpoint.writing import guard_folders, rewrite_eco, write_guard
from ..configuration import Calibration, CorruptionConfig, ECOConfig, ForgetScope
from ..detection.classifier import PromptClassifier
from ..io.directories import check_directory
from ..modeling import ECOMixin
from .calibration import calibrate_threshold
from .calibration_check import CalibrationCheck, check_calibration
from .corruption_search import CorruptionSearch, optimize_corruption


@dataclass(frozen=True)
class Recalibration:
    """What new prompts say of a scope's threshold.

    Attributes:
        scope: name of the scope.
        threshold: the one in force before.
        old: the calibration in force before; None if there was none.
        check: what the new prompts say about it; None without one.
        new: the calibration by the new prompts; None if the old one was checked and no more.
        written: whether it was put into the directory.
    """

    scope: str
    threshold: float
    old: Calibration | None
    check: CalibrationCheck | None
    new: Calibration | None
    written: bool

    @property
    def outdated(self) -> bool:
        """True if the new prompts refute a stored bound, or score otherwise than the old ones."""
        return self.check is not None and not (self.check.tenable and not self.check.shifted)


def recalibrate_guard(
    guard: str | os.PathLike[str],
    retain: Sequence[str],
    forget: Sequence[str] | None = None,
    near: Sequence[str] | None = None,
    *,
    scope: str | None = None,
    max_fpr: float | None = None,
    max_fnr: float | None = None,
    max_near_fpr: float | None = None,
    confidence: float | None = None,
    write: bool = False,
) -> Recalibration:
    """Holds the calibration of a stored guard against new prompts, and chooses its threshold anew.

    Args:
        guard: path or Hub id of a guarded checkpoint or a guard; a directory, to write.
        retain: new prompts outside the scope.
        forget: new prompts in the scope. Without them a calibration in force is checked only, unless `write` asks for
            a new one; a new one then bounds false positives alone.
        near: near misses, see [`calibrate_threshold`][hf_eco.training.calibrate_threshold].
        scope: name of the scope; the only one if None.
        max_fpr: highest false positive rate; as before if None, else the default. So are the next three.
        max_fnr: highest rate of forget prompts that are not even uncertain.
        max_near_fpr: highest share of near misses flagged.
        confidence: of the bounds.
        write: put the new threshold into the directory.

    Raises:
        KeyError: there is no such scope.
        ValueError: the guard has several scopes and none is named; the scope has no classifier; or as
            `calibrate_threshold`.
        OSError: there is no such guard, or it is to be written and is no directory.
    """
    if write:
        check_directory(guard)
    reader = read_guard(os.fspath(guard))
    of = _scope_of(reader.config, scope)
    if of.name not in reader.classifiers:
        raise ValueError(f"Scope {of.name!r} is recognised by its names alone. There is no threshold to calibrate.")
    classifier, old = reader.classifiers[of.name], of.calibration_in_force
    check = new = None
    if old is not None:
        check = check_calibration(old, classifier, retain, forget, label=of.label)
    if forget is not None or old is None or write:
        asked: dict[str, Any] = {"max_fpr": max_fpr, "max_fnr": max_fnr, "confidence": confidence}
        asked["max_near_fpr"] = max_near_fpr
        known = {name: getattr(old, name, None) if value is None else value for name, value in asked.items()}
        given = {name: value for name, value in known.items() if value is not None}
        new = calibrate_threshold(classifier, forget, retain, near=near, label=of.label, **given)
    if write and new is not None:
        _replace_scope(reader.config, of.calibrated(new))
        rewrite_eco(guard, reader.config)
    return Recalibration(of.name, of.threshold, old, check, new, written=write and new is not None)


def tune_guard(
    guard: str | os.PathLike[str],
    prompts: Sequence[Any],
    *,
    scope: str | None = None,
    device: str | None = None,
    write: bool = True,
    **options: Any,
) -> tuple[CorruptionSearch, CorruptionConfig]:
    """Learns the corruption of a stored guard's scope, and puts it into the directory.

    Args:
        guard: path or Hub id of a guarded checkpoint or a guard; a directory, to write.
        prompts: prompts of the scope.
        scope: name of the scope; the only one if None.
        device: where the model runs; the CPU if None.
        write: put what was learnt into the directory.
        options: as for [`optimize_corruption`][hf_eco.training.optimize_corruption].

    Returns:
        What was found, and the corruption before. Nothing is written unless it `helps`.

    Raises:
        KeyError: there is no such scope.
        ValueError: as `optimize_corruption`.
        OSError: there is no such guard, or it is to be written and is no directory.
    """
    if write:
        check_directory(guard)
    eco = find_guard(os.fspath(guard)).eco
    of = _scope_of(eco, scope)
    model = AutoModelForCausalLMWithECO.from_pretrained(guard, device_map=device)
    found = optimize_corruption(model, of.name, prompts, **options)
    before = of.corruption
    if write and found.helps:
        learnt = model.config.eco.scope(of.name)
        of.corruption, of.learned = learnt.corruption, learnt.learned
        rewrite_eco(guard, eco)
    return found, before


def add_scope_to_guard(
    directory: str | os.PathLike[str], scope: ForgetScope, classifier: PromptClassifier | None = None
) -> None:
    """Has a stored guard forget one scope more; the others' verdicts stay as they are.

    Args:
        directory: of a guarded checkpoint or a guard.
        scope: the scope.
        classifier: its classifier; loaded from `scope.classifier` if None.

    Raises:
        ValueError: a scope of that name exists, or the classifier lacks the scope's label.
        OSError: there is no such directory.
    """
    model = _without_weights(directory)
    model.add_scope(scope, classifier=classifier)
    _write_scopes(directory, model)


def remove_scope_from_guard(directory: str | os.PathLike[str], name: str) -> list[str]:
    """Has a stored guard forget scope `name` no more, and deletes its classifier.

    Returns:
        The names of the scopes that are left.

    Raises:
        KeyError: there is no such scope.
        ValueError: it is the last one.
        OSError: there is no such directory.
    """
    model = _without_weights(directory)
    model.remove_scope(name)
    _write_scopes(directory, model)
    return [scope.name for scope in model.config.eco.scopes]


def _scope_of(eco: ECOConfig, name: str | None) -> ForgetScope:
    if name is not None:
        return eco.scope(name)
    if len(eco.scopes) > 1:
        raise ValueError(f"Which scope is meant: {', '.join(scope.name for scope in eco.scopes)}? Name one of them.")
    return eco.scopes[0]


def _replace_scope(eco: ECOConfig, scope: ForgetScope) -> None:
    eco.scopes = [scope if other.name == scope.name else other for other in eco.scopes]


def _without_weights(directory: str | os.PathLike[str]) -> ECOMixin:
    """The guarded model of a directory with all its guard, and none of its weights."""
    check_directory(directory)
    return AutoModelForCausalLMWithECO.from_pretrained(directory, device_map="meta")


def _write_scopes(directory: str | os.PathLike[str], model: ECOMixin) -> None:
    """Puts the scopes of `model` in place of those in `directory`: the classifiers first, so that config.json never
    names one that is not there."""
    before, eco = guard_folders(directory), read_eco(os.fspath(directory), {})
    assert eco is not None  # it has been loaded from there
    eco.scopes = model.config.eco.scopes
    write_guard(model.eco_guard, directory, eco)
    rewrite_eco(directory, eco)
    for folder in before - guard_folders(directory):
        shutil.rmtree(Path(directory, folder))
