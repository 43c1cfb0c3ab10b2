"""The requests of transformers' continuous batching: which of them are in a pass, and where."""

from __future__ import annotations

import copy
from typing import Any
from weakref import WeakSet

from transformers import ContinuousBatchingConfig

from .._transformers import prompt_of_request, requests_of_batch
from ..errors import GuardError
from .packed_rows import Segments

__all__ = ["follow", "guardable_batching", "prompt_of_request", "requests_in_batch"]

_MANAGERS: WeakSet[Any] = WeakSet()  # of continuous batching, on guarded models


def guardable_batching(config: ContinuousBatchingConfig | None) -> ContinuousBatchingConfig:
    """A copy of `config` with what the guard can follow: no blocks shared between requests, because those of a flagged
    prompt hold other values than those of a clean one; no CUDA graphs and no compiled passes, which would replay what
    was done to another batch; one batch at a time."""
    config = copy.deepcopy(config) if config is not None else ContinuousBatchingConfig()
    config.allow_block_sharing = False
    config.use_async_batching = False
    config.use_cuda_graph = False
    config.varlen_compile_config = config.decode_compile_config = None
    config.default_compile_level = 0
    return config


def follow(manager: Any) -> None:
    """From now on `requests_in_batch` knows the requests of `manager`."""
    _MANAGERS.add(manager)


def requests_in_batch(cache: Any) -> tuple[list[Any], Segments, list[int]]:
    """The requests of the forward pass on the paged `cache`, where they lie, and how many tokens of each are cached.

    Raises:
        GuardError: nobody has told of the manager of that cache.
    """
    for manager in list(_MANAGERS):
        found = requests_of_batch(manager, cache)
        if found is not None:
            requests, spans, past = found
            return requests, Segments([(0, start, stop) for start, stop in spans]), past
    raise GuardError("A paged cache is guarded in generate_batch and init_continuous_batching of the model alone.")
