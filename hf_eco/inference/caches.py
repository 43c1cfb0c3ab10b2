"""What the guard knows of a cache. It is kept on the cache itself, where a deepcopy of the cache takes it along."""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import Cache

from .._transformers import CACHE_ARGUMENTS, OTHER_CACHE_ARGUMENTS, CacheLayerMixin
from ..configuration import CorruptionConfig
from ..errors import GuardError
from ..guard.guard import Guard
from ..guard.plan import Plan


@dataclass
class CacheState:
    """What is known of a cache, or of a request: the ids of its columns, and the plan they were run with."""

    guard: Guard
    plan: Plan
    ids: Tensor | None  # (batch, columns) on the CPU; None if nobody can tell any more (beams)
    corruptions: dict[str, CorruptionConfig] = field(init=False)  # by scope, as they were then
    marks: Tensor | None = None  # see `_row_marks`
    judged: int = -1  # columns that were judged as prompt; those behind were taken for generated. All of the plan's

    def __post_init__(self) -> None:
        self.judged = self.plan.ids.shape[1] if self.judged < 0 else self.judged
        self.corruptions = corruptions_of(self.guard)

    def __deepcopy__(self, memo: dict[int, Any]) -> CacheState:
        return copy.copy(self)  # nothing of it is ever changed, and the guard is not the cache's to copy

    def known(self, past: int) -> tuple[str | None, ...] | None:
        """The scope each row is known to fall in, or to have fallen in; None if what was judged does not all stand in
        the first `past` columns any more."""
        return self.plan.corrupted_for if past >= self.plan.ids.shape[1] else None


def corruptions_of(guard: Guard) -> dict[str, CorruptionConfig]:
    """How each scope corrupts now; a config may be changed in place."""
    return {scope.name: replace(scope.corruption) for scope in guard.config.scopes}


def cache_argument(model_class: type[nn.Module]) -> str | None:
    """The name by which the models of a class take a Cache, None if they take none."""
    names = inspect.signature(model_class.forward).parameters
    return next((name for name in CACHE_ARGUMENTS if name in names), None)


def given_cache(call: dict[str, Any]) -> Any:
    """What a forward call is given for a cache, None if nothing."""
    for name in CACHE_ARGUMENTS:
        if call.get(name) is not None:
            return call[name]
    return None


def paged_cache(call: dict[str, Any]) -> Any:
    """What a forward call on requests of continuous batching is given for their cache, None if it is no such call."""
    cache = given_cache(call)
    return cache if call.get("cu_seq_lens_q") is not None and not isinstance(cache, Cache) else None


def find_cache(call: dict[str, Any]) -> Any:
    """The cache among a forward call's arguments; None if there is none, or that of continuous batching's requests.

    Raises:
        GuardError: what the model keeps what it has read in is nothing the guard can follow, or there are two caches.
    """
    if any(call.get(name) is not None for name in OTHER_CACHE_ARGUMENTS):
        raise GuardError("This kind of cache is not guarded. Run the model without it.")
    if (
        sum(call.get(name) is not None for name in CACHE_ARGUMENTS) > 1
    ):  # which of them a model takes depends on its version
        raise GuardError(f"The model is given two caches, of {' and '.join(CACHE_ARGUMENTS)}. Pass one.")
    if paged_cache(call) is not None:
        return None
    cache = given_cache(call)
    if cache is not None and not isinstance(cache, Cache):
        raise GuardError(f"The guard cannot follow a {type(cache).__name__} as a cache. Use a transformers Cache.")
    return cache


def returned_cache(output: Any) -> Any:
    """The cache among a model's outputs, None if there is none."""
    # in its own dictionary: where an output has one of the names, transformers answers to the others with a warning
    parts = output if isinstance(output, tuple) else map(getattr(output, "__dict__", {}).get, CACHE_ARGUMENTS)
    return next((part for part in parts if isinstance(part, Cache)), None)


def is_recurrent(cache: Any) -> bool:
    """True if the cache holds nothing but recurrent states, which have no columns."""
    layers = _layers(cache)
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


def note(cache: Any, state: CacheState, decoding: Any = None) -> None:
    """Keeps on `cache` what is known of it, and the mark of the call of generate that decodes on it now, if one
    does."""
    if state.ids is not None:
        state.marks = _row_marks(cache)
    cache._eco_state, cache._eco_decoding = state, decoding


def known_state(cache: Any) -> CacheState | None:
    """What is known of a cache; None if nothing is."""
    return getattr(cache, "_eco_state", None)


def forget(cache: Any) -> None:
    """Removes from `cache` what is known of it."""
    for name in ("_eco_state", "_eco_decoding"):
        vars(cache).pop(name, None)


def decodes_on(cache: Any, mark: Any) -> bool:
    """True if the call of generate with that mark has its whole prompt in `cache`: what follows is a decode step."""
    return cache is not None and getattr(cache, "_eco_decoding", None) is mark


def cache_state(cache: Any, rows: int) -> Any:
    """What is known of a cache that holds something, to go on from it with `rows` rows.

    Raises:
        GuardError: not enough to go on from it.
    """
    state = _known(cache)
    if state.ids.shape[1] < cached_columns(cache):
        raise GuardError(_UNKNOWN)
    if state.ids.shape[0] != rows:
        raise GuardError(
            f"The given cache holds {state.ids.shape[0]} rows, the batch {rows}. Run it without the cache."
        )
    if repeats(cache) is None:
        raise GuardError(
            "The rows of the given cache are not those the guard knows: they were reordered or selected. Pass the "
            "whole conversation's ids without the cache."
        )
    return state


def repeats(cache: Any) -> int | None:
    """How many times each row the guard knows stands in the cache, as `batch_repeat_interleave` lays them out; None if
    its rows are others."""
    known, marks = _known(cache).marks, _row_marks(cache)
    if known is None or marks is None:
        return 1
    times, rest = divmod(marks.shape[0], known.shape[0])
    columns = min(known.shape[1], marks.shape[1])
    known, marks = known.repeat_interleave(times, dim=0)[:, :columns], marks[:, :columns]
    if rest or not torch.allclose(known.nan_to_num(0.0).where(~marks.isnan(), 0), marks.nan_to_num(0.0), 1e-3, 1e-3):
        return None
    return times


def empty(cache: Any) -> None:
    """Removes everything from a cache, and what is known of it.

    Raises:
        GuardError: it does not let itself be emptied.
    """
    cache.reset()
    if not is_recurrent(cache) and (left := int(cache.get_seq_length())):
        cache.crop(-left)
    forget(cache)
    if is_filled(cache):
        raise GuardError(f"A {type(cache).__name__} cannot be emptied. Pass the whole conversation without the cache.")


def _row_marks(cache: Any) -> Tensor | None:
    """(rows, columns), the last layer's keys, summed, NaN where it keeps none any more. They depend on all that stands
    in a row, and tell one row from another. None if the cache keeps them in another form."""
    layer = next((layer for layer in reversed(_layers(cache)) if isinstance(layer, CacheLayerMixin)), None)
    keys = getattr(layer, "keys", None)
    if not isinstance(keys, Tensor) or keys.dim() != 4 or keys.is_meta:
        return None
    columns = cached_columns(cache)
    kept = keys[:, :, :columns].float().sum((1, 3)).cpu()  # a static cache has columns to spare, a window too few
    return pad(kept, (columns - kept.shape[1], 0), value=float("nan"))


def _layers(cache: Any) -> list[Any]:
    return getattr(getattr(cache, "self_attention_cache", cache), "layers", [])


def _known(cache: Any) -> Any:
    state = known_state(cache)
    if state is None or state.ids is None:
        raise GuardError(_UNKNOWN)
    return state


_UNKNOWN = (
    "The given cache was not filled under this guard, or not in a way it can follow, so nobody knows what it holds. "
    "Pass the whole conversation's ids without the cache. (Prefix tuning puts its soft prompts there: that is not "
    "guarded, LoRA is.)"
)
