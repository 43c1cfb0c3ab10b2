"""A guard written to a directory."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from transformers import PreTrainedConfig
from transformers.utils import logging

from ..configuration import ECOConfig, ForgetScope, in_short
from ..detection.classifier import TRAINING_REPORT, PromptClassifier
from ..detection.facts.storage import save_facts
from ..guard.guard import Guard
from ..guard.reach import why_without_effect
from ..io.directories import can_be_exchanged, carry_over, resolved, rewriting
from .format import (
    CARD_NAME,
    CONFIG_NAME,
    FACTS_FOLDER,
    STUB_NAME,
    check_repo_folder,
    is_checkpoint_file,
    is_guarded_config,
    is_weights_file,
    split_composite_config,
)
from .model_card import kept_from, update_card
from .scopes_file import is_scopes_file, part_scopes, write_config
from .source import check_unguarded, read_eco

logger = logging.get_logger(__name__)

STUB = '''"""This checkpoint is guarded by ECO prompts; hf-eco, an ordinary package, does the work."""

try:
    from hf_eco.auto import AutoModelForCausalLMWithECO, GuardedConfig
except ImportError as error:
    raise ImportError(
        "This checkpoint is guarded by ECO prompts and is loaded by hf-eco, which is not installed: pip install hf-eco"
    ) from error

__all__ = ["AutoModelForCausalLMWithECO", "GuardedConfig"]
'''


def name_folders(guard: Guard) -> None:
    """Writes into the guard's config which folder of a repository each classifier goes to; shared ones share one, and
    so do the facts of all scopes, whose digests it writes too."""
    folders: dict[int, str] = {}
    for scope in guard.more_than_names:
        if scope.name in guard.classifiers:
            scope.classifier = folders.setdefault(id(guard.classifiers[scope.name]), f"classifier-{scope.name}")
        if scope.tokens == "entities":
            scope.entities = folders.setdefault(id(guard.taggers[scope.name]), f"tokens-{scope.name}")
        if scope.by_facts and guard.facts is not None:
            scope.encoder, scope.facts_sha256 = FACTS_FOLDER, guard.facts.digest_of(scope.name)


def _guard_in(directory: str | os.PathLike[str]) -> ECOConfig | None:
    """The guard that `directory` holds; None if there is none, or a damaged one, which may have to be replaced."""
    try:
        return read_eco(os.fspath(directory), {}) if os.path.isdir(directory) else None
    except (OSError, ValueError):
        return None


def folders_of(scopes: Iterable[ForgetScope]) -> set[str]:
    """The folders of their repository that stored scopes name."""
    named = {folder for s in scopes for folder in (s.classifier, s.entities, s.encoder)}
    return {check_repo_folder(folder) for folder in named if folder is not None}


def _warn_of_lost_scopes(directory: Path, there: ECOConfig, instead: ECOConfig) -> None:
    """Says so where a guard takes the place of one with scopes that it does not have."""
    if lost := [scope.name for scope in there.scopes if scope.name not in instead.by_name]:
        logger.warning(
            f"The guard in {str(directory)!r} held {in_short(lost)}, which the guard that is saved in its place "
            "does not. If that was no wish of yours, make the older one anew in another directory."
        )


def check_storable(eco: ECOConfig) -> None:
    """Raises ValueError if a scope would be without effect: it would never flag, or change nothing."""
    for scope in eco.scopes:
        if (why := why_without_effect(scope)) is not None:
            raise ValueError(f"{why} Nothing was saved.")


@contextmanager
def rewriting_checkpoint(
    directory: str | os.PathLike[str],
    *,
    with_weights: bool,
    instead: ECOConfig | None = None,
    scratch: Path | None = None,
) -> Iterator[Path]:
    """A new version of the directory of a guarded checkpoint or guard, see `rewriting` in `hf_eco/io/directories.py`.
    The guard of the old version goes, and with `with_weights` its weights; its model card is there for the new one.

    Args:
        directory: created if need be.
        with_weights: whether the new version has weights.
        instead: the guard of the new version. It is said which scopes of the old one it lacks; None to say nothing.
        scratch: of `changing(directory)`, if that is in force.

    Raises:
        OSError: it cannot be written, for whatever reason. The directory is as it was.
    """
    old = resolved(directory)
    there = _guard_in(old)
    gone = set() if there is None else folders_of(there.scopes)
    if there is not None and instead is not None:
        _warn_of_lost_scopes(Path(directory), there, instead)

    def goes(name: str) -> bool:
        return name in gone or is_scopes_file(name) or (with_weights and is_weights_file(name))

    try:
        with rewriting(old, goes, last=CONFIG_NAME, scratch=scratch) as staged:
            if (old / CARD_NAME).exists():
                shutil.copy2(old / CARD_NAME, staged)
            yield staged
    except SafetensorError as error:  # which says of a full disk that it is an error of safetensors
        raise OSError(f"{str(old)!r} could not be written ({error}). Make room, and save it again.") from error


def write_guard(
    guard: Guard,
    directory: str | os.PathLike[str],
    eco: ECOConfig | None = None,
    tags: Sequence[str] = (),
    previous: str | os.PathLike[str] | None = None,
) -> None:
    """Writes all of a guard but config.json: classifiers, tokenizer, the stub, and a model card, with `tags`, unless
    there is one that is somebody's own. Training reports are taken over from the `previous` version of the directory,
    if there is one."""
    directory, eco = Path(directory), eco or guard.config
    write_models(guard, directory, previous)
    guard.tokenizer.save_pretrained(directory)
    (directory / STUB_NAME).write_text(STUB, encoding="utf-8")
    update_card(eco, directory, tags=tuple(tags))


def write_models(guard: Guard, directory: Path, previous: str | os.PathLike[str] | None = None) -> None:
    """Writes the classifiers, token classifiers and facts of a guard, each into the folder that its config names."""
    for scope in guard.more_than_names:
        if scope.name in guard.classifiers:
            folder = check_repo_folder(scope.classifier)
            _write_classifier(guard.classifiers[scope.name], directory / folder, Path(previous or directory, folder))
        if scope.name in guard.taggers:
            guard.taggers[scope.name].save_pretrained(str(directory / check_repo_folder(scope.entities)))
    if guard.facts is not None:
        save_facts(guard.facts, directory / FACTS_FOLDER)


def write_guard_only(
    guard: Guard,
    config: PreTrainedConfig,
    directory: str | os.PathLike[str],
    tags: Sequence[str] = (),
) -> None:
    """Writes a guard-only directory: config.json and all else of the guard, without weights.

    Args:
        guard: the guard.
        config: of the guarded model, with the guard's config as `eco`; a copy that may be changed.
        directory: created if need be.
        tags: for the model card.

    Raises:
        ValueError: no base model is known, or it is guarded itself.
    """
    eco: ECOConfig = config.eco
    check_storable(eco)
    eco.guard_only = True
    if not eco.base_model_name_or_path:
        raise ValueError("Nobody knows which base model this guard is for. Pass base_model='path or Hub id'.")
    base_config = os.path.join(eco.base_model_name_or_path, eco.base_subfolder or "", CONFIG_NAME)
    if os.path.isfile(base_config):
        check_unguarded(base_config, f"The base model {eco.base_model_name_or_path!r}")
    if os.path.isabs(eco.base_model_name_or_path):
        logger.warning(
            f"The guard names a directory of this machine as its base, {eco.base_model_name_or_path!r}. Pass "
            "base_model='its Hub id' for others to find it."
        )
    with rewriting_checkpoint(directory, with_weights=False, instead=eco) as staged:
        config.save_pretrained(staged)
        write_guard(guard, staged, eco, tags, previous=directory)


def _write_classifier(classifier: PromptClassifier, folder: Path, previous: Path) -> None:
    classifier.save_pretrained(str(folder))
    report = previous / TRAINING_REPORT
    if classifier.training_report is None and report.exists() and _weights(previous) == _weights(folder):
        shutil.copy2(report, folder)  # of this classifier, which came without


def _weights(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.safetensors")}


def rewrite_eco(directory: str | os.PathLike[str], eco: ECOConfig, scratch: Path | None = None) -> None:
    """Puts `eco` in place of the guard's config in a guarded or guard-only directory; all else stays as it is but the
    model card, unless that is somebody's own. The guard is the old one or the new one at any time, never half of it.
    The classifiers' folders and the known answers in `eco` must be those of the directory.

    Args:
        directory: of the guard.
        eco: its new config.
        scratch: of `changing(directory)`, if that is in force.

    Raises:
        OSError: there is no such directory, or it cannot be written.
        ValueError: it holds no guard, or a scope of `eco` would be without effect.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise NotADirectoryError(f"{str(directory)!r} is no directory of this machine. Download the guard first.")
    in_one_step(directory, lambda where: put_eco(Path(where), eco), scratch)


def in_one_step(
    directory: str | os.PathLike[str],
    write: Callable[[str | os.PathLike[str]], None],
    scratch: Path | None = None,
) -> None:
    """Has `write` change config.json, and what goes with it, of a directory: in a new version of it, which takes its
    place in one step. `write` replaces files, and changes none in place: all have a second name."""
    if not can_be_exchanged(directory):
        write(directory)  # config.json in one step, then the card
        return
    with rewriting(directory, is_scopes_file, last=CONFIG_NAME, scratch=scratch) as staged:
        carry_over(Path(directory), staged, lambda name: False)
        write(staged)


def put_eco(directory: Path, eco: ECOConfig) -> None:
    """As `rewrite_eco`, of a directory that is not in use."""
    check_storable(eco)
    path = directory / CONFIG_NAME
    config = json.loads(path.read_text(encoding="utf-8"))
    if split_composite_config(config)[1] is None:
        raise ValueError(f"{str(directory)!r} carries no guard.")
    stored, scopes = part_scopes(eco)
    write_config(path, config | {"eco": stored}, scopes)
    update_card(eco, directory, **kept_from(directory))


def copy_checkpoint(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Copies a guarded checkpoint, or guard, into a directory that holds other things beside: its folders whole, and
    its files but a model card where there is one. Of a directory that is no such thing, nothing."""
    source, target = Path(source), Path(target)
    if not is_guarded_config(source / CONFIG_NAME):
        return
    there = _guard_in(source)
    for folder in set() if there is None else folders_of(there.scopes):
        shutil.rmtree(target / folder, ignore_errors=True)
        shutil.copytree(source / folder, target / folder)
    for file in source.iterdir():
        kept = file.name == CARD_NAME and (target / CARD_NAME).exists()
        if file.is_file() and is_checkpoint_file(file.name) and not kept:
            shutil.copy(file, target / file.name)
    for file in target.iterdir():
        if is_scopes_file(file.name) and not (source / file.name).exists():
            file.unlink()
