"""The prompt classifier: text in, p(forget) out.

Over any sequence-classification model of transformers, or over a text encoder with a head for each scope, which is
what [`train_prompt_classifier`][hf_eco.training.train_prompt_classifier] makes.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.hub import cached_file

from .._transformers import load_without_code
from ..errors import GuardError
from .detector import Detection
from .disguises import View, views
from .heads import ScopeHead, ScopeHeads, marked_tokens, token_features
from .log_odds import from_log_odds
from .names import LAST_NAME_LOG_ODDS
from .windows import Window, WindowedModel

DEFAULT_LABEL = "forget"
HEADS_FILE = "heads.safetensors"
TRAINING_REPORT = "training_report.json"
# Of an encoder's config, what makes no difference to its hidden states.
_NOT_COMPUTED = (
    "_name_or_path", "architectures", "dtype", "eco_heads", "gradient_checkpointing", "id2label", "initializer_range",
    "label2id", "output_attentions", "output_hidden_states", "problem_type", "return_dict", "transformers_version",
    "use_cache",
)  # fmt: skip


@dataclass(frozen=True)
class ScoredSpan:
    """A stretch of a text, `text[start:end]`, and the probability of each of the classifier's labels for it."""

    start: int
    end: int
    probabilities: Sequence[float]

    def above_zero(self) -> Iterator[tuple[int, float]]:
        """The number of each label that the stretch speaks for at all, and its probability."""
        if isinstance(self.probabilities, _OfOneLabel):
            yield self.probabilities.number, self.probabilities.probability
        else:
            yield from ((number, p) for number, p in enumerate(self.probabilities) if p > 0.0)


@dataclass(frozen=True, slots=True)
class _OfOneLabel(Sequence[float]):
    """The probabilities of so many labels, all of them 0 but that of label `number`."""

    number: int
    probability: float
    labels: int

    def __len__(self) -> int:
        return self.labels

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[float]: ...
    def __getitem__(self, index: int | slice) -> float | Sequence[float]:
        if isinstance(index, slice):
            return tuple(self)[index]
        return self.probability if range(self.labels)[index] == self.number else 0.0


class PromptClassifier(WindowedModel):
    """Gives p(forget | prompt) (Liu et al. 2024, section 3.2).

    Without heads it is the plain model: one pass over each text. With them, each text is read in every view of it
    (see [`views`][hf_eco.detection.disguises.views]: as it stands, without disguise, decoded), and a scope's names are
    looked for besides; the maximum counts.

    Args:
        model: any `AutoModelForSequenceClassification`. One label must be called 'forget' (or what
            `ForgetScope.label` says); the config's `label2id` tells which. Probabilities are a softmax over the
            labels, or a sigmoid each if there is one label or `problem_type` is "multi_label_classification". With
            heads, any `AutoModel` of a text encoder.
        tokenizer: its fast tokenizer.
        batch_size: windows per forward pass.
        heads: the scopes' heads on an encoder; each is a label. None for a plain model.

    Attributes:
        training_report: what `training_report.json` beside the classifier says of its training; None if there is none.

    Raises:
        ValueError: the tokenizer is not a fast one.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        batch_size: int = 32,
        heads: ScopeHeads | None = None,
    ) -> None:
        super().__init__(model, tokenizer, batch_size=batch_size)
        self.heads = heads
        self.training_report: dict[str, Any] | None = None

    @classmethod
    def from_pretrained(cls, name_or_path: str, **kwargs: Any) -> PromptClassifier:
        """Loads a classifier from a path or Hub id.

        Args:
            name_or_path: directory or Hub id. Weights must be safetensors.
            kwargs: revision, subfolder, token, cache_dir, local_files_only, as for any `from_pretrained`.

        Raises:
            OSError: there is no such repository, or it holds no safetensors.
            ValueError: its heads are damaged or of a newer version.
        """
        config = load_without_code(AutoConfig, name_or_path, **kwargs)
        described = getattr(config, "eco_heads", None)
        auto_class = AutoModelForSequenceClassification if described is None else AutoModel
        classifier: PromptClassifier = cls._load(auto_class, name_or_path, **kwargs)
        classifier.training_report = _read_report(Path(name_or_path, kwargs.get("subfolder") or "", TRAINING_REPORT))
        if described is None:
            return classifier
        file = str(cached_file(name_or_path, HEADS_FILE, **kwargs))
        try:
            weights = load_file(file)
        except SafetensorError as error:
            raise ValueError(f"The classifier's heads are damaged ({error}). Download it again.") from error
        classifier.heads = ScopeHeads.from_dict(described, weights, config.hidden_size)
        return classifier

    def save_pretrained(self, directory: str) -> None:
        """Writes an ordinary repository: weights (safetensors, in the dtype they were loaded in), config, tokenizer;
        beside them the heads, if there are any."""
        if self.heads is not None:
            self.model.config.eco_heads = self.heads.to_dict()
        super().save_pretrained(directory)
        if self.heads is not None:
            save_file(self.heads.tensors(), os.path.join(directory, HEADS_FILE))
        self.save_report(directory)

    def save_report(self, directory: str) -> None:
        """Writes the report of the training alone, if there is one."""
        if self.training_report is not None:
            text = json.dumps(self.training_report, indent=2) + "\n"
            Path(directory, TRAINING_REPORT).write_text(text, encoding="utf-8")

    def to(self, device: torch.device | str) -> None:
        """Moves the model and its heads to `device`, if they are not there."""
        super().to(device)
        for head in self.heads.heads.values() if self.heads is not None else ():
            head.head.to(device)

    @property
    def labels(self) -> list[str]:
        """The classifier's labels, in the order of its probabilities."""
        if self.heads is not None:
            return list(self.heads.heads)
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
        """For each text, what the classifier says of each of its windows, and of each name it finds, in order. Empty
        texts have none."""
        spans: list[list[ScoredSpan]] = [[] for _ in texts]
        worded = [i for i, text in enumerate(texts) if text.strip()]
        if not worded:
            return spans
        if self.heads is None:
            for window, probabilities in self._score_windows([texts[i] for i in worded]):
                spans[worded[window.text_index]].append(ScoredSpan(window.start, window.end, probabilities))
        else:
            seen = [(i, view) for i in worded for view in views(texts[i])]
            for n, span in self._score_with_heads(self.heads, [view for _, view in seen]):
                i, view = seen[n]
                spans[i].append(ScoredSpan(*view.to_original(span.start, span.end), span.probabilities))
        return [sorted(found, key=lambda span: (span.start, span.end)) for found in spans]

    def _score_windows(self, texts: Sequence[str]) -> Iterator[tuple[Window, tuple[float, ...]]]:
        config = self.model.config
        sigmoid = config.num_labels == 1 or config.problem_type == "multi_label_classification"
        for window, logits in self.logits(texts):
            yield window, tuple((logits.sigmoid() if sigmoid else logits.softmax(-1)).tolist())

    def _score_with_heads(self, heads: ScopeHeads, seen: Sequence[View]) -> Iterator[tuple[int, ScoredSpan]]:
        """For each view by its number: the stretch of each window that speaks most for each scope, and each mention of
        a name. A span tells of one scope; for the others its probability is 0."""
        for batch, inputs, outputs in self._outputs([view.text for view in seen], output_hidden_states=True):
            mask = inputs["attention_mask"].bool()
            features = token_features(outputs.hidden_states, heads.shape)
            counted = marked_tokens([[end > start for start, end in window.offsets] for window in batch])
            counted |= mask.cpu() & ~counted.any(-1, keepdim=True)  # a text the tokenizer knows nothing of
            scores, columns = heads.scores(features, mask, counted)
            for number in (~scores.isfinite().all(-1)).nonzero().flatten().tolist():
                # a comparison with NaN is False: nothing would ever be flagged
                raise GuardError(f"The head {self.labels[number]!r} gave scores that are not finite.")
            for row, window in enumerate(batch):
                text = seen[window.text_index].text[window.start : window.end]
                scores[list(heads.lexicons.with_last_names(text)), row] += LAST_NAME_LOG_ODDS
            for number, (own, chosen) in enumerate(zip(scores.sigmoid().tolist(), columns.tolist(), strict=True)):
                for window, score, tokens in zip(batch, own, chosen, strict=True):
                    found = [window.offsets[c] for c in tokens if c < len(window) and window.offsets[c][1]]
                    start = min((a for a, _ in found), default=window.start)
                    end = max((b for _, b in found), default=window.end)
                    yield window.text_index, ScoredSpan(start, end, _OfOneLabel(number, score, len(heads.heads)))
        for n, view in enumerate(seen if len(heads.lexicons) else ()):
            for number, mention in heads.lexicons.find(view.text):
                probabilities = _OfOneLabel(number, from_log_odds(mention.log_odds), len(heads.heads))
                yield n, ScoredSpan(mention.start, mention.end, probabilities)

    def floor(self, label: str = DEFAULT_LABEL) -> float:
        """The p(forget) that near misses of the scope seldom reach, as measured in training; 0 if it was not."""
        head = self._head(label)
        return 0.0 if head is None else head.floor

    def names(self, label: str = DEFAULT_LABEL) -> list[str]:
        """The names that are looked for in texts; none where the classifier has no heads."""
        head = self._head(label)
        return [] if head is None else head.names

    def _head(self, label: str) -> ScopeHead | None:
        return None if self.heads is None else self.heads.heads[self.labels[self.label_index(label)]]

    def with_heads(self, heads: dict[str, ScopeHead]) -> PromptClassifier:
        """A classifier on this one's encoder with other heads, by their labels."""
        assert self.heads is not None
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)  # they share the model, the tokenizer and its lock
        other.heads = self.heads.replaced_by(heads)
        other.training_report = None  # it is of this one
        return other

    @functools.cached_property
    def encoder_fingerprint(self) -> str:
        """Tells encoders apart: a hash of all that makes a difference to a head's scores, to the bit."""
        config = {name: value for name, value in self.model.config.to_dict().items() if name not in _NOT_COMPUTED}
        shape = (self.max_length, self.batch_size, self.heads and self.heads.shape)
        digest = hashlib.sha256(repr((type(self.model).__name__, shape)).encode())
        digest.update(json.dumps(config, sort_keys=True, default=str).encode())
        tokenizer = json.loads(self.tokenizer.backend_tokenizer.to_str())
        del tokenizer["padding"], tokenizer["truncation"]  # states of the last call
        digest.update(json.dumps(tokenizer).encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

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


class ClassifierDetector:
    """Scopes by one prompt classifier, which reads a text once for all of them.

    Args:
        classifier: the classifier.
        labels: for each scope by name, the classifier's label that means 'forget'.

    Raises:
        ValueError: the classifier lacks a label.
    """

    channel = "classifier"

    def __init__(self, classifier: PromptClassifier, labels: Mapping[str, str]) -> None:
        self.classifier = classifier
        self._scopes: dict[int, list[str]] = {}  # by the number of their label
        for scope, label in labels.items():
            self._scopes.setdefault(classifier.label_index(label), []).append(scope)

    def detect(self, texts: Sequence[str]) -> list[list[Detection]]:
        """As for any detector."""
        return [
            [
                Detection(scope, probability, span.start, span.end, self.channel)
                for span in spans
                for number, probability in span.above_zero()
                for scope in self._scopes.get(number, ())
            ]
            for spans in self.classifier.score_spans(texts)
        ]

    def to(self, device: torch.device | str) -> None:
        """As for any detector."""
        self.classifier.to(device)


def _read_report(path: Path) -> dict[str, Any] | None:
    """The report of a training; None if there is none. It is said on the model card, nothing else goes by it."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return report if isinstance(report, dict) else None
