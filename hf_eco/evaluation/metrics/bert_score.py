"""How like two texts are to an encoder: BERTScore."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer

from ..._transformers import load_without_code
from ...detection.windows import WindowedModel
from .checks import check_pairs
from .texts import Overlap


def bert_score(
    references: Sequence[str], generated: Sequence[str], encoder: WindowedModel | str, *, layer: int = -1
) -> Overlap:
    """Precision, recall and F1 of the tokens' meanings: each token counts with its greatest cosine similarity to a
    token of the other text, where both are encoded in their context.

    High: the texts mean the same. Where the scale begins depends on the encoder (unrelated texts may well score 0.8),
    so scores of different encoders or layers cannot be compared; there is no rescaling. Every token weighs the same;
    special tokens take no part. A text is cut at the encoder's length. Source: Zhang et al., "BERTScore: Evaluating
    Text Generation with BERT", ICLR 2020, section 3, equation 1 without idf weights.

    Args:
        references: n texts.
        generated: n texts. One without tokens scores 0.
        encoder: any text encoder, e.g. `WindowedModel(model, tokenizer)`, or its Hub id or path.
        layer: which of the hidden states to compare; 0 is the embeddings, -1 the last layer. The paper finds another
            layer for each encoder, such as 17 of roberta-large.

    Returns:
        each (n,), from -1 to 1, in practice positive.

    Raises:
        TypeError: a text is no string.
        ValueError: the numbers of texts differ, there are none, a reference is blank, or there is no such layer.
    """
    check_pairs(references, generated)
    if isinstance(encoder, str):
        model = load_without_code(AutoModel, encoder, use_safetensors=True)
        encoder = WindowedModel(model, load_without_code(AutoTokenizer, encoder))
    unique = list(dict.fromkeys([*references, *generated]))
    tokens = dict(zip(unique, _token_directions(unique, encoder, layer), strict=True))
    pairs = [_greedy(tokens[r], tokens[g]) for r, g in zip(references, generated, strict=True)]
    precision, recall = np.array(pairs, dtype=np.float64).T
    both = precision + recall
    return Overlap(precision, recall, np.divide(2 * precision * recall, both, out=np.zeros_like(both), where=both > 0))


def _token_directions(texts: list[str], encoder: WindowedModel, layer: int) -> list[Tensor]:
    """Of each text: (tokens, hidden) float32 of length 1."""
    first = {window.text_index: window for window in reversed(encoder.encode(texts))}
    order = sorted(first.values(), key=len)
    directions: dict[int, Tensor] = {}
    for start in range(0, len(order), encoder.batch_size):
        batch = order[start : start + encoder.batch_size]
        inputs = encoder.tokenizer.pad([w.encoding for w in batch], padding_side="right", return_tensors="pt")
        with torch.inference_mode():
            states = encoder.model(**inputs.to(encoder.model.device), output_hidden_states=True).hidden_states
        if not -len(states) <= layer < len(states):
            raise ValueError(f"The encoder has the layers 0 to {len(states) - 1}, got layer={layer}.")
        for window, vectors in zip(batch, states[layer].float().cpu(), strict=True):
            own = [i for i, (a, b) in enumerate(window.offsets) if b > a]  # special tokens cover no characters
            directions[window.text_index] = normalize(vectors[own], dim=-1)
    return [directions[i] for i in range(len(texts))]


def _greedy(reference: Tensor, generated: Tensor) -> tuple[float, float]:
    """Precision and recall of one pair."""
    if not len(reference) or not len(generated):
        return 0.0, 0.0
    similarity = generated @ reference.T
    return similarity.amax(dim=1).mean().item(), similarity.amax(dim=0).mean().item()
