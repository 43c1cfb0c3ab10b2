"""Every name of vLLM that hf_eco relies on and that is not public, each with the parameters it has to take.

`check_names` tells at start whether this vLLM has them; `tests/on_vllm/test_vllm_names.py` has a test for each.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

SUPPORTED = "vllm>=0.32,<0.33"

# By module: each name, and those of its parameters that are relied on.
RELIED_ON: dict[str, dict[str, tuple[str, ...]]] = {
    "vllm.config": {
        "ModelConfig.__post_init__": (),
        "ModelConfig.get_inputs_embeds_size": (),
        "VllmConfig.__post_init__": (),
    },
    "vllm.v1.engine.input_processor": {
        "InputProcessor.__init__": ("vllm_config",),
        "InputProcessor.process_inputs": ("request_id", "prompt", "params"),
    },
    "vllm.v1.engine.async_llm": {
        "InputStreamError": ("cause",),
        "AsyncLLM.__init__": (),
        "AsyncLLM.add_request": ("request_id", "prompt", "params"),
    },
    "vllm.v1.engine.llm_engine": {"LLMEngine.__init__": ()},
    "vllm.v1.engine.output_processor": {
        "OutputProcessor.add_request": ("request",),
        "OutputProcessor.process_outputs": ("engine_core_outputs",),
        "RequestOutputCollector.put": (),
    },
    "vllm.v1.engine.core": {
        "EngineCore.collective_rpc": ("method",),
        "EngineCore.preprocess_add_request": ("request",),
        "EngineCore.reset_encoder_cache": (),
    },
    "vllm.entrypoints.generate.beam_search.utils": {"BeamSearchSequence.get_prompt": ()},
    "vllm.model_executor.model_loader.base_loader": {"BaseModelLoader.load_model": ()},
    "vllm.model_executor.models.config": {"MODELS_CONFIG_MAP": ()},
    "vllm.model_executor.models.registry": {
        "ModelRegistry.models": (),
        "ModelRegistry.register_model": ("model_arch", "model_cls"),
        "ModelRegistry._try_load_model_cls": ("model_arch",),
        "_TEXT_GENERATION_MODELS": (),
    },
    "vllm.model_executor.models.utils": {
        "_merge_multimodal_embeddings": ("inputs_embeds", "multimodal_embeddings", "is_multimodal")
    },
    "vllm.plugins": {"plugins_loaded": ()},
    "vllm.multimodal": {"MULTIMODAL_REGISTRY.register_processor": ("processor", "info", "dummy_inputs")},
    "vllm.multimodal.inputs": {
        "MultiModalBatchedField": ("keep_on_cpu",),
        "MultiModalFeatureSpec": ("data", "modality", "identifier", "mm_position", "mm_hash"),
        "MultiModalFieldElem": ("data", "field"),
        "MultiModalKwargsItem": (),
        "PlaceholderRange": ("offset", "length", "is_embed"),
    },
    "vllm.multimodal.processing": {
        "BaseDummyInputsBuilder": (),
        "BaseMultiModalProcessor.apply": (),
        "BaseMultiModalProcessor.get_dummy_mm_inputs": (),
        "BaseProcessingInfo.get_supported_mm_limits": (),
        "BaseProcessingInfo.get_mm_max_tokens_per_item": ("seq_len", "mm_counts"),
    },
}


def missing_names() -> list[str]:
    """What this vLLM lacks of `RELIED_ON`, in words."""
    return [
        problem
        for module, names in RELIED_ON.items()
        for name, parameters in names.items()
        if (problem := why_not(module, name, parameters)) is not None
    ]


def why_not(module: str, name: str, parameters: tuple[str, ...]) -> str | None:
    """What keeps a name of vLLM from being relied on; None if nothing does."""
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        return f"{module}.{name} is missing ({error})"
    if not parameters:
        return None
    taken = inspect.signature(found).parameters
    lacking = [p for p in parameters if p not in taken]
    return f"{module}.{name} takes no {', '.join(lacking)}" if lacking else None
