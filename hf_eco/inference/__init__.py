"""A plan reaches a running model, or the call is refused.

| file | what it holds |
|---|---|
| `hooks` | the hooks on the decoder and the embedding layer: plan, apply, verify |
| `planner` | which plan a call goes by |
| `generate_call` | what a call of `generate` is given |
| `generate_options` | every option of `generate`, and what the guard does about it |
| `answer_watch` | what options dictate is judged |
| `visibility` | what the model sees of a row, and in which order |
| `pass_plans` | the plan of one forward pass, for each way in which ids reach the decoder |
| `state` | what is kept between two hooks: context variables |
| `caches` | what is known of a cache, kept on the cache |
| `cache_refill` | a cache that holds something else is filled anew |
| `packed_rows`, `continuous_batching` | rows that hold several sequences |
| `forward_calls` | a forward call's arguments, and those that are refused |
| `guardability` | whether a model can be guarded at all |
| `fingerprint` | what tells models and tokenizers apart |
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from ..guard.plan import Plan

__all__ = ["following", "is_enabled"]


def following(model: Any, plan: Plan) -> AbstractContextManager[None]:
    """Inside, in this thread, forward passes of the plan's ids go by the plan, and nothing is judged: the way to run
    prompts that were judged before.

    Args:
        model: a guarded model.
        plan: of the batch that will be run.
    """
    return model._eco.planner.following(plan)


def is_enabled(model: Any) -> bool:
    """False inside the guarded model's `disable_guard()`, in this thread."""
    return bool(model._eco.context.enabled)
