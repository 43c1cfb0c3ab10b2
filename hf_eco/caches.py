"""What the guard knows of a cache. It is kept on the cache itself, where a deepcopy of the cache takes it along."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin, StaticLayer

from .errors import GuardError
from .guard import Guard
from .plan import Plan

# The forward arguments that hold a Cache, and those of models which keep what they have read in a form of their own.
CACHES = ("past_key_values", "cache_params")
OTHER_CACHES = ("state", "mems", "past_buckets_states")


@dataclass
class CacheState:
    """What is known of a cache: the ids of its columns, and the plan they were run with."""

    guard: Guard
    plan: Plan
    ids: Tensor | None  # (batch, columns) on the CPU; None if nobody can tell any more (beams)
    generation: Any = None  # the call of generate that is filling the cache
    ends: Tensor | None = None  # (batch, ...), see `row_ends`


def find_cache(call: dict[str, Any]) -> Any:
    """The cache among a forward call's arguments, None if there is none.

    Raises:
        GuardError: what the model keeps what it has read in is nothing the guard can follow.
    """
    if any(call.get(name) is not None for name in OTHER_CACHES):
        raise GuardError("This kind of cache is not guarded. Run the model without it.")
    cache = next((call[name] for name in CACHES if call.get(name) is not None), None)
    if cache is not None and not isinstance(cache, Cache):
        raise GuardError(f"The guard cannot follow a {type(cache).__name__} as a cache. Use a transformers Cache.")
    return cache


def note(cache: Any, state: CacheState) -> None:
    """Keeps on `cache` what is known of it."""
    state.ends = row_ends(cache, state.ids.shape[1]) if state.ids is not None else None
    cache._eco_state = state


def returned_cache(output: Any) -> Any:
    """The cache among a decoder's outputs, None if there is none."""
    parts = output if isinstance(output, tuple) else [getattr(output, name, None) for name in CACHES]
    return next((part for part in parts if isinstance(part, Cache)), None)


def is_recurrent(cache: Any) -> bool:
    """True if the cache holds nothing but recurrent states, which have no columns."""
    layers = getattr(cache, "layers", [])
    return bool(layers) and not any(isinstance(layer, CacheLayerMixin) for layer in layers)


def is_filled(cache: Any) -> bool:
    """True if the cache holds anything."""
    return bool(cache.has_previous_state() if is_recurrent(cache) else cache.get_seq_length())


def cached_columns(cache: Any) -> int:
    """How many columns a cache holds.

    Raises:
        GuardError: it is a recurrent state, and the guard has not followed what went into it.
    """
    if cache is None:
        return 0
    if is_recurrent(cache):
        return int(_known(cache).ids.shape[1]) if is_filled(cache) else 0
    return int(cache.get_seq_length())


def cache_state(cache: Any) -> Any:
    """What is known of a cache that holds something.

    Raises:
        GuardError: not enough to go on from it.
    """
    state = _known(cache)
    if state.ids.shape[1] < cached_columns(cache):
        raise GuardError(_UNKNOWN)
    ends = row_ends(cache, state.ids.shape[1]) if state.ends is not None else None
    if ends is not None and not torch.equal(ends, state.ends):
        raise GuardError(
            "The rows of the given cache are not those the guard knows: they were reordered, selected or repeated. "
            "Pass the whole conversation's ids without the cache."
        )
    return state


def row_ends(cache: Any, column: int) -> Tensor | None:
    """(batch, heads, size), the last layer's keys of the last of `column` columns, on the CPU. They depend on all that
    stands in a row, and tell one row from another. None if the cache keeps none, or no longer that column's."""
    layer = next((layer for layer in reversed(cache.layers) if isinstance(layer, CacheLayerMixin)), None)
    keys = getattr(layer, "keys", None)
    if not isinstance(keys, Tensor) or keys.dim() != 4:
        return None
    index = column if type(layer) is StaticLayer else keys.shape[2] - (cached_columns(cache) - column)
    return keys[:, :, index - 1].cpu() if 0 < index <= keys.shape[2] else None


def empty(cache: Any) -> None:
    """Removes everything from a cache, and what is known of it."""
    cache.reset()
    if not is_recurrent(cache) and (left := int(cache.get_seq_length())):
        cache.crop(-left)
    vars(cache).pop("_eco_state", None)
    if is_filled(cache):
        raise GuardError(f"A {type(cache).__name__} cannot be emptied. Pass the whole conversation without the cache.")


def _known(cache: Any) -> Any:
    state = getattr(cache, "_eco_state", None)
    if state is None or state.ids is None:
        raise GuardError(_UNKNOWN)
    return state


_UNKNOWN = (
    "The given cache was not filled under this guard, or not in a way it can follow, so nobody knows what it holds. "
    "Pass the whole conversation's ids without the cache. (Prefix tuning puts its soft prompts there: that is not "
    "guarded, LoRA is.)"
)
