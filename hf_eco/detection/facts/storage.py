"""A guard's facts on disk: an ordinary encoder repository, and beside it one file for all scopes.

`facts.safetensors` holds, of each sentence, its vector and a 32-bit hash of each of its words without endings, in no
order; and what is known of the encoder. The documents are not in it. Who holds it can test whether a sentence or a
word was in them, and may guess at sentences from their vectors.
"""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers.utils.hub import cached_file

from ...errors import GuardLoadError
from .background import ALIKE, KNOWN_TEXTS, Background
from .bank import FactBank, ScopeFacts
from .detector import FactsDetector
from .encoder import FactsEncoder

FACTS_FILE = "facts.safetensors"
_VERSION = "1"


def save_facts(detector: FactsDetector, directory: str | os.PathLike[str]) -> None:
    """Writes the encoder and the facts of all scopes into a directory."""
    detector.encoder.save_pretrained(os.fspath(directory))
    facts = {scope: detector.bank[scope] for scope in detector.bank}
    tensors = {
        "vectors": torch.from_numpy(np.concatenate([own.vectors for own in facts.values()])),
        "words": torch.from_numpy(np.concatenate([own.words for own in facts.values()]).view(np.int32)),
        "counts": torch.from_numpy(np.concatenate([own.counts for own in facts.values()])),
        **{f"background.{name}": tensor for name, tensor in detector.background.tensors().items()},
    }
    scopes = json.dumps({scope: len(own) for scope, own in facts.items()})
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()},
        os.path.join(directory, FACTS_FILE),
        metadata={"version": _VERSION, "scopes": scopes},
    )


def load_facts(name_or_path: str, **download: Any) -> FactsDetector:
    """Reads what `save_facts` wrote.

    Args:
        name_or_path: path or Hub id of the repository.
        download: revision, subfolder, token, cache_dir, local_files_only.

    Raises:
        OSError: there is no such repository.
        ValueError: its facts are damaged or of a newer version.
        GuardLoadError: the encoder is not the one the facts were written with.
    """
    file = str(cached_file(name_or_path, FACTS_FILE, **download))
    try:
        with safe_open(file, "pt") as opened:
            described = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name).numpy() for name in opened.keys()}  # noqa: SIM118
        if described.get("version") != _VERSION:
            raise ValueError(
                f"This guard's facts are written in version {described.get('version')!r}; this hf-eco reads version "
                f"{_VERSION}. Upgrade hf-eco: pip install -U hf-eco"
            )
        prefix = "background."
        background = Background(**{n[len(prefix) :]: t for n, t in tensors.items() if n.startswith(prefix)})
        facts = _by_scope(json.loads(described["scopes"]), tensors)
    except (SafetensorError, KeyError, TypeError, IndexError, json.JSONDecodeError) as error:
        raise ValueError(f"The guard's facts are damaged ({error}). Download the guard again.") from error
    encoder = FactsEncoder.from_pretrained(name_or_path, **download)
    _check_encoder(encoder, background)
    return FactsDetector(encoder, background, FactBank(background.mean).joined_by(facts))


def _by_scope(sizes: dict[str, int], tensors: dict[str, Any]) -> dict[str, ScopeFacts]:
    vectors, counts, words = tensors["vectors"], tensors["counts"], tensors["words"].view(np.uint32)
    first = np.concatenate([[0], np.cumsum(counts)])
    if sum(sizes.values()) != len(counts) or len(vectors) != len(counts) or first[-1] != len(words):
        raise KeyError("its parts are of different lengths")
    facts, start = {}, 0
    for scope, size in sizes.items():
        stop = start + size
        facts[scope] = ScopeFacts(vectors[start:stop], words[first[start] : first[stop]], counts[start:stop])
        start = stop
    return facts


def _check_encoder(encoder: FactsEncoder, background: Background) -> None:
    now = encoder.embed(KNOWN_TEXTS).numpy()
    if now.shape != background.known.shape or not ((now * background.known).sum(-1) >= ALIKE).all():
        raise GuardLoadError(
            "The encoder of this guard's facts is not the one they were written with: it reads known texts otherwise. "
            "Download the guard again; do not swap files of its facts folder."
        )
