"""`AutoModelForCausalLMWithECO`, and what makes transformers' Auto classes and pipelines know guarded checkpoints."""

from __future__ import annotations

import json
import os
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.utils import CONFIG_NAME, cached_file, find_adapter_config_file

from .checkpoint.format import MODEL_TYPE, split_composite_config
from .checkpoint.source import DOWNLOAD_ARGUMENTS
from .modeling import borrows_class, guarded_config_class, guarded_model_class


class GuardedConfig(PreTrainedConfig):
    """What `AutoConfig` finds under model_type "eco". Loading gives the guarded config of the base's architecture, a
    `LlamaConfigWithECO` for a Llama; this class itself has no instances."""

    model_type = MODEL_TYPE

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any
    ) -> Any:
        """As for any config.

        Raises:
            ValueError: the checkpoint is not guarded, is damaged, or its base model is of an unknown type.
        """
        config_dict, kwargs = cls.get_config_dict(pretrained_model_name_or_path, **kwargs)
        kwargs.setdefault("name_or_path", os.fspath(pretrained_model_name_or_path))  # AutoConfig has set it already
        return cls.from_dict(config_dict, **kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As for any config."""
        base_config, eco = split_composite_config(config_dict)
        if eco is None:
            raise ValueError("This config is not that of a guarded checkpoint: it has no model_type 'eco'.")
        base_class = type(AutoConfig.for_model(base_config["model_type"]))
        loaded = guarded_config_class(base_class).from_dict(config_dict, **kwargs)
        config = loaded[0] if isinstance(loaded, tuple) else loaded
        if type(config) not in AutoModelForCausalLM._model_mapping:
            model_class: Any = guarded_model_class(_causal_lm_class(base_class, config))
            # not by the public method, which refuses a class that is another config's, see borrows_class
            AutoModelForCausalLM._model_mapping.register(type(config), model_class)
        # `transformers serve` loads by the class of transformers that this names; the base's own would refuse.
        config.base_architectures, config.architectures = config.architectures, ["AutoModelForCausalLM"]
        return loaded


class AutoModelForCausalLMWithECO:
    """Loads any causal language model as a guarded one.

    ```python
    model = AutoModelForCausalLMWithECO.from_pretrained("HuggingFaceTB/SmolLM2-135M-Instruct", eco_config=eco_config)
    ```
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise OSError(f"{type(self).__name__} is not instantiated. Use {type(self).__name__}.from_pretrained(...).")

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], *model_args: Any, **kwargs: Any
    ) -> Any:
        """Loads a guarded checkpoint, a guard-only repository with its base, or a base model with `eco_config`.

        See [`ECOMixin.from_pretrained`][hf_eco.ECOMixin.from_pretrained] for arguments and errors.
        """
        config = kwargs.get("config")
        if config is None and (base := _base_of_adapter(pretrained_model_name_or_path, kwargs)) is not None:
            model = cls.from_pretrained(base, *model_args, **kwargs)
            model.load_adapter(os.fspath(pretrained_model_name_or_path))
            return model
        if given := isinstance(config, PreTrainedConfig):
            own_config = config
        else:
            known = (*DOWNLOAD_ARGUMENTS, "gguf_file", "trust_remote_code")
            arguments = {name: kwargs[name] for name in known if name in kwargs}
            own_config = AutoConfig.from_pretrained(config or pretrained_model_name_or_path, **arguments)
        model_class = guarded_model_class(_causal_lm_class(type(own_config), own_config))
        if not given and borrows_class(own_config, model_class):
            for name in [name for name in kwargs if name != "dtype" and hasattr(own_config, name)]:
                setattr(own_config, name, kwargs.pop(name))  # transformers does so where it finds the config itself
            kwargs["config"] = own_config
        return model_class.from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoModelForCausalLM") -> None:
        """Called by transformers when it loads this class through a checkpoint's stub; nothing is left to register."""


def _base_of_adapter(path: str | os.PathLike[str], kwargs: dict[str, Any]) -> str | None:
    """The base model that an adapter's directory or repository names; None if `path` is no adapter, or a model too."""
    arguments = {name: kwargs[name] for name in DOWNLOAD_ARGUMENTS if name in kwargs}
    quietly = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    if cached_file(path, CONFIG_NAME, **arguments, **quietly, _raise_exceptions_for_gated_repo=False) is not None:
        return None
    found = find_adapter_config_file(os.fspath(path), **arguments)
    if found is None:
        return None
    with open(found, encoding="utf-8") as file:
        return json.load(file)["base_model_name_or_path"]


def check_guardable(base_model: str) -> None:
    """Raises what loading `base_model` with a guard would raise for its architecture, without loading its weights."""
    config = AutoConfig.from_pretrained(base_model)
    with torch.device("meta"):
        guarded_model_class(_causal_lm_class(type(config), config))(config)


def _causal_lm_class(config_class: type[PreTrainedConfig], config: PreTrainedConfig) -> type[PreTrainedModel]:
    """The causal language model that transformers has for a config class; where it has several, `config` decides."""
    mapping = AutoModelForCausalLM._model_mapping
    if config_class not in mapping:
        for name in config.architectures or []:  # the text config of a model that sees or hears
            model_class = getattr(transformers, name, None)
            if model_class is not None and issubclass(config_class, model_class.config_class):
                return model_class
        raise ValueError(
            f"{config_class.__name__} belongs to no causal language model of transformers. A class of your own is "
            "guarded by `class Mine(ECOMixin, MyForCausalLM)`."
        )
    found: Any = mapping[config_class]
    if not isinstance(found, (list, tuple)):
        return found
    named = [model_class for model_class in found if model_class.__name__ in (config.architectures or [])]
    return (named or found)[0]


AutoConfig.register(MODEL_TYPE, GuardedConfig, exist_ok=True)
