"""How a verdict reaches the embedding layer.

Three hooks: before the decoder runs, **plan** who is flagged and which columns are to be corrupted; when the
embedding layer has run, **apply** it; after the decoder, **verify** that a plan with anything to corrupt was applied.
They sit on the decoder and not on the language model because `model.model(...)` reaches the decoder directly.

`generate` decides once, before its first forward pass. The decision lives in a context variable, so threads do not
see one another's, and on the cache the prompt is prefilled into, so that decode steps are known for what they are and
cost nothing. A forward pass outside `generate` decides for itself; what was done to a cache's columns is remembered
on the cache.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import PreTrainedModel

from .errors import GuardError
from .guard import Guard, Plan


@dataclass
class Generation:
    """One call of `generate`: the plan for its prompts, decided once."""

    hooks: EmbeddingHooks
    guard: Guard  # the one that made the plan; another may be attached meanwhile
    plan: Plan
    given: int  # columns of the ids handed to generate; fewer than the plan's behind a filled cache

    def covers(self, ids: Tensor, past: int) -> bool:
        """True if `ids`, (rows, columns) behind `past` cached columns, are these prompts, repeated for beams."""
        rows, own = ids.shape[0], self.plan.ids.shape[0]
        stop = min(past + ids.shape[1], self.plan.ids.shape[1])
        if rows % own or stop <= past:
            return False
        return torch.equal(ids[:, : stop - past].cpu(), self.plan.repeat(rows // own).ids[:, past:stop])


@dataclass
class CacheState:
    """What is known of a cache: the ids of its columns, and the plan they were run with."""

    plan: Plan
    ids: Tensor | None  # (batch, columns) on the CPU; None if nobody can tell any more (beams)
    generation: Generation | None = None  # the call of generate that is filling the cache


@dataclass
class _Pending:
    """A forward pass of the decoder that has been planned."""

    guard: Guard
    plan: Plan  # of the columns that are run
    complete: bool  # False if they are a part of the prompt
    state: CacheState  # what the cache will hold afterwards
    looked_up: bool = False  # the embedding layer has run


@dataclass
class _Pass:
    """A forward pass of a guarded decoder, from its first hook to its last."""

    hooks: EmbeddingHooks
    decoder: nn.Module
    pending: _Pending | None  # None for a decode step of generate, which may go by


# Where recurrent models keep what they have read; the guard follows past_key_values alone so far.
OTHER_CACHES = ("cache_params", "state", "mems", "past_buckets_states")

_GENERATION: ContextVar[Generation | None] = ContextVar("eco_generation", default=None)
_PASS: ContextVar[_Pass | None] = ContextVar("eco_pass", default=None)
_DISABLED: ContextVar[frozenset[EmbeddingHooks]] = ContextVar("eco_disabled", default=frozenset())
_LENGTHS: ContextVar[tuple[EmbeddingHooks, tuple[int, ...]] | None] = ContextVar("eco_prompt_lengths", default=None)
_LABELS: ContextVar[tuple[EmbeddingHooks, Tensor] | None] = ContextVar("eco_labels", default=None)


class EmbeddingHooks:
    """The guard's hooks on one model. Without a guard attached, every forward pass is refused."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.guard: Guard | None = None
        self._handles: list[Any] = []
        self._hooked: list[nn.Module] = []
        self.install()

    def install(self) -> None:
        """Puts the hooks on the model's decoder and embedding layer of today. Only our own are ever removed."""
        embedding: nn.Module = self.model.get_input_embeddings()
        decoders: list[nn.Module] = [self.model.base_model]
        if (inner := self.model.get_decoder()) not in (None, *decoders):
            decoders.append(inner)  # some language models call it directly, past the base model
        if self._hooked == [embedding, *decoders]:
            return
        for handle in self._handles:
            handle.remove()
        self._hooked = [embedding, *decoders]
        self._handles = [
            self.model.register_forward_pre_hook(self._note_labels, with_kwargs=True),
            self.model.register_forward_hook(self._forget_labels, always_call=True),
            embedding.register_forward_hook(self._apply, with_kwargs=True),
        ]
        for decoder in decoders:
            self._handles += [
                decoder.register_forward_pre_hook(self._plan, with_kwargs=True),
                decoder.register_forward_hook(self._verify, with_kwargs=True, always_call=True),
            ]

    # -- what a user says around a call

    @property
    def enabled(self) -> bool:
        """False inside `disabled()`, in this thread."""
        return self not in _DISABLED.get()

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """The guard does nothing inside, in this thread."""
        token = _DISABLED.set(_DISABLED.get() | {self})
        try:
            yield
        finally:
            _DISABLED.reset(token)

    @contextmanager
    def prompt_lengths(self, lengths: Sequence[int]) -> Iterator[None]:
        """Inside, row i's prompt is its first `lengths[i]` tokens, padding not counted."""
        if any(length < 0 for length in lengths):
            raise ValueError(f"A prompt's length is not negative, got {list(lengths)}.")
        token = _LENGTHS.set((self, tuple(int(length) for length in lengths)))
        try:
            yield
        finally:
            _LENGTHS.reset(token)

    @contextmanager
    def generation(self, ids: Tensor, attention_mask: Tensor | None, cache: Any) -> Iterator[Generation]:
        """Decides about the prompts of a `generate` call; its forward passes inside go by that.

        Args:
            ids: (batch, columns), the ids given to generate: the whole conversation, or what follows a filled cache.
            attention_mask: (batch, columns of the conversation); None if there is no padding.
            cache: the cache given to generate, None if there is none.
        """
        guard, past, given = self._ready(ids), _columns(cache), ids.shape[1]
        if past:
            state = self._state(cache)
            if attention_mask is not None and attention_mask.shape[1] > given:
                ids = torch.cat([state.ids[:, :past], ids.cpu()], dim=1)
            elif given <= past or not torch.equal(ids[:, :past].cpu(), state.ids[:, :past]):
                raise GuardError(
                    "The prompt does not begin with what the given cache holds. Pass the whole conversation's ids, or "
                    "only the new ones with an attention_mask as long as the whole conversation."
                )
            plan = guard.plan(ids, attention_mask, known=state.plan.scopes)
            if not torch.equal(plan.columns(0, past).selected, state.plan.columns(0, past).selected):
                raise GuardError(_CACHED_OTHERWISE)
        else:
            plan = guard.plan(ids, attention_mask)
        generation = Generation(self, guard, plan, given)
        token = _GENERATION.set(generation)
        try:
            yield generation
        finally:
            _GENERATION.reset(token)

    def remember(self, generation: Generation, cache: Any, sequences: Tensor) -> None:
        """Notes on `cache` what a `generate` call that returned `sequences`, (rows, columns), has left in it."""
        plan, ids, filled = generation.plan, None, getattr(cache, "_eco_state", None)
        if filled is not None and filled.plan.ids.shape[0] == plan.ids.shape[0] == sequences.shape[0]:
            ids = torch.cat([plan.ids, sequences[:, generation.given :].cpu()], dim=1)
        cache._eco_state = CacheState(plan, ids)

    # -- the hooks

    @torch.compiler.disable
    def _plan(self, decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        outer = _PASS.get()
        if outer is not None and outer.hooks is self and outer.decoder is not decoder:
            return  # the inner of two decoders; what the outer one planned holds
        cache = kwargs.get("past_key_values")
        if not self.enabled:
            if cache is not None and hasattr(cache, "_eco_state"):
                del cache._eco_state  # nobody follows any more what is put into it
            return
        generation = _GENERATION.get()
        generation = generation if generation is not None and generation.hooks is self else None
        state = getattr(cache, "_eco_state", None)
        if generation is not None and state is not None and state.generation is generation and state.ids is not None:
            _PASS.set(_Pass(self, decoder, None))  # a decode step: the prompt is in the cache, as planned
            return
        _PASS.set(None)
        call = _named_arguments(decoder, args, kwargs)
        _refuse_what_is_not_guarded(call)
        ids, cache = call["input_ids"], call.get("past_key_values")
        guard, past = self._ready(ids), _columns(cache)
        if generation is not None and generation.covers(ids, past):
            pending = _planned_by_generate(generation, ids, past)
        else:
            _refuse_packed(call)
            pending = self._planned_here(guard, ids, call.get("attention_mask"), cache, past)
        self.install()  # the embedding layer may have been replaced
        _PASS.set(_Pass(self, decoder, pending))

    @torch.compiler.disable
    def _apply(
        self, embedding: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor
    ) -> Tensor | None:
        if not self.enabled:
            return None
        running = _PASS.get()
        if running is None or running.hooks is not self:
            raise GuardError(
                "Token ids were looked up in the embedding layer outside of a forward pass the guard has planned. "
                "Call the model with input_ids; the owner may look embeddings up in `with model.disable_guard()`."
            )
        pending = running.pending
        if pending is None:
            return None
        ids = args[0] if args else kwargs["input"]
        if not torch.equal(ids.cpu(), pending.plan.ids):
            raise GuardError(
                f"{type(running.decoder).__name__} looks up other token ids than it was given, so the guard cannot "
                "tell which of them are the prompt's. This architecture is not guarded yet."
            )
        pending.looked_up = True
        if not pending.plan.corrupts:
            return None
        return pending.guard.corrupt(output, pending.plan, complete=pending.complete)

    @torch.compiler.disable
    def _verify(self, decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        running = _PASS.get()
        if running is None or running.hooks is not self or running.decoder is not decoder:
            return
        _PASS.set(None)
        pending = running.pending
        if output is None or pending is None:  # the forward pass raised, or was a decode step
            return
        if not pending.looked_up:
            raise GuardError(
                f"{type(decoder).__name__} did not look its input_ids up in the embedding layer, so a flagged prompt "
                "would pass unchanged. This architecture cannot be guarded."
            )
        cache = _named_arguments(decoder, args, kwargs).get("past_key_values")
        cache = _returned_cache(output) if cache is None else cache
        if cache is not None:
            cache._eco_state = pending.state

    @torch.compiler.disable
    def _note_labels(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.install()  # the decoder may have been replaced
        labels = _named_arguments(model, args, kwargs).get("labels")
        _LABELS.set(None if labels is None else (self, labels))

    @torch.compiler.disable
    def _forget_labels(self, *_: Any) -> None:
        _LABELS.set(None)

    # -- planning

    def _planned_here(self, guard: Guard, ids: Tensor, mask: Any, cache: Any, past: int) -> _Pending:
        """Plans a forward pass outside of generate: everything fed to it is prompt, unless bounds say otherwise."""
        columns = ids.shape[1]
        mask = mask if isinstance(mask, Tensor) and mask.dim() == 2 and mask.shape[1] == past + columns else None
        if past == 0:
            plan = guard.plan(ids, mask, self._prompt_mask(ids, mask))
            return _Pending(guard, plan, complete=True, state=CacheState(plan, plan.ids))
        return self._planned_behind(guard, self._state(cache), ids, mask, past)

    def _planned_behind(
        self, guard: Guard, state: CacheState, ids: Tensor, mask: Tensor | None, past: int
    ) -> _Pending:
        """Plans columns that follow a cache the guard has filled.

        A single token is taken for a generated one: it is judged with all that came before, but not corrupted.
        """
        assert state.ids is not None
        rows, columns = ids.shape
        if state.ids.shape[0] != rows:
            raise GuardError(
                f"The given cache holds {state.ids.shape[0]} rows, the batch {rows}. Run it without the cache."
            )
        before = state.plan.columns(0, past)
        history = torch.cat([state.ids[:, :past], ids.cpu()], dim=1)
        bounds = self._prompt_mask(history, mask)
        plan = state.plan
        if (columns > 1 or not all(plan.scopes)) and (bounds is None or bounds[:, past:].any()):
            attended = pad(before.attended, (0, columns), value=True) if mask is None else mask
            plan = guard.plan(history, attended, bounds, known=plan.scopes)
            if plan.scopes != state.plan.scopes:
                raise GuardError(_CACHED_CLEAN)
        new = plan.columns(past, past + columns)
        if columns == 1:
            new = replace(new, selected=torch.zeros_like(new.selected))
        attended, selected = (
            torch.cat([getattr(part, name) for part in (before, new)], dim=1) for name in ("attended", "selected")
        )
        positions = (attended.long().cumsum(-1) - 1).clamp(min=0)
        whole = Plan(plan.verdicts, history, attended, selected, positions)
        now = whole.columns(past, past + columns)
        return _Pending(guard, now, complete=False, state=CacheState(whole, history))

    def _prompt_mask(self, ids: Tensor, mask: Tensor | None) -> Tensor | None:
        """(rows, columns) bool, the tokens of the prompt, by `prompt_lengths` or else labels; None if nobody says."""
        bounds, labelled = _LENGTHS.get(), _LABELS.get()
        if bounds is not None and bounds[0] is self:
            lengths = torch.tensor(bounds[1])
            if lengths.shape[0] != ids.shape[0]:
                raise ValueError(f"prompt_lengths names {lengths.shape[0]} rows, the batch has {ids.shape[0]}.")
            attended = torch.ones_like(ids, dtype=torch.bool).cpu() if mask is None else mask.cpu().bool()
            return attended.long().cumsum(-1) <= lengths.unsqueeze(-1)
        if labelled is not None and labelled[0] is self:
            unlabelled = labelled[1].detach().cpu() == -100
            unlabelled = pad(unlabelled, (ids.shape[1] - unlabelled.shape[1], 0), value=True)
            # Collators give -100 to padding and to whatever equals the pad token; that bounds nothing.
            special = torch.tensor(sorted(self._ready(None).reader.special_ids), dtype=torch.long)
            return unlabelled & (unlabelled & ~torch.isin(ids.cpu(), special)).any(-1, keepdim=True)
        return None

    def _ready(self, ids: Tensor | None) -> Guard:
        if self.guard is None:
            raise GuardError(
                "This model has no guard attached, so it does not run. Load it with "
                "AutoModelForCausalLMWithECO.from_pretrained(path, eco_config=...)."
            )
        if ids is not None:
            self.guard.to(ids.device)
        return self.guard

    def _state(self, cache: Any) -> Any:
        state = getattr(cache, "_eco_state", None)
        if state is None or state.ids is None or state.ids.shape[1] < _columns(cache):
            raise GuardError(
                "The given cache was not filled under this guard, or not in a way it can follow, so nobody knows what "
                "it holds. Pass the whole conversation's ids without the cache."
            )
        return state


_CACHED_CLEAN = (
    "The conversation falls in a forget scope only now that part of it is cached uncorrupted. Pass the whole "
    "conversation's ids without the cache. (In a decoding loop of your own, `with model.prompt_lengths([...])` says "
    "where the prompt ends.)"
)
_CACHED_OTHERWISE = (
    "The conversation is flagged, and what the given cache holds of it was not corrupted as it should be now: it was "
    "not flagged then, or holds answers that are part of the prompt now. Pass the whole conversation's ids without "
    "the cache."
)


def _planned_by_generate(generation: Generation, ids: Tensor, past: int) -> _Pending:
    """The part of a generate call's plan that concerns `ids`, (rows, columns) behind `past` cached columns."""
    plan = generation.plan.repeat(ids.shape[0] // generation.plan.ids.shape[0])
    stop, length = past + ids.shape[1], plan.ids.shape[1]
    # ids=None until the whole prompt is in the cache: only then may forward passes go by unplanned
    state = CacheState(plan, plan.ids if stop >= length else None, generation)
    now = replace(plan.columns(past, stop), ids=ids.cpu())  # without a cache, what was generated runs along
    return _Pending(generation.guard, now, complete=past == 0 and stop >= length, state=state)


def _columns(cache: Any) -> int:
    """Columns a cache holds."""
    if cache is None:
        return 0
    if not hasattr(cache, "get_seq_length"):
        raise GuardError(f"The guard cannot follow a {type(cache).__name__} as a cache. Use a transformers Cache.")
    return int(cache.get_seq_length())


def _returned_cache(output: Any) -> Any:
    """The cache among a decoder's outputs, None if there is none."""
    if hasattr(output, "past_key_values"):
        return output.past_key_values
    parts = output if isinstance(output, tuple) else ()
    return next((part for part in parts if hasattr(part, "get_seq_length")), None)


def _named_arguments(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """A forward call's arguments by name."""
    return dict(zip(_parameter_names(type(module)), args, strict=False)) | kwargs if args else kwargs  # type: ignore[arg-type]


@functools.cache  # asked at every forward pass, decode steps included
def _parameter_names(module_class: type[nn.Module]) -> tuple[str, ...]:
    """The names of a module's forward parameters, without self."""
    return tuple(inspect.signature(module_class.forward).parameters)[1:]


def _refuse_what_is_not_guarded(call: dict[str, Any]) -> None:
    if torch.jit.is_tracing() or torch.compiler.is_exporting():
        raise GuardError(
            "A trace or an export would hold one prompt's verdict for ever. Guarded models are not exported."
        )
    if call.get("inputs_embeds") is not None:
        raise GuardError(
            "inputs_embeds carry no token ids, so the guard cannot read the prompt. Pass input_ids; the owner may "
            "compare with the unguarded model in `with model.disable_guard()`."
        )
    ids = call.get("input_ids")
    if not isinstance(ids, Tensor) or ids.dim() != 2:
        raise GuardError(f"The guard reads input_ids, a (batch, sequence) tensor, and was given {type(ids).__name__}.")
    if any(call.get(name) is not None for name in ("cu_seq_lens_q", "seq_idx")):
        raise GuardError("Packed sequences are not guarded yet. Pass one prompt per row, padded.")
    if any(call.get(name) is not None for name in OTHER_CACHES):
        raise GuardError("This kind of cache is not guarded yet. Run the model without it, or on past_key_values.")


def _refuse_packed(call: dict[str, Any]) -> None:
    positions, mask = call.get("position_ids"), call.get("attention_mask")
    plain = isinstance(mask, Tensor) and mask.dim() == 2
    if positions is not None and not plain and positions.dim() == 2 and bool((positions.diff(dim=-1) < 0).any()):
        raise GuardError(
            "position_ids start again within a row: packed sequences are not guarded yet. Pass one prompt per row."
        )
