"""The scores by which a corruption is learnt: of each question one number, from one model's answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...evaluation.baselines import REFUSALS
from ...evaluation.metrics import answer_probability, rouge, rouge_l_recall
from ...evaluation.scoring import Scorer
from .questions import QuestionSet

Floats: TypeAlias = NDArray[np.float64]
ScoreFunction: TypeAlias = Callable[[Scorer, QuestionSet], Any]
"""Gives a number for each of n questions, (n,), or one for all, from a model that a `Scorer` asks."""


@dataclass(frozen=True)
class Score:
    """A score that `optimize_corruption` knows by name.

    Attributes:
        name: its name.
        needs: what questions need for it: "answers", "wrong_answers".
        of_model: of the answers that a model gives, or of their probabilities.
        of_refusals: of answers that refuse, where that is possible: any number of values.
        of_facts: True if it compares with what the answers say, rather than with the letters of options.
    """

    name: str
    needs: tuple[str, ...]
    of_model: ScoreFunction
    of_refusals: Callable[[QuestionSet], Floats] | None = None
    of_facts: bool = False

    def __call__(self, scorer: Scorer, questions: QuestionSet) -> Floats:
        """(n,), or (1,) where the score is one number for all.

        Raises:
            ValueError: the score is no number, or there are neither n nor one.
        """
        values = np.atleast_1d(np.asarray(self.of_model(scorer, questions), dtype=np.float64))
        if values.shape not in ((len(questions),), (1,)) or not np.isfinite(values).all():
            raise ValueError(
                f"score {self.name!r} must give one finite number, or one for each of the {len(questions)} prompts, "
                f"got {values!r}. Check the score on the prompts."
            )
        return values


def find_score(score: str | ScoreFunction, questions: QuestionSet, max_new_tokens: int) -> Score:
    """The score of that name, or a function of the caller's own as one.

    Raises:
        ValueError: there is no such score, or `questions` lack what it needs.
        TypeError: it is neither a name nor a function.
    """
    if callable(score):
        named = score if hasattr(score, "__qualname__") else type(score)
        return Score(f"{named.__module__}.{named.__qualname__}", (), score)
    if not isinstance(score, str):
        raise TypeError(f"score must be a name or a function of (scorer, questions), got {score!r}.")
    found = score_called(score, max_new_tokens)
    for name in found.needs:
        if getattr(questions, name) is None:
            raise ValueError(f"score {score!r} compares with {name}, and there are none. Pass {name}=[...].")
    return found


def score_called(name: str, max_new_tokens: int = 0) -> Score:
    """The score of that name.

    Raises:
        ValueError: there is none.
    """
    known = {score.name: score for score in _scores(max_new_tokens)}
    if name not in known:
        raise ValueError(f"Unknown score {name!r}. Use one of: {', '.join(known)}; or a function.")
    return known[name]


def _scores(max_new_tokens: int) -> list[Score]:
    def recall(scorer: Scorer, questions: QuestionSet) -> Floats:
        return rouge_l_recall(questions.answers or (), scorer.generate(questions.prompts, **length))

    def similarity(scorer: Scorer, questions: QuestionSet) -> Floats:
        return _similarity(scorer.generate(questions.prompts, **length), REFUSALS)

    length = {"max_new_tokens": max_new_tokens}
    return [
        Score("answer_probability", ("answers",), _answer_probability, of_facts=True),
        Score("log_truth_ratio", ("answers", "wrong_answers"), _log_truth_ratio, of_facts=True),
        Score("accuracy", ("answers", "wrong_answers"), _accuracy),
        Score("rouge_l_recall", ("answers",), recall, _recall_of_refusals, of_facts=True),
        Score("refusal_similarity", (), similarity, _similarity_of_refusals),
    ]


def _answer_probability(scorer: Scorer, questions: QuestionSet) -> Floats:
    return answer_probability(scorer.losses(questions.prompts, questions.answers or ()))


def _log_truth_ratio(scorer: Scorer, questions: QuestionSet) -> Floats:
    """log r: the more the right answer is preferred, the lower. TOFU's measure of a forget set, the mean of
    min(r, 1/r), would not do: it falls where r leaves 1, be it that the model knows or that it guesses wildly."""
    right = scorer.losses(questions.prompts, questions.answers or ())
    wrong = questions.wrong_answers or ()
    repeated = [prompt for prompt, own in zip(questions.prompts, wrong, strict=True) for _ in own]
    losses = iter(scorer.losses(repeated, [text for own in wrong for text in own]))
    means = np.array([np.mean([next(losses) for _ in own]) for own in wrong])
    return right - means


def _accuracy(scorer: Scorer, questions: QuestionSet) -> Floats:
    """Whether the right option's first token is the likeliest of the options'; 1/k where k share the first place."""
    options = [
        [scorer.encoder.encode_answer(prompt, text)[0] for text in (right, *wrong)]
        for prompt, right, wrong in zip(
            questions.prompts, questions.answers or (), questions.wrong_answers or (), strict=True
        )
    ]
    for i, tokens in enumerate(options):
        if len(set(tokens)) < len(tokens):
            raise ValueError(
                f"Two options of prompts[{i}] begin with the same token. Put the options into the prompt, and pass "
                "their letters as answers: answers=['B', ...], wrong_answers=[['A', 'C', 'D'], ...]."
            )
    found = scorer.token_log_probabilities(questions.prompts, options)
    return np.array([float(own[0] == own.max()) / (own == own.max()).sum() for own in found])


def _similarity(texts: Sequence[str], refusals: Sequence[str]) -> Floats:
    """ROUGE-L (F1) of each text with the refusal that it is most like."""
    return np.max([rouge([refusal] * len(texts), texts).f1 for refusal in refusals], axis=0)


def _recall_of_refusals(questions: QuestionSet) -> Floats:
    answers = questions.answers or ()
    return np.mean([rouge_l_recall(answers, [refusal] * len(answers)) for refusal in REFUSALS], axis=0)


def _similarity_of_refusals(_: QuestionSet) -> Floats:
    """How like each refusal is to the others: a refusal in words of the model's own is not one of these."""
    return np.array(
        [_similarity([refusal], [other for other in REFUSALS if other != refusal])[0] for refusal in REFUSALS]
    )
