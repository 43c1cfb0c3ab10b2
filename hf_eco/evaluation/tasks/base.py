"""What a task is, and what it gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from ...inference.fingerprint import fingerprint
from ...modeling import ECOMixin, without_wrapper
from ..estimates import Estimate, mean_of
from ..metrics import perplexity, unique_token_ratio
from ..result_cache import key_of
from ..scoring import Prompt, Scorer

logger = logging.get_logger(__name__)

Kind = Literal["forget", "retain"]
Reference: TypeAlias = tuple[PreTrainedModel, PreTrainedTokenizerBase]
"""A model, with its tokenizer, under which the answers' perplexity is measured."""


@dataclass(frozen=True)
class TaskResult:
    """What one model did on one task.

    Attributes:
        name: the task's.
        kind: "forget" or "retain".
        measures: the aggregates by name, the same names for the same kind of task.
        rows: one for each row of the data: what was asked, whether the guard flagged it, the answer, the values that
            the aggregates are made of.
    """

    name: str
    kind: Kind
    measures: dict[str, Estimate]
    rows: list[dict[str, Any]]

    @property
    def flagged(self) -> int | None:
        """How many rows the guard flagged; None where the rows do not say, as in a task of your own."""
        said = [row["flagged"] for row in self.rows if "flagged" in row]
        return sum(map(bool, said)) if len(said) == len(self.rows) else None

    @property
    def flagged_in_words(self) -> str:
        """How many rows the guard flagged, of how many."""
        return "not said" if self.flagged is None else f"{self.flagged} of {len(self.rows)}"

    def column(self, name: str) -> list[Any]:
        """One value of every row.

        Raises:
            KeyError: the rows have no such value.
        """
        return [row[name] for row in self.rows]


class Task(ABC):
    """Something a model is measured at. A task of your own has a name and a kind, and says in `run` what it does.

    Attributes:
        name: short, unique among the tasks of a run.
        kind: "forget": what is to be forgotten is asked about; "retain": what is to be kept.
    """

    name: str
    kind: Kind

    @abstractmethod
    def run(self, scorer: Scorer, *, reference: Reference | None = None, seed: int = 0) -> TaskResult:
        """Measures the scorer's model.

        Args:
            scorer: scores and generates answers.
            reference: gives the perplexity of the answers; None: no perplexity.
            seed: of the bootstrap.
        """

    def prompts_for(self, scorer: Scorer) -> list[Prompt]:
        """What a model is asked, one prompt for each row of the result: with a retain model beside, its next-token
        distributions are compared there. Empty, as here, where a task does not say."""
        return []

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, kind={self.kind!r})"


def check_kind(kind: str) -> Kind:
    """`kind`, if it is one. Raises ValueError."""
    if kind not in ("forget", "retain"):
        raise ValueError(f"Unknown kind {kind!r}. Use 'forget' or 'retain'.")
    return kind  # type: ignore[return-value]


def fluency_of(texts: Sequence[str], scorer: Scorer, reference: Reference | None, seed: int) -> dict[str, Estimate]:
    """Do the answers read as language? Their unique-token ratio, and their perplexity where there is a reference."""
    ratios = unique_token_ratio(texts, scorer.tokenizer)
    found = {"unique_token_ratio": mean_of(ratios, seed)}
    if reference is not None:
        readable = [text for text in texts if len(reference[1](text)["input_ids"]) > 1]
        if readable:
            found["perplexity"] = Estimate(_perplexity(readable, scorer, reference), None, None, len(readable))
        else:
            logger.warning("All answers are empty, so they have no perplexity.")
    return found


def _perplexity(texts: Sequence[str], scorer: Scorer, reference: Reference) -> float:
    model, tokenizer = reference
    key = key_of("perplexity", fingerprint(model), [tokenizer(text)["input_ids"] for text in texts])
    if key not in scorer.cache:
        inner = without_wrapper(model)
        with inner.disable_guard() if isinstance(inner, ECOMixin) else nullcontext():
            scorer.cache.update({key: perplexity(texts, model, tokenizer)})
    return float(scorer.cache[key])
