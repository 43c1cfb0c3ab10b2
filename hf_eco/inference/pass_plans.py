"""Who is flagged and which columns are corrupted, for each way in which ids reach the decoder: the plan of one forward
pass. What the user said around the call comes in as arguments; nothing here is kept between passes but on caches and
requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from ..errors import GuardError
from ..guard.guard import Guard
from ..guard.plan import Plan, ScoringProtocol, count_positions
from ..guard.prompt_reader import PromptReader
from .caches import CacheState, corruptions_of
from .continuous_batching import prompt_of_request, requests_in_batch
from .packed_rows import Segments
from .state import Generation, PlannedPass


@dataclass
class AnswerBounds:
    """Where a user said that the prompt ends and a scored answer begins: by `prompt_lengths`, or else by labels."""

    lengths: tuple[int, ...] | None
    labels: Tensor | None
    reader: PromptReader
    protocol: ScoringProtocol = "strict"

    def prompt_mask(self, ids: Tensor, mask: Tensor | None) -> Tensor | None:
        """(rows, columns) bool, the tokens of the prompt: all, in a row that nothing bounds; None if nobody said."""
        if self.lengths is not None:
            lengths = torch.tensor(self.lengths)
            if lengths.shape[0] != ids.shape[0]:
                raise ValueError(f"prompt_lengths names {lengths.shape[0]} rows, the batch has {ids.shape[0]}.")
            attended = torch.ones_like(ids, dtype=torch.bool).cpu() if mask is None else mask.cpu().bool()
            return attended.long().cumsum(-1) <= lengths.unsqueeze(-1)
        if self.labels is not None:
            unlabelled = self.labels.detach().cpu() == -100
            cached = ids.shape[1] - unlabelled.shape[1]
            # -100 is also given to padding, to whatever equals the pad token, to the first token of a packed sequence
            # and, where labels are shifted already, to the last; that bounds nothing.
            labelled_later = (~unlabelled).flip(-1).cummax(-1).values.flip(-1)
            bounding = unlabelled & labelled_later & ~self.reader.are_special(ids[:, cached:])
            if cached == 0:
                bounding[:, 0] = False
            return pad(unlabelled, (cached, 0), value=True) | ~bounding.any(-1, keepdim=True)
        return None

    def unpacked(self, segments: Segments) -> AnswerBounds:
        """The bounds of the sequences in packed rows."""
        if self.labels is None:
            return self
        return replace(self, labels=segments.unpack(self.labels.detach().cpu(), fill=-100))


def planned_by_generate(generation: Generation, plan: Plan, ids: Tensor, past: int) -> PlannedPass:
    """The part of a generate call's plan that concerns `ids`, (rows, columns) behind `past` cached columns."""
    stop, length, own = past + ids.shape[1], plan.ids.shape[1], ids.detach().to("cpu", copy=True)
    whole = stop >= length
    # ids=None until the whole prompt is in the cache: only then may forward passes go by unplanned
    state = CacheState(generation.guard, plan, plan.ids if whole else None)
    # without a cache, what was generated runs along
    work = [(generation.guard, plan.columns(past, stop))]
    # what a loop of the user's feeds next is not known to be the model's own
    decoding = generation.mark if whole and not generation.own_loop else None
    return PlannedPass(own, work, past == 0 and whole, state, decoding=decoding)


def planned_here(guard: Guard, ids: Tensor, mask: Tensor | None, bounds: AnswerBounds) -> PlannedPass:
    """Plans a forward pass outside of generate: everything fed to it is prompt, unless bounds say otherwise."""
    plan = guard.plan(ids, mask, bounds.prompt_mask(ids, mask), protocol=bounds.protocol)
    return PlannedPass(plan.ids, [(guard, plan)], complete=True, state=CacheState(guard, plan, plan.ids))


def plan_conversation(
    guard: Guard, state: CacheState, ids: Tensor, mask: Tensor | None, past: int, prompt: Tensor | None = None
) -> Plan:
    """The plan of a conversation, (rows, columns), whose first `past` columns are cached. What is cached corrupted is
    never shown clean again, though its flag be over."""
    known = state.known(past)
    plan = guard.plan(ids, mask, prompt, known=known)
    return plan if known is None or guard.config.lasting_turns is None else plan.keeping(state.plan, past)


def planned_behind(
    guard: Guard,
    state: CacheState,
    ids: Tensor,
    mask: Tensor | None,
    past: int,
    bounds: AnswerBounds,
    refill: Callable[[Plan, Tensor], None],
) -> PlannedPass:
    """Plans columns that follow a filled cache. Where the conversation turns to a scope with them, or was flagged
    before and holds more that is prompt now, the cache is filled anew: `refill` is called with the plan to go by and
    the attention mask of the whole.

    A single token is taken for a generated one: it is judged with all that came before, but not corrupted.
    """
    if bounds.protocol == "paper":
        raise GuardError('protocol="paper" scores prompt and answer in one pass. Pass them without a cache.')
    columns = ids.shape[1]
    plan = before = state.plan.columns(0, past)
    history = torch.cat([cast(Tensor, state.ids)[:, :past], ids.cpu()], dim=1)
    attended = pad(before.attended, (0, columns), value=True) if mask is None else mask
    if (before.selected & ~attended[:, :past].cpu().bool()).any():
        raise GuardError(
            "The attention_mask hides a part of a flagged prompt, which is cached corrupted. Pass what is to be read "
            "without the cache."
        )
    prompt = bounds.prompt_mask(history, attended)
    told = prompt is None or bool(prompt[:, past:].any())  # or else it is an answer, as the user says
    judged = state.judged if told and columns == 1 else past + columns
    if told:
        if columns == 1:
            _refuse_told_one_by_one(guard, plan, history, min(judged, past))
        if columns > 1 or not all(plan.scopes):
            plan = plan_conversation(guard, state, history, attended, past, prompt)
        if columns == 1 and (plan.scopes, plan.corrupted_for) != (state.plan.scopes, state.plan.corrupted_for):
            raise GuardError(_ONE_BY_ONE)
        if columns > 1 and is_stale(state, guard, plan, past):
            refill(plan, attended.cpu())
            before = plan.columns(0, past)
    new = plan.columns(past, past + columns)
    if columns == 1:
        new = replace(new, selected=torch.zeros_like(new.selected))
    attended, selected = (
        torch.cat([getattr(part, name) for part in (before, new)], dim=1) for name in ("attended", "selected")
    )
    whole = Plan(plan.verdicts, history, attended, selected, count_positions(attended))
    now = whole.columns(past, past + columns)
    kept = CacheState(guard, whole, history, judged=judged)
    return PlannedPass(now.ids, [(guard, now)], complete=False, state=kept)


def _refuse_told_one_by_one(guard: Guard, plan: Plan, history: Tensor, judged: int) -> None:
    """Raises GuardError if what follows the first `judged` columns of a flagged row, fed token by token and therefore
    not corrupted, falls in a scope by itself."""
    tails = [history[row, judged:].tolist() for row, scope in enumerate(plan.scopes) if scope is not None]
    if any(verdict.flagged for verdict in guard.decide(tails, pieces=True)):
        raise GuardError(_ONE_BY_ONE)


def planned_packed(guard: Guard, ids: Tensor, segments: Segments, bounds: AnswerBounds) -> PlannedPass:
    """Plans packed rows outside of generate: every sequence is a prompt, unless bounds say otherwise."""
    packed = ids.detach().to("cpu", copy=True)
    sequences, attended = segments.unpack(packed), segments.attended
    prompt = bounds.unpacked(segments).prompt_mask(sequences, attended)
    plan = guard.plan(sequences, attended, prompt, protocol=bounds.protocol)
    # Not every attention keeps the sequences apart. Where it does not, a prompt must not hide by being cut in pieces:
    # what is left of a row without its flagged sequences is clean as a whole too.
    prompt = attended if prompt is None else prompt
    flagged = torch.tensor([scope is not None for scope in plan.scopes]).unsqueeze(-1)
    rest = segments.pack(prompt & ~flagged, torch.zeros_like(packed, dtype=torch.bool))
    rows = rest.any(-1)
    if rows.any() and any(guard.plan(packed[rows], None, rest[rows]).scopes):
        raise GuardError(
            "A packed row falls in a forget scope as a whole, and the sequences it is made of do not. Pass one prompt "
            "per row."
        )
    return PlannedPass(packed, [(guard, plan)], complete=True, segments=segments)


def planned_for_requests(guard: Guard, ids: Tensor, cache: Any) -> PlannedPass | None:
    """Plans a pass of continuous batching, by the prompt of each of its requests; None if all are past theirs."""
    requests, segments, past = requests_in_batch(cache)
    if all(done >= len(prompt_of_request(request)) for request, done in zip(requests, past, strict=True)):
        return None
    # What has begun under a guard is finished under it.
    states = [getattr(request, "_eco_state", None) for request in requests]
    new = [
        request
        for request, state, done in zip(requests, states, past, strict=True)
        if state is None or (state.guard is not guard and done == 0)
    ]
    if new:
        prompts = [torch.tensor(prompt_of_request(request)) for request in new]
        attended = pad_sequence([torch.ones_like(prompt) for prompt in prompts], batch_first=True)
        plan = guard.plan(pad_sequence(prompts, batch_first=True), attended)
        for i, request in enumerate(new):
            request._eco_state = CacheState(guard, plan.row(i), None)
    begun: list[CacheState] = [request._eco_state for request in requests]
    packed, parts, complete = ids.detach().to("cpu", copy=True), [], True
    for state, done, (row, start, stop) in zip(begun, past, segments.spans, strict=True):
        prompt = state.plan.ids[0]
        own = min(max(len(prompt) - done, 0), stop - start)
        if not torch.equal(packed[row, start : start + own].long(), prompt[done : done + own]):
            raise GuardError("The batch does not hold the requests' prompts as the guard expects them.")
        parts.append(state.plan.columns(done, done + stop - start))
        complete &= not parts[-1].corrupts or own == len(prompt)
    work = []
    for own_guard in {id(state.guard): state.guard for state in begun}.values():
        theirs = [
            part if state.guard is own_guard else replace(part, selected=torch.zeros_like(part.selected))
            for part, state in zip(parts, begun, strict=True)
        ]
        work.append((own_guard, Plan.stack(theirs)))
    return PlannedPass(packed, work, complete, segments=segments)


def is_stale(state: CacheState, guard: Guard, plan: Plan, past: int) -> bool:
    """True if `plan` would have the first `past` columns corrupted otherwise than they are cached."""
    now, then = plan.columns(0, past), state.plan.columns(0, past)
    if not now.corrupts and not then.corrupts:
        return False
    alike = torch.equal(now.selected, then.selected) and now.corrupted_for == then.corrupted_for
    alike = alike and torch.equal(now.positions[now.selected], then.positions[then.selected])
    return not alike or state.corruptions != corruptions_of(guard)


_ONE_BY_ONE = (
    "What was fed token by token falls in a forget scope, and is cached uncorrupted. "
    "Pass it in one piece. (In a decoding loop of your own, `with model.prompt_lengths([...])` says where the prompt "
    "ends and the answer begins.)"
)
