"""A cache that holds a conversation corrupted otherwise than it is now to be is emptied, and filled anew."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..errors import GuardError
from ..guard.plan import Plan
from .caches import cache_argument, empty, is_recurrent, repeats


@torch.no_grad()
def refill(model: PreTrainedModel, cache: Any, ids: Tensor, mask: Tensor, positions: Tensor | None) -> None:
    """Empties `cache` and runs `ids` into it, each row as often as it was there.

    Args:
        model: runs under a plan for `ids`.
        cache: holds as many columns.
        ids: (rows, columns).
        mask: (rows, columns), their attention mask.
        positions: (rows, columns), their position_ids; None if the model finds its own.

    Raises:
        GuardError: the model takes no cache, or it does not hold the columns afterwards.
    """
    if (cache_name := cache_argument(type(model))) is None:
        raise GuardError(f"{type(model).__name__} takes no cache. Pass the whole conversation without it.")
    times = repeats(cache) or 1
    empty(cache)
    names = inspect.signature(type(model).forward).parameters
    call: dict[str, Any] = {"input_ids": ids, "attention_mask": mask.long(), "position_ids": positions}
    call = {n: v.repeat_interleave(times, dim=0).to(model.device) for n, v in call.items() if v is not None}
    call |= {cache_name: cache, "use_cache": True, "logits_to_keep": 1}
    model(**{name: value for name, value in call.items() if name in names})
    if not is_recurrent(cache) and cache.get_seq_length() != ids.shape[1]:
        empty(cache)
        raise GuardError("The given cache could not be filled anew. Pass the conversation without the cache.")


def positions_before(before: Plan, positions: Tensor) -> Tensor:
    """The position_ids of the columns of `before`, that go on with `positions`, (rows or 1, columns), behind them."""
    rows, past = before.ids.shape
    first = positions.detach().cpu()[..., 0].expand(rows) if positions.dim() == 2 else None
    counted = torch.arange(past).expand(rows, -1)
    if first is not None and torch.equal(first, counted[:, -1] + 1):
        return counted
    if first is not None and torch.equal(first, before.attended.sum(-1)):
        return before.positions
    raise GuardError(
        "The conversation falls in a forget scope only now, and the given position_ids do not tell where what is "
        "cached stands. Pass the whole conversation's ids without the cache."
    )
