"""Rows that hold several sequences one behind the other: packed batches, and those of continuous batching."""

from __future__ import annotations

import copy
from itertools import accumulate, pairwise
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import ContinuousBatchingConfig

from .errors import GuardError

_MANAGERS: WeakSet[Any] = WeakSet()  # of continuous batching, on guarded models


class Segments:
    """Where in packed rows the sequences lie.

    Args:
        spans: (row, start, stop) of each sequence.
    """

    def __init__(self, spans: list[tuple[int, int, int]]) -> None:
        self.spans = spans

    def unpack(self, packed: Tensor, fill: float = 0) -> Tensor:
        """(rows, columns, ...) -> (sequences, longest, ...), padded on the right."""
        return pad_sequence([packed[r, a:b] for r, a, b in self.spans], batch_first=True, padding_value=fill)

    def pack(self, sequences: Tensor, packed: Tensor) -> Tensor:
        """A copy of `packed`, (rows, columns, ...), with each sequence of (sequences, longest, ...) in its place."""
        packed = packed.clone()
        for sequence, (row, start, stop) in zip(sequences, self.spans, strict=True):
            packed[row, start:stop] = sequence[: stop - start]
        return packed

    @property
    def attended(self) -> Tensor:
        """(sequences, longest) bool, False for the padding that `unpack` adds."""
        lengths = torch.tensor([stop - start for _, start, stop in self.spans])
        return torch.arange(int(lengths.max())) < lengths.unsqueeze(-1)


def find_segments(call: dict[str, Any]) -> Segments | None:
    """The sequences of a forward call with packed rows, None if its rows are not packed."""
    rows, columns = call["input_ids"].shape
    ends, index, positions = (call.get(name) for name in ("cu_seq_lens_q", "seq_idx", "position_ids"))
    if ends is not None:
        if rows != 1:
            raise GuardError("cu_seq_lens_q says where the sequences of one row lie; pass one packed row at a time.")
        starts = torch.zeros(1, columns, dtype=torch.bool)
        inner = ends.detach().cpu().long()
        starts[0, inner[inner < columns]] = True
    elif index is not None:
        starts = index.detach().cpu().diff(dim=-1, prepend=index[:, :1].cpu() - 1) != 0
    elif positions is not None and not is_padding_mask(call.get("attention_mask")):
        positions = positions[0] if positions.dim() == 3 else positions  # one of them for each axis of an image
        # as transformers finds them: wherever a position does not follow the one before
        positions = positions.detach().cpu().expand(rows, -1)
        starts = positions.diff(dim=-1, prepend=positions[:, :1] - 1) != 1
    else:
        return None
    starts[:, 0] = True
    if starts.sum() == rows:
        return None
    spans = []
    for row in range(rows):
        edges = [*starts[row].nonzero().squeeze(-1).tolist(), columns]
        spans += [(row, a, b) for a, b in pairwise(edges)]
    return Segments(spans)


def is_padding_mask(mask: Any) -> bool:
    """True of a (batch, sequence) mask, the one form that says which tokens are padding."""
    return isinstance(mask, Tensor) and mask.dim() == 2


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
