"""Scopes by their documents: nothing is trained, and a scope costs its sentences in a table."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..detector import Detection
from ..disguises import View, views
from ..log_odds import from_log_odds
from .background import Background
from .bank import FactBank, ScopeFacts, on_grid
from .encoder import FactsEncoder
from .masking import frame, mask_names
from .sentences import prompt_parts, sentences
from .words import hashes, rarity, stems, word_hash

# Log-odds of p(forget), fitted to articles on five people and prompts about them and their neighbours, and tested on
# five others; and the other way round. `_AT_REST` was chosen on all ten: at 0 some 1.5% of neighbours are flagged.
# `_NEARNESS` is by standard deviation of the cosine of any two texts.
_NEARNESS, _COVERED, _ASKS, _AT_REST = 0.6, 2.5, 0.7, -6.1
_MOST_ASKING = 3.0  # standard deviations
_LEAST = -4.6  # log-odds of what is not worth a detection, p = 0.01


@dataclass(frozen=True)
class _Part:
    """A stretch of a view of a text."""

    text_index: int
    view: View
    start: int
    end: int

    @property
    def text(self) -> str:
        return self.view.text[self.start : self.end]


class FactsDetector:
    """Finds what the documents of scopes say in prompts, by whatever words.

    A prompt, and each of its sentences, speaks for a scope as far as it is near one of the scope's sentences (by the
    cosine of their vectors), has its words, rare ones above all, and asks for somebody by what is known of them. The
    names of the scope are masked in its documents: who names them is found by `NamesDetector`.

    Args:
        encoder: the text encoder of all scopes.
        background: what is known of it, see [`measure`][hf_eco.detection.facts.background.measure].
        bank: the sentences of the scopes; of none if None.
        key: of the hashes of words, up to 64 bytes; none where the guard's names stand in clear.
    """

    channel = "facts"

    def __init__(
        self, encoder: FactsEncoder, background: Background, bank: FactBank | None = None, key: bytes = b""
    ) -> None:
        self.encoder = encoder
        self.background = background
        self.bank = FactBank(background.mean) if bank is None else bank
        self.key = key

    def __len__(self) -> int:
        return len(self.bank)

    def read(self, documents: Sequence[str], names: Sequence[str] = ()) -> ScopeFacts:
        """The facts of a scope.

        Args:
            documents: texts on whom or what is to be forgotten.
            names: its names.

        Raises:
            ValueError: the documents hold no sentence.
        """
        masked = [mask_names(s, names) for s in dict.fromkeys(s for text in documents for s in sentences(text))]
        if not masked:
            raise ValueError("The documents hold no sentence of five words or more. Give articles or passages.")
        words = [hashes(sentence, self.key) for sentence in masked]
        counts = np.array([len(own) for own in words], dtype=np.int32)
        return ScopeFacts(on_grid(self.encoder.embed(masked).numpy()), np.concatenate(words), counts)

    def digest_of(self, scope: str) -> str:
        """SHA-256, in hexadecimal, of all that is kept of a scope: its name, vectors and words, their key, and what
        is known of the encoder.

        Raises:
            KeyError: it has no such scope.
        """
        own = self.bank[scope]
        digest = hashlib.sha256(self._background_sha256)
        keyed = hashlib.blake2b(scope.encode(), key=self.key, person=b"facts").digest()
        for part in (scope.encode(), keyed, *(_bytes(a) for a in (own.vectors, own.words, own.counts))):
            digest.update(len(part).to_bytes(8, "little") + part)
        return digest.hexdigest()

    @cached_property
    def _background_sha256(self) -> bytes:
        parts = sorted(self.background.tensors().items())
        return hashlib.sha256(b"".join(_bytes(tensor.numpy()) for _, tensor in parts)).digest()

    def joined_by(self, facts: FactBank | Mapping[str, ScopeFacts]) -> FactsDetector:
        """A detector of more scopes, in milliseconds. This one stays as it is."""
        return FactsDetector(self.encoder, self.background, self.bank.joined_by(facts), self.key)

    def without(self, scopes: Collection[str]) -> FactsDetector:
        """A detector of all scopes but these, as far as it has them. This one stays as it is."""
        if not any(scope in self.bank for scope in scopes):
            return self
        return FactsDetector(self.encoder, self.background, self.bank.without(scopes), self.key)

    def to(self, device: torch.device | str) -> None:
        """Moves the encoder to `device`."""
        self.encoder.to(device)

    def detect(self, texts: Sequence[str]) -> list[list[Detection]]:
        """As for any detector. A text is read in every view of it, as a whole and sentence by sentence."""
        parts = [
            _Part(i, view, start, end)
            for i, text in enumerate(texts)
            if text.strip()
            for view in views(text)
            for start, end in prompt_parts(view.text)
        ]
        found: list[list[Detection]] = [[] for _ in texts]
        for part, said in zip(parts, self._score([part.text for part in parts]), strict=True):
            start, end = part.view.to_original(part.start, part.end)
            for scope, log_odds in said.items():
                found[part.text_index].append(Detection(scope, from_log_odds(log_odds), start, end, self.channel))
        return found

    def _score(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """For each text the log-odds of scopes that it speaks for."""
        own = list(dict.fromkeys([*texts, *map(frame, texts)]))
        place = {text: number for number, text in enumerate(own)}
        vectors = self.encoder.embed(own).numpy() if own else np.zeros((0, len(self.background.mean)), np.float32)
        asks = np.clip(self.background.asks(vectors), -_MOST_ASKING, _MOST_ASKING)
        once = {
            text: self._score_one(text, on_grid(vectors[place[text]]), float(asks[place[frame(text)]]))
            for text in dict.fromkeys(texts)
        }
        return [once[text] for text in texts]

    def _score_one(self, text: str, vector: Any, asks: float) -> dict[str, float]:
        words = {word_hash(stem, self.key): rarity(stem) for stem in stems(text)}
        near = self.bank.near(vector, words)
        mean, deviation = self.background.likeness
        scores = (
            _NEARNESS * (near.cosines - mean) / deviation
            + _COVERED * near.weight / max(sum(words.values()), 1.0)
            + _ASKS * asks
            + _AT_REST
        )
        best: dict[str, float] = defaultdict(lambda: _LEAST)
        for number, score in zip(near.scopes.tolist(), scores.tolist(), strict=True):
            scope = self.bank.name_of(number)
            best[scope] = max(best[scope], score)
        return {scope: score for scope, score in best.items() if score > _LEAST}


def _bytes(array: NDArray[Any]) -> bytes:
    """An array's numbers, the same on every machine."""
    return array.astype(array.dtype.newbyteorder("<")).tobytes()
