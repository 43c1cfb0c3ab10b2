"""Where the guard keeps what it knows between two hooks of one call. There is nothing else: see docs/architecture.md.

Four context variables, so that neither threads nor asyncio tasks see one another's:

| variable | holds |
|---|---|
| `GENERATION` | the plans of the `generate` call, or of the run by a given plan, that is going on |
| `FORWARD_PASS` | the decoder's forward pass that is going on |
| `STATEMENTS` | what users said around the call: the guard is off, where prompts end |
| `LABELS` | the labels of the model's forward pass that is going on |

`CallContext` alone writes and reads them.

On a cache lie `_eco_state` (a `CacheState`: what its columns are and how they were corrupted) and `_eco_decoding` (the
`Mark` of the `generate` call that has its whole prompt there); on a request of continuous batching `_eco_state`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, get_args

import torch
from torch import Tensor, nn

from ..guard.guard import Guard
from ..guard.plan import Plan, ScoringProtocol
from .caches import CacheState
from .packed_rows import Segments


class Mark:
    """Something that holds for a while. All who hold the mark learn when that is over, contexts and caches that were
    copied meanwhile included."""

    def __init__(self) -> None:
        self.active = True

    def __deepcopy__(self, memo: dict[int, Any]) -> Mark:
        return self


@dataclass
class Generation:
    """One call of `generate`, or one run by a plan that was given: the plans for its prompts, decided once."""

    owner: CallContext  # of the model that runs
    guard: Guard  # the one that made the plans; another may be attached meanwhile
    plan: Plan
    unconditional: Plan | None = None  # of the prompt that classifier-free guidance leads away from
    given: int = 0  # columns of the ids handed to generate; fewer than the plan's behind a filled cache
    drafts: bool = False  # tokens are drafted (assisted decoding, prompt lookup) and checked several at a time
    longest: int = 0  # columns of the longest row that was run without a cache
    visible: Tensor | None = None  # (batch, columns of the plan) bool, what the mask shows; None if all
    own_loop: bool = False  # code of the user's or of a repository's decodes, which may feed anything
    healing: bool = False  # the end of the prompt is being rewritten
    mark: Mark = field(default_factory=Mark)  # active while it runs

    def plan_for(self, ids: Tensor, past: int) -> Plan | None:
        """The plan of the prompt that `ids`, (rows, columns) behind `past` cached columns, are or are a part of, its
        rows repeated for beams; None if they are neither."""
        rows = ids.shape[0]
        for plan in (self.plan, self.unconditional):
            if plan is None or rows % (own := plan.ids.shape[0]):
                continue
            end, length = past + ids.shape[1], plan.ids.shape[1]
            # Without a cache, what was generated runs along: one token more with every pass.
            if end > max(length, self.longest) + 1 and not self.drafts:
                continue
            repeated, stop = plan.repeat(rows // own), min(end, length)
            if stop > past and torch.equal(ids[:, : stop - past].cpu(), repeated.ids[:, past:stop]):
                self.longest = max(self.longest, end)
                return repeated
        return None


@dataclass
class PlannedPass:
    """A forward pass of the decoder that has been planned."""

    ids: Tensor  # (rows, columns) that are run, a copy on the CPU: the embedding layer must look up the same
    work: list[tuple[Guard, Plan]]  # plans of those columns, or of their segments, and whose they are
    complete: bool  # False if they are a part of the prompt
    state: CacheState | None = None  # what the cache will hold afterwards
    decoding: Mark | None = None  # of the call of generate whose decode steps follow, the whole prompt being cached
    segments: Segments | None = None
    looked_up: bool = False  # the embedding layer has run

    @property
    def mixed(self) -> bool:
        """True if rows, or sequences of packed rows, that are corrupted stand beside others that are not."""
        corrupted = [plan.selected.any(-1) for _, plan in self.work]
        together = torch.stack(corrupted).any(0)
        return bool(together.any() and not together.all())


@dataclass
class ForwardPass:
    """A forward pass of a guarded decoder, from its first hook to its last."""

    owner: CallContext
    decoder: nn.Module
    plan: PlannedPass | None  # None for a decode step, which may go by


@dataclass(eq=False)
class Statement:
    """What a user says around calls of a model, until the mark goes."""

    owner: CallContext
    mark: Mark
    lengths: tuple[int, ...] | None = None  # None: the guard is disabled
    protocol: ScoringProtocol = "strict"


GENERATION: ContextVar[Generation | None] = ContextVar("eco_generation", default=None)
FORWARD_PASS: ContextVar[ForwardPass | None] = ContextVar("eco_forward_pass", default=None)
STATEMENTS: ContextVar[tuple[Statement, ...]] = ContextVar("eco_statements", default=())
LABELS: ContextVar[tuple[CallContext, Tensor] | None] = ContextVar("eco_labels", default=None)


class CallContext:
    """One model's part of the context variables: what holds for its calls in this thread or asyncio task."""

    @property
    def enabled(self) -> bool:
        """False inside `disabled()`."""
        return not any(said.lengths is None for said in self._statements())

    @property
    def statement(self) -> Statement | None:
        """What was said last; None if nothing was."""
        return next(reversed(self._statements()), None)

    @property
    def generation(self) -> Generation | None:
        """The `generate` call, or the run by a given plan, that is going on."""
        generation = GENERATION.get()
        return generation if generation is not None and generation.owner is self and generation.mark.active else None

    @property
    def forward_pass(self) -> ForwardPass | None:
        """The decoder's forward pass that is going on."""
        running = FORWARD_PASS.get()
        return running if running is not None and running.owner is self else None

    @forward_pass.setter
    def forward_pass(self, running: ForwardPass | None) -> None:
        FORWARD_PASS.set(running)

    @property
    def labels(self) -> Tensor | None:
        """The labels of the model's forward pass that is going on."""
        labels = LABELS.get()
        return labels[1] if labels is not None and labels[0] is self else None

    @labels.setter
    def labels(self, labels: Tensor | None) -> None:
        LABELS.set(None if labels is None else (self, labels))

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """The guard does nothing inside, in this thread."""
        with self._saying(Statement(self, Mark())):
            yield

    @contextmanager
    def prompt_lengths(self, lengths: Sequence[int], protocol: ScoringProtocol = "strict") -> Iterator[None]:
        """Inside, row i's prompt is its first `lengths[i]` tokens, padding not counted."""
        if protocol not in get_args(ScoringProtocol):
            raise ValueError(f"Unknown protocol {protocol!r}. Use 'strict' or 'paper'.")
        if any(length < 0 for length in lengths):
            raise ValueError(f"A prompt's length is not negative, got {list(lengths)}.")
        with self._saying(Statement(self, Mark(), tuple(int(length) for length in lengths), protocol)):
            yield

    @contextmanager
    def running(self, generation: Generation) -> Iterator[Generation]:
        """Inside, forward passes go by the plans of `generation`."""
        before = GENERATION.set(generation), FORWARD_PASS.set(None), LABELS.set(None)
        try:
            yield generation
        finally:  # what is interrupted from outside (KeyboardInterrupt) runs no forward hook, always_call or not
            GENERATION.reset(before[0])
            FORWARD_PASS.reset(before[1])
            LABELS.reset(before[2])
            generation.mark.active = False

    @contextmanager
    def _saying(self, said: Statement) -> Iterator[None]:
        STATEMENTS.set((*STATEMENTS.get(), said))
        try:
            yield
        finally:  # in whatever order such blocks are left
            said.mark.active = False
            STATEMENTS.set(tuple(other for other in STATEMENTS.get() if other is not said))

    def _statements(self) -> list[Statement]:
        return [said for said in STATEMENTS.get() if said.owner is self and said.mark.active]
