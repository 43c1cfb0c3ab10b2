"""Rows of token ids laid out as a batch, and the tokens at which generated answers end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..guard.verdict import Verdict
from .encoding import Ids


@dataclass(frozen=True)
class Row:
    """A prompt and what is asked about it, as token ids.

    Attributes:
        prompt: the prompt's ids.
        answer: those of the answer, or whichever else are asked about.
        verdict: the guard's, if anything of the prompt is corrupted. None: the model runs as if there were no guard.
    """

    prompt: Ids
    answer: Ids = ()
    verdict: Verdict | None = field(default=None, compare=False)

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


class RowLayout:
    """Lays rows out for one model.

    Args:
        model: a causal language model, without an adapter's wrapper.
        tokenizer: the model's.
        ends: tokens at which a generated answer ends, besides the model's own.
    """

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase, ends: Sequence[int | None]) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.ends = tuple(token for token in ends if token is not None)

    @property
    def stops(self) -> list[int]:
        """All tokens that end a generated answer."""
        return sorted({*self.ends, *self.own_ends})

    @property
    def own_ends(self) -> tuple[int, ...]:
        """The tokens that end the model's text by its own generation config and are not among `ends`."""
        own = self.model.generation_config.eos_token_id
        tokens = own if isinstance(own, (list, tuple)) else [own]
        return tuple(sorted({int(token) for token in tokens if token is not None} - set(self.ends)))

    @property
    def limit(self) -> float:
        """How many tokens of a row the model reads."""
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return math.inf if limit is None else limit

    @property
    def padding(self) -> int:
        """The token that rows are filled up with."""
        pad = self.tokenizer.pad_token_id
        return int(pad) if pad is not None else next(iter((*self.ends, *self.own_ends)), 0)

    def padded(self, rows: Sequence[Ids], side: str, room: int = 0) -> tuple[Tensor, Tensor]:
        """ids and attention mask, both (rows, longest)."""
        longest = max(map(len, rows))
        if longest + room > self.limit:
            raise ValueError(
                f"A row has {longest} tokens{f' and {room} to come' if room else ''}, the model reads {self.limit}. "
                "Shorten or leave out the longest rows."
            )
        ids, mask = torch.full((len(rows), longest), self.padding), torch.zeros(len(rows), longest, dtype=torch.long)
        for number, row in enumerate(rows):
            columns = slice(0, len(row)) if side == "right" else slice(longest - len(row), longest)
            ids[number, columns] = torch.tensor(row)
            mask[number, columns] = 1
        return ids.to(self.model.device), mask.to(self.model.device)
