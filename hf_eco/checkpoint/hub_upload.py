"""Guarded directories to the Hub: all of one in a single commit, and nothing of anybody else's written over."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard
from huggingface_hub.utils import DEFAULT_IGNORE_PATTERNS, filter_repo_objects
from transformers.utils import logging

from .format import CARD_NAME, CONFIG_NAME, check_repo_folder, is_weights_file, split_composite_config
from .model_card import is_own_card
from .scopes_file import is_scopes_file, scopes_file_of
from .source import read_eco

logger = logging.get_logger(__name__)

UPLOAD_ARGUMENTS = ("repo_id", "private", "revision", "create_pr", "commit_message", "commit_description")

_COMPLETE_WEIGHTS = {"model.safetensors", "model.safetensors.index.json"}


def save_and_upload(save: Callable[[str], None], repo_id: str, **kwargs: Any) -> Any:
    """Uploads what `save(directory)` writes; `kwargs` as for [`upload`][hf_eco.checkpoint.hub_upload.upload]."""
    with tempfile.TemporaryDirectory() as directory:
        save(directory)
        return upload(directory, repo_id, **kwargs)


def upload(
    directory: str | os.PathLike[str],
    repo_id: str,
    *,
    token: str | bool | None = None,
    private: bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    commit_description: str | None = None,
    tags: Sequence[str] = (),
) -> Any:
    """Uploads all of `directory` to `repo_id`, creating the repository and the branch if need be.

    It is one commit: nobody ever downloads half of a guard. Large files travel first, so that an upload that was
    interrupted sends only what is missing when it is called again. What an older guard has left in the repository
    (classifiers of scopes that are gone, weights in other shards) is deleted by the same commit. A model card that
    hf-eco did not write stays as it is, but for `tags`.

    Args:
        directory: a guarded checkpoint, a guard, or an adapter that was trained on one.
        repo_id: "name" or "owner/name".
        token: access token; the one you are logged in with if None.
        private: of a new repository.
        revision: branch to commit to, or "refs/pr/1" to go on with a pull request.
        create_pr: open a pull request instead of committing to the main branch.
        commit_message: first line of the commit's message.
        commit_description: the rest of it.
        tags: to be added to a model card in the repository that is somebody's own.

    Returns:
        huggingface_hub's CommitInfo: `.oid`, `.commit_url`, `.pr_url`.

    Raises:
        ValueError: `directory` holds an unguarded model, or a guard whose base is a directory of this machine; or
            `create_pr` with a `revision`.
        OSError: there is no such directory, or the Hub refuses.
    """
    directory = Path(directory)
    _check_uploadable(directory)
    if create_pr and revision not in (None, "main"):
        raise ValueError(f"A pull request goes to the main branch, got revision={revision!r}. Use one of the two.")
    api = HfApi(token=token)
    repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
    if revision is not None and not revision.startswith("refs/pr/"):
        api.create_branch(repo_id, branch=revision, exist_ok=True)

    local = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
    local = set(filter_repo_objects(local, ignore_patterns=[*DEFAULT_IGNORE_PATTERNS, ".hf-eco-*"]))
    local -= {name for name in local if is_scopes_file(name)} - {_scopes_file_in(directory)}
    remote = set(api.list_repo_files(repo_id, revision=revision))
    contents: dict[str, str | bytes] = {name: str(directory / name) for name in sorted(local)}
    if CARD_NAME in local & remote:
        path = api.hf_hub_download(repo_id, CARD_NAME, revision=revision)
        theirs = Path(path).read_text(encoding="utf-8")
        if is_own_card((directory / CARD_NAME).read_text(encoding="utf-8")) and not is_own_card(theirs):
            logger.warning(f"{repo_id} has a model card of its own, which is kept; hf-eco's is not uploaded.")
            contents[CARD_NAME] = _tagged(theirs, tags).encode()
    return api.create_commit(
        repo_id,
        [CommitOperationAdd(name, content) for name, content in contents.items()]
        + [CommitOperationDelete(name, is_folder=False) for name in sorted(_left_over(remote, local))],
        commit_message=commit_message or "Upload guarded model",
        commit_description=commit_description,
        revision=revision,
        create_pr=create_pr,
    )


def _check_uploadable(directory: Path) -> None:
    if not directory.is_dir():
        raise NotADirectoryError(f"{str(directory)!r} is no directory of this machine. Save the model there first.")
    if not (directory / "config.json").exists() and (directory / "adapter_config.json").exists():
        return  # it names the guarded model it was trained on
    eco = read_eco(os.fspath(directory), {})
    if eco is None:
        raise ValueError(f"{str(directory)!r} holds a model without a guard. Guard it first: hf-eco guard --help")
    base = eco.base_model_name_or_path
    if eco.guard_only and base is not None and (os.path.isabs(base) or os.path.isdir(base)):
        raise ValueError(f"The base model {base!r} is a directory of this machine. Pass base_model='its Hub id'.")


def _left_over(remote: set[str], local: set[str]) -> set[str]:
    """What a guard that was uploaded before has left in the repository, and this one would be mistaken for."""
    folders = {name for name in remote if "/" in name and _is_guard_folder(name.partition("/")[0])}
    weights = {name for name in remote if is_weights_file(name)} if local & _COMPLETE_WEIGHTS else set()
    scopes = {name for name in remote if is_scopes_file(name)}
    return (folders | weights | scopes) - local


def _scopes_file_in(directory: Path) -> str | None:
    """The file of scopes that belongs to a directory's config; another one was left there when a change was cut short,
    and may name those who have withdrawn their request."""
    path = directory / CONFIG_NAME
    stored = split_composite_config(json.loads(path.read_text(encoding="utf-8")))[1] if path.exists() else None
    return None if stored is None else scopes_file_of(stored)


def _tagged(card: str, tags: Sequence[str]) -> str:
    """`card` with `tags` in its metadata."""
    if not tags:
        return card
    parsed = ModelCard(card)
    known = parsed.data.get("tags", [])
    parsed.data["tags"] = [*known, *(tag for tag in tags if tag not in known)]
    return str(parsed)


def _is_guard_folder(name: str) -> bool:
    try:
        check_repo_folder(name)
    except ValueError:
        return False
    return True
