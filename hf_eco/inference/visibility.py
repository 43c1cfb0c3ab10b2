"""What the model sees of a row, and in which order: attention masks and position_ids. The guard reads what the model
reads; a mask or positions that would make another text of the ids are refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import GuardError


def visible_columns(mask: Any, rows: int, columns: int, total: int) -> Tensor | None:
    """(rows, total) bool on the CPU, the columns that a forward pass attends to; None if it attends to all.

    Args:
        mask: the pass's attention_mask, (rows, total) or (rows, heads, columns, at least total).
        rows: of its input_ids.
        columns: of its input_ids.
        total: its columns and those that are cached.

    Raises:
        GuardError: the mask does not have such a shape, or shows different tokens different texts.
    """
    if mask is None:
        return None
    if isinstance(mask, Tensor) and mask.dim() == 2 and mask.shape[0] in (1, rows) and mask.shape[1] == total:
        return mask.detach().cpu().bool().expand(rows, -1)
    if isinstance(mask, Tensor) and mask.dim() == 4 and mask.shape[2] == columns and mask.shape[3] >= total:
        return _last_query(mask.detach().cpu(), rows, columns, total)
    given = f"one of shape {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
    raise GuardError(
        f"The guard reads an attention_mask of shape {(rows, total)}, and was given {given}, so it cannot tell what "
        "the model sees. Pass a (batch, sequence) mask as long as cached and new tokens together."
    )


def _last_query(mask: Tensor, rows: int, columns: int, total: int) -> Tensor:
    """(rows, total) bool, what the last token of a causal mask attends to, if every other sees as much of it as stands
    in front of it."""
    seen = mask if mask.dtype == torch.bool else mask == 0
    hidden = ~seen if mask.dtype == torch.bool else mask <= -1e4  # what is added to the attention's logits
    seen, hidden = (part[..., :total].expand(rows, -1, -1, -1) for part in (seen, hidden))
    visible = seen[:, :1, -1]  # (rows, 1, total)
    causal = torch.ones(columns, total, dtype=torch.bool).tril(total - columns)
    wanted, given, itself = visible.unsqueeze(2) & causal, seen & causal, causal & ~causal.tril(total - columns - 1)
    alike = (given == wanted).all(-1)
    # what is hidden itself attends to whatever is easy to compute: to nothing, to itself, or to everything
    easy = ~given.any(-1) | (given == itself).all(-1) | seen.all(-1)
    alike |= easy & ~visible[:, :, total - columns :]
    if not (seen | hidden).all() or not alike.all():
        raise GuardError(
            "The attention_mask shows some tokens of a row another text than others, so the guard cannot tell what "
            "the model reads. Pass a (batch, sequence) mask, and one prompt per row."
        )
    return visible.squeeze(1)


def check_positions(positions: Any, visible: Tensor | None, past: int, rows: int) -> None:
    """Raises GuardError unless position_ids put the tokens in the order in which they stand.

    Args:
        positions: (rows, columns), or one of these for each axis, of the columns behind `past`; None to let the model
            count.
        visible: (rows, past + columns) bool, what the model attends to; None if all.
        past: columns that are cached.
        rows: of the batch.
    """
    if positions is None:
        return
    own_axes = positions.detach().cpu().long()
    axes: list[Tensor] = list(own_axes) if positions.dim() == 3 else [own_axes]
    columns = positions.shape[-1]
    visible = torch.ones(rows, past + columns, dtype=torch.bool) if visible is None else visible
    counts = [torch.arange(past + columns).expand(rows, -1), visible.long().cumsum(-1) - 1]
    for axis in axes:
        for row, own in enumerate(axis.expand(rows, -1)):
            new = visible[row, past:].nonzero().squeeze(-1)
            if not _follows(own[new], [count[row, past:][new] for count in counts], started=past > 0):
                raise GuardError(
                    "position_ids put the tokens of a row in another order than they stand in, or apart, so the model "
                    "would read another text than the guard. Leave position_ids out, or count from the row's first "
                    "token. (Packed rows: pass no attention_mask.)"
                )


def _follows(own: Tensor, counts: Sequence[Tensor], started: bool) -> bool:
    """Whether positions, (tokens,), go on as one of `counts` does; `started` if from the same number."""
    if own.numel() == 0:
        return True
    shifted = [count if started else count - count[0] + own[0] for count in counts]
    return any(torch.equal(own, count) for count in shifted)
