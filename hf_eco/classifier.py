"""The prompt classifier: text in, p(forget) out, over any sequence-classification model of transformers."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from .errors import GuardError

DEFAULT_LABEL = "forget"


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


@dataclass(frozen=True)
class ScoredSpan:
    """A stretch of a text, `text[start:end]`, and the probability of each of the classifier's labels for it."""

    start: int
    end: int
    probabilities: tuple[float, ...]


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
        with self._lock, torch.inference_mode(), torch.autocast(self.model.device.type, enabled=False):
            windows = sorted(self.encode(texts), key=len)
            for first in range(0, len(windows), self.batch_size):
                batch = windows[first : first + self.batch_size]
                # on the right, whatever the tokenizer's side: some encoders count positions from the first column
                inputs = self.tokenizer.pad([w.encoding for w in batch], padding_side="right", return_tensors="pt")
                inputs = inputs.to(self.model.device)
                logits = self.model(**inputs).logits.float().cpu()
                if not logits.isfinite().all():  # a comparison with NaN is False: nothing would ever be flagged
                    raise GuardError(
                        f"{type(self.model).__name__} gave logits that are not finite; its weights are broken."
                    )
                yield from zip(batch, logits, strict=True)

    def save_pretrained(self, directory: str) -> None:
        """Writes an ordinary repository: weights (safetensors, in the dtype they were loaded in), config,
        tokenizer."""
        copy.deepcopy(self.model).to(self.storage_dtype).save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    @classmethod
    def _load(cls, auto_class: Any, name_or_path: str, **kwargs: Any) -> Any:
        # An adapter beside the guarded model, above the classifier's folder, is not the classifier's.
        adapter = {"adapter_kwargs": {"subfolder": kwargs["subfolder"]}} if kwargs.get("subfolder") else {}
        model = auto_class.from_pretrained(name_or_path, dtype="auto", use_safetensors=True, **adapter, **kwargs)
        return cls(model, AutoTokenizer.from_pretrained(name_or_path, **kwargs))


class PromptClassifier(WindowedModel):
    """Gives p(forget | prompt) (Liu et al. 2024, section 3.2).

    Args:
        model: any `AutoModelForSequenceClassification`. One label must be called 'forget' (or what
            `ForgetScope.label` says); the config's `label2id` tells which. Probabilities are a softmax over the
            labels, or a sigmoid each if there is one label or `problem_type` is "multi_label_classification".
        tokenizer: its fast tokenizer.
        batch_size: windows per forward pass.

    Raises:
        ValueError: the tokenizer is not a fast one.
    """

    @classmethod
    def from_pretrained(cls, name_or_path: str, **kwargs: Any) -> PromptClassifier:
        """Loads a classifier from a path or Hub id.

        Args:
            name_or_path: directory or Hub id. Weights must be safetensors.
            kwargs: revision, subfolder, token, cache_dir, local_files_only, as for any `from_pretrained`.

        Raises:
            OSError: there is no such repository, or it holds no safetensors.
        """
        return cls._load(AutoModelForSequenceClassification, name_or_path, **kwargs)

    @property
    def labels(self) -> list[str]:
        """The classifier's labels, in the order of its probabilities."""
        id2label = self.model.config.id2label
        return [id2label[i] for i in range(self.model.config.num_labels)]

    def label_index(self, label: str = DEFAULT_LABEL) -> int:
        """Index of `label` among the labels, whatever its case.

        Raises:
            ValueError: there is no such label.
        """
        labels = [name.lower() for name in self.labels]
        if label.lower() not in labels:
            raise ValueError(
                f"The classifier's labels are {self.labels}, none is called {label!r}. "
                "Say which one means 'forget' with ForgetScope(label=...)."
            )
        return labels.index(label.lower())

    def score_spans(self, texts: Sequence[str]) -> list[list[ScoredSpan]]:
        """For each text, what the classifier says of each of its windows, in order. Empty texts have none."""
        spans: list[list[ScoredSpan]] = [[] for _ in texts]
        worded = [i for i, text in enumerate(texts) if text.strip()]
        if not worded:
            return spans
        config = self.model.config
        sigmoid = config.num_labels == 1 or config.problem_type == "multi_label_classification"
        for window, logits in self.logits([texts[i] for i in worded]):
            probabilities = logits.sigmoid() if sigmoid else logits.softmax(-1)
            span = ScoredSpan(window.start, window.end, tuple(probabilities.tolist()))
            spans[worded[window.text_index]].append(span)
        return [sorted(found, key=lambda span: span.start) for found in spans]

    def score(self, texts: Sequence[str], *, label: str = DEFAULT_LABEL) -> list[float]:
        """p(forget) of each text: the maximum over its windows; 0.0 for an empty text.

        Raises:
            TypeError: `texts` is one string.
            ValueError: the classifier has no such label.
        """
        if isinstance(texts, str):
            raise TypeError("score() takes a list of texts, got one string. Put it in a list.")
        index = self.label_index(label)
        return [max((span.probabilities[index] for span in found), default=0.0) for found in self.score_spans(texts)]

    def __repr__(self) -> str:
        return f"PromptClassifier({type(self.model).__name__}, labels={self.labels}, max_length={self.max_length})"
