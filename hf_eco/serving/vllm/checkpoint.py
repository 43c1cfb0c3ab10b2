"""The guard of the checkpoint that is to be served: found whatever config is named, and served with it or not at all.

Works on vLLM's `ModelConfig` and `VllmConfig`, before anything is loaded.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..._transformers import file_in_repository
from ...checkpoint.format import CONFIG_NAME, is_guarded_config, split_composite_config
from ...checkpoint.guarded_config import GUARDED, ECOConfigMixin
from ...checkpoint.source import check_base, find_guard
from ...configuration import EmbeddingProbe
from ...corruption import corruption_methods
from ...errors import GuardError
from ...guard.fingerprint import fingerprint_of
from ._vllm import SUPPORTED, missing_names
from .parts import MODALITY

ATTRIBUTE = "hf_eco"  # of a `ModelConfig`: its `ServedGuard`
OPTIONS = "hf_eco"  # of `--additional-config`
_DRAFTS = ("ngram",)  # that propose tokens and embed none


@dataclass(frozen=True)
class ServedGuard:
    """The guard of a served checkpoint, known to all processes of a server.

    Attributes:
        repository: path or Hub id that it lies in.
        download: arguments that fetch files from there.
        fingerprint: of the guard that the server is started with.
        methods: of corruption, that are registered where the config was read; workers have to know them.
        embedding_probes: how the guarded model embeds some tokens.
    """

    repository: str
    download: dict[str, Any]
    fingerprint: str
    methods: list[str]
    embedding_probes: list[EmbeddingProbe]


@dataclass(frozen=True)
class ServingOptions:
    """What `--additional-config '{"hf_eco": {...}}'` takes.

    Attributes:
        follow: directory of the guard to follow: a change there takes effect for requests that come in later.
        every: seconds between two looks at it.
        audit_log: file that each flagged request is logged to, see `hf_eco.guard.JsonLinesLog`.
    """

    follow: str | None = None
    every: float = 1.0
    audit_log: str | None = None

    @classmethod
    def of(cls, vllm_config: Any) -> ServingOptions:
        """The options of a server. Raises ValueError for those that there are not."""
        given = (vllm_config.additional_config or {}) if isinstance(vllm_config.additional_config, dict) else {}
        options = given.get(OPTIONS, {})
        known = {option.name for option in fields(cls)}
        if not isinstance(options, dict) or options.keys() - known:
            raise ValueError(
                f"--additional-config of hf-eco takes {', '.join(sorted(known))}, got {options!r}. Use e.g. "
                '\'{"hf_eco": {"follow": "guard/", "audit_log": "audit.jsonl"}}\'.'
            )
        found = cls(**options)
        if not isinstance(found.every, int | float) or not 0 <= found.every < math.inf:
            raise ValueError(f"--additional-config of hf-eco takes a number of seconds as every, got {found.every!r}.")
        for name in ("follow", "audit_log"):
            if not isinstance(getattr(found, name), str | None):
                raise ValueError(
                    f"--additional-config of hf-eco takes a path as {name}, got {getattr(found, name)!r}."
                )
        return found


def prepare(config: Any) -> None:
    """Readies a `ModelConfig` that is about to be completed. Where it names a guard without weights, has it load the
    base model's, and the guard's config and tokenizer.

    Raises:
        OSError: the base model is not to be had.
        GuardError: vLLM cannot load it from where it lies, or the model was to be run by other classes than vLLM's.
    """
    if not _is_guarded(config.model, config.revision, config.hf_token):
        return
    _check_names(config)
    if config.model_impl not in ("auto", "vllm"):
        raise GuardError(
            f"{config.model!r} is guarded by hf-eco, and --model-impl {config.model_impl} would run it without the "
            "guard. Leave that out."
        )
    if given := [name for name in config.model_class_overrides if name.endswith(GUARDED)]:
        raise GuardError(
            f"{config.model!r} is guarded by hf-eco, and --model-class-overrides would have another class in the "
            f"place of {given[0]}, which carries the guard. Leave that out."
        )
    _check_architecture(config)
    source = find_guard(config.model, **_download(config.revision, config.hf_token))
    if not source.eco.guard_only:
        return
    check_base(source)
    if source.eco.base_subfolder:
        raise GuardError(
            f"The base model of {config.model!r} lies in a folder of its repository, {source.eco.base_subfolder!r}, "
            "and vLLM loads models from the root alone. Save the guarded model whole (save_pretrained) and serve that."
        )
    guard = _local(config.model, config.revision, config.hf_token)
    config.served_model_name = config.served_model_name or config.model
    config.hf_config_path = guard
    config.tokenizer = config.tokenizer or guard
    config.model, config.revision = source.eco.base_model_name_or_path, source.eco.base_revision


def _check_names(config: Any) -> None:
    """Raises GuardError if this vLLM lacks a name that is relied on."""
    if problems := missing_names():
        raise GuardError(
            f"{config.model!r} is guarded by hf-eco, which does not know this version of vLLM: {'; '.join(problems)}. "
            f"Install one that it knows: pip install '{SUPPORTED}'"
        )


def _check_architecture(config: Any) -> None:
    """Raises GuardError if vLLM has no model class of its own for a guarded model, which could carry the guard."""
    from vllm.model_executor.models.registry import ModelRegistry

    file = file_in_repository(config.model, CONFIG_NAME, **_download(config.revision, config.hf_token))
    own = split_composite_config(json.loads(Path(str(file)).read_text(encoding="utf-8")))[0].get("architectures") or []
    if not any(name + GUARDED in ModelRegistry.models for name in own):
        raise GuardError(
            f"{config.model!r} is guarded by hf-eco, and vLLM has no model class of its own for {own or 'it'} that "
            "reads text alone. Serve it by transformers."
        )


def check_served(config: Any) -> None:
    """Notes the guard in a `ModelConfig` that is complete. One without a guard stays as it is.

    Raises:
        GuardError: the checkpoint is guarded, and would be served without its guard.
    """
    places = list(dict.fromkeys(place for place in (config.hf_config_path, config.model) if place))
    # `hf_config_path` may lie elsewhere than the weights, which the revision belongs to
    guarded = [p for p in places if _is_guarded(p, config.revision if p == config.model else None, config.hf_token)]
    holds_guard = isinstance(config.hf_config, ECOConfigMixin)
    if not guarded and not holds_guard:
        return
    _check_names(config)
    if not holds_guard or not guarded:
        raise GuardError(
            f"{config.model!r} is guarded by hf-eco, and its config was to be read from elsewhere, without the guard "
            f"(--hf-config-path {config.hf_config_path!r}, --hf-overrides). Leave that out."
        )
    _check_model(config)
    config.multimodal_config.skip_mm_profiling = True  # there is no encoder
    config.multimodal_config.mm_processor_cache_gb = 0
    download = _download(config.revision if guarded[0] == config.model else None, config.hf_token)
    source = find_guard(guarded[0], **download)
    if not source.eco.embedding_probes:
        raise GuardError(
            f"{guarded[0]!r} does not say how its model embeds tokens, by which vLLM is checked. Load it by "
            "AutoModelForCausalLMWithECO.from_pretrained and save it again."
        )
    probes = list(source.eco.embedding_probes)
    served = ServedGuard(guarded[0], download, fingerprint_of(source.eco), corruption_methods(), probes)
    setattr(config, ATTRIBUTE, served)


def _check_model(config: Any) -> None:
    """Raises GuardError if a guarded `ModelConfig` would load a class that cannot carry the guard."""
    name = config.served_model_name or config.model
    if config.runner_type != "generate":
        raise GuardError(
            f"{name!r} is guarded by hf-eco, which guards generation alone: it cannot be served by --runner "
            f"{config.runner_type}, nor as a draft of another model."
        )
    if not config.architecture.endswith(GUARDED):
        raise GuardError(
            f"{name!r} is guarded by hf-eco, and vLLM was to run it as {config.architecture}, which does not carry "
            "the guard. Leave out --hf-overrides and --model-class-overrides."
        )
    takes = {"--enable-prompt-embeds": config.enable_prompt_embeds}
    if (multimodal := config.multimodal_config) is not None:
        takes |= {
            "--language-model-only": multimodal.language_model_only,
            "--enable-mm-embeds": multimodal.enable_mm_embeds,
            "--mm-encoder-only": multimodal.mm_encoder_only,
        }
    if given := [option for option, on in takes.items() if on]:
        raise GuardError(
            f"{name!r} is guarded by hf-eco, and {', '.join(given)} would go around its guard. Leave that out."
        )
    if multimodal is None or not multimodal.get_limit_per_prompt(MODALITY):
        raise GuardError(
            f"{name!r} is guarded by hf-eco. What is corrupted travels as an input of the modality 'eco', whose limit "
            "was set to 0. Leave out --limit-mm-per-prompt."
        )
    if not config.supports_multimodal_inputs:
        raise GuardError(
            f"{name!r} is guarded by hf-eco, and vLLM cannot make its processor of inputs, by which the guard works. "
            "vLLM's warnings above say why. Look at options that change its classes or its tokenizer, as "
            "--tokenizer-mode."
        )


def check_server(vllm_config: Any) -> None:
    """Raises GuardError if a server of a guarded checkpoint is set up in a way that goes around the guard, and
    ValueError for unknown options."""
    import vllm.envs as envs

    options = ServingOptions.of(vllm_config)
    if served_guard(vllm_config) is None:
        if options != ServingOptions() and vllm_config.model_config is not None:
            raise GuardError(
                f"--additional-config sets options of hf-eco, and {vllm_config.model_config.model!r} has no guard. "
                "Serve the directory of the guard, or leave them out."
            )
        return
    draft = vllm_config.speculative_config
    if draft is not None and draft.method not in _DRAFTS:
        raise GuardError(
            f"A checkpoint guarded by hf-eco was to be served with speculative decoding by {draft.method!r}. A draft "
            f"model reads prompts without the guard. Use the method {_DRAFTS[0]!r}, or none."
        )
    if getattr(envs, "VLLM_USE_RUST_FRONTEND", False):
        raise GuardError(
            "A checkpoint guarded by hf-eco is judged by vLLM's front end in Python. Unset VLLM_USE_RUST_FRONTEND."
        )


def served_guard(vllm_config: Any) -> ServedGuard | None:
    """The guard of the model that a `VllmConfig` serves; None if it has none.

    Raises:
        GuardError: the model is guarded and nobody has looked for its guard: another process of the server does
            without the plugin.
    """
    config = vllm_config.model_config
    if config is None:
        return None
    served: ServedGuard | None = getattr(config, ATTRIBUTE, None)
    if served is None and isinstance(config.hf_config, ECOConfigMixin):
        raise GuardError(
            f"{config.model!r} is guarded by hf-eco, and the process that read its config runs without hf-eco's "
            "plugin. Install hf-eco on every machine, and do not leave it out of VLLM_PLUGINS."
        )
    return served


def _download(revision: str | None, token: Any) -> dict[str, Any]:
    given = {"revision": revision, "token": token}
    return {name: value for name, value in given.items() if value is not None}


def _is_guarded(repository: str, revision: str | None, token: Any) -> bool:
    if os.path.isfile(repository):  # GGUF
        return False
    if "://" in repository:  # an object store: vLLM fetches it into a directory first, which `check_served` looks at
        return False
    file = file_in_repository(repository, CONFIG_NAME, quiet=True, **_download(revision, token))
    return file is not None and is_guarded_config(file)


def _local(repository: str, revision: str | None, token: Any) -> str:
    """The directory of a guard without weights, downloaded whole if it lies on the Hub."""
    if os.path.isdir(repository):
        return os.path.abspath(repository)
    from huggingface_hub import snapshot_download

    return snapshot_download(repository, revision=revision, token=token)
