"""vLLM's own model classes, made to corrupt: `LlamaForCausalLMWithECO` is a `LlamaForCausalLM`.

The classes are attributes of this module, made when they are asked for; see `naming`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from vllm.distributed import get_pp_group
from vllm.model_executor.models.interfaces import supports_multimodal
from vllm.model_executor.models.registry import ModelRegistry
from vllm.model_executor.models.utils import _merge_multimodal_embeddings
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.multimodal.processing import BaseDummyInputsBuilder, BaseMultiModalProcessor, BaseProcessingInfo

from ...checkpoint.guarded_config import GUARDED
from ...configuration import EmbeddingProbe
from ...corruption import corruption_methods
from ...errors import GuardError
from .checkpoint import served_guard
from .naming import class_name
from .parts import MODALITY, PART, corrupted_rows

_TOLERANCE = 0.25  # of the probes' root mean square: embeddings may be rounded or quantised, not scaled


def __getattr__(name: str) -> Any:
    architecture, found, _ = name.partition(GUARDED + "_")
    if not found or name != class_name(architecture):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    base = ModelRegistry._try_load_model_cls(architecture)
    if base is None:
        raise AttributeError(f"vLLM has no model class {architecture!r}")
    globals()[name] = made = _guarded(architecture + GUARDED, base)
    return made


def _guarded(name: str, base: Any) -> Any:
    if supports_multimodal(base):
        raise GuardError(f"{base.__name__} reads more than text, which hf-eco does not guard on vLLM.")
    made = type(name, (CorruptingMixin, base), {"__module__": __name__})
    register = MULTIMODAL_REGISTRY.register_processor(_Processor, info=_Info, dummy_inputs=_DummyInputs)
    return register(made)


class _Info(BaseProcessingInfo):  # type: ignore[misc]
    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        return {MODALITY: None}

    def get_mm_max_tokens_per_item(self, seq_len: int, mm_counts: Mapping[str, int]) -> Mapping[str, int]:
        return {MODALITY: PART}


class _DummyInputs(BaseDummyInputsBuilder):  # type: ignore[misc]
    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        return ""

    def get_dummy_mm_data(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {}


class _Processor(BaseMultiModalProcessor):  # type: ignore[misc]
    """Refuses what a client sends beside text: the features of a guarded model are the front end's alone."""

    def _get_mm_fields_config(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {}

    def _get_prompt_updates(self, *args: Any, **kwargs: Any) -> list[Any]:
        return []

    def get_dummy_mm_inputs(self, *args: Any, **kwargs: Any) -> Any:
        return {}  # vLLM warms up by them; there is nothing to warm up

    def apply(self, *args: Any, **kwargs: Any) -> Any:
        raise ValueError("This model is guarded by hf-eco. It reads text: other inputs cannot be judged.")


class CorruptingMixin:
    """What makes one of vLLM's model classes a guarded one."""

    supports_multimodal = True
    supports_multimodal_embeddings = True
    supports_multimodal_raw_input_only = False
    supports_encoder_tp_data = False
    supports_mm_device_do_normalize = False
    supports_tower_connector_lora = False
    requires_raw_input_tokens = False
    embedding_modules: dict[str, str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # An adapter that changes embeddings would change what is corrupted; vLLM refuses those that it cannot place.
        embeddings = getattr(cls, "embedding_modules", {})
        cls.embedding_modules = {name: kind for name, kind in embeddings.items() if kind != "input_embeddings"}

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        served = served_guard(vllm_config)
        if served is None:
            raise GuardError(f"{type(self).__name__} was to be built for a model that has no guard.")
        if unknown := sorted(set(served.methods) - set(corruption_methods())):
            raise GuardError(
                f"The corruption method {unknown[0]!r} was registered where the server was started, and not in its "
                "workers. Register it in a plugin of vLLM's (entry point vllm.general_plugins), or at the top of the "
                "script that starts vLLM, which the workers import."
            )
        super().__init__(vllm_config=vllm_config, prefix=prefix)  # type: ignore[call-arg]
        self._probes: list[EmbeddingProbe] = served.embedding_probes
        self._probed = False

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str | None:
        """There is none: features take the places of the prompt's own tokens."""
        return None

    def get_language_model(self) -> Any:
        """This model itself."""
        return self

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the base class; before anything else embeddings are compared, if they have not been."""
        if not self._probed:
            self.check_embeddings()
        return super().forward(*args, **kwargs)  # type: ignore[misc]

    def load_weights(self, *args: Any, **kwargs: Any) -> Any:
        """As the base class. Embeddings are compared again before the next pass."""
        self._probed = False
        return super().load_weights(*args, **kwargs)  # type: ignore[misc]

    def embed_input_ids(
        self, input_ids: Tensor, multimodal_embeddings: Any = None, *, is_multimodal: Tensor | None = None
    ) -> Tensor:
        """(tokens, hidden): as the base class embeds tokens, with corrupted rows in their places."""
        rows: Tensor = super().embed_input_ids(input_ids)  # type: ignore[misc]
        if multimodal_embeddings is None or len(multimodal_embeddings) == 0:
            return rows
        return _merge_multimodal_embeddings(
            inputs_embeds=rows, multimodal_embeddings=multimodal_embeddings, is_multimodal=is_multimodal
        )

    def embed_multimodal(self, **features: Iterable[Tensor]) -> list[Tensor]:
        """The corrupted rows of each part, (corrupted, hidden); `features` hold the data of all parts by name."""
        names = ("ids", "start", "selected", "given", "how")
        parts = zip(*(features[f"{MODALITY}_{name}"] for name in names), strict=True)
        return [corrupted_rows(self._embed(ids), ids, *rest) for ids, *rest in parts]

    def _embed(self, ids: Tensor) -> Tensor:
        device = next(self.parameters()).device  # type: ignore[attr-defined]
        return super().embed_input_ids(ids.to(device))  # type: ignore[misc]

    def check_embeddings(self) -> None:
        """Raises GuardError if tokens are embedded otherwise than in the model that the guard was saved with."""
        self._probed = True
        if not get_pp_group().is_first_rank:
            return
        rows = self._embed(torch.tensor([probe.token_id for probe in self._probes])).float().cpu()
        known = torch.tensor([probe.values for probe in self._probes])
        scale = known.square().mean().sqrt()
        if not (rows[:, : known.shape[1]] - known).abs().max() <= _TOLERANCE * scale:
            raise GuardError(
                f"{type(self).__name__} embeds tokens otherwise than the model that was guarded: the weights are "
                "others (--load-format?), or vLLM scales embeddings elsewhere. The guard's corruption would not be "
                "what was measured. Serve this model by transformers."
            )
