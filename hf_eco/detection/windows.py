"""Text models of transformers, run over texts of any length in overlapping windows."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from .._transformers import check_weights, load_without_code
from ..errors import GuardError
from ..io.directories import check_not_a_missing_path

Span = tuple[int, int]  # characters [start, end)


@dataclass(frozen=True)
class Window:
    """A stretch of a text that a model sees in one piece: `text[start:end]`, number `text_index` of the texts
    encoded."""

    text_index: int
    start: int
    end: int
    encoding: dict[str, list[int]]
    offsets: list[tuple[int, int]]  # each token's characters in the text; (0, 0) for special tokens

    def __len__(self) -> int:
        return len(self.encoding["input_ids"])


class WindowedModel:
    """A text model of transformers with its fast tokenizer, run over texts of any length in overlapping windows.

    What [`PromptClassifier`][hf_eco.PromptClassifier] and the entity tagger share. The model is kept in float32 and in
    evaluation mode; scoring is safe from several threads.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, batch_size: int = 32) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ValueError(
                f"{type(tokenizer).__name__} does not report character offsets, so long texts cannot be scored in "
                "windows. Use a model with a fast tokenizer (tokenizer.json)."
            )
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive, got batch_size={batch_size}.")
        self.storage_dtype = model.dtype  # weights go back to disk as they came
        self.model = model.float().eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self._lock = threading.Lock()  # fast tokenizers keep padding and truncation as state

    @property
    def max_length(self) -> int:
        """Tokens the model sees at once, special tokens included."""
        limit = getattr(self.model.config, "max_position_embeddings", None) or 512
        for name, module in self.model.named_modules():
            if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
                limit = module.num_embeddings - module.padding_idx - 1  # RoBERTa counts positions from there
        return int(min(self.tokenizer.model_max_length, limit))

    def to(self, device: torch.device | str) -> None:
        """Moves the model to `device`, if it is not there."""
        with self._lock:
            if self.model.device != torch.device(device):
                self.model.to(device)

    def encode(self, texts: Sequence[str]) -> list[Window]:
        """All windows of all texts: each at most `max_length` tokens, overlapping by half, nothing left out."""
        special = self.tokenizer.num_special_tokens_to_add()
        encoded = self.tokenizer(
            list(texts),
            truncation=True,
            max_length=self.max_length,
            stride=(self.max_length - special) // 2,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        names = [name for name in self.tokenizer.model_input_names if name in encoded]
        windows = []
        for i, text_index in enumerate(encoded["overflow_to_sample_mapping"]):
            offsets = [tuple(pair) for pair in encoded["offset_mapping"][i]]
            covered = [pair for pair in offsets if pair[1] > pair[0]] or [(0, 0)]
            encoding = {name: encoded[name][i] for name in names}
            windows.append(Window(text_index, covered[0][0], covered[-1][1], encoding, offsets))
        return windows

    def logits(self, texts: Sequence[str]) -> Iterator[tuple[Window, Tensor]]:
        """Each window of `texts` with the model's float32 logits for it, on the CPU, in order of length.

        Raises:
            GuardError: the model's weights are broken.
        """
        for batch, _, outputs in self._outputs(texts):
            logits = outputs.logits.float().cpu()
            if not logits.isfinite().all():  # a comparison with NaN is False: nothing would ever be flagged
                raise GuardError(
                    f"{type(self.model).__name__} gave logits that are not finite; its weights are broken."
                )
            yield from zip(batch, logits, strict=True)

    def _outputs(self, texts: Sequence[str], **kwargs: Any) -> Iterator[tuple[list[Window], Any, Any]]:
        """Batches of the windows of `texts`, in order of length, with the model's inputs and outputs."""
        with self._lock, torch.inference_mode(), torch.autocast(self.model.device.type, enabled=False):
            windows = sorted(self.encode(texts), key=len)
            for first in range(0, len(windows), self.batch_size):
                batch = windows[first : first + self.batch_size]
                yield batch, *self.run(batch, **kwargs)

    def run(self, windows: Sequence[Window], **kwargs: Any) -> tuple[Any, Any]:
        """The model's inputs for `windows` as one batch, and its outputs. Not for several threads at once."""
        # on the right, whatever the tokenizer's side: some encoders count positions from the first column
        inputs = self.tokenizer.pad([w.encoding for w in windows], padding_side="right", return_tensors="pt")
        inputs = inputs.to(self.model.device)
        return inputs, self.model(**inputs, **kwargs)

    def save_pretrained(self, directory: str) -> None:
        """Writes an ordinary repository: weights (safetensors, in the dtype they were loaded in), config,
        tokenizer."""
        copy.deepcopy(self.model).to(self.storage_dtype).save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)

    def __getstate__(self) -> dict[str, Any]:
        state = {key: value for key, value in self.__dict__.items() if key not in ("_lock", "model")}
        # without the hooks that transformers leaves in a model once it gave its hidden states: they cannot be pickled
        return {**state, "built": (type(self.model), self.model.config, self.model.state_dict())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        built, config, weights = state.pop("built")
        self.__dict__.update(state)
        self.model = built(config)
        self.model.load_state_dict(weights)
        self.model.to(next(iter(weights.values())).device).eval().requires_grad_(False)
        self._lock = threading.Lock()

    @classmethod
    def _load(cls, auto_class: Any, name_or_path: str, **kwargs: Any) -> Any:
        check_not_a_missing_path(name_or_path, "encoder or classifier")
        # An adapter beside the guarded model, above the classifier's folder, is not the classifier's.
        adapter = {"adapter_kwargs": {"subfolder": kwargs["subfolder"]}} if kwargs.get("subfolder") else {}
        check_weights(name_or_path, **kwargs)
        weights: dict[str, Any] = {"dtype": "auto", "use_safetensors": True, **adapter}
        model = load_without_code(auto_class, name_or_path, **weights, **kwargs)
        return cls(model, load_without_code(AutoTokenizer, name_or_path, **kwargs))
