"""Entities of a text, marked by a token classifier."""

from __future__ import annotations

from typing import Any

from transformers import AutoModelForTokenClassification

from .windows import Span, WindowedModel


class EntityTagger(WindowedModel):
    """Marks the entities of a text with any token-classification model; every label but 'O' is an entity."""

    @classmethod
    def from_pretrained(cls, name_or_path: str, **kwargs: Any) -> EntityTagger:
        """Loads a token classifier from a path or Hub id; `kwargs` as for any `from_pretrained`."""
        return cls._load(AutoModelForTokenClassification, name_or_path, **kwargs)

    def spans(self, text: str) -> list[Span]:
        """The characters of each token that is part of an entity, sorted, without repetition."""
        if not text.strip():
            return []
        outside = {i for i, label in self.model.config.id2label.items() if label == "O"}
        found = set()
        for window, logits in self.logits([text]):
            for offset, label in zip(
                window.offsets, logits.argmax(-1).tolist(), strict=False
            ):  # padding has no offset
                if offset[1] > offset[0] and label not in outside:
                    found.add(offset)
        return sorted(found)
