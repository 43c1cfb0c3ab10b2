"""Which plan a call goes by: decided once for a call of `generate`, given for a run, else made for a forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel

from ..errors import GuardError
from ..guard.guard import Guard
from ..guard.plan import Plan, count_positions
from .answer_watch import refuse_dictated
from .cache_refill import positions_before, refill
from .caches import CacheState, cache_state, cached_columns, is_recurrent, known_state, note, paged_cache
from .fingerprint import Fingerprint
from .generate_call import GenerateCall
from .packed_rows import find_segments
from .pass_plans import (
    AnswerBounds,
    is_stale,
    plan_conversation,
    planned_behind,
    planned_by_generate,
    planned_for_requests,
    planned_here,
    planned_packed,
)
from .state import CallContext, Generation, PlannedPass
from .visibility import check_positions, visible_columns


class Follower(Protocol):
    """Keeps a model's guard up to date."""

    @property
    def directory(self) -> str:
        """Whose guard it follows."""

    def look(self) -> None:
        """Called before a request; may put another guard in charge."""


class Planner:
    """Makes the plans of one model's calls, and has its caches filled anew where they hold something else.

    Args:
        model: the guarded model.
        context: its part of the context variables.
    """

    def __init__(self, model: PreTrainedModel, context: CallContext) -> None:
        self.model = model
        self.context = context
        self.guard: Guard | None = None
        self.follower: Follower | None = None
        self._fingerprint = Fingerprint(model)

    def ready(self, ids: Tensor | None) -> Guard:
        """The attached guard, on the device of `ids`. Raises GuardError if there is none."""
        if self.follower is not None and self.context.generation is None:  # between requests
            self.follower.look()
        guard = self.guard
        if guard is None:
            raise GuardError(
                "This model has no guard attached, so it does not run. Load it with "
                "AutoModelForCausalLMWithECO.from_pretrained(path, eco_config=...)."
            )
        if ids is not None:
            guard.to(ids.device)
            if guard.log is not None:
                offloaded = any(parameter.is_meta for parameter in self.model.parameters())
                guard.base_fingerprint = None if offloaded else str(self._fingerprint)
        return guard

    @contextmanager
    def generation(self, call: GenerateCall) -> Iterator[Generation]:
        """Decides about the prompts of a `generate` call; its forward passes inside go by that. A given cache that
        holds the conversation corrupted otherwise than it is now to be is filled anew.

        Raises:
            GuardError: a prompt comes in a form that the guard cannot read.
        """
        guard, past, ids = self.ready(call.ids), cached_columns(call.cache), call.ids
        if past:
            plan = self._plan_behind_given_cache(guard, ids, call.mask, call.cache, past)
        else:
            plan = guard.plan(ids, call.mask)
        mask = None if call.mask is None else call.mask.detach().to("cpu", torch.bool, copy=True)
        visible = None if mask is None else mask.expand(plan.ids.shape)
        if call.positions is not None:
            check_positions(call.positions, visible, plan.ids.shape[1] - call.positions.shape[-1], ids.shape[0])
        guided = None if call.unconditional is None else guard.plan(*call.unconditional)
        generation = Generation(
            self.context, guard, plan, guided, ids.shape[1], call.drafts, visible=visible, own_loop=call.own_loop
        )
        with self.context.running(generation):
            yield generation

    @contextmanager
    def following(self, plan: Plan, guard: Guard | None = None) -> Iterator[None]:
        """Inside, in this thread, forward passes of the plan's ids go by the plan; nothing is judged. With a cache,
        the columns may be run in parts.

        Args:
            plan: of the batch that will be run: its ids are compared with those of each pass.
            guard: whose plan it is; the attached one if None.
        """
        guard = self.ready(None) if guard is None else guard
        with self.context.running(Generation(self.context, guard, plan)):
            yield

    def replan(self, ids: Tensor, pad_token_id: int | None) -> None:
        """Decides again about the prompts of the running `generate`, which has rewritten them to `ids`."""
        if (generation := self.context.generation) is not None:
            mask = None if pad_token_id is None else ids.ne(pad_token_id)
            generation.plan, generation.given = generation.guard.plan(ids, mask), ids.shape[1]
            generation.visible = None if mask is None else mask.cpu()

    def remember(self, generation: Generation, cache: Any, sequences: Tensor | None) -> None:
        """Notes on `cache` what a `generate` call that returned `sequences`, (rows, columns), has left in it; None if
        it returned something of its own."""
        plan, ids, filled = generation.plan, None, known_state(cache)
        rows = plan.ids.shape[0]
        known = filled is not None and filled.plan.ids.shape[0] == rows and not is_recurrent(cache)
        if known and sequences is not None and sequences.shape[0] == rows:
            ids = torch.cat([plan.ids, sequences[:, generation.given :].cpu()], dim=1)
        judged = plan.ids.shape[1] if ids is None else ids.shape[1]  # what was generated is the model's own
        note(cache, CacheState(generation.guard, plan, ids, judged=judged))

    def plan_pass(self, call: dict[str, Any], cache: Any) -> PlannedPass | None:
        """The plan of a forward pass of the decoder; None if nothing of it is prompt.

        Args:
            call: the decoder's arguments by name.
            cache: the cache among them, None if there is none.
        """
        ids, generation = call["input_ids"], self.context.generation
        guard = self.ready(ids)
        if (paged := paged_cache(call)) is not None:
            return planned_for_requests(guard, ids, paged)
        past = cached_columns(cache)
        prompt = generation.plan_for(ids, past) if generation is not None else None
        if (
            generation is not None
            and prompt is not None
            and (not generation.own_loop or _is_as_planned(call, generation, past))
        ):
            _refuse_packing(call)
            if generation.own_loop and not past and ids.shape[1] > prompt.ids.shape[1]:
                refuse_dictated(guard, prompt, ids[:, prompt.ids.shape[1] :], "custom_generate")
            return planned_by_generate(generation, prompt, ids, past)
        return self._plan_alone(guard, call, cache, past)

    def _plan_alone(self, guard: Guard, call: dict[str, Any], cache: Any, past: int) -> PlannedPass:
        """Plans a forward pass outside of `generate`."""
        said, labels = self.context.statement, self.context.labels
        self.context.labels = None  # they are of this pass alone
        bounds = AnswerBounds(
            None if said is None else said.lengths,
            labels,
            guard.reader,
            "strict" if said is None else said.protocol,
        )
        ids, segments = call["input_ids"], find_segments(call)
        rows, columns = ids.shape
        if segments is not None and past:
            raise GuardError(
                "position_ids start again within a row behind a filled cache. Pass packed rows without a cache."
            )
        if segments is not None:
            return planned_packed(guard, ids, segments, bounds)
        mask = visible_columns(call.get("attention_mask"), rows, columns, past + columns)
        check_positions(call.get("position_ids"), mask, past, rows)
        if past:
            state, positions = cache_state(cache, ids.shape[0]), call.get("position_ids")

            def fill_anew(plan: Plan, attended: Tensor) -> None:
                own = None if positions is None else positions_before(state.plan.columns(0, past), positions)
                self._refill(guard, cache, plan, past, attended, own)

            return planned_behind(guard, state, ids, mask, past, bounds, fill_anew)
        return planned_here(guard, ids, mask, bounds)

    def _plan_behind_given_cache(
        self, guard: Guard, ids: Tensor, attention_mask: Tensor | None, cache: Any, past: int
    ) -> Plan:
        """The plan of a whole conversation whose first `past` columns are in the cache that generate was given."""
        state = cache_state(cache, ids.shape[0])
        if attention_mask is not None and attention_mask.shape[1] > ids.shape[1]:
            ids = torch.cat([state.ids[:, :past], ids.cpu()], dim=1)
        elif ids.shape[1] <= past or not torch.equal(ids[:, :past].cpu(), state.ids[:, :past]):
            raise GuardError(
                "The prompt does not begin with what the given cache holds. Pass the whole conversation's ids, or "
                "only the new ones with an attention_mask as long as the whole conversation."
            )
        plan = plan_conversation(guard, state, ids, attention_mask, past)
        if is_stale(state, guard, plan, past):
            mask = plan.attended if attention_mask is None else attention_mask.cpu().expand(plan.ids.shape)
            positions = count_positions(mask[:, :past])  # as generate counts them
            self._refill(guard, cache, plan, past, mask, positions)
        return plan

    def _refill(self, guard: Guard, cache: Any, plan: Plan, past: int, mask: Tensor, positions: Any) -> None:
        """Has the first `past` columns run into `cache` again, corrupted as `plan` says; see `refill`."""
        with self.following(plan, guard):
            refill(self.model, cache, plan.ids[:, :past], mask[:, :past], positions)
        note(cache, CacheState(guard, plan.columns(0, past), plan.ids[:, :past]))


def _is_as_planned(call: dict[str, Any], generation: Generation, past: int) -> bool:
    """Whether a forward pass shows the model what the call of `generate` that it is a part of was judged by."""
    rows, columns = call["input_ids"].shape
    total = past + columns
    visible = visible_columns(call.get("attention_mask"), rows, columns, total)
    check_positions(call.get("position_ids"), visible, past, rows)
    seen = torch.ones(rows, total, dtype=torch.bool) if visible is None else visible
    planned = torch.ones_like(generation.plan.attended) if generation.visible is None else generation.visible
    planned = planned.repeat_interleave(rows // planned.shape[0], dim=0)[:, :total]
    return torch.equal(seen, pad(planned, (0, total - planned.shape[1]), value=True))


def _refuse_packing(call: dict[str, Any]) -> None:
    """Raises GuardError if the prompt that a call of `generate` runs is cut into sequences."""
    if any(call.get(name) is not None for name in ("cu_seq_lens_q", "cu_seq_lens_k", "seq_idx")):
        raise GuardError("generate takes one prompt per row. Leave cu_seq_lens_q, cu_seq_lens_k and seq_idx out.")
