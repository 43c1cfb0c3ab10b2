"""A guard read from disk or the Hub, its known answers checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from .._transformers import file_in_repository, load_without_code
from ..configuration import DEFAULT_ENCODER, ECOConfig
from ..detection.classifier import PromptClassifier
from ..detection.entities import EntityTagger
from ..detection.facts import FactsDetector, FactsEncoder
from ..detection.facts.background import measure
from ..detection.facts.storage import FACTS_FILE, load_facts
from ..detection.names.detector import NamesDetector
from ..detection.names.hashed import HashedNamesDetector
from ..errors import HUB_ERRORS, GuardLoadError
from ..guard.guard import Guard
from ..guard.naming import words_key
from ..guard.reach import why_without_effect
from .format import CONFIG_NAME, FACTS_FOLDER, check_repo_folder
from .source import GuardSource, find_guard


def load_tokenizer(repository: str, gguf_file: str | None = None, **download: Any) -> PreTrainedTokenizerBase:
    """The tokenizer that lies beside a model."""
    if gguf_file is not None:
        download = {**download, "gguf_file": gguf_file}
    return cast(PreTrainedTokenizerBase, load_without_code(AutoTokenizer, repository, **download))


def load_guard(
    eco: ECOConfig,
    tokenizer: PreTrainedTokenizerBase,
    classifiers: Mapping[str, PromptClassifier],
    taggers: Mapping[str, EntityTagger],
    source: GuardSource | None = None,
    *,
    loaded: dict[tuple[type, str], Any] | None = None,
    names: NamesDetector | HashedNamesDetector | None = None,
    facts: FactsDetector | None = None,
) -> Guard:
    """Builds the guard `eco` describes, loading what is not given, and checks or records its known answers.

    Args:
        eco: the config; the guard keeps it without the documents, or a copy of it with hashes in place of names that
            are to be hashed.
        tokenizer: the guarded model's tokenizer.
        classifiers: classifiers at hand, by scope name.
        taggers: token classifiers at hand, by scope name.
        source: where `eco` comes from; None, or a source without a repository, if the user wrote it.
        loaded: classifiers, token classifiers and facts that were loaded from there before, by kind and folder; the
            others are added.
        names: a detector whose index to share.

    Raises:
        GuardLoadError: the known answers differ, or a stored scope would never flag, or change nothing.
        ValueError: a scope names no classifier, or one outside its repository; or its documents hold no sentence, or
            want another encoder than others.
    """
    stored = source is not None and source.repository is not None
    loaded = {} if loaded is None else loaded

    def load(kind: type[PromptClassifier] | type[EntityTagger], name: str | None, scope: str) -> Any:
        if not stored and name is None:
            raise ValueError(
                f"Nobody recognises scope {scope!r}: it has neither names, documents nor a classifier. "
                "Set ForgetScope(names=['Jane Doe']) or ForgetScope(classifier='path or Hub id')."
            )
        name = check_repo_folder(name) if stored else str(name)
        if (kind, name) not in loaded:
            loaded[kind, name] = _load_from(source, kind, name) if source else kind.from_pretrained(name)
        return loaded[kind, name]

    classifiers = {
        s.name: classifiers.get(s.name) or load(PromptClassifier, s.classifier, s.name)
        for s in eco.scopes
        if s.name in classifiers or not s.untrained
    }
    taggers = {
        s.name: taggers.get(s.name) or load(EntityTagger, s.entities, s.name)
        for s in eco.scopes
        if s.tokens == "entities"
    }
    if stored:
        _check_effect(eco)
    found = load_stored_facts(eco, source, loaded) if stored else _read_documents(eco, facts)
    guard = Guard(eco, classifiers, tokenizer, taggers, names, found)
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


def _check_effect(eco: ECOConfig) -> None:
    for scope in eco.scopes:
        if (why := why_without_effect(scope)) is not None:
            raise GuardLoadError(why)


def load_stored_facts(
    eco: ECOConfig, source: GuardSource | None, loaded: dict[tuple[type, str], Any] | None = None
) -> FactsDetector | None:
    """The facts of a stored guard; None if it has none.

    Args:
        eco: its config.
        source: where it is stored.
        loaded: as for `load_guard`.

    Raises:
        GuardLoadError: they are not those that the config was written with.
    """
    loaded = {} if loaded is None else loaded
    folders = {check_repo_folder(scope.encoder) for scope in eco.scopes if scope.encoder is not None}
    if not folders or source is None or source.repository is None:
        return None
    (folder,) = folders if len(folders) == 1 else {check_repo_folder(None)}
    if (FactsDetector, folder) not in loaded:
        loaded[FactsDetector, folder] = load_facts(source.repository, **_folder_of(source, folder, FACTS_FILE))
    read = cast(FactsDetector, loaded[FactsDetector, folder])
    facts = FactsDetector(read.encoder, read.background, read.bank, words_key(eco))
    _check_facts(eco, facts)
    return facts


def _check_facts(eco: ECOConfig, facts: FactsDetector) -> None:
    """Raises GuardLoadError if facts differ from those that `eco` names. Scopes without any are the guard's to
    refuse."""
    for scope in eco.scopes:
        if scope.by_facts and scope.name in facts.bank and facts.digest_of(scope.name) != scope.facts_sha256:
            raise GuardLoadError(
                f"The facts of scope {scope.name!r} are damaged, or belong to another guard: their SHA-256 is not "
                f"{scope.facts_sha256!r}, which the config names. Download the guard again, with all of its files; do "
                "not swap files of its facts folder. If its key comes from HF_ECO_NAMES_KEY, set the one that it was "
                "made with."
            )


def _read_documents(eco: ECOConfig, facts: FactsDetector | None) -> FactsDetector | None:
    """The facts of the documents in a config, which leave it."""
    scopes = [scope for scope in eco.scopes if scope.by_facts]
    if not scopes:
        return None
    if empty := [scope.name for scope in scopes if not scope.documents]:
        raise ValueError(f"Scope {empty[0]!r} has an encoder and no documents. Set ForgetScope(documents=['...']).")
    wanted = {scope.encoder for scope in scopes} - {None}
    if len(wanted) > 1:
        raise ValueError(
            f"The documents of a guard are read by one encoder, got {sorted(map(str, wanted))}. Name one."
        )
    name = next(iter(wanted), None)
    if facts is None or name is not None:
        encoder = _encoder(name or DEFAULT_ENCODER)
        measured = measure(encoder)
        if facts is not None and not facts.background.alike(measured):
            raise ValueError(f"The guard's facts were read by another encoder than {name!r}. Leave out encoder=...")
        facts = facts or FactsDetector(encoder, measured)
    facts = FactsDetector(facts.encoder, facts.background, key=words_key(eco))
    read = {scope.name: facts.read(scope.documents, scope.names) for scope in scopes}
    made = facts.joined_by(read)
    for scope in scopes:
        scope.documents, scope.encoder, scope.facts_sha256 = [], FACTS_FOLDER, made.digest_of(scope.name)
    return made


def _encoder(name: str) -> FactsEncoder:
    """The text encoder that reads documents. Raises OSError if it cannot be loaded."""
    try:
        return FactsEncoder.from_pretrained(name)
    except (*HUB_ERRORS, ValueError) as error:
        raise OSError(
            f"The text encoder {name!r}, which reads documents, cannot be loaded or downloaded. Check the connection, "
            f"or pass encoder='a directory that holds one'. ({error})"
        ) from error


def _load_from(source: GuardSource, kind: Any, name: str) -> Any:
    if source.repository is None:  # a path or Hub id of its own; only what concerns every download applies to it
        common = {k: v for k, v in source.download.items() if k not in ("revision", "subfolder")}
        return kind.from_pretrained(name, **common)
    return kind.from_pretrained(source.repository, **_folder_of(source, name, CONFIG_NAME))


def _folder_of(source: GuardSource, name: str, needed: str) -> dict[str, Any]:
    """The arguments that download from one of the folders of a stored guard.

    Args:
        source: where the guard is stored.
        name: of the folder.
        needed: a file that is in it.

    Raises:
        GuardLoadError: it is not.
    """
    subfolder = "/".join(part for part in (source.download.get("subfolder"), name) if part)
    download = {**source.download, "subfolder": subfolder}
    if file_in_repository(str(source.repository), needed, **download) is None:
        raise GuardLoadError(
            f"The guard in {source.repository!r} lacks {name}/{needed}: its folder {name!r} is missing, or not whole. "
            f"Download or copy the guard again, with all of its folders (hf download {source.repository} --local-dir "
            "guarded)."
        )
    return download
