"""Where a guard comes from: finding it, reading its config, and the base model it names.

A guard's config is read without importing torch; what needs transformers imports it when it is used.
"""

from __future__ import annotations

import copy
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..configuration import ECOConfig
from ..io.directories import check_not_a_missing_path
from .format import CARD_NAME, CONFIG_NAME, split_composite_config
from .scopes_file import join_scopes, scopes_file_of


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


def find_guard(repository: str, **download: Any) -> GuardSource:
    """The guard of a guarded or guard-only repository.

    Args:
        repository: path or Hub id.
        download: revision, subfolder, token, cache_dir, local_files_only.

    Raises:
        ValueError: it carries no guard, or its guard is damaged or newer than this version of hf-eco.
        OSError: there is no such repository.
    """
    return guard_for(repository, None, None, None, download)


def guard_for(
    path: str,
    known: ECOConfig | None,
    eco_config: ECOConfig | str | os.PathLike[str] | None,
    eco_revision: str | None,
    download: dict[str, Any],
) -> GuardSource:
    """The guard for the model at `path`, by what `from_pretrained` was given.

    Args:
        path: path or Hub id of the model, or of a guard-only repository.
        known: the guard in its config.json, where that has been read; None to have it read here.
        eco_config: the guard to put on it; None if it is guarded itself.
        eco_revision: revision of the repository that `eco_config` names.
        download: arguments that fetch files from `path`.

    Raises:
        TypeError: `eco_config` is of no known kind.
        ValueError: there is no guard, or there are two.
    """
    own = read_eco(path, download) if known is None else known
    if eco_config is not None and own is not None:
        raise ValueError(f"{path!r} is guarded already. Load it without eco_config, then use model.add_scope(...).")
    if isinstance(eco_config, ECOConfig):
        return GuardSource(copy.deepcopy(eco_config), None, download=download)
    repository, arguments, eco = path, download, own
    if isinstance(eco_config, (str, os.PathLike)):
        repository = os.fspath(eco_config)
        arguments = {k: v for k, v in download.items() if k not in ("revision", "subfolder")}  # those are the base's
        arguments |= {} if eco_revision is None else {"revision": eco_revision}
        eco = read_eco(repository, arguments)
    elif eco_config is not None:
        raise TypeError(f"eco_config is an ECOConfig, a path or a Hub id, got {type(eco_config).__name__}.")
    if eco is None:
        raise ValueError(
            f"{repository!r} carries no guard. Pass eco_config=ECOConfig(scopes=[...]), or the path or Hub id of a "
            "guard."
        )
    return GuardSource(eco, repository, replaces_base=eco_config is None and eco.guard_only, download=arguments)


def read_eco(repository: str, download: dict[str, Any]) -> ECOConfig | None:
    """The guard's config in the repository's config.json and the file of scopes that it names; None if it is not a
    guarded one.

    Raises:
        OSError: there is no such repository, or the file of scopes is missing or another (`GuardLoadError`).
        ValueError: its guard is damaged, or newer than this version of hf-eco.
    """
    stored = read_stored(repository, download)
    if stored is None:
        return None
    eco, content = stored
    return ECOConfig.from_dict(eco if scopes_file_of(eco) is None else join_scopes(eco, content))


def read_stored(repository: str, download: dict[str, Any]) -> tuple[dict[str, Any], bytes | None] | None:
    """The `eco` of the repository's config.json, and what the file of scopes holds that it names, which may be
    missing; None if it is not a guarded one. Errors as of `read_eco`."""
    check_not_a_missing_path(repository, "model or guard")
    looked_for = None
    while True:
        _, eco = split_composite_config(_read_config(repository, download))
        if eco is None:
            return None
        name = scopes_file_of(eco)
        content = None if name is None else _read_scopes_file(repository, name, download)
        if name is None or content is not None or name == looked_for:
            return eco, content
        looked_for = name  # the guard may have been changed since its config was read


def _read_scopes_file(repository: str, name: str, download: dict[str, Any]) -> bytes | None:
    """What a file beside config.json holds; None if it is not there."""
    path: str | os.PathLike[str] | None
    if os.path.isfile(repository):
        path = Path(repository).with_name(name)
    elif os.path.isdir(repository):
        path = Path(repository, download.get("subfolder") or "", name)
    else:
        from .._transformers import file_in_repository

        path = file_in_repository(repository, name, **download)
    try:
        return None if path is None else Path(path).read_bytes()
    except FileNotFoundError:
        return None


def _read_config(repository: str, download: dict[str, Any]) -> dict[str, Any]:
    """What config.json of a repository holds; nothing if the repository has GGUF files, which hold it within."""
    if os.path.isfile(repository):
        path = Path(repository)
    elif os.path.isdir(repository):
        path = Path(repository, download.get("subfolder") or "", CONFIG_NAME)
        if not path.is_file():
            if any(Path(repository).glob("*.gguf")):
                return {}
            raise OSError(f"{repository!r} holds no {CONFIG_NAME}, so no model and no guard.")
    else:
        from transformers.utils.hub import cached_file

        try:
            path = Path(str(cached_file(repository, CONFIG_NAME, **download)))
        except OSError as error:
            raise OSError(f"{repository!r} is no local directory, and not to be had from the Hub: {error}") from error
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise OSError(f"{CONFIG_NAME} of {repository!r} is damaged ({error}). Download it again.") from error
    if not isinstance(config, dict):
        raise OSError(f"{CONFIG_NAME} of {repository!r} is damaged: it holds no object. Download it again.")
    return config


def check_base(source: GuardSource) -> None:
    """Whether the base model that a guard names is to be had, and unguarded.

    Raises:
        OSError: it is not, or not by this token; said before anything large is downloaded.
        ValueError: it is guarded itself.
    """
    from .._transformers import file_in_repository

    base, revision = source.eco.base_model_name_or_path, source.eco.base_revision
    arguments = {k: v for k, v in source.download.items() if k not in ("revision", "subfolder")}
    try:
        if base is None:
            raise OSError("its config names none.")
        arguments |= {"revision": revision, "subfolder": source.eco.base_subfolder or ""}
        found = file_in_repository(base, CONFIG_NAME, **arguments)  # GGUF has none
    except OSError as error:
        at = f" at revision {revision!r}" if revision is not None else ""
        raise OSError(
            f"{source.repository!r} is a guard without weights, and its base model {base!r}{at} is not to be had: "
            f"{error}\nIf it is private or gated, ask for access and pass token=... If you have a copy of it, put the "
            f"guard on that: AutoModelForCausalLMWithECO.from_pretrained('path', eco_config={source.repository!r})."
        ) from error
    if found is not None:
        check_unguarded(found, f"The base model {base!r} of the guard {source.repository!r}")


def check_unguarded(config_file: str, what: str) -> None:
    """Raises ValueError if a base model's config.json is that of a guarded checkpoint: its scopes would be lost, for a
    guard without weights is put in the place of any other.

    Args:
        config_file: path.
        what: says which model, in the message.
    """
    if split_composite_config(_read_config(config_file, {}))[1] is not None:
        raise ValueError(
            f"{what} is guarded itself, and its own scopes would be lost. Load the guarded model, add the scopes to "
            "it (model.add_scope), and save it whole; or name the model that it was guarded from: "
            "save_guard(..., base_model=...)."
        )


def base_of(source: GuardSource, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The base model of a guard without weights, and the arguments of `from_pretrained` that load it: those that say
    where the guard lies are replaced.

    Raises:
        OSError: the base model is not to be had.
    """
    check_base(source)
    arguments = {name: value for name, value in arguments.items() if name not in ("revision", "subfolder")}
    for name, value in (("revision", source.eco.base_revision), ("subfolder", source.eco.base_subfolder)):
        if value is not None:
            arguments[name] = value
    if adapter := arguments.get("adapter_kwargs"):  # AutoModel looks for adapters there, at that commit
        arguments["adapter_kwargs"] = {name: value for name, value in adapter.items() if name != "revision"}
    return source.eco.base_model_name_or_path or "", arguments


def note_base(eco: ECOConfig, path: str, download: dict[str, Any]) -> None:
    """Writes into `eco` which base model it guards, by a lasting name: an absolute path, or a Hub id and its
    commit."""
    from .._transformers import file_in_repository, revision_of_file

    eco.base_subfolder = download.get("subfolder") or None
    if os.path.isdir(path):
        eco.base_model_name_or_path, eco.base_revision = os.path.abspath(path), None
    else:
        config_file = file_in_repository(path, CONFIG_NAME, **download)
        eco.base_model_name_or_path, eco.base_revision = path, revision_of_file(config_file)
        # for its licence, see base_license
        file_in_repository(path, CARD_NAME, quiet=True, **{**download, "subfolder": ""})
