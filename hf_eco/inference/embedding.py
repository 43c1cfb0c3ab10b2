"""How a model embeds tokens: what other engines are checked by, and the unit of a corruption's strength."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..configuration import ECOConfig, EmbeddingProbe

_PROBED_TOKENS, _PROBED_VALUES, _MEASURED_TOKENS = 8, 16, 4096


def embedding_probes(embedding: nn.Module, vocabulary: int) -> list[EmbeddingProbe]:
    """How some tokens, spread over the vocabulary, are embedded; none where the weights are not in memory."""
    rows, ids = _embedded(embedding, vocabulary, _PROBED_TOKENS)
    if rows is None:
        return []
    values = rows[:, :_PROBED_VALUES].tolist()
    return [EmbeddingProbe(*probe) for probe in zip(ids.tolist(), values, strict=True)]


def embedding_rms(embedding: nn.Module, vocabulary: int) -> float | None:
    """The root mean square of the embeddings of up to 4,096 tokens, spread over the vocabulary; None where the weights
    are not in memory."""
    rows, _ = _embedded(embedding, vocabulary, _MEASURED_TOKENS)
    return None if rows is None else float(rows.square().mean().sqrt())


def note_embeddings(eco: ECOConfig, embedding: nn.Module, vocabulary: int) -> None:
    """Writes both into a guard's config. Where the weights are not in memory, what it says stays."""
    if found := embedding_probes(embedding, vocabulary):
        eco.embedding_probes, eco.embedding_rms = found, embedding_rms(embedding, vocabulary)


def _embedded(embedding: Any, vocabulary: int, count: int) -> tuple[Tensor | None, Tensor]:
    """(tokens, hidden) float32, and the tokens."""
    ids = torch.linspace(0, vocabulary - 1, min(count, vocabulary) + 2).long()[1:-1]
    if embedding.weight.is_meta or not embedding.weight.numel():
        return None, ids
    with torch.no_grad():
        return embedding(ids.to(embedding.weight.device)).float().cpu(), ids
