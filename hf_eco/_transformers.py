"""Every name of transformers that is not public and that hf_eco relies on, each with what it is for.

`tests/test_transformers_names.py` has a test for each, which fails when the library moves on. What only exists inside
a function's body or an object of transformers' own (a cache, a request) is reached through a function here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import transformers
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import CacheLayerMixin, DynamicLayer, DynamicSlidingWindowLayer
from transformers.utils import (
    ADAPTER_SAFE_WEIGHTS_NAME,
    ADAPTER_WEIGHTS_NAME,
    SAFE_WEIGHTS_INDEX_NAME,
    SAFE_WEIGHTS_NAME,
    WEIGHTS_INDEX_NAME,
    WEIGHTS_NAME,
)
from transformers.utils.hub import cached_file, extract_commit_hash

__all__ = [
    "ADAPTER_FILES",
    "CACHE_ARGUMENTS",
    "DOWNLOAD_ARGUMENTS",
    "MODEL_FILES",
    "OTHER_CACHE_ARGUMENTS",
    "CacheLayerMixin",
    "DynamicLayer",
    "DynamicSlidingWindowLayer",
    "auto_model_classes",
    "causal_lm_of",
    "check_weights",
    "config_and_model_arguments",
    "decode",
    "encode_special_floats",
    "file_in_repository",
    "first_write_of_native_init",
    "holds_adapter_alone",
    "knows",
    "load_without_code",
    "prompt_of_request",
    "register_causal_lm",
    "requests_of_batch",
    "revision_of_file",
    "stored_weight",
    "supports_dynamic_cache",
]

# -- Loading

# What every `from_pretrained` takes to say where files come from.
DOWNLOAD_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")

# What concerns weights and not the config, though a config has an attribute of that name.
_OF_THE_WEIGHTS = ("adapter_kwargs", "dtype", "gguf_file", "quantization_config", "torch_dtype", "trust_remote_code")


def config_and_model_arguments(loader: Any, path: str, arguments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """`loader.from_pretrained(path)` with those of a model's `from_pretrained` arguments that are for its config, and
    the others, which are for the model: parted as `AutoModel.from_pretrained` does it.

    Args:
        loader: a config class, or `AutoConfig`.
        path: path or Hub id.
        arguments: the keyword arguments of the model's `from_pretrained`.
    """
    kept = {name: arguments[name] for name in (*DOWNLOAD_ARGUMENTS, *_OF_THE_WEIGHTS) if name in arguments}
    given = {name: value for name, value in arguments.items() if name not in _OF_THE_WEIGHTS}
    if kept.get("gguf_file") is not None:  # these a config is loaded by, too
        given["gguf_file"] = kept["gguf_file"]
    config, left = load_without_code(
        loader, path, trust_remote_code=bool(kept.get("trust_remote_code")), return_unused_kwargs=True, **given
    )
    config.name_or_path = path
    return config, {**left, **kept}


def load_without_code(loader: Any, path: str, *, trust_remote_code: bool = False, **arguments: Any) -> Any:
    """`loader.from_pretrained(path, **arguments)` by transformers' own classes alone: code that the repository brings
    is not run, and nobody is asked at the terminal whether to run it.

    Args:
        loader: an Auto class, or a config class.
        path: path or Hub id.
        trust_remote_code: of a model's owner, who said so.
        arguments: as for any `from_pretrained`.

    Raises:
        ValueError: it cannot be loaded without code of its own.
    """
    try:
        return loader.from_pretrained(path, trust_remote_code=trust_remote_code, **arguments)
    except ValueError as error:
        if trust_remote_code or "trust_remote_code" not in str(error):
            raise
        where = "/".join(part for part in (str(path), arguments.get("subfolder")) if part)
        raise ValueError(
            f"{where!r} would have to run code of its own (auto_map), which hf-eco never does. Use a model or "
            "tokenizer of a type that transformers has itself; if it is one, delete auto_map from its config files."
        ) from error


# The files of weights, safetensors and pickles: whole, and the indices of those in shards.
MODEL_FILES = (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME, WEIGHTS_NAME, WEIGHTS_INDEX_NAME)
ADAPTER_FILES = (ADAPTER_SAFE_WEIGHTS_NAME, f"{ADAPTER_SAFE_WEIGHTS_NAME}.index.json", ADAPTER_WEIGHTS_NAME)


def check_weights(path: str, files: tuple[str, ...] = MODEL_FILES, **download: Any) -> None:
    """Raises OSError if a repository's weights are pickles, or the index of its weights names some: `use_safetensors`
    makes transformers look for no more than the index."""

    def named(*names: str) -> str | None:
        return next((found for n in names if (found := file_in_repository(path, n, quiet=True, **download))), None)

    pickled = None
    whole, index_name, *pickles = files
    if index := named(index_name):
        with open(index, encoding="utf-8") as file:
            shards = set(json.load(file).get("weight_map", {}).values())
        pickled = next((name for name in sorted(map(str, shards)) if not name.endswith(".safetensors")), None)
    elif not named(whole):
        pickled = named(*pickles)
    if pickled:
        raise OSError(
            f"The weights of {path!r} lie in {pickled!r}, which is no safetensors file. hf-eco reads no pickles, for "
            "they can run code. Convert them: load the model by its own class, and save_pretrained it."
        )


def stored_weight(path: str, names: Sequence[str]) -> Any:
    """The first tensor of one of these names in a checkpoint's safetensors files; None if there is none."""
    from safetensors import safe_open

    place = dict.fromkeys(names, SAFE_WEIGHTS_NAME)
    if index := file_in_repository(path, SAFE_WEIGHTS_INDEX_NAME, quiet=True):
        with open(index, encoding="utf-8") as stream:
            shards = json.load(stream).get("weight_map", {})
        place = {name: shards[name] for name in names if name in shards}
    for name, shard in place.items():
        if (file := file_in_repository(path, shard, quiet=True)) is not None:
            with safe_open(file, "pt") as tensors:
                if name in tensors.keys():  # noqa: SIM118 - it is no dictionary
                    return tensors.get_tensor(name)
    return None


def file_in_repository(repository: str, name: str, *, quiet: bool = False, **download: Any) -> str | None:
    """Path of a file of a directory or Hub repository; None if the repository has none.

    Args:
        repository: path or Hub id.
        name: of the file.
        quiet: None also where the Hub cannot be reached or denies access.
        download: of `DOWNLOAD_ARGUMENTS`.

    Raises:
        OSError: there is no such repository, or it cannot be reached.
    """
    options = {"_raise_exceptions_for_missing_entries": False}
    if quiet:
        options |= {"_raise_exceptions_for_connection_errors": False, "_raise_exceptions_for_gated_repo": False}
    return cached_file(repository, name, **{**download, **options})


def revision_of_file(path: str | None) -> str | None:
    """The commit that a file in the Hub's cache is of; None of any other file."""
    return extract_commit_hash(path, None)


def auto_model_classes(module: Any) -> list[Any]:
    """The Auto classes of models that `modeling_auto` defines; each has a `from_pretrained` of its own."""
    bases = module._BaseAutoModelClass
    classes = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, bases)]
    return [value for value in classes if value is not bases and "from_pretrained" in vars(value)]


def register_causal_lm(config_class: type[PreTrainedConfig], model_class: type[PreTrainedModel]) -> None:
    """`AutoModelForCausalLM` builds `model_class` from `config_class`. Not by the public `register`, which refuses a
    model class whose own config is another, as that of a model type that borrows another's class."""
    mapping: Any = transformers.AutoModelForCausalLM._model_mapping
    mapping.register(config_class, model_class, exist_ok=True)


def causal_lm_of(config_class: type[PreTrainedConfig]) -> type[PreTrainedModel] | None:
    """The model class that `AutoModelForCausalLM` builds from `config_class`; None if it knows none."""
    mapping: Any = transformers.AutoModelForCausalLM._model_mapping
    return mapping.get(config_class, None)


# -- Configs and models

_FIRST_WRITTEN = "_attn_implementation_internal"
_NATIVE_INIT = PreTrainedModel.__init__.__code__
if _FIRST_WRITTEN not in _NATIVE_INIT.co_names:  # without it an unguarded model could be built in silence
    raise ImportError(f"hf-eco does not know transformers {transformers.__version__} yet. pip install -U hf-eco")


def first_write_of_native_init(key: str) -> bool:
    """True if the caller's caller is `PreTrainedModel.__init__`, about to write the first attribute into its config. A
    native class that is handed a guarded config would load the weights without the guard; there is no other moment at
    which it could be stopped."""
    return key == _FIRST_WRITTEN and sys._getframe(2).f_code is _NATIVE_INIT


def encode_special_floats(config: PreTrainedConfig, values: dict[str, Any]) -> dict[str, Any]:
    """A config's dictionary with infinities and NaN in the form that transformers writes to config.json."""
    return config._encode_special_floats(values)


def holds_adapter_alone(model: PreTrainedModel) -> bool:
    """True if `save_pretrained` would write the model's adapter, and not its weights."""
    return bool(getattr(model, "_hf_peft_config_loaded", False))


def supports_dynamic_cache(model: Any) -> bool:
    """True if a causal language model keeps what it has read in a `DynamicCache`, and nowhere else."""
    return not model._is_stateful and bool(model._supports_default_dynamic_cache())


# -- Tokenizers


def decode(tokenizer: Any, ids: list[int]) -> str:
    """The text of `ids`, special tokens included, as the tokens make it up; of a fast tokenizer by what it stands on,
    which is several times as fast."""
    if (backend := getattr(tokenizer, "_tokenizer", None)) is not None:
        return backend.decode(ids, skip_special_tokens=False)
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def knows(tokenizer: Any, token_id: int) -> bool:
    """Whether a tokenizer has a token of that id."""
    if token_id < 0:
        return False
    if (backend := getattr(tokenizer, "_tokenizer", None)) is not None:
        return token_id < 2**32 and backend.id_to_token(token_id) is not None
    return token_id < tokenizer.vocab_size or token_id in tokenizer.added_tokens_decoder


# -- Caches

# The forward arguments that hold a `Cache`: transformers 5.24 has given all one name, and takes the old ones still.
# And those of models that keep what they have read in a form of their own.
CACHE_ARGUMENTS = ("cache", "past_key_values", "cache_params")
OTHER_CACHE_ARGUMENTS = ("state", "mems", "past_buckets_states")

# -- Continuous batching


def requests_of_batch(manager: Any, cache: Any) -> tuple[list[Any], list[tuple[int, int]], list[int]] | None:
    """The requests in the forward pass that a continuous batching manager runs on `cache`: their states, where each
    lies in the packed row, [start, stop), and how many tokens of each are cached. None if the cache is another's."""
    processor = manager.batch_processor
    if processor is None or processor.cache is not cache:
        return None
    batch = processor.inputs_and_outputs.requests_in_batch
    ends = list(accumulate(entry.query_length for entry in batch))
    spans = [(end - entry.query_length, end) for end, entry in zip(ends, batch, strict=True)]
    past = [entry.state.position_offset - entry.query_length for entry in batch]
    return [entry.state for entry in batch], spans, past


def prompt_of_request(request: Any) -> list[int]:
    """The ids of a request's prompt. What it had generated when it lost its place in the cache stands behind them and
    is none of it."""
    return request.initial_tokens[: request._true_initial_tokens or len(request.initial_tokens)]
