"""The config of a guarded model: in memory the base model's own, on disk the composite that native classes refuse."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedConfig

from .._transformers import causal_lm_of, encode_special_floats, first_write_of_native_init
from ..configuration import ECOConfig
from ..errors import GuardError
from .format import as_native_config, composite_config, refused_by_native_configs, split_composite_config
from .scopes_file import part_scopes, scopes_file_of, write_config

if TYPE_CHECKING:
    _Config = PreTrainedConfig  # what the mixin is mixed into
else:
    _Config = object

# What the config of a checkpoint that no model has been built from says of its architecture: the class of transformers
# that loads it guarded. What is written names the base's own.
AUTO_CLASS = "AutoModelForCausalLM"
GUARDED = "WithECO"  # what the name of a guarded class ends in, where an engine has one of its own

_BUILDING_GUARDED: ContextVar[bool] = ContextVar("eco_building_guarded", default=False)


@contextmanager
def building_guarded() -> Iterator[None]:
    """Inside, in this thread, models may be built from guarded configs."""
    token = _BUILDING_GUARDED.set(True)
    try:
        yield
    finally:
        _BUILDING_GUARDED.reset(token)


def is_for_loaders(architectures: Any) -> bool:
    """Whether the `architectures` of a config say who loads it guarded, and not the class of a model."""
    return architectures == [AUTO_CLASS] or (bool(architectures) and all(a.endswith(GUARDED) for a in architectures))


class UnreadGuard:
    """The guard in a config that was read without a model, where scopes lie in a file beside config.json: `AutoConfig`
    does not say how that file is to be downloaded. Loading the model reads it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise GuardError(
            "Scopes of this guard lie in a file beside config.json, which is read when the model is loaded: "
            "AutoModelForCausalLMWithECO.from_pretrained(...). Without the model: "
            "hf_eco.checkpoint.source.find_guard(path or Hub id).eco"
        )


class ECOConfigMixin(_Config):
    """The config of a guarded model: in memory the base model's own config with one attribute more, `eco`; on disk the
    composite that native classes refuse."""

    eco: Any = None  # an ECOConfig once a guard is there; before that, where most of it lies elsewhere, an UnreadGuard

    def __setattr__(self, key: str, value: Any) -> None:
        if first_write_of_native_init(key) and not _BUILDING_GUARDED.get():
            raise GuardError(
                "This config is that of a guarded checkpoint, and a class without the guard was about to be built "
                "from it. Use AutoModelForCausalLMWithECO.from_pretrained(...), or the base model's own config."
            )
        if self._names_another_class(key, value):
            raise GuardError(
                f"This config is that of a guarded checkpoint, and its {key} was about to become {value!r}: a class "
                "without the guard would be built from it. Leave it as it is (of vLLM's --hf-overrides, leave out "
                f"{key!r})."
            )
        super().__setattr__(key, value)

    def _names_another_class(self, key: str, value: Any) -> bool:
        """Whether a loader would build another class if `key` had this value. Of a config that a model was built from
        the architectures are that model's to say. Architectures are kept even if `eco` was taken away before them."""
        if key == "architectures":
            return is_for_loaders(self.architectures) and value != self.architectures
        return key == "model_type" and self.eco is not None and value != self.model_type

    @classmethod
    def is_custom_code(cls) -> bool:
        """What the base class says, so that its layer types are read and written as usual."""
        return _native_class(cls).is_custom_code()

    @classmethod
    def get_config_dict(cls, *args: Any, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        config_dict, kwargs = super().get_config_dict(*args, **kwargs)
        return _flatten(config_dict), kwargs

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        config_dict = _flatten(config_dict)
        eco = config_dict.pop("eco", None)
        loaded = super().from_dict(config_dict, **kwargs)
        config = loaded[0] if isinstance(loaded, tuple) else loaded
        unread = isinstance(eco, dict) and scopes_file_of(eco) is not None
        config.eco = UnreadGuard() if unread else ECOConfig.from_dict(eco) if isinstance(eco, dict) else eco
        return loaded

    def to_dict(self) -> dict[str, Any]:
        """The base model's own config dictionary, as peft and loggers read it; but nothing is loaded from it, for it
        says nothing of the guard. `save_pretrained` writes the guard too."""
        return self._refused(self._native().to_dict())

    def to_diff_dict(self) -> dict[str, Any]:
        """As `to_dict`, without what is the base config's default."""
        return self._refused(self._native().to_diff_dict())

    def _refused(self, base_config: dict[str, Any]) -> dict[str, Any]:
        # a config without a guard stands for the defaults, and what is like the defaults is not written
        return base_config if self.eco is None else refused_by_native_configs(base_config)

    def _native(self) -> PreTrainedConfig:
        """The base model's own config."""
        native: Any = object.__new__(_native_class(type(self)))
        vars(native).update((name, value) for name, value in vars(self).items() if name != "eco")
        if is_for_loaders(native.architectures) and (model_class := causal_lm_of(type(self))) is not None:
            vars(native)["architectures"] = [model_class.__name__]
        return native

    def to_json_file(self, json_file_path: str | os.PathLike[str], use_diff: bool = True) -> None:
        """Writes the composite config, and beside it the file of its scopes by names alone.

        Raises:
            GuardError: there is no guard to write, or it was not read whole; without it the config would load
                unguarded.
        """
        if self.eco is None:
            raise GuardError(
                "This config carries no guard, so it is not saved. Attach one first: model.add_scope(...)."
            )
        native = self._native()
        own = native.to_diff_dict() if use_diff else native.to_dict()
        stored, scopes = part_scopes(self.eco)
        write_config(json_file_path, encode_special_floats(self, composite_config(own, stored)), scopes)


def _native_class(guarded: type) -> type[PreTrainedConfig]:
    """The base model's config class, of which a guarded one is made."""
    return next(c for c in guarded.__mro__ if issubclass(c, PreTrainedConfig) and not issubclass(c, ECOConfigMixin))


def _flatten(config_dict: dict[str, Any]) -> dict[str, Any]:
    config_dict = as_native_config(config_dict)
    base_config, eco = split_composite_config(config_dict)
    return dict(base_config) if eco is None else {**base_config, "eco": eco}
