"""`config.json` of a guarded checkpoint: the composite of the base model's config and the guard."""

from __future__ import annotations

import json
import os
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

CONFIG_NAME, CARD_NAME, STUB_NAME = "config.json", "README.md", "modeling_eco.py"
# All that may lie in the directory of a guarded checkpoint or a guard that hf-eco wrote.
_FILES = (
    *(CONFIG_NAME, "generation_config.json", STUB_NAME, CARD_NAME, "*.safetensors", "*.safetensors.index.json"),
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt", "*.model"),
    *("chat_template*", "additional_chat_templates", "classifier-*", "tokens-*", "facts-*", "eco_scopes-*.jsonl"),
    ".hf-eco-*",  # of a change that was cut short
)
FACTS_FOLDER = "facts-index"  # of all scopes of a guard
MODEL_TYPE = "eco"
_REPO_FOLDER = re.compile(r"(classifier|tokens|facts)-[A-Za-z0-9][A-Za-z0-9._-]*")


# What a loader takes for the model's weights. Of two sets, one whole and one in shards, it takes the whole one.
_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json")


def is_weights_file(name: str) -> bool:
    """Whether a loader takes a file of that name for the model's weights, or their index."""
    return _WEIGHTS.fullmatch(name) is not None


def is_checkpoint_file(name: str) -> bool:
    """Whether a guarded checkpoint may hold a file or folder of that name."""
    return any(fnmatch(name, known) for known in _FILES)


def check_repo_folder(name: str | None) -> str:
    """`name` if it is a folder of a guard repository ('classifier-...', 'tokens-...', 'facts-...'), exactly one deep.

    Raises:
        ValueError: it is anything else; a downloaded config must not point outside its own repository.
    """
    if not isinstance(name, str) or not _REPO_FOLDER.fullmatch(name):
        raise ValueError(
            f"A guard repository keeps its classifiers in folders of its own, but this one's config names {name!r}. "
            "It is damaged or not to be trusted; get the guard from where it was made."
        )
    return name


_EXPLANATION = "This checkpoint is guarded by ECO prompts. pip install hf-eco, then `import hf_eco` before loading it."
# Keys whose type every native config validates. Without them a native class would take its defaults for all it misses
# in the composite config and load the weights unguarded.
_REFUSED_BY_NATIVE_CONFIGS = ("vocab_size", "hidden_size", "num_hidden_layers")
_ARCHITECTURES = ["AutoModelForCausalLMWithECO"]
# What stands for `id2label` in a guarded config's dictionary: labels mean nothing to a causal language model, and
# every native config class, of whatever version of transformers, makes numbers of their keys.
_NO_LABELS = {
    "This is the config of a model that is guarded by ECO prompts (pip install hf-eco). Its guard lies in the "
    "directory that save_pretrained writes; without it, or as part of another model, the config cannot be loaded.": ""
}


def composite_config(base_config: dict[str, Any], eco: dict[str, Any]) -> dict[str, Any]:
    """What `config.json` of a guarded checkpoint holds, from the base model's own config dictionary and the guard
    as it is stored.

    The base's `model_type` is renamed: a native config class looks into nested dictionaries for its own and would
    adopt `base_config` as if there were no guard.
    """
    base_config = dict(base_config)
    base_config["base_model_type"] = base_config.pop("model_type")
    refused: dict[str, Any] = dict.fromkeys(_REFUSED_BY_NATIVE_CONFIGS, _EXPLANATION)
    composite = refused | {
        "text_config": refused,
        "model_type": MODEL_TYPE,
        "architectures": _ARCHITECTURES,
        "auto_map": {
            "AutoConfig": "modeling_eco.GuardedConfig",
            "AutoModelForCausalLM": "modeling_eco.AutoModelForCausalLMWithECO",
        },
        "base_config": base_config,
        "eco": eco,
    }
    # Loaders read these before they know the model type.
    for key in ("dtype", "quantization_config", "transformers_version"):
        if base_config.get(key) is not None:
            composite[key] = base_config[key]
    return composite


def refused_by_native_configs(base_config: dict[str, Any]) -> dict[str, Any]:
    """The base model's own config dictionary, for peft and loggers to read, in a form from which no config class makes
    a config: beside the weights, or within the config of another model, it would load them unguarded. The parts of a
    model that also sees or hears are refused alike, for a class of theirs would adopt them."""
    refused = {
        key: refused_by_native_configs(value) if isinstance(value, dict) and "model_type" in value else value
        for key, value in base_config.items()
    }
    return refused | {"id2label": dict(_NO_LABELS), "architectures": list(_ARCHITECTURES)}


def as_native_config(config: dict[str, Any]) -> dict[str, Any]:
    """The dictionary without what `refused_by_native_configs` has put there; any other as it is."""
    if config.get("id2label") != _NO_LABELS:
        return config
    parts = {key: as_native_config(value) if isinstance(value, dict) else value for key, value in config.items()}
    return {key: value for key, value in parts.items() if key not in ("id2label", "architectures")}


def is_guarded_config(path: str | os.PathLike[str]) -> bool:
    """Whether a config.json is that of a guarded checkpoint, whole or not; False if it cannot be read."""
    try:
        config = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") == MODEL_TYPE


def split_composite_config(config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The base model's own config dictionary and the `eco` dictionary (None if `config` is not a guarded one).

    Raises:
        ValueError: the config says it is guarded but lacks the guard or the base model's config.
    """
    if config.get("model_type") != MODEL_TYPE:
        return config, None
    base_config, eco = config.get("base_config"), config.get("eco")
    if not isinstance(base_config, dict) or not isinstance(eco, dict) or "base_model_type" not in base_config:
        raise ValueError(
            "config.json says model_type 'eco' but lacks base_config or eco: the checkpoint is damaged. Download it "
            "again."
        )
    base_config = dict(base_config)
    base_config["model_type"] = base_config.pop("base_model_type")
    return base_config, eco
