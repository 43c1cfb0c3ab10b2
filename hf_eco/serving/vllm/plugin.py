"""What vLLM is told at the start of each of its processes. Entry point `vllm.general_plugins`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ...auto import GuardedConfig
from ...checkpoint.format import split_composite_config
from ...checkpoint.guarded_config import GUARDED
from ._vllm import missing_names
from .attestation import check_attested
from .checkpoint import ServingOptions, check_served, check_server, prepare, served_guard

_FRONT_END = "hf_eco"  # of an `InputProcessor`: its `FrontEnd`
_WATCH = "hf_eco"  # of a request's state in the front end: its `AnswerWatch`
_CLASSES = "hf_eco.serving.vllm.model"


def register() -> None:
    """Has vLLM serve guarded checkpoints guarded, or refuse them. Called more than once, it does nothing."""
    from transformers import AutoConfig
    from vllm.config import ModelConfig, VllmConfig

    AutoConfig.register(GuardedConfig.model_type, VllmGuardedConfig, exist_ok=True)
    _around(ModelConfig, "__post_init__", _model_config)
    if missing_names():  # `check_served` says so, of a model that is guarded
        return
    _around(VllmConfig, "__post_init__", _vllm_config)
    _register_architectures()
    _take_part()


class VllmGuardedConfig(GuardedConfig):
    """As `GuardedConfig`, with the architecture that vLLM loads it by: `LlamaForCausalLMWithECO`."""

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        loaded = super().from_dict(config_dict, **kwargs)
        config = loaded[0] if isinstance(loaded, tuple) else loaded
        own = split_composite_config(config_dict)[0].get("architectures") or []
        config.__dict__["architectures"] = [f"{name}{GUARDED}" for name in own]
        return loaded


def _register_architectures() -> None:
    from vllm.model_executor.models.config import MODELS_CONFIG_MAP
    from vllm.model_executor.models.registry import _TEXT_GENERATION_MODELS, ModelRegistry

    from .naming import class_name

    for name in _TEXT_GENERATION_MODELS:
        ModelRegistry.register_model(name + GUARDED, f"{_CLASSES}:{class_name(name)}")
        if name in MODELS_CONFIG_MAP:
            MODELS_CONFIG_MAP[name + GUARDED] = MODELS_CONFIG_MAP[name]


def _take_part() -> None:
    """Puts the guard where requests come by."""
    from vllm.entrypoints.generate.beam_search.utils import BeamSearchSequence
    from vllm.model_executor.model_loader.base_loader import BaseModelLoader
    from vllm.v1.engine.async_llm import AsyncLLM
    from vllm.v1.engine.core import EngineCore
    from vllm.v1.engine.input_processor import InputProcessor
    from vllm.v1.engine.llm_engine import LLMEngine
    from vllm.v1.engine.output_processor import OutputProcessor

    for engine in (LLMEngine, AsyncLLM):
        _around(engine, "__init__", _engine)
    _around(OutputProcessor, "add_request", _watch)
    _around(OutputProcessor, "process_outputs", _process_outputs)
    _around(InputProcessor, "__init__", _input_processor)
    _around(InputProcessor, "process_inputs", _process_inputs)
    _around(AsyncLLM, "add_request", _add_request)
    _around(BeamSearchSequence, "get_prompt", _get_prompt)
    _around(BaseModelLoader, "load_model", _load_model)
    _around(EngineCore, "preprocess_add_request", _preprocess_add_request)
    _around(EngineCore, "collective_rpc", _collective_rpc)


def _around(owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
    """Puts `wrapper`, which is handed the native method first, in the place of a method; once."""
    native = getattr(owner, name)
    if getattr(native, "_hf_eco", False):
        return

    @functools.wraps(native)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return wrapper(native, self, *args, **kwargs)

    method._hf_eco = True  # type: ignore[attr-defined]
    setattr(owner, name, method)


def _model_config(native: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> None:
    prepare(self)
    native(self, *args, **kwargs)
    check_served(self)


def _vllm_config(native: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> None:
    native(self, *args, **kwargs)
    check_server(self)


def _input_processor(native: Callable[..., Any], self: Any, vllm_config: Any, *args: Any, **kwargs: Any) -> None:
    native(self, vllm_config, *args, **kwargs)
    front_end = None
    if (served := served_guard(vllm_config)) is not None:
        from .front_end import FrontEnd

        name = vllm_config.model_config.served_model_name
        name = name if isinstance(name, str) else name[0]
        size = vllm_config.model_config.get_inputs_embeds_size()
        front_end = FrontEnd(served, ServingOptions.of(vllm_config), name, size)
    setattr(self, _FRONT_END, front_end)


def _process_inputs(
    native: Callable[..., Any], self: Any, request_id: str, prompt: Any, *args: Any, **kwargs: Any
) -> Any:
    request = native(self, request_id, prompt, *args, **kwargs)
    front_end = getattr(self, _FRONT_END)
    return request if front_end is None else front_end.guard_request(request, prompt)


async def _add_request(
    native: Callable[..., Any], self: Any, request_id: str, prompt: Any, *args: Any, **kwargs: Any
) -> Any:
    front_end = getattr(self.input_processor, _FRONT_END)
    if front_end is not None:
        await front_end.prepare(prompt)
    return await native(self, request_id, prompt, *args, **kwargs)


def _engine(native: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> None:
    native(self, *args, **kwargs)
    setattr(self.output_processor, _FRONT_END, getattr(self.input_processor, _FRONT_END))


def _watch(native: Callable[..., Any], self: Any, request: Any, *args: Any, **kwargs: Any) -> None:
    native(self, request, *args, **kwargs)
    front_end = getattr(self, _FRONT_END, None)
    if front_end is not None and request.sampling_params is not None:
        setattr(self.request_states[request.request_id], _WATCH, front_end.watch(request))


def _process_outputs(native: Callable[..., Any], self: Any, outputs: Any, *args: Any, **kwargs: Any) -> Any:
    """Answers that may be dictated are judged before anybody sees them; one that falls in a scope ends in an error."""
    from vllm.exceptions import VLLMValidationError
    from vllm.v1.engine import FinishReason
    from vllm.v1.engine.async_llm import InputStreamError

    refused: dict[str, tuple[Any, str]] = {}
    running = []
    for output in outputs:
        state = self.request_states.get(output.request_id)
        watch = getattr(state, _WATCH, None)
        why = None if watch is None else watch.refusal(output.new_token_ids, output.finished)
        if why is not None:
            refused[output.request_id] = state, why
            if not output.finished:
                running.append(output.request_id)
            output.new_token_ids, output.new_logprobs = [], None
            output.finish_reason, output.stop_reason = FinishReason.ERROR, None
            getattr(self, _FRONT_END).metrics.refused()
    made = native(self, outputs, *args, **kwargs)
    made.reqs_to_abort.extend(running)
    for state, why in refused.values():
        if state.queue is not None:  # what nobody has taken yet goes with it
            state.queue.output = InputStreamError(VLLMValidationError(why))
            state.queue.ready.set()
        for given in made.request_outputs:
            for answer in given.outputs:
                if given.request_id == state.external_req_id and answer.index == state.request_index:
                    answer.text, answer.token_ids, answer.logprobs, answer.cumulative_logprob = "", [], None, None
                    answer.stop_reason = why
    return made


def _get_prompt(native: Callable[..., Any], self: Any) -> Any:
    from .front_end import BeamPrompt

    prompt = native(self)
    original = self.orig_prompt
    if isinstance(prompt, dict) and "prompt_token_ids" in original:
        return BeamPrompt(prompt, len(original["prompt_token_ids"]))
    return prompt


def _preprocess_add_request(native: Callable[..., Any], self: Any, request: Any) -> Any:
    served = served_guard(self.vllm_config)
    if served is not None:
        check_attested(request, served.fingerprint)
    return native(self, request)


def _collective_rpc(native: Callable[..., Any], self: Any, method: Any, *args: Any, **kwargs: Any) -> Any:
    """Workers that load other weights forget the rows that they have corrupted; the scheduler forgets them too, or it
    would have a flagged request wait for rows that are gone."""
    made = native(self, method, *args, **kwargs)
    if served_guard(self.vllm_config) is not None and isinstance(method, str) and "weights" in method:
        self.reset_encoder_cache()
    return made


def _load_model(native: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
    from .model import CorruptingMixin

    model = native(self, *args, **kwargs)
    if isinstance(model, CorruptingMixin):
        model.check_embeddings()
    return model
