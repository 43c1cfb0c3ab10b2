"""Guards as files: finding, reading and writing them."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase
from transformers.utils import cached_file
from transformers.utils.hub import extract_commit_hash

from .classifier import PromptClassifier
from .configuration import ECOConfig, check_repo_folder, split_composite_config
from .guard import Guard
from .model_card import CARD_NAME, TRAINING_REPORT, kept_from, update_card
from .selection import EntityTagger

DOWNLOAD_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")

STUB = '''"""This checkpoint is guarded by ECO prompts; hf-eco, an ordinary package, does the work."""

try:
    from hf_eco.auto import AutoModelForCausalLMWithECO, GuardedConfig
except ImportError as error:
    raise ImportError(
        "This checkpoint is guarded by ECO prompts and is loaded by hf-eco, which is not installed: pip install hf-eco"
    ) from error

__all__ = ["AutoModelForCausalLMWithECO", "GuardedConfig"]
'''


@dataclass
class GuardSource:
    """Where a guard comes from.

    Attributes:
        eco: the guard's config, a copy of its own.
        repository: path or Hub id of the repository it lies in; None if the user wrote the config.
        replaces_base: True if the repository was named in place of a model and holds no weights.
        download: arguments that fetch files from the repository (or, without one, from the base model).
    """

    eco: ECOConfig
    repository: str | None
    replaces_base: bool = False
    download: dict[str, Any] = field(default_factory=dict)


def find_guard(path: str, eco_config: Any, eco_revision: str | None, download: dict[str, Any]) -> GuardSource:
    """The guard for the model at `path`, by what `from_pretrained` was given.

    Raises:
        TypeError: `eco_config` is of no known kind.
        ValueError: there is no guard.
    """
    if eco_config is not None and read_eco(path, download) is not None:
        raise ValueError(f"{path!r} is guarded already. Load it without eco_config, then use model.add_scope(...).")
    if isinstance(eco_config, ECOConfig):
        return GuardSource(copy.deepcopy(eco_config), None, download=download)
    if eco_config is None:
        repository, arguments = path, download
    elif isinstance(eco_config, (str, os.PathLike)):
        repository = os.fspath(eco_config)
        arguments = {k: v for k, v in download.items() if k not in ("revision", "subfolder")}  # those are the base's
        arguments |= {} if eco_revision is None else {"revision": eco_revision}
    else:
        raise TypeError(f"eco_config is an ECOConfig, a path or a Hub id, got {type(eco_config).__name__}.")
    eco = read_eco(repository, arguments)
    if eco is None:
        raise ValueError(
            f"{repository!r} carries no guard. Pass eco_config=ECOConfig(scopes=[...]), or the path or Hub id of a "
            "guard."
        )
    return GuardSource(eco, repository, replaces_base=eco_config is None and eco.guard_only, download=arguments)


def read_eco(repository: str, download: dict[str, Any]) -> ECOConfig | None:
    """The guard's config in the repository's config.json; None if it is not a guarded one.

    Raises:
        OSError: there is no such repository.
        ValueError: its guard is damaged, or newer than this version of hf-eco.
    """
    if not os.path.exists(repository) and (os.path.isabs(repository) or repository.startswith((".", "~"))):
        raise FileNotFoundError(f"There is no model or guard at {repository!r}.")
    try:
        config_dict, _ = PreTrainedConfig.get_config_dict(repository, **download)
    except OSError as error:
        if os.path.isdir(repository):
            if any(Path(repository).glob("*.gguf")):
                return None  # GGUF files carry their config within
            raise
        raise OSError(f"{repository!r} is no local directory, and not to be had from the Hub: {error}") from error
    _, eco = split_composite_config(config_dict)
    return None if eco is None else ECOConfig.from_dict(eco)


def check_base(source: GuardSource) -> None:
    """Whether the base model that a guard names is to be had.

    Raises:
        OSError: it is not, or not by this token; said before anything large is downloaded.
    """
    base, revision = source.eco.base_model_name_or_path, source.eco.base_revision
    arguments = {k: v for k, v in source.download.items() if k not in ("revision", "subfolder")}
    try:
        if base is None:
            raise OSError("its config names none.")
        arguments |= {"revision": revision, "subfolder": source.eco.base_subfolder or ""}
        cached_file(base, "config.json", _raise_exceptions_for_missing_entries=False, **arguments)  # GGUF has none
    except OSError as error:
        at = f" at revision {revision!r}" if revision is not None else ""
        raise OSError(
            f"{source.repository!r} is a guard without weights, and its base model {base!r}{at} is not to be had: "
            f"{error}\nIf it is private or gated, ask for access and pass token=... If you have a copy of it, put the "
            f"guard on that: AutoModelForCausalLMWithECO.from_pretrained('path', eco_config={source.repository!r})."
        ) from error


def load_tokenizer(repository: str, gguf_file: str | None = None, **download: Any) -> PreTrainedTokenizerBase:
    """The tokenizer that lies beside a model."""
    if gguf_file is not None:
        download = {**download, "gguf_file": gguf_file}
    return AutoTokenizer.from_pretrained(repository, **download)


def load_guard(
    eco: ECOConfig,
    tokenizer: PreTrainedTokenizerBase,
    classifiers: Mapping[str, PromptClassifier],
    taggers: Mapping[str, EntityTagger],
    source: GuardSource | None = None,
) -> Guard:
    """Builds the guard `eco` describes, loading what is not given, and checks or records its known answers.

    Args:
        eco: the config; the guard keeps it.
        tokenizer: the guarded model's tokenizer.
        classifiers: classifiers at hand, by scope name.
        taggers: token classifiers at hand, by scope name.
        source: where `eco` comes from; None, or a source without a repository, if the user wrote it.

    Raises:
        GuardLoadError: the known answers differ.
        ValueError: a scope names no classifier, or one outside its repository.
    """
    stored = source is not None and source.repository is not None
    loaded: dict[tuple[type, str], Any] = {}

    def load(kind: type[PromptClassifier] | type[EntityTagger], name: str | None, scope: str) -> Any:
        if not stored and name is None:
            raise ValueError(f"Scope {scope!r} names no classifier. Set ForgetScope(classifier='path or Hub id').")
        name = check_repo_folder(name) if stored else str(name)
        if (kind, name) not in loaded:
            loaded[kind, name] = _load_from(source, kind, name) if source else kind.from_pretrained(name)
        return loaded[kind, name]

    classifiers = {s.name: classifiers.get(s.name) or load(PromptClassifier, s.classifier, s.name) for s in eco.scopes}
    taggers = {
        s.name: taggers.get(s.name) or load(EntityTagger, s.entities, s.name)
        for s in eco.scopes
        if s.tokens == "entities"
    }
    guard = Guard(eco, classifiers, tokenizer, taggers)
    guard.check_probes()
    guard.record_probes()
    return guard


def read_guard(repository: str, **download: Any) -> Guard:
    """The guard of a guarded or guard-only repository, without the model: for inspecting prompts, or another engine.

    Args:
        repository: path or Hub id.
        download: revision, subfolder, token, cache_dir, local_files_only.

    Raises:
        ValueError: it carries no guard.
        GuardLoadError: its known answers differ.
    """
    source = find_guard(repository, None, None, download)
    return load_guard(source.eco, load_tokenizer(repository, **download), {}, {}, source)


def _load_from(source: GuardSource, kind: Any, name: str) -> Any:
    if source.repository is None:  # a path or Hub id of its own; only what concerns every download applies to it
        common = {k: v for k, v in source.download.items() if k not in ("revision", "subfolder")}
        return kind.from_pretrained(name, **common)
    subfolder = "/".join(part for part in (source.download.get("subfolder"), name) if part)
    return kind.from_pretrained(source.repository, **{**source.download, "subfolder": subfolder})


def name_folders(guard: Guard) -> None:
    """Writes into the guard's config which folder of a repository each classifier goes to; shared ones share one."""
    folders: dict[int, str] = {}
    for scope in guard.config.scopes:
        scope.classifier = folders.setdefault(id(guard.classifiers[scope.name]), f"classifier-{scope.name}")
        if scope.tokens == "entities":
            scope.entities = folders.setdefault(id(guard.taggers[scope.name]), f"tokens-{scope.name}")


def guard_folders(directory: str | os.PathLike[str]) -> set[str]:
    """The folders that a guard's config in `directory` names; none if there is no such config."""
    if not os.path.isfile(os.path.join(directory, "config.json")):
        return set()
    eco = read_eco(os.fspath(directory), {})
    named = {folder for s in eco.scopes for folder in (s.classifier, s.entities)} if eco is not None else set()
    return {check_repo_folder(folder) for folder in named if folder is not None}


def write_guard(
    guard: Guard, directory: str | os.PathLike[str], eco: ECOConfig | None = None, tags: Sequence[str] = ()
) -> None:
    """Writes all of a guard but config.json: classifiers, tokenizer, the stub, and a model card, with `tags`, unless
    there is one that is somebody's own."""
    directory, eco = Path(directory), eco or guard.config
    for scope in eco.scopes:
        _write_classifier(guard.classifiers[scope.name], directory / check_repo_folder(scope.classifier))
        if scope.tokens == "entities":
            guard.taggers[scope.name].save_pretrained(str(directory / check_repo_folder(scope.entities)))
    guard.tokenizer.save_pretrained(directory)
    (directory / "modeling_eco.py").write_text(STUB, encoding="utf-8")
    update_card(eco, directory, tags=tuple(tags))


def _write_classifier(classifier: PromptClassifier, folder: Path) -> None:
    before = _weights(folder)
    classifier.save_pretrained(str(folder))
    if _weights(folder) != before:  # a report of the training that lies there speaks of the classifier that was there
        (folder / TRAINING_REPORT).unlink(missing_ok=True)


def _weights(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.safetensors")}


def rewrite_eco(directory: str | os.PathLike[str], eco: ECOConfig) -> None:
    """Puts `eco` in place of the guard's config in a guarded or guard-only directory; all else stays as it is but the
    model card, unless that is somebody's own. config.json is the old one or the new one at any time, never half of
    it. The classifiers' folders and the known answers in `eco` must be those of the directory.

    Raises:
        OSError: there is no such directory.
        ValueError: it holds no guard.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise NotADirectoryError(f"{str(directory)!r} is no directory of this machine. Download the guard first.")
    path = directory / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    if split_composite_config(config)[1] is None:
        raise ValueError(f"{str(directory)!r} carries no guard.")
    with tempfile.TemporaryDirectory(dir=directory, prefix=".hf-eco-") as scratch:
        written = Path(scratch, "config.json")
        text = json.dumps(config | {"eco": eco.to_dict()}, indent=2, sort_keys=True) + "\n"
        written.write_text(text, encoding="utf-8")
        shutil.copymode(path, written)
        os.replace(written, path)
    update_card(eco, directory, **kept_from(directory))


def note_base(eco: ECOConfig, path: str, download: dict[str, Any]) -> None:
    """Writes into `eco` which base model it guards, by a lasting name: an absolute path, or a Hub id and its
    commit."""
    eco.base_subfolder = download.get("subfolder") or None
    if os.path.isdir(path):
        eco.base_model_name_or_path, eco.base_revision = os.path.abspath(path), None
    else:
        config_file = cached_file(path, "config.json", _raise_exceptions_for_missing_entries=False, **download)
        eco.base_model_name_or_path, eco.base_revision = path, extract_commit_hash(config_file, None)
        quietly = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
        cached_file(path, CARD_NAME, **{**download, "subfolder": ""}, **quietly)  # for its licence, see base_license
