"""Whether a prompt may be run once for all answers that are scored behind it: the questions to ask of a model."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn
from transformers import Cache, DynamicCache, PreTrainedConfig, PreTrainedModel

from .._transformers import DynamicLayer, DynamicSlidingWindowLayer, supports_dynamic_cache
from ..inference.caches import cache_argument

_REPEATABLE = (DynamicLayer, DynamicSlidingWindowLayer)  # they keep keys and values of columns, row by row
_LENGTH_DEPENDENT_ROPE = {"dynamic", "longrope"}  # how a prompt's tokens are rotated depends on the answer's length
# Found by trial of all causal models of transformers 5.24: what these make of an answer behind a cache, or of padding
# before it, is not what they make of the whole row.
_WHOLE_ROWS = {"blt", "doge", "git", "moshi", "xlm"}


def shares_prompts(model: nn.Module, inner: Any) -> bool:
    """True if an answer's loss is the same whether it is run with its prompt or behind the prompt's cache, the rows of
    which have been repeated.

    Args:
        model: a causal language model, an adapter's wrapper included.
        inner: the same without the wrapper.
    """
    soft_prompt = getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False)
    takes = inspect.signature(inner.forward).parameters.keys()
    needs = {cache_argument(type(inner)), "position_ids"}
    if soft_prompt or not needs <= takes or inner.config.model_type in _WHOLE_ROWS:
        return False
    if not supports_dynamic_cache(inner):
        return False
    if _has_length_dependent_rope(inner.config.get_text_config(decoder=True)) or _has_shifted_positions(inner):
        return False
    return all(type(layer) in _REPEATABLE for layer in prompt_cache(inner).layers)


def prompt_cache(inner: PreTrainedModel) -> Cache:
    """An empty cache of the kind that `inner`, a causal language model, generates with."""
    return DynamicCache(config=inner.config.get_text_config(decoder=True))


def _has_length_dependent_rope(config: PreTrainedConfig) -> bool:
    rope = getattr(config, "rope_parameters", None) or {}
    by_layer_type = [own for own in rope.values() if isinstance(own, dict)]
    return any(own.get("rope_type") in _LENGTH_DEPENDENT_ROPE for own in [rope, *by_layer_type])


def _has_shifted_positions(inner: PreTrainedModel) -> bool:
    """True of RoBERTa and its kin, whose first token does not have position 0."""
    return any(
        name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None
        for name, module in inner.named_modules()
    )
