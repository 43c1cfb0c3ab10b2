"""What tells models and tokenizers apart, so that a result is never taken for another's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

_SAMPLE = 64  # values of each tensor that are looked at one by one
# Says nothing of how a model computes, or differs between a guarded model and its base.
_IRRELEVANT = ("_name_or_path", "name_or_path", "architectures", "id2label", "transformers_version", "eco")


class Fingerprint:
    """A model's fingerprint, which is read anew after its weights, adapters or config have changed."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._weights: tuple[list[tuple[int, int]], str] | None = None

    def __str__(self) -> str:
        state = [(t.data_ptr(), 0 if t.is_inference() else t._version) for _, t in _tensors(self.model)]
        if self._weights is None or self._weights[0] != state:
            self._weights = state, _weights_digest(self.model)
        return hashlib.sha256((_settings(self.model) + self._weights[1]).encode()).hexdigest()


def fingerprint(model: nn.Module) -> str:
    """A hash of the config without the guard, the adapters in use, and of each weight its exact sum over all bits and
    a sample of its values: the same for a guarded model as for its base.

    Raises:
        ValueError: weights have been offloaded, so that they cannot be read.
    """
    return str(Fingerprint(model))


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """A hash of all that turns ids into text: the vocabulary, how its tokens are joined, which of them are special."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    how = {"vocabulary": tokenizer.get_vocab()} if backend is None else json.loads(backend.to_str())
    kept = {name: value for name, value in how.items() if name not in ("padding", "truncation")}  # of the last call
    clean = getattr(tokenizer, "clean_up_tokenization_spaces", None)
    parts = [type(tokenizer).__name__, kept, sorted(tokenizer.all_special_ids), clean]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, value in model.state_dict().items():
        if isinstance(value, Tensor):  # quantised layers keep other things there, too
            yield name, value


def _settings(model: nn.Module) -> str:
    config = getattr(model, "config", None)
    values = dict(config.to_dict()) if config is not None else {}
    kept = _relevant(values)
    adapters = [(name, *state) for name, module in model.named_modules() if (state := _adapter_state(module))]
    return json.dumps([kept, adapters], sort_keys=True, default=str)


def _relevant(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _relevant(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if key not in _IRRELEVANT
    }


def _adapter_state(module: nn.Module) -> tuple[Any, ...] | None:
    """Which adapters are at work in a layer or a model of peft's, and how strongly; None of any other module."""
    if not hasattr(module, "disable_adapters") or callable(module.disable_adapters):
        active = getattr(module, "active_adapters", None)
        if not hasattr(module, "prompt_encoder") or active is None or callable(active):
            return None
        return getattr(module, "_adapters_disabled", False), active  # soft prompts, which lie in no layer
    state: list[Any] = [module.disable_adapters, module.active_adapters]
    if hasattr(module, "merged_adapters"):
        state += [module.merged_adapters, sorted(getattr(module, "scaling", {}).items(), key=str)]
    return tuple(state)


@torch.no_grad()
def _weights_digest(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(_tensors(model)):
        if tensor.is_meta:
            raise ValueError(
                f"The weight {name!r} is offloaded, so models cannot be told apart by it. Load the model onto devices "
                "that hold all of it."
            )
        bits = _as_integers(tensor.detach())
        sample = bits[:: max(1, bits.numel() // _SAMPLE)].tolist()
        entry: list[Any] = [name, str(tensor.dtype), list(tensor.shape), int(bits.sum(dtype=torch.int64)), sample]
        digest.update(json.dumps(entry).encode())
    return digest.hexdigest()


def _as_integers(tensor: Tensor) -> Tensor:
    """The bits of `tensor`, as a row of integers: their sum does not depend on the order, as one of floats does."""
    of_size = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    flat = tensor.contiguous().flatten()
    return flat.view(of_size.get(flat.element_size(), torch.uint8))
