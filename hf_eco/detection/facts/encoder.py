"""Texts as vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel

from ...errors import GuardError
from ..windows import WindowedModel


class FactsEncoder(WindowedModel):
    """A text encoder: a text's vector is the mean of its tokens' last hidden states, of length 1 (Reimers and
    Gurevych, "Sentence-BERT", EMNLP 2019).

    Args: as for [`WindowedModel`][hf_eco.detection.windows.WindowedModel].
    """

    @classmethod
    def from_pretrained(cls, name_or_path: str, **kwargs: Any) -> FactsEncoder:
        """Loads an encoder from a path or Hub id; `kwargs` as for any `from_pretrained`.

        Raises:
            OSError: there is no such repository, or it holds no safetensors.
        """
        loaded: FactsEncoder = cls._load(AutoModel, name_or_path, **kwargs)
        return loaded

    def embed(self, texts: Sequence[str]) -> Tensor:
        """The vectors of `texts`, (texts, hidden), float32, on the CPU. Of a text of several windows, all of them
        count.

        Raises:
            GuardError: the model's weights are broken.
        """
        sums = torch.zeros(len(texts), self.model.config.hidden_size)
        for windows, inputs, outputs in self._outputs(texts):
            mask = inputs["attention_mask"].unsqueeze(-1)
            states = outputs.last_hidden_state.float()
            means = ((states * mask).sum(1) / mask.sum(1).clamp(min=1)).cpu()
            sums.index_add_(0, torch.tensor([window.text_index for window in windows]), means)
        if not sums.isfinite().all():  # a comparison with NaN is False: nothing would ever be flagged
            raise GuardError(f"{type(self.model).__name__} gave vectors that are not finite; its weights are broken.")
        return torch.nn.functional.normalize(sums, dim=-1)
