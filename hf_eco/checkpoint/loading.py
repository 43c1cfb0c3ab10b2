"""A guard read from disk or the Hub, its known answers checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from ..configuration import ECOConfig
from ..detection.classifier import PromptClassifier
from ..detection.entities import EntityTagger
from ..detection.names.detector import NamesDetector
from ..detection.names.hashed import HashedNamesDetector
from ..guard.guard import Guard
from .format import check_repo_folder
from .source import GuardSource, find_guard


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
    *,
    loaded: dict[tuple[type, str], Any] | None = None,
    names: NamesDetector | HashedNamesDetector | None = None,
) -> Guard:
    """Builds the guard `eco` describes, loading what is not given, and checks or records its known answers.

    Args:
        eco: the config; the guard keeps it, or a copy of it with hashes in place of names that are to be hashed.
        tokenizer: the guarded model's tokenizer.
        classifiers: classifiers at hand, by scope name.
        taggers: token classifiers at hand, by scope name.
        source: where `eco` comes from; None, or a source without a repository, if the user wrote it.
        loaded: classifiers and token classifiers that were loaded from there before, by kind and folder; the others
            are added.
        names: a detector whose index to share.

    Raises:
        GuardLoadError: the known answers differ.
        ValueError: a scope names no classifier, or one outside its repository.
    """
    stored = source is not None and source.repository is not None
    loaded = {} if loaded is None else loaded

    def load(kind: type[PromptClassifier] | type[EntityTagger], name: str | None, scope: str) -> Any:
        if not stored and name is None:
            raise ValueError(
                f"Nobody recognises scope {scope!r}: it has neither names nor a classifier. Set "
                "ForgetScope(names=['Jane Doe']) or ForgetScope(classifier='path or Hub id')."
            )
        name = check_repo_folder(name) if stored else str(name)
        if (kind, name) not in loaded:
            loaded[kind, name] = _load_from(source, kind, name) if source else kind.from_pretrained(name)
        return loaded[kind, name]

    classifiers = {
        s.name: classifiers.get(s.name) or load(PromptClassifier, s.classifier, s.name)
        for s in eco.scopes
        if s.name in classifiers or not s.by_names_alone
    }
    taggers = {
        s.name: taggers.get(s.name) or load(EntityTagger, s.entities, s.name)
        for s in eco.scopes
        if s.tokens == "entities"
    }
    guard = Guard(eco, classifiers, tokenizer, taggers, names)
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
    source = find_guard(repository, **download)
    return load_guard(source.eco, load_tokenizer(repository, **download), {}, {}, source)


def _load_from(source: GuardSource, kind: Any, name: str) -> Any:
    if source.repository is None:  # a path or Hub id of its own; only what concerns every download applies to it
        common = {k: v for k, v in source.download.items() if k not in ("revision", "subfolder")}
        return kind.from_pretrained(name, **common)
    subfolder = "/".join(part for part in (source.download.get("subfolder"), name) if part)
    return kind.from_pretrained(source.repository, **{**source.download, "subfolder": subfolder})
