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
    """The sequences of a forward call with packed rows, None if its rows are not packed.

    Raises:
        GuardError: its arguments do not agree on where the sequences lie.
    """
    rows, columns = call["input_ids"].shape
    ends, index, positions = (call.get(name) for name in ("cu_seq_lens_q", "seq_idx", "position_ids"))
    mask, explicit = call.get("attention_mask"), ends is not None or index is not None
    if positions is not None:
        positions = positions[0] if positions.dim() == 3 else positions  # one of them for each axis of an image
        positions = positions.detach().cpu().expand(rows, -1)
    if ends is not None:
        if rows != 1:
            raise GuardError("cu_seq_lens_q says where the sequences of one row lie; pass one packed row at a time.")
        starts = torch.zeros(1, columns, dtype=torch.bool)
        inner = ends.detach().cpu().long()
        starts[0, inner[inner < columns]] = True
    elif index is not None:
        starts = index.detach().cpu().diff(dim=-1, prepend=index[:, :1].cpu() - 1) != 0
    elif positions is not None and mask is None:
        # as transformers finds them: wherever a position does not follow the one before
        starts = _breaks(positions)
    else:
        return None
    starts[:, 0] = True
    if explicit:
        _check_agreement(call, starts)
    if starts.sum() == rows:
        return None
    if positions is not None:
        _check_starts(positions, starts)
    spans = []
    for row in range(rows):
        edges = [*starts[row].nonzero().squeeze(-1).tolist(), columns]
        spans += [(row, a, b) for a, b in pairwise(edges)]
    return Segments(spans)


def _breaks(positions: Tensor) -> Tensor:
    """(rows, columns) bool, where a position does not follow the one before."""
    return positions.diff(dim=-1, prepend=positions[:, :1] - 1) != 1


def _check_agreement(call: dict[str, Any], starts: Tensor) -> None:
    """Raises GuardError if a call with packed rows says of a token in two ways which sequence it belongs to, or hides
    it."""
    mask, keys = call.get("attention_mask"), call.get("cu_seq_lens_k")
    if keys is not None and (call.get("cu_seq_lens_q") is None or not torch.equal(keys, call["cu_seq_lens_q"])):
        raise GuardError("cu_seq_lens_k and cu_seq_lens_q cut the row differently. Pass the same for both.")
    if mask is not None and not (is_padding_mask(mask) and mask.bool().all()):
        raise GuardError("Packed rows are read without an attention_mask. Leave it out.")
    if call.get("cu_seq_lens_q") is not None and call.get("seq_idx") is not None:
        index = call["seq_idx"].detach().cpu()
        if (((index.diff(dim=-1, prepend=index[:, :1] - 1) != 0) | _first(starts)) != starts).any():
            raise GuardError("seq_idx and cu_seq_lens_q cut the row differently. Pass one of them.")


def _check_starts(positions: Tensor, starts: Tensor) -> None:
    """Raises GuardError unless the positions of each packed sequence follow one another, and begin with the row's
    first or go on with what stands in front: not every attention keeps the sequences apart, and then it is by its
    position that a token is read."""
    breaks = _breaks(positions) & ~_first(starts)
    if (breaks & ~starts).any() or (breaks & (positions != positions[:, :1])).any():
        raise GuardError(
            "position_ids put the tokens of a packed row in another order than they stand in. Let those of each "
            "sequence begin with the same number and count on by one."
        )


def _first(starts: Tensor) -> Tensor:
    """(rows, columns) bool, the first column of each row."""
    return torch.arange(starts.shape[1]).expand(starts.shape) == 0


def is_padding_mask(mask: Any) -> bool:
    """True of a (batch, sequence) mask, the one form that says which tokens are padding."""
    return isinstance(mask, Tensor) and mask.dim() == 2
