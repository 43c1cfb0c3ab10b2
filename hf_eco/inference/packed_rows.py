"""Rows that hold several sequences, one behind the other."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..errors import GuardError


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
