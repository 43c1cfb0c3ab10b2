"""What every detector gives: texts in; for each, which scopes it speaks of, how surely, where, and by which channel.

A detector answers for all of its scopes at once. To add one, write a class with `channel`, `detect` and `to`, made of
its scopes' settings, and register it; see [`register_detector`][hf_eco.detection.registry.register_detector].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch


@dataclass(frozen=True, slots=True)
class Detection:
    """A stretch of a text, `text[start:end]`, that speaks for a scope.

    Attributes:
        scope: name of the scope.
        probability: p(forget).
        start: where it begins.
        end: where it ends.
        channel: who says so: "names", "facts", "classifier", or a detector of your own.
        weak: True if this alone tells too little, as a name that many bear: another detector must speak for the scope
            too, in the same text.
    """

    scope: str
    probability: float
    start: int
    end: int
    channel: str
    weak: bool = False


class Detector(Protocol):
    """Recognises scopes in texts."""

    channel: str

    def detect(self, texts: Sequence[str]) -> list[list[Detection]]:
        """What each text says for scopes; nothing of scopes that it does not speak of."""

    def to(self, device: torch.device | str) -> None:
        """Moves what computes to `device`."""
