"""The tokens to corrupt of a flagged prompt, cut into parts that travel to the workers as multimodal features.

vLLM takes them for inputs of another modality, with rows in place of tokens' embeddings. So the key of a cached prefix
holds what is corrupted in it, a long prompt may be run in pieces, and a preempted one again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...configuration import CorruptionConfig
from ...corruption import corrupt, mixes_positions

MODALITY = "eco"
PART = 256  # tokens at most; a feature larger than vLLM's encoder cache would never be run


@dataclass(frozen=True)
class Part:
    """Some neighbouring tokens of a flagged prompt, of which some are corrupted.

    Attributes:
        first: index in the prompt of the first token that is corrupted here.
        given: (tokens,) bool, which tokens from there on are.
        data: what a worker needs to compute their rows, see `corrupted_rows`.
        identifier: a hash of that.
    """

    first: int
    given: Tensor
    data: dict[str, Tensor]
    identifier: str


def parts_of(ids: Sequence[int], tokens: Sequence[int], how: CorruptionConfig, adapter: str | None) -> list[Part]:
    """The parts of a prompt.

    Args:
        ids: its token ids.
        tokens: indices of those that are corrupted.
        how: they are.
        adapter: the LoRA adapter that answers.
    """
    selected = torch.zeros(len(ids), dtype=torch.bool)
    selected[list(tokens)] = True
    all_ids = torch.tensor(ids)
    settings = [how.method, how.dims, how.number, how.seed]
    encoded = torch.frombuffer(bytearray(json.dumps(settings).encode()), dtype=torch.uint8)
    found = []
    for begin in range(0, len(ids), PART):
        own = selected[begin : begin + PART].nonzero().squeeze(-1) + begin
        if not len(own):
            continue
        first, last = int(own[0]), int(own[-1]) + 1
        start, stop = (0, len(ids)) if mixes_positions(how.method) else (first, last)
        given = torch.zeros(stop - start, dtype=torch.bool)
        given[own - start] = True
        data = {
            "ids": all_ids[start:stop].clone(),
            "start": torch.tensor(start),
            "selected": selected[start:stop].clone(),
            "given": given,
            "how": encoded,
        }
        digest = hashlib.sha256(repr(adapter).encode())
        for name, value in data.items():
            digest.update(f" {name} {tuple(value.shape)} ".encode() + value.numpy().tobytes())
        found.append(Part(first, selected[first:last].clone(), data, f"{MODALITY}-{digest.hexdigest()}"))
    return found


def corrupted_rows(
    embeddings: Tensor, ids: Tensor, start: Tensor, selected: Tensor, given: Tensor, how: Tensor
) -> Tensor:
    """The rows of a part's corrupted tokens, (corrupted, hidden), as the guard computes them in transformers.

    Args:
        embeddings: (tokens, hidden), of `ids`.
        ids: (tokens,) integer; of the whole prompt where the method needs it, else of the part.
        start: index of the first of them in the prompt.
        selected: (tokens,) bool, those that are corrupted.
        given: (tokens,) bool, those of them that this part gives.
        how: method, dims, strength and seed as JSON, (bytes,) uint8.
    """
    method, dims, strength, seed = json.loads(bytes(how.cpu().tolist()))
    rows = corrupt(
        embeddings[None],
        selected.bool()[None],
        method,
        positions=(torch.arange(len(ids)) + int(start))[None],
        token_ids=ids.cpu()[None],
        dims=dims,
        strength=strength,
        seed=seed,
    )[0]
    return rows[given.bool().to(rows.device)]


def features_of(parts: Sequence[Part]) -> list[Any]:
    """The parts as vLLM's `MultiModalFeatureSpec`s."""
    from vllm.multimodal.inputs import (
        MultiModalBatchedField,
        MultiModalFeatureSpec,
        MultiModalFieldElem,
        MultiModalKwargsItem,
        PlaceholderRange,
    )

    field = MultiModalBatchedField(keep_on_cpu=True)
    return [
        MultiModalFeatureSpec(
            data=MultiModalKwargsItem(
                {
                    f"{MODALITY}_{name}": MultiModalFieldElem(data=value, field=field)
                    for name, value in part.data.items()
                }
            ),
            modality=MODALITY,
            identifier=part.identifier,
            mm_hash=part.identifier,
            mm_position=PlaceholderRange(offset=part.first, length=len(part.given), is_embed=part.given),
        )
        for part in parts
    ]
