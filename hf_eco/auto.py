"""`AutoModelForCausalLMWithECO`, and the config by which transformers' Auto classes know guarded checkpoints.

transformers imports this module while it imports its own Auto classes (see `_registration`); what needs those is
imported when it is used.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from transformers.configuration_utils import PreTrainedConfig

from .checkpoint.format import CONFIG_NAME, MODEL_TYPE, is_guarded_config, split_composite_config

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from .configuration import ECOConfig
    from .detection.classifier import PromptClassifier
    from .modeling import ECOMixin


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
        from transformers import AutoConfig

        from ._transformers import register_causal_lm
        from .modeling import AUTO_CLASS, guarded_config_class, guarded_model_class

        if cls is GuardedConfig:
            _check_plugin()
        base_config, eco = split_composite_config(config_dict)
        if eco is None:
            raise ValueError("This config is not that of a guarded checkpoint: it has no model_type 'eco'.")
        base_class = type(AutoConfig.for_model(base_config["model_type"]))
        loaded = guarded_config_class(base_class).from_dict(config_dict, **kwargs)
        config = loaded[0] if isinstance(loaded, tuple) else loaded
        register_causal_lm(type(config), guarded_model_class(_causal_lm_class(base_class, config)))
        # `transformers serve` loads by the class of transformers that this names; the base's own would refuse.
        config.architectures = [AUTO_CLASS]
        return loaded


def _check_plugin() -> None:
    """Raises GuardError in a process of vLLM that has loaded its plugins, and hf-eco's is not among them."""
    from .errors import GuardError

    if getattr(sys.modules.get("vllm.plugins"), "plugins_loaded", False):
        raise GuardError(
            "vLLM was about to read the config of a checkpoint guarded by hf-eco, without hf-eco's plugin. Install "
            f"hf-eco by pip, and add hf_eco to VLLM_PLUGINS (now {os.environ.get('VLLM_PLUGINS')!r}) or unset it."
        )


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
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *model_args: Any,
        eco_config: ECOConfig | str | os.PathLike[str] | None = None,
        eco_revision: str | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        classifiers: Mapping[str, PromptClassifier] | None = None,
        config: PreTrainedConfig | str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> ECOMixin:
        """Loads a guarded checkpoint, a guard-only repository with its base, or a base model with `eco_config`.

        See [`ECOMixin.from_pretrained`][hf_eco.ECOMixin.from_pretrained] for arguments and errors. (With
        `output_loading_info=True` it gives a pair, as any `from_pretrained` does.)
        """
        from transformers import AutoConfig

        from ._transformers import config_and_model_arguments
        from .modeling import belongs_to_part, guarded_model_class

        path = os.fspath(pretrained_model_name_or_path)
        guard: dict[str, Any] = {"eco_config": eco_config, "eco_revision": eco_revision}
        guard |= {"tokenizer": tokenizer, "classifiers": classifiers}
        if config is None and (base := _base_of_adapter(path, kwargs)) is not None:
            model = cls.from_pretrained(base, *model_args, **guard, **kwargs)
            model.load_adapter(path)
            return model
        own: Any = config
        arguments = kwargs
        if not isinstance(config, PreTrainedConfig):
            where = path if config is None else os.fspath(config)
            own, arguments = config_and_model_arguments(AutoConfig, where, kwargs)
        model_class: Any = guarded_model_class(_causal_lm_class(type(own), own))
        if own is not config and belongs_to_part(own, model_class):  # the class reads its own part of it
            own, arguments = config, kwargs
        return model_class.from_pretrained(path, *model_args, config=own, **guard, **arguments)

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoModelForCausalLM") -> None:
        """Called by transformers when it loads this class through a checkpoint's stub; nothing is left to register."""


def keep_guards(auto_classes: Sequence[Any]) -> None:
    """Has transformers' Auto classes of models keep the guard of a guarded checkpoint whatever config they are handed:
    with `config=AutoConfig.from_pretrained(base)`, the base model's own class would be built, without guard. Who wants
    that says so by naming the class: `LlamaForCausalLM.from_pretrained(guarded, config=base_config)`."""
    for auto_class in auto_classes:
        _keep_guards(auto_class)


def _keep_guards(auto_class: Any) -> None:
    native = auto_class.from_pretrained.__func__

    @functools.wraps(native)
    def from_pretrained(
        cls: Any, pretrained_model_name_or_path: str | os.PathLike[str], *args: Any, **kwargs: Any
    ) -> Any:
        config, path = kwargs.get("config"), pretrained_model_name_or_path
        if isinstance(config, PreTrainedConfig) and path is not None:
            kwargs["config"] = _config_for(os.fspath(path), config, kwargs)
        return native(cls, path, *args, **kwargs)

    auto_class.from_pretrained = classmethod(from_pretrained)


def _config_for(path: str, config: PreTrainedConfig, kwargs: dict[str, Any]) -> PreTrainedConfig:
    """`config`, or the guarded config of the same values if what lies at `path`, or what an adapter there was trained
    on, is guarded."""
    from ._transformers import DOWNLOAD_ARGUMENTS, file_in_repository, register_causal_lm
    from .checkpoint.guarded_config import ECOConfigMixin

    if isinstance(config, ECOConfigMixin):
        return config
    download = {name: kwargs[name] for name in DOWNLOAD_ARGUMENTS if name in kwargs}
    path = _base_of_adapter(path, kwargs) or path
    file = file_in_repository(path, CONFIG_NAME, quiet=True, **download)
    if file is None or not is_guarded_config(file):
        return config
    from .modeling import as_guarded_config, guarded_config_class, guarded_model_class

    guarded = as_guarded_config(config, guarded_config_class(type(config)))
    register_causal_lm(type(guarded), guarded_model_class(_causal_lm_class(type(config), config)))
    return guarded


def push_guards_whole(trainer_class: Any) -> None:
    """Has `Trainer` push all files of a guarded checkpoint while it trains: of a checkpoint's folder it copies what
    any model has to the folder that it pushes, and would leave the guard behind.

    Args:
        trainer_class: transformers' `Trainer`.
    """
    native = trainer_class._push_from_checkpoint

    @functools.wraps(native)
    def push_from_checkpoint(self: Any, checkpoint_folder: str, *args: Any, **kwargs: Any) -> Any:
        from .checkpoint.writing import copy_checkpoint

        if self.is_world_process_zero():
            copy_checkpoint(checkpoint_folder, self.args.output_dir)
        return native(self, checkpoint_folder, *args, **kwargs)

    trainer_class._push_from_checkpoint = push_from_checkpoint


def _base_of_adapter(path: str, kwargs: dict[str, Any]) -> str | None:
    """The base model that an adapter's directory or repository names; None if `path` is no adapter, or a model too."""
    from transformers.utils.peft_utils import find_adapter_config_file

    from ._transformers import DOWNLOAD_ARGUMENTS, file_in_repository

    arguments = {name: kwargs[name] for name in DOWNLOAD_ARGUMENTS if name in kwargs}
    if file_in_repository(path, CONFIG_NAME, quiet=True, **arguments) is not None:
        return None
    found = find_adapter_config_file(path, **arguments)
    if found is None:
        return None
    with open(found, encoding="utf-8") as file:
        return json.load(file)["base_model_name_or_path"]


def check_guardable(base_model: str) -> None:
    """Raises what loading `base_model` with a guard would raise for its architecture, without loading its weights."""
    model_without_weights(base_model)


def model_without_weights(path: str | os.PathLike[str]) -> PreTrainedModel:
    """The guarded model of a checkpoint's architecture, with neither weights nor guard.

    Raises:
        GuardError: the architecture cannot be guarded.
    """
    import torch
    from transformers import AutoConfig

    from ._transformers import load_without_code
    from .modeling import guarded_model_class

    config = load_without_code(AutoConfig, os.fspath(path))
    with torch.device("meta"):
        return guarded_model_class(_causal_lm_class(type(config), config))(config)


def embedding_alone(path: str | os.PathLike[str]) -> tuple[Any, int]:
    """The embedding layer of a checkpoint, without the other weights, and how many tokens it knows; (None, 0) where
    its weights lie under another name than in the model."""
    import torch
    from transformers import AutoConfig

    from ._transformers import load_without_code, stored_weight

    config = load_without_code(AutoConfig, os.fspath(path))
    with torch.device("meta"):
        model = _causal_lm_class(type(config), config)(config)
    embedding = model.get_input_embeddings()
    name = next(name for name, module in model.named_modules() if module is embedding)
    names = [f"{name}.weight", f"{name.removeprefix(model.base_model_prefix + '.')}.weight"]  # an older checkpoint
    weight = stored_weight(os.fspath(path), names)
    if weight is None:
        return None, 0
    alone = embedding.to_empty(device="cpu")
    model._init_weights(alone)  # its buffers: a scale, say
    alone.weight = torch.nn.Parameter(weight, requires_grad=False)
    return alone, model.config.get_text_config().vocab_size


def _causal_lm_class(config_class: type[PreTrainedConfig], config: PreTrainedConfig) -> type[PreTrainedModel]:
    """The causal language model that transformers has for a config class."""
    import transformers

    from ._transformers import causal_lm_of

    found = causal_lm_of(config_class)
    if found is not None:
        return found
    for name in config.architectures or []:  # the text config of a model that sees or hears
        model_class = getattr(transformers, name, None)
        if model_class is not None and issubclass(config_class, model_class.config_class):
            return model_class
    raise ValueError(
        f"{config_class.__name__} belongs to no causal language model of transformers. A class of your own is "
        "guarded by `class Mine(ECOMixin, MyForCausalLM)`."
    )
