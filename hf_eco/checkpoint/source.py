"""Where a guard comes from: finding it, reading its config, and the base model it names."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig
from transformers.utils import cached_file
from transformers.utils.hub import extract_commit_hash

from ..configuration import ECOConfig
from .format import split_composite_config
from .model_card import CARD_NAME

DOWNLOAD_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")


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
