"""What is to be done to a batch of prompts: a `Plan`, the columns to corrupt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from .verdict import Verdict

# How an answer is scored: "strict", only the prompt is corrupted; "paper", the answer's selected tokens too.
ScoringProtocol = Literal["strict", "paper"]


def count_positions(attended: Tensor) -> Tensor:
    """(rows, columns) bool -> int64, each token's index in its row, padding not counted."""
    return (attended.long().cumsum(-1) - 1).clamp(min=0)


@dataclass(frozen=True)
class Plan:
    """What is to be done to a batch of prompts.

    Attributes:
        verdicts: one for each row.
        ids: (batch, sequence) int64, the token ids the plan was made for.
        attended: (batch, sequence) bool, False for padding.
        selected: (batch, sequence) bool, the columns to corrupt.
        positions: (batch, sequence) int64, each token's index in its row, padding not counted.

    All tensors lie on the CPU.
    """

    verdicts: tuple[Verdict, ...]
    ids: Tensor
    attended: Tensor
    selected: Tensor
    positions: Tensor

    @property
    def corrupts(self) -> bool:
        """True if there is anything to corrupt."""
        return bool(self.selected.any())

    @property
    def scopes(self) -> tuple[str | None, ...]:
        """The scope each row is flagged for, None where it is not."""
        return tuple(verdict.scope for verdict in self.verdicts)

    @property
    def corrupted_for(self) -> tuple[str | None, ...]:
        """The scope each row is corrupted for: that it is flagged for, or that earlier turns of it were."""
        return tuple(verdict.corrupted_for for verdict in self.verdicts)

    def keeping(self, before: Plan, columns: int) -> Plan:
        """The plan, which in rows that it corrupts also corrupts what `before` does of the first `columns` columns."""
        selected, kept = self.selected.clone(), before.columns(0, columns).selected
        for row, scope in enumerate(self.corrupted_for):
            if scope is not None:
                selected[row, :columns] |= kept[row]
        return replace(self, selected=selected)

    def columns(self, start: int, stop: int) -> Plan:
        """The plan for columns start..stop-1; columns beyond the prompt hold what the model generates, left alone."""
        beyond = max(stop - self.ids.shape[1], 0)
        ids, selected, positions = (pad(t, (0, beyond)) for t in (self.ids, self.selected, self.positions))
        parts = (ids, pad(self.attended, (0, beyond), value=True), selected, positions)
        return Plan(self.verdicts, *(part[:, start:stop] for part in parts))

    def repeat(self, times: int) -> Plan:
        """The plan with each row repeated `times` times in a row, as beams and returned sequences are laid out."""
        if times == 1:
            return self
        verdicts = tuple(verdict for verdict in self.verdicts for _ in range(times))
        parts = (self.ids, self.attended, self.selected, self.positions)
        return Plan(verdicts, *(part.repeat_interleave(times, dim=0) for part in parts))

    def row(self, index: int) -> Plan:
        """The plan of one prompt alone, (1, columns of the prompt), without its padding."""
        columns = self.attended[index].nonzero().squeeze(-1)
        parts = (self.ids, self.attended, self.selected, self.positions)
        return Plan(self.verdicts[index : index + 1], *(part[index : index + 1, columns] for part in parts))

    @classmethod
    def laid_out(cls, rows: Sequence[Plan], ids: Tensor, attended: Tensor) -> Plan:
        """One plan of a batch made of the plans of its rows.

        Args:
            rows: the plan of each row without padding, (1, tokens).
            ids: (batch, sequence), what is run.
            attended: (batch, sequence), zero for padding; of each row's tokens the first so many as its row has.
        """
        attended = attended.detach().cpu().bool()
        selected = torch.zeros_like(attended)
        for row, plan in enumerate(rows):
            columns = attended[row].nonzero().squeeze(-1)
            selected[row, columns] = plan.selected[0, : len(columns)]
        verdicts = tuple(verdict for plan in rows for verdict in plan.verdicts)
        return cls(verdicts, ids.detach().to("cpu", torch.int64), attended, selected, count_positions(attended))

    @classmethod
    def stack(cls, plans: Sequence[Plan]) -> Plan:
        """One plan of the rows of all, padded on the right to the longest."""
        longest = max(plan.ids.shape[1] for plan in plans)
        parts = [
            torch.cat([pad(getattr(plan, name), (0, longest - plan.ids.shape[1])) for plan in plans])
            for name in ("ids", "attended", "selected", "positions")
        ]
        return cls(tuple(verdict for plan in plans for verdict in plan.verdicts), *parts)
