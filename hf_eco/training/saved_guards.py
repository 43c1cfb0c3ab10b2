"""Changing a guard on disk: its threshold, its corruption, its scopes. The base model's weights are never written."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..auto import AutoModelForCausalLMWithECO, model_without_weights
from ..checkpoint.loading import load_guard, load_stored_facts, load_tokenizer, read_guard
from ..checkpoint.source import GuardSource, find_guard
from ..checkpoint.stored_scopes import StoredScopes
from ..checkpoint.writing import (
    check_storable,
    folders_of,
    in_one_step,
    name_folders,
    put_eco,
    rewrite_eco,
    rewriting_checkpoint,
    write_models,
)
from ..configuration import Calibration, CorruptionConfig, ECOConfig, ForgetScope, in_short, resolve_strengths
from ..detection.classifier import PromptClassifier
from ..guard import Guard
from ..guard.naming import NAME_PROBE
from ..io.directories import carry_over, changing, check_directory
from ..modeling import check_dims
from .calibration import calibrate_threshold, check_reached, rounded_log_odds
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
        KeyError: there is no such scope, or it was removed meanwhile.
        ValueError: the guard has several scopes and none is named; the scope has no classifier; nothing that is known
            to be of the scope reaches the threshold that is to be written; or as `calibrate_threshold`.
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
        wanted = {name: getattr(old, name, None) if value is None else value for name, value in asked.items()}
        given = {name: value for name, value in wanted.items() if value is not None}
        known = _log_odds_known(of, classifier) if write and forget is None else []
        if write and forget is None and not known:
            raise ValueError(
                f"Nothing is known of how prompts of scope {of.name!r} score, so nobody could tell whether a new "
                "threshold would flag any. Pass forget prompts: --forget."
            )
        new = calibrate_threshold(classifier, forget, retain, near=near, label=of.label, **given)
        if write:
            check_reached(new, classifier, [*retain, *(near or ())], of_scope=known, label=of.label)
    if write and new is not None:
        with changing(guard) as scratch:  # scopes that came or went meanwhile stay and stay away
            eco = find_guard(os.fspath(guard)).eco
            rewrite_eco(guard, _with_scope(eco, eco.scope(of.name).calibrated(new)), scratch)
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
        with changing(guard) as scratch:
            eco = find_guard(os.fspath(guard)).eco
            now = eco.scope(of.name)
            now.corruption, now.learned = learnt.corruption, learnt.learned
            rewrite_eco(guard, eco, scratch)
    return found, before


def add_scopes_to_guard(
    directory: str | os.PathLike[str],
    scopes: Sequence[ForgetScope],
    classifiers: Mapping[str, PromptClassifier] | None = None,
) -> None:
    """Has a stored guard forget more scopes: all of them, or, where one cannot be guarded, none. The others' verdicts
    stay as they are. Of those that are there, only classifiers are loaded, and only where a new scope has one.

    Args:
        directory: of a guarded checkpoint or a guard.
        scopes: the scopes.
        classifiers: their classifiers, by scope name; loaded from `scope.classifier` where not given.

    Raises:
        ValueError: a scope of that name exists, a name would not be recognised, or a classifier lacks the scope's
            label.
        OSError: there is no such directory.
    """
    check_directory(directory)
    with changing(directory) as scratch:
        by_lines, source = StoredScopes.read(directory), None
        if by_lines is None:
            source = find_guard(os.fspath(directory))
            eco, names = source.eco, list(source.eco.by_name)
        else:
            eco, names = by_lines.outline()[0], by_lines.names
        there = set(map(str.casefold, names))
        addition = ECOConfig(scopes=copy.deepcopy(list(scopes)), **eco.how_names_are_kept)
        if twice := [scope.name for scope in addition.scopes if scope.name.casefold() in there]:
            raise ValueError(
                f"The guard in {os.fspath(directory)!r} holds {in_short(twice)} already, and nothing was added. Give "
                "new scopes names of their own (a file of names: use a .csv with a column id), or remove those first."
            )
        _check_dims(directory, eco, addition)
        facts = None
        if any(scope.by_facts for scope in addition.scopes):
            source = source or find_guard(os.fspath(directory))
            facts = load_stored_facts(source.eco, source)
        new = load_guard(addition, load_tokenizer(os.fspath(directory)), classifiers or {}, {}, facts=facts)
        resolve_strengths(new.config.scopes, eco.embedding_rms)
        name_folders(new)
        if by_lines is not None and not new.more_than_names:
            check_storable(new.config)
            in_one_step(directory, by_lines.joined_by(new.config.scopes).write, scratch)
        else:
            eco = (source or find_guard(os.fspath(directory))).eco
            together = replace(eco, scopes=[*eco.scopes, *new.config.scopes])
            _write_scopes(directory, eco, together, new.config.scopes, new, scratch)


def remove_scopes_from_guard(directory: str | os.PathLike[str], names: Sequence[str]) -> list[str]:
    """Has a stored guard forget scopes no more: all of them, or, where one is unknown, none. Their classifiers are
    deleted.

    Returns:
        The names of the scopes that are left.

    Raises:
        KeyError: there is no such scope.
        ValueError: none would be left.
        OSError: there is no such directory.
    """
    check_directory(directory)
    with changing(directory) as scratch:
        by_lines = StoredScopes.read(directory)
        if by_lines is not None and _are_lines_alone(by_lines, names):
            without = by_lines.without(names)
            in_one_step(directory, without.write, scratch)
            return without.names
        eco = find_guard(os.fspath(directory)).eco
        left = eco.without(names)
        gone = [scope for scope in eco.scopes if scope.name in set(names)]
        _write_scopes(directory, eco, left, gone, None, scratch)
    return [scope.name for scope in left.scopes]


def _are_lines_alone(stored: StoredScopes, names: Sequence[str]) -> bool:
    """Whether scopes may go by taking out their lines: none has a folder, and lines are left. An unknown scope is no
    such one; who reads the whole guard says so."""
    eco, alike = stored.outline()
    with_models = {name for scope in _with_models(eco.scopes) for name in alike.get(scope.name, (scope.name,))}
    return set(names) < stored.lines.keys() and with_models.isdisjoint(names)


def _scope_of(eco: ECOConfig, name: str | None) -> ForgetScope:
    if name is not None:
        return eco.scope(name)
    if len(eco.scopes) > 1:
        raise ValueError(f"Which scope is meant: {in_short([s.name for s in eco.scopes])}? Name one of them.")
    return eco.scopes[0]


def _log_odds_known(scope: ForgetScope, classifier: PromptClassifier) -> list[float]:
    """The rounded log-odds of prompts that are known to be of a scope: of those it was calibrated on, of its known
    answers that are flagged, and of prompts that name a name its classifier has learnt."""
    measured = scope.calibration.forget_scores if scope.calibration is not None else []
    flagged = [probe.probability for probe in scope.probes if probe.probability >= scope.threshold]
    naming = [NAME_PROBE.format(name=name) for name in classifier.names(scope.label)]
    scores = [*flagged, *(classifier.score(naming, label=scope.label) if naming else ())]
    return [*measured, *map(rounded_log_odds, scores)]


def _with_scope(eco: ECOConfig, scope: ForgetScope) -> ECOConfig:
    """A config with `scope` in place of the one of that name."""
    return replace(eco, scopes=[scope if other.name == scope.name else other for other in eco.scopes])


def _with_models(scopes: Iterable[ForgetScope]) -> list[ForgetScope]:
    """Those of `scopes` that have a folder in the directory."""
    return [scope for scope in scopes if not scope.untrained or scope.tokens == "entities" or scope.by_facts]


def _check_dims(directory: str | os.PathLike[str], eco: ECOConfig, addition: ECOConfig) -> None:
    """Raises ValueError if a new scope corrupts more dimensions than the model's embeddings have. A model is made to
    find out how many those are, unless a scope that is there corrupts as many."""
    known = max((scope.corruption.dims or 1 for scope in eco.scopes), default=1)
    if any((scope.corruption.dims or 1) > known for scope in addition.scopes):
        check_dims(model_without_weights(directory), addition.scopes)


def _write_scopes(
    directory: str | os.PathLike[str],
    before: ECOConfig,
    after: ECOConfig,
    changed: Sequence[ForgetScope],
    added: Guard | None,
    scratch: Path,
) -> None:
    """Puts `after` in place of `before` in a directory, which is being changed with `scratch`. Where the `changed`
    scopes, which come or go, have classifiers, all are loaded and written, for scopes on one encoder share a folder;
    weights and all else are in the new version of the directory by a second name. Else config.json is all that
    changes."""
    if not _with_models(changed):
        rewrite_eco(directory, after, scratch)
        return
    names = {scope.name for scope in changed}
    kept = _with_models(scope for scope in after.scopes if scope.name not in names)
    guard = added
    if kept:
        source = GuardSource(replace(after, scopes=kept), os.fspath(directory))
        stored = load_guard(source.eco, load_tokenizer(os.fspath(directory)), {}, {}, source)
        guard = stored if added is None else stored.joined_by(added)
    if guard is not None:
        name_folders(guard)
    folders = folders_of(before.scopes)
    with rewriting_checkpoint(directory, with_weights=False, scratch=scratch) as staged:
        carry_over(Path(directory), staged, folders.__contains__)
        if guard is not None:
            write_models(guard, staged, directory)
        put_eco(staged, after)
