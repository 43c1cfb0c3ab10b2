"""How a verdict reaches the embedding layer.

Three hooks: before the decoder runs, **plan** who is flagged and which columns are to be corrupted; when the
embedding layer has run, **apply** it; after the decoder, **verify** that a plan with anything to corrupt was applied.
They sit on the decoder and not on the language model because `model.model(...)` reaches the decoder directly.

`generate` decides once, before its first forward pass. The decision lives in a context variable, so threads do not
see one another's, and on the cache the prompt is prefilled into, so that decode steps are known for what they are and
cost nothing. A forward pass outside `generate` decides for itself; what was done to a cache's columns is remembered
on the cache, and where it turns out to be no longer right, the cache is filled anew.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..errors import GuardError
from ..guard.guard import Guard
from ..guard.plan import Plan, ScoringProtocol, count_positions
from .cache_refill import positions_before, refill
from .caches import (
    CacheState,
    cache_state,
    cached_columns,
    find_cache,
    given_cache,
    is_filled,
    is_recurrent,
    note,
    paged_cache,
    returned_cache,
)
from .forward_calls import named_arguments, refuse_what_is_not_guarded
from .guardability import examine_behaviour
from .packed_rows import find_segments
from .pass_plans import (
    Bounds,
    Generation,
    Mark,
    Pending,
    is_stale,
    planned_behind,
    planned_by_generate,
    planned_for_requests,
    planned_here,
    planned_packed,
)


@dataclass
class _Pass:
    """A forward pass of a guarded decoder, from its first hook to its last."""

    hooks: EmbeddingHooks
    decoder: nn.Module
    pending: Pending | None  # None for a decode step, which may go by


@dataclass(eq=False)
class _Said:
    """What a user says around calls of a model, until the mark goes."""

    hooks: EmbeddingHooks
    mark: Mark
    lengths: tuple[int, ...] | None = None  # None: the guard is disabled
    protocol: ScoringProtocol = "strict"


_GENERATION: ContextVar[Generation | None] = ContextVar("eco_generation", default=None)
_PASS: ContextVar[_Pass | None] = ContextVar("eco_pass", default=None)
_SAID: ContextVar[tuple[_Said, ...]] = ContextVar("eco_said", default=())
_LABELS: ContextVar[tuple[EmbeddingHooks, Tensor] | None] = ContextVar("eco_labels", default=None)


class EmbeddingHooks:
    """The guard's hooks on one model. Without a guard attached, every forward pass is refused."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.guard: Guard | None = None
        self._handles: list[Any] = []
        self._hooked: list[nn.Module] = []
        self._examined = False
        self._decoding = False  # never True but while torch.compile traces a decode step
        self.install()

    def install(self) -> None:
        """Puts the hooks on the model's decoder and embedding layer of today. Only our own are ever removed."""
        embedding: nn.Module = self.model.get_input_embeddings()
        decoders: list[nn.Module] = [self.model.base_model]
        inner = self.model.get_decoder()  # by a module's name; an output layer may be called "decoder"
        if isinstance(inner, PreTrainedModel) and inner not in decoders:
            decoders.append(inner)  # some language models call it directly, past the base model
        if self._hooked == [embedding, *decoders]:
            return
        for handle in self._handles:
            handle.remove()
        for module in embedding.modules():  # peft copies an embedding layer into its wrapper, our hook with it
            for key, hook in list(module._forward_hooks.items()):
                if getattr(hook, "__func__", None) is EmbeddingHooks._apply:
                    del module._forward_hooks[key], module._forward_hooks_with_kwargs[key]
        self._hooked = [embedding, *decoders]
        self._handles = [
            self.model.register_forward_pre_hook(self._note_labels, with_kwargs=True),
            self.model.register_forward_hook(self._forget_labels, with_kwargs=True, always_call=True),
            embedding.register_forward_hook(self._apply, with_kwargs=True),
        ]
        for decoder in decoders:
            self._handles += [
                decoder.register_forward_pre_hook(self._plan, with_kwargs=True),
                decoder.register_forward_hook(self._verify, with_kwargs=True, always_call=True),
            ]

    def __deepcopy__(self, memo: dict[int, Any]) -> EmbeddingHooks:
        # A layer copied by itself must not drag a copy of the whole model along.
        if not any(id(module) in memo for module in (self.model, *self._hooked[1:])):
            return self
        memo[id(self)] = other = object.__new__(type(self))
        other.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return other

    def examine(self, guard: Guard) -> None:
        """Finds out whether the model can be guarded; where its weights are elsewhere, at its first forward pass.

        Raises:
            GuardError: it cannot.
        """
        if not self._examined and not any(parameter.is_meta for parameter in self.model.parameters()):
            self._examine(guard, self.model.device)

    def _examine(self, guard: Guard, device: torch.device) -> None:
        with self.disabled():
            examine_behaviour(self.model, torch.tensor(guard.reader.encode(_SAMPLE), device=device))
        self._examined = True

    # -- what a user says around a call

    @property
    def enabled(self) -> bool:
        """False inside `disabled()`, in this thread."""
        return not any(said.lengths is None for said in self._said())

    @property
    def generating(self) -> bool:
        """True inside `generation()`, in this thread."""
        return self._generation() is not None

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """The guard does nothing inside, in this thread."""
        with self._saying(None):
            yield

    @contextmanager
    def prompt_lengths(self, lengths: Sequence[int], protocol: ScoringProtocol = "strict") -> Iterator[None]:
        """Inside, row i's prompt is its first `lengths[i]` tokens, padding not counted."""
        if protocol not in get_args(ScoringProtocol):
            raise ValueError(f"Unknown protocol {protocol!r}. Use 'strict' or 'paper'.")
        if any(length < 0 for length in lengths):
            raise ValueError(f"A prompt's length is not negative, got {list(lengths)}.")
        with self._saying(tuple(int(length) for length in lengths), protocol):
            yield

    @contextmanager
    def _saying(self, lengths: tuple[int, ...] | None, protocol: ScoringProtocol = "strict") -> Iterator[None]:
        said = _Said(self, Mark(), lengths, protocol)
        _SAID.set((*_SAID.get(), said))
        try:
            yield
        finally:  # in whatever order such blocks are left
            said.mark.active = False
            _SAID.set(tuple(other for other in _SAID.get() if other is not said))

    def _said(self) -> list[_Said]:
        return [said for said in _SAID.get() if said.hooks is self and said.mark.active]

    def _generation(self) -> Generation | None:
        generation = _GENERATION.get()
        return generation if generation is not None and generation.hooks is self and generation.mark.active else None

    @contextmanager
    def generation(
        self,
        ids: Tensor,
        attention_mask: Tensor | None,
        cache: Any,
        unconditional: tuple[Tensor, Tensor | None] | None = None,
        drafts: bool = False,
    ) -> Iterator[Generation]:
        """Decides about the prompts of a `generate` call; its forward passes inside go by that. A given cache that
        holds the conversation corrupted otherwise than it is now to be is filled anew.

        Args:
            ids: (batch, columns), the ids given to generate: the whole conversation, or what follows a filled cache.
            attention_mask: (batch, columns of the conversation); None if there is no padding.
            cache: the cache given to generate, None if there is none.
            unconditional: ids and attention mask of the prompt for classifier-free guidance, None without it.
            drafts: True if several tokens are drafted and then checked in one pass.
        """
        guard, past, given = self.ready(ids), cached_columns(cache), ids.shape[1]
        if past:
            state = cache_state(cache, ids.shape[0])
            if attention_mask is not None and attention_mask.shape[1] > given:
                ids = torch.cat([state.ids[:, :past], ids.cpu()], dim=1)
            elif given <= past or not torch.equal(ids[:, :past].cpu(), state.ids[:, :past]):
                raise GuardError(
                    "The prompt does not begin with what the given cache holds. Pass the whole conversation's ids, or "
                    "only the new ones with an attention_mask as long as the whole conversation."
                )
            plan = guard.plan(ids, attention_mask, known=state.known(past))
            if is_stale(state, guard, plan, past):
                mask = plan.attended if attention_mask is None else attention_mask.cpu().expand(plan.ids.shape)
                positions = count_positions(mask[:, :past])  # as generate counts them
                self._refill(guard, cache, plan, past, mask, positions)
        else:
            plan = guard.plan(ids, attention_mask)
        guided = None if unconditional is None else guard.plan(*unconditional)
        generation = Generation(self, guard, plan, guided, given, drafts)
        token, running = _GENERATION.set(generation), _PASS.set(None)
        try:
            yield generation
        finally:  # what is interrupted from outside (KeyboardInterrupt) runs no forward hook, always_call or not
            _GENERATION.reset(token)
            _PASS.reset(running)
            _LABELS.set(None)
            generation.mark.active = False

    def replan(self, ids: Tensor, pad_token_id: int | None) -> None:
        """Decides again about the prompts of the running `generate`, which has rewritten them to `ids`."""
        if (generation := self._generation()) is not None:
            mask = None if pad_token_id is None else ids.ne(pad_token_id)
            generation.plan, generation.given = generation.guard.plan(ids, mask), ids.shape[1]

    def remember(self, generation: Generation, cache: Any, sequences: Tensor | None) -> None:
        """Notes on `cache` what a `generate` call that returned `sequences`, (rows, columns), has left in it; None if
        it returned something of its own."""
        plan, ids, filled = generation.plan, None, getattr(cache, "_eco_state", None)
        rows = plan.ids.shape[0]
        known = filled is not None and filled.plan.ids.shape[0] == rows and not is_recurrent(cache)
        if known and sequences is not None and sequences.shape[0] == rows:
            ids = torch.cat([plan.ids, sequences[:, generation.given :].cpu()], dim=1)
        note(cache, CacheState(generation.guard, plan, ids))

    # -- the hooks

    def _plan(self, decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if _is_compiled_decode_step(kwargs):
            self._decoding = True  # for the embedding layer's hook, in the trace of this pass alone
        else:
            self._plan_pass(decoder, args, kwargs)

    def _apply(
        self, embedding: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor
    ) -> Tensor | None:
        if torch.compiler.is_dynamo_compiling() and self._decoding:
            self._decoding = False
            return None
        return self._apply_plan(embedding, args, kwargs, output)

    def _verify(self, decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if not _is_compiled_decode_step(kwargs):
            self._verify_pass(decoder, args, kwargs, output)

    def _note_labels(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not _is_compiled_decode_step(kwargs):
            self._set_labels(model, args, kwargs)

    def _forget_labels(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if not _is_compiled_decode_step(kwargs):
            self._set_labels(None, args, kwargs)

    # -- what they do; torch.compile does not look inside

    @torch.compiler.disable
    def _plan_pass(self, decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        outer = _PASS.get()
        if outer is not None and outer.hooks is self and outer.decoder is not decoder:
            return  # the inner of two decoders; what the outer one planned holds
        call = named_arguments(decoder, args, kwargs)
        if not self.enabled:
            if (cache := find_cache(call)) is not None:
                vars(cache).pop("_eco_state", None)  # nobody follows any more what is put into it
            return
        generation, cache, ids = self._generation(), find_cache(call), call.get("input_ids")
        if generation is not None and generation.is_decode_step(ids, getattr(cache, "_eco_state", None)):
            _PASS.set(_Pass(self, decoder, None))  # the prompt is in the cache, as planned
            return
        _PASS.set(None)
        refuse_what_is_not_guarded(call)
        ids = call["input_ids"]
        if not self._examined:
            copy_context().run(self._examine, self.ready(None), ids.device)
        self.install()  # the embedding layer may have been replaced
        _PASS.set(_Pass(self, decoder, self._pending(call, generation, cache)))

    @torch.compiler.disable
    def _apply_plan(
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
        if not torch.equal(ids.cpu(), pending.ids):
            raise GuardError(
                f"{type(running.decoder).__name__} looks up other token ids than its input_ids, so the guard cannot "
                "tell which of them are the prompt's. Pass input_ids alone, without token_type_ids or other ids."
            )
        pending.looked_up = True
        work = [(guard, plan) for guard, plan in pending.work if plan.corrupts]
        if not work:
            return None
        segments = pending.segments
        embeddings = output if segments is None else segments.unpack(output)
        for guard, plan in work:
            embeddings = guard.corrupt(embeddings, plan, complete=pending.complete)
        return embeddings if segments is None else segments.pack(embeddings, output)

    @torch.compiler.disable
    def _verify_pass(self, decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
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
        cache = find_cache(named_arguments(decoder, args, kwargs))
        cache = returned_cache(output) if cache is None else cache
        if cache is not None and pending.state is not None and is_filled(cache):  # some models leave it empty
            note(cache, pending.state)
            if pending.state.generation is not None and pending.state.ids is not None:
                cache._eco_decoding = pending.state.generation.mark

    @torch.compiler.disable
    def _set_labels(self, model: nn.Module | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if model is None:
            _LABELS.set(None)
            return
        generation, cache = self._generation(), given_cache(kwargs)
        if generation is not None and getattr(cache, "_eco_decoding", None) is generation.mark:
            return  # a decode step of generate
        self.install()  # the decoder may have been replaced
        labels = named_arguments(model, args, kwargs).get("labels")
        _LABELS.set(None if labels is None else (self, labels))

    # -- planning

    def _pending(self, call: dict[str, Any], generation: Generation | None, cache: Any) -> Pending | None:
        """The plan of a forward pass; None if nothing of it is prompt."""
        ids = call["input_ids"]
        guard = self.ready(ids)
        if (paged := paged_cache(call)) is not None:
            return planned_for_requests(guard, ids, paged)
        past = cached_columns(cache)
        prompt = generation.plan_for(ids, past) if generation is not None else None
        if generation is not None and prompt is not None:
            return planned_by_generate(generation, prompt, ids, past)
        return self._planned_alone(guard, call, cache, past)

    def _planned_alone(self, guard: Guard, call: dict[str, Any], cache: Any, past: int) -> Pending:
        """Plans a forward pass outside of `generate`."""
        said, labels = self._said(), _LABELS.get()
        _LABELS.set(None)  # they are of this pass alone
        bounds = Bounds(
            said[-1].lengths if said else None,
            labels[1] if labels is not None and labels[0] is self else None,
            guard.reader,
            said[-1].protocol if said else "strict",
        )
        ids, mask, segments = call["input_ids"], call.get("attention_mask"), find_segments(call)
        if segments is not None and past:
            raise GuardError(
                "position_ids start again within a row behind a filled cache. Pass packed rows without a cache."
            )
        if segments is not None:
            return planned_packed(guard, ids, segments, bounds)
        if past:
            state, positions = cache_state(cache, ids.shape[0]), call.get("position_ids")

            def fill_anew(plan: Plan, attended: Tensor) -> None:
                own = None if positions is None else positions_before(state.plan.columns(0, past), positions)
                self._refill(guard, cache, plan, past, attended, own)

            return planned_behind(guard, state, ids, mask, past, bounds, fill_anew)
        return planned_here(guard, ids, mask, bounds)

    def _refill(self, guard: Guard, cache: Any, plan: Plan, past: int, mask: Tensor, positions: Any) -> None:
        """Has the first `past` columns run into `cache` again, corrupted as `plan` says; see `refill`."""

        def run() -> None:
            _GENERATION.set(Generation(self, guard, plan, None, past, drafts=False))
            refill(self.model, cache, plan.ids[:, :past], mask[:, :past], positions)

        copy_context().run(run)
        note(cache, CacheState(guard, plan.columns(0, past), plan.ids[:, :past]))

    def ready(self, ids: Tensor | None) -> Guard:
        """The attached guard, on the device of `ids`. Raises GuardError if there is none."""
        if self.guard is None:
            raise GuardError(
                "This model has no guard attached, so it does not run. Load it with "
                "AutoModelForCausalLMWithECO.from_pretrained(path, eco_config=...)."
            )
        if ids is not None:
            self.guard.to(ids.device)
        return self.guard


_SAMPLE = "The quick brown fox jumps over the lazy dog."  # what a model is tried out with


def _is_compiled_decode_step(kwargs: dict[str, Any]) -> bool:
    """True in a trace of torch.compile, of a forward pass behind a whole prompt that `generate` has put in the cache.
    The hooks leave nothing of themselves in such a trace, and it holds for no other pass: the mark on the cache is
    one of the things that torch.compile checks before it uses the trace."""
    if not torch.compiler.is_dynamo_compiling() or kwargs.get("input_ids") is None or kwargs["input_ids"].shape[1] > 1:
        return False
    mark = getattr(given_cache(kwargs), "_eco_decoding", None)
    return mark is not None and mark.active
