"""What the guard decided about one prompt: a `Verdict`."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from ..detection.windows import Span


class Probabilities(dict[str, float]):
    """p(forget) by scope. Of a scope that no detector speaks of it is 0, and the scope is not listed: a guard may hold
    thousands.

    Args:
        values: the probabilities that are not 0.
        scopes: the names of all scopes.
    """

    def __init__(
        self, values: Iterable[tuple[str, float]] | Mapping[str, float] = (), scopes: Container[str] = ()
    ) -> None:
        super().__init__(values)
        self._scopes = scopes

    def __missing__(self, scope: str) -> float:
        if scope in self._scopes:
            return 0.0
        raise KeyError(scope)


@dataclass(frozen=True)
class Verdict:
    """What the guard decided about one prompt, and why.

    Attributes:
        flagged: True if the prompt falls in a forget scope.
        scope: the scope it falls in; where several do, the one of highest probability. None if not flagged.
        probability: p(forget) of that scope, or the highest of all scopes; of those the prompt is uncertain for, where
            there are any.
        threshold: that scope's threshold.
        probabilities: p(forget) of every scope; 0 for scopes that no detector speaks of, which are not listed.
        spans: the characters of `text` that made it flagged, [start, end) each.
        tokens: indices of the prompt's tokens that are corrupted, padding not counted. Empty if neither it nor an
            earlier turn is flagged.
        text: the prompt as the guard reads it, special tokens included.
        offsets: each token's characters in `text`.
        uncertain: True if the prompt is not flagged but reaches a scope's `abstain_threshold`. Nothing is corrupted;
            what becomes of such a prompt is the application's to decide.
        channel: the detector that gave the probability, "names", "facts", "classifier", or one of your own; None if
            none spoke.
        earlier: where flags last for some turns, the scope that earlier turns of a prompt fell in that is not flagged
            any more; their tokens stay corrupted. None otherwise.
        uncertain_scope: the scope that it is uncertain for, if it is; where there are several, the one of highest
            probability.
    """

    flagged: bool
    scope: str | None
    probability: float
    threshold: float
    probabilities: dict[str, float]
    spans: tuple[Span, ...]
    tokens: tuple[int, ...]
    text: str
    offsets: tuple[Span, ...]
    uncertain: bool = False
    channel: str | None = None
    earlier: str | None = None
    uncertain_scope: str | None = None

    @property
    def corrupted_for(self) -> str | None:
        """The scope by whose corruption tokens are corrupted; None if none are."""
        return self.scope or self.earlier

    @property
    def reason(self) -> str:
        """One line for people."""
        if self.flagged:
            outcome = f"flagged as {self.scope!r}, {len(self.tokens)} tokens corrupted"
        else:
            outcome = "not flagged but uncertain" if self.uncertain else "not flagged"
        if self.earlier is not None:
            outcome += f" (earlier turns stay corrupted for {self.earlier!r}, {len(self.tokens)} tokens)"
        if self.flagged and self.probability < self.threshold:
            return f"{outcome}: the conversation was flagged before"
        return f"{outcome}: p(forget) = {self.probability:.4f} {'>=' if self.flagged else '<'} {self.threshold:.4f}"

    def marks(self, spans: Iterable[Span]) -> list[bool]:
        """For each character of `text` whether it lies in one of `spans`."""
        found = [False] * len(self.text)
        for start, end in spans:
            found[start:end] = [True] * (end - start)
        return found

    @property
    def corrupted(self) -> list[bool]:
        """For each character of `text` whether its token is corrupted."""
        return self.marks(self.offsets[i] for i in self.tokens)

    def __str__(self) -> str:
        return f"Verdict({self.reason})"


def stretches(text: str, *marks: Sequence[bool]) -> Iterator[tuple[str, tuple[bool, ...]]]:
    """`text` in pieces, cut wherever one of `marks` changes: each piece with what they say of it.

    Args:
        text: the text.
        marks: each says something of every character.
    """
    for said, places in groupby(range(len(text)), key=lambda i: tuple(mark[i] for mark in marks)):
        yield "".join(text[i] for i in places), said
