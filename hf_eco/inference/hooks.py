"""How a plan reaches the embedding layer.

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
from collections import OrderedDict
from contextvars import copy_context
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import logging

from ..errors import GuardError
from ..guard.guard import Guard
from .caches import decodes_on, find_cache, forget, given_cache, is_filled, note, returned_cache
from .forward_calls import named_arguments, refuse_what_is_not_guarded
from .guardability import examine_behaviour, is_quantized, shares_scales
from .planner import Planner
from .state import CallContext, ForwardPass, Generation, Mark

logger = logging.get_logger(__name__)

_SAMPLE = "The quick brown fox jumps over the lazy dog."  # what a model is tried out with


class KeptHooks(OrderedDict[int, Any]):
    """The hooks of a module, of which the guard's stay when all are cleared: `module._forward_hooks.clear()` is how
    people get rid of hooks of their own."""

    def clear(self) -> None:
        for key in [key for key, hook in self.items() if not isinstance(_owner(hook), EmbeddingHooks)]:
            del self[key]


def _owner(hook: Any) -> Any:
    return getattr(hook, "__self__", None)


class EmbeddingHooks:
    """The guard's hooks on one model. Without a guard attached, every forward pass is refused.

    Attributes:
        context: what holds for the model's calls in this thread.
        planner: makes the plans that the hooks go by; holds the guard.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.context = CallContext()
        self.planner = Planner(model, self.context)
        self._handles: list[Any] = []
        self._hooked: list[nn.Module] = []
        self._placed: list[
            tuple[nn.Module, str, int]
        ] = []  # each hook: its module, the attribute that holds it, its key
        self._examined = False
        self._tried: tuple[list[type], bool] = ([], False)  # the model's modules, and whether rows share scales in it
        self._decoding = False  # never True but while torch.compile traces a decode step
        self.install()

    def install(self) -> None:
        """Puts the hooks on the model's decoder and embedding layer of today. Only our own are ever removed."""
        if self.missing():
            logger.warning(
                "The guard's hooks on the model had been removed, and are put back. To compare with the unguarded "
                "model, use `with model.disable_guard()`; to remove hooks of your own, keep their handles."
            )
            self._remove()
        embedding: nn.Module = self.model.get_input_embeddings()
        decoders: list[nn.Module] = [self.model.base_model]
        inner = self.model.get_decoder()  # by a module's name; an output layer may be called "decoder"
        if isinstance(inner, PreTrainedModel) and inner not in decoders:
            decoders.append(inner)  # some language models call it directly, past the base model
        if self._hooked == [embedding, *decoders]:
            return
        self._remove()
        for module in embedding.modules():  # peft copies an embedding layer into its wrapper, our hook with it
            for key, hook in list(module._forward_hooks.items()):
                if getattr(hook, "__func__", None) is EmbeddingHooks._apply:
                    del module._forward_hooks[key], module._forward_hooks_with_kwargs[key]
        self._place(self.model, before=self._note_labels, after=self._forget_labels)
        self._place(embedding, after=self._apply, always_call=False)
        for decoder in decoders:
            self._place(decoder, before=self._plan, after=self._verify)
        self._hooked = [embedding, *decoders]

    def _place(self, module: nn.Module, before: Any = None, after: Any = None, always_call: bool = True) -> None:
        """Puts hooks before and after a module's forward."""
        for attribute in ("_forward_pre_hooks", "_forward_hooks"):
            if not getattr(module, attribute):  # the handles of those that are there hold on to where they are
                setattr(module, attribute, KeptHooks())
        handles = [module.register_forward_hook(after, with_kwargs=True, always_call=always_call)]
        self._placed.append((module, "_forward_hooks", handles[0].id))
        if before is not None:
            handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
            self._placed.append((module, "_forward_pre_hooks", handles[1].id))
        self._handles += handles

    def _remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles, self._hooked, self._placed = [], [], []

    def missing(self) -> bool:
        """True if somebody has removed a hook."""
        return any(key not in getattr(module, attribute) for module, attribute, key in self._placed)

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
        with self.context.disabled():
            examine_behaviour(self.model, torch.tensor(guard.reader.encode(_SAMPLE), device=device))
        self._examined = True

    def _refuse_to_spoil(self, device: torch.device) -> None:
        """Raises GuardError if the corrupted rows of a batch would spoil those that are clean."""
        kinds = [type(module) for module in self.model.modules()]
        if self._tried[0] != kinds:  # it may be quantised at any time
            guard = self.planner.ready(None)
            self._tried = kinds, is_quantized(self.model) and copy_context().run(self._share_scales, guard, device)
        if self._tried[1]:
            raise GuardError(
                "This model rounds the activations of a batch by one scale, so a corrupted row would spoil the clean "
                "ones beside it. Pass prompts one by one, or quantise the weights alone."
            )

    def _share_scales(self, guard: Guard, device: torch.device) -> bool:
        with self.context.disabled():
            return shares_scales(self.model, torch.tensor(guard.reader.encode(_SAMPLE), device=device))

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
        outer = self.context.forward_pass
        if outer is not None and outer.decoder is not decoder:
            return  # the inner of two decoders; what the outer one planned holds
        call = named_arguments(decoder, args, kwargs)
        cache = find_cache(call)
        if not self.context.enabled:
            if cache is not None:
                forget(cache)  # nobody follows any more what is put into it
            return
        if _is_decode_step(self.context.generation, cache, call.get("input_ids")):
            self.context.forward_pass = ForwardPass(self.context, decoder, None)  # the prompt is cached, as planned
            return
        self.context.forward_pass = None
        refuse_what_is_not_guarded(call)
        if not self._examined:
            copy_context().run(self._examine, self.planner.ready(None), call["input_ids"].device)
        self.install()  # the embedding layer may have been replaced
        planned = self.planner.plan_pass(call, cache)
        if planned is not None and planned.mixed:
            self._refuse_to_spoil(call["input_ids"].device)
        self.context.forward_pass = ForwardPass(self.context, decoder, planned)

    @torch.compiler.disable
    def _apply_plan(
        self, embedding: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor
    ) -> Tensor | None:
        if not self.context.enabled:
            return None
        running = self.context.forward_pass
        if running is None:
            raise GuardError(
                "Token ids were looked up in the embedding layer outside of a forward pass the guard has planned. "
                "Call the model with input_ids; the owner may look embeddings up in `with model.disable_guard()`."
            )
        planned = running.plan
        if planned is None:
            return None
        ids = args[0] if args else kwargs["input"]
        if not torch.equal(ids.cpu(), planned.ids):
            raise GuardError(
                f"{type(running.decoder).__name__} looks up other token ids than its input_ids, so the guard cannot "
                "tell which of them are the prompt's. Pass input_ids alone, without token_type_ids or other ids."
            )
        planned.looked_up = True
        work = [(guard, plan) for guard, plan in planned.work if plan.corrupts]
        if not work:
            return None
        segments = planned.segments
        embeddings = output if segments is None else segments.unpack(output)
        for guard, plan in work:
            embeddings = guard.corrupt(embeddings, plan, complete=planned.complete)
        return embeddings if segments is None else segments.pack(embeddings, output)

    @torch.compiler.disable
    def _verify_pass(self, decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        running = self.context.forward_pass
        if running is None or running.decoder is not decoder:
            return
        self.context.forward_pass = None
        planned = running.plan
        if output is None or planned is None:  # the forward pass raised, or was a decode step
            return
        if not planned.looked_up:
            raise GuardError(
                f"{type(decoder).__name__} did not look its input_ids up in the embedding layer, so a flagged prompt "
                "would pass unchanged. This architecture cannot be guarded."
            )
        cache = find_cache(named_arguments(decoder, args, kwargs))
        cache = returned_cache(output) if cache is None else cache
        if cache is not None and planned.state is not None and is_filled(cache):  # some models leave it empty
            note(cache, planned.state, planned.decoding)

    @torch.compiler.disable
    def _set_labels(self, model: nn.Module | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if model is None:
            self.context.labels = None
            return
        generation = self.context.generation
        if generation is not None and decodes_on(given_cache(kwargs), generation.mark):
            return
        self.install()  # the decoder may have been replaced
        self.context.labels = named_arguments(model, args, kwargs).get("labels")


def _is_decode_step(generation: Generation | None, cache: Any, ids: Any) -> bool:
    """True of ids, (rows, columns), that `generate` runs behind its whole prompt in the cache."""
    if generation is None or not decodes_on(cache, generation.mark) or not isinstance(ids, Tensor):
        return False
    return ids.shape[1] == 1 or generation.drafts


def _is_compiled_decode_step(kwargs: dict[str, Any]) -> bool:
    """The same in a trace of torch.compile, which reads no context variable. The hooks leave nothing of themselves in
    such a trace, and it holds for no other pass: the mark on the cache is one of the things that torch.compile checks
    before it uses the trace."""
    if not torch.compiler.is_dynamo_compiling() or kwargs.get("input_ids") is None or kwargs["input_ids"].shape[1] > 1:
        return False
    mark: Mark | None = getattr(given_cache(kwargs), "_eco_decoding", None)
    return mark is not None and mark.active
