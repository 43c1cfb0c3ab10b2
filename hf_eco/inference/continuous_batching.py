"""The requests of transformers' continuous batching: which of them are in a pass, and where."""

from __future__ import annotations

import copy
from itertools import accumulate
from typing import Any
from weakref import WeakSet

from transformers import ContinuousBatchingConfig

from ..errors import GuardError
from .packed_rows import Segments

_MANAGERS: WeakSet[Any] = WeakSet()  # of continuous batching, on guarded models


# ---------------------------------------------------------------------------------------------------------------------
# Continuous batching


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
        processor = manager.batch_processor
        if processor is not None and processor.cache is cache:
            batch = processor.inputs_and_outputs.requests_in_batch
            ends = list(accumulate(entry.query_length for entry in batch))
            spans = [(0, end - entry.query_length, end) for end, entry in zip(ends, batch, strict=True)]
            past = [entry.state.position_offset - entry.query_length for entry in batch]
            return [entry.state for entry in batch], Segments(spans), past
    raise GuardError("A paged cache is guarded in generate_batch and init_continuous_batching of the model alone.")


def prompt_length(request: Any) -> int:
    """How many ids a request's prompt has; what it had generated when it lost its place in the cache is none of it."""
    return request._true_initial_tokens or len(request.initial_tokens)
