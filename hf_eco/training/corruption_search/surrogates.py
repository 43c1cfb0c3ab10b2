"""What a model scores that never learnt the scope, estimated without one: the surrogate retain score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from torch import nn
from transformers.utils import logging

from ...evaluation.scoring import Prompt, Scorer
from ...guard.guard import Guard
from ..augmentation import shipped_prompts
from ..subjects import find_names
from .counterfactuals import NameSwap, find_entities
from .objective import Floats, Score
from .questions import QuestionSet, as_asked, text_of

logger = logging.get_logger(__name__)

FEWEST = 5  # questions that an estimate takes


@dataclass(frozen=True)
class Setting:
    """What a surrogate can go by.

    Attributes:
        score: the score to estimate.
        questions: the forget prompts that the guard flags.
        unguarded: asks the model without its guard.
        guard: the guard.
        scope: the scope's name.
    """

    score: Score
    questions: QuestionSet
    unguarded: Scorer
    guard: Guard
    scope: str


@dataclass(frozen=True)
class SurrogateEstimate:
    """What a model is expected to score that never learnt the scope.

    Attributes:
        values: (n,), whose mean is the surrogate retain score.
        rows: the questions that it speaks of, by number: only those are scored while the corruption is learnt. None
            for all.
    """

    values: Floats
    rows: Sequence[int] | None = None


class Surrogate(Protocol):
    """A way to estimate the surrogate retain score, with a name for it, `kind`."""

    kind: str

    def estimate(self, setting: Setting) -> SurrogateEstimate:
        """What the score should be."""


SurrogateLike: TypeAlias = "str | float | nn.Module | Surrogate"


def as_surrogate(value: SurrogateLike) -> Surrogate:
    """The surrogate that `value` stands for: "counterfactual", "refusals", a number, or a retain model.

    Raises:
        ValueError: a name that is none.
        TypeError: something else.
    """
    if isinstance(value, str):
        if value not in ("counterfactual", "refusals"):
            raise ValueError(f"Unknown surrogate {value!r}. Use 'counterfactual', 'refusals', a number or a model.")
        return Counterfactuals() if value == "counterfactual" else Refusals()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Known(float(value))
    if isinstance(value, nn.Module):
        return RetainModel(value)
    if (
        isinstance(value, (bool, type))
        or not hasattr(value, "estimate")
        or not isinstance(getattr(value, "kind", None), str)
    ):
        raise TypeError(
            f"surrogate must be 'counterfactual', 'refusals', a number, a model or a Surrogate, got {value!r}."
        )
    return value


@dataclass(frozen=True)
class Known:
    """A score that is known, chance level say: 0.25 for four options."""

    value: float
    kind = "number"

    def estimate(self, setting: Setting) -> SurrogateEstimate:
        """The number.

        Raises:
            ValueError: it is not finite.
        """
        if not np.isfinite(self.value):
            raise ValueError(f"surrogate must be a finite number, got {self.value}. Use e.g. 0.25, chance level.")
        return SurrogateEstimate(np.array([self.value]))


@dataclass(frozen=True)
class RetainModel:
    """The score of a model that never learnt the scope, on the same questions."""

    model: nn.Module
    kind = "retain model"

    def estimate(self, setting: Setting) -> SurrogateEstimate:
        """Of each question."""
        like = setting.unguarded
        scorer = UnguardedScorer(self.model, like.tokenizer, batch_size=like.batch_size, cache=like.cache)
        return SurrogateEstimate(setting.score(scorer, setting.questions))


@dataclass(frozen=True)
class LookAlikes:
    """The model's own score on questions of the same kind that it has never seen, with their answers.

    Raises:
        TypeError: a prompt is neither a string nor a chat, or an answer no string.
        ValueError: there are fewer than five prompts, one is blank, or the numbers of prompts and answers differ.
    """

    prompts: Sequence[Prompt]
    answers: Sequence[str] | None = None
    wrong_answers: Sequence[Sequence[str]] | None = None
    kind = "look-alikes"

    def __post_init__(self) -> None:
        if len(QuestionSet(self.prompts, self.answers, self.wrong_answers)) < FEWEST:
            raise ValueError(f"There are {len(self.prompts)} look-alikes. Pass {FEWEST} at least, better some dozens.")

    def estimate(self, setting: Setting) -> SurrogateEstimate:
        """Of each look-alike.

        Raises:
            ValueError: the look-alikes lack the answers that the score needs, or are among the forget prompts.
        """
        questions = as_asked(QuestionSet(self.prompts, self.answers, self.wrong_answers), setting.unguarded.tokenizer)
        for name in setting.score.needs:
            if getattr(questions, name) is None:
                raise ValueError(f"score {setting.score.name!r} needs LookAlikes(..., {name}=[...]). Pass them.")
        own = {text_of(prompt) for prompt in setting.questions.prompts}
        both = [text for text in map(text_of, questions.prompts) if text in own]
        if both:
            raise ValueError(
                f"{len(both)} look-alikes are forget prompts, the first is {both[0]!r}. Use questions that the model "
                "never saw."
            )
        return SurrogateEstimate(setting.score(setting.unguarded, questions))


@dataclass(frozen=True)
class Refusals:
    """The score of answers that all refuse: for the scores of texts, "rouge_l_recall" and "refusal_similarity"."""

    kind = "refusals"

    def estimate(self, setting: Setting) -> SurrogateEstimate:
        """Of each question, or of each of some refusals.

        Raises:
            ValueError: the score cannot be had from texts alone.
        """
        if setting.score.of_refusals is None:
            raise ValueError(
                f"surrogate 'refusals' goes with score 'refusal_similarity' or 'rouge_l_recall', got "
                f"{setting.score.name!r}. Use one of those, or another surrogate."
            )
        return SurrogateEstimate(setting.score.of_refusals(setting.questions))


@dataclass(frozen=True)
class Counterfactuals:
    """The model's own score on the same questions about those who do not exist: names in questions and answers are
    swapped for made-up ones alike.

    What the model can take from the question, how answers of that form begin, and what can be guessed stays; what it
    was taught of the one who was asked about does not help it any more. Where the score goes by what an answer says,
    only those questions are scored, now and while the corruption is learnt, whose answer names somebody or something
    that the question does not: of other answers the model may know every sentence by heart, and says it of anybody.

    Args:
        names: full names of whom or which the scope is about. None: those that its classifier looks for, or, where it
            has none, those found in the prompts.
        draws: sets of made-up names whose scores are averaged.
        seed: of the made-up names.
    """

    names: Sequence[str] | None = None
    draws: int = 3
    seed: int = 0
    kind = "counterfactual"

    def estimate(self, setting: Setting) -> SurrogateEstimate:
        """Of each question that counts, averaged over the draws.

        Raises:
            ValueError: there are too few questions with names to swap, no draws, or `names` is one string.
        """
        swaps, counted = self._swaps(setting)
        logger.info(f"{len(counted)} of {len(setting.questions)} questions have counterfactuals and are scored.")
        questions = setting.questions.take(counted)
        scores = [setting.score(setting.unguarded, questions.rewritten(swap)) for swap in swaps]
        return SurrogateEstimate(np.mean(scores, axis=0), counted)

    def rows(self, setting: Setting) -> list[int]:
        """The questions that count, by number; raises as `estimate`."""
        return self._swaps(setting)[1]

    def _swaps(self, setting: Setting) -> tuple[list[NameSwap], list[int]]:
        """Each draw's names in place of the real ones, and the questions that count."""
        if self.draws < 1:
            raise ValueError(f"draws must be positive, got draws={self.draws}. Use e.g. draws=3.")
        if isinstance(self.names, str):
            raise ValueError(f"names must be a list of names, got {self.names!r}. Use [{self.names!r}].")
        tokenizer = setting.unguarded.tokenizer

        def known_word(word: str) -> bool:
            return len(tokenizer.tokenize(f" {word}")) == 1

        texts = [text_of(prompt) for prompt in setting.questions.prompts]
        subjects = list(self.names) if self.names is not None else _names_of(setting)
        subjects = subjects or find_names(texts, shipped_prompts(), known_word)
        entities = find_entities(setting.questions, subjects, known_word)
        swaps = [NameSwap(entities, known_word, f"{self.seed}/{draw}", texts) for draw in range(self.draws)]
        counted = _that_count(setting, swaps[0])
        if len(counted) < FEWEST:
            raise ValueError(
                f"Only {len(counted)} of {len(texts)} questions have names to swap for made-up ones"
                f"{', in the question and other ones in the answer' if setting.score.of_facts else ''}. Pass more "
                "prompts, surrogate=Counterfactuals(names=[...]), LookAlikes(...), or a number, chance level say."
            )
        return swaps, counted


class UnguardedScorer(Scorer):
    """Asks a model as if it had no guard."""

    def _verdicts(self, prompts: Sequence[Any]) -> list[None]:  # type: ignore[override]
        return [None] * len(prompts)


def _names_of(setting: Setting) -> list[str]:
    """The names that are looked for, for the scope."""
    return setting.guard.names_of(setting.scope)


def _that_count(setting: Setting, swap: NameSwap) -> list[int]:
    questions = setting.questions
    counted = []
    for i, prompt in enumerate(questions.prompts):
        asked = swap.names_in(text_of(prompt))
        facts = questions.answers is None or not setting.score.of_facts or swap.names_in(questions.answers[i]) - asked
        if asked and facts:
            counted.append(i)
    return counted
