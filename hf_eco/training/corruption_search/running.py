"""A search for a corruption under way: what is scored, what was tried, and when it is enough."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging

from ...configuration import CorruptionConfig, ForgetScope
from ...evaluation.result_cache import ResultCache, key_of
from ...evaluation.scoring import Scorer, ScoringProtocol, judge
from ...guard.guard import Guard
from ...inference.fingerprint import fingerprint
from ...modeling import find_guarded
from ..labelled_prompts import prompts_sha256
from .choice import choose, find_parameters, standard_error
from .history import History, Trial, as_tried
from .objective import Score, ScoreFunction, find_score
from .optimiser import Enough, Parameter, Point, search
from .questions import QuestionSet, as_asked, text_of
from .result import CorruptionSearch, SurrogateScore
from .surrogates import FEWEST, Setting, SurrogateLike, UnguardedScorer, as_surrogate

logger = logging.get_logger(__name__)

_NEAR = 0.01  # share of the way from the score without the guard to the surrogate that is near enough


@dataclass(frozen=True)
class SearchSettings:
    """How a corruption is searched for; see `optimize_corruption` for each.

    Raises:
        ValueError: a value is out of its range.
    """

    protocol: ScoringProtocol
    parameters: Sequence[str] | None
    bounds: tuple[float, float]
    tolerance: float | None
    max_trials: int
    max_new_tokens: int
    batch_size: int
    seed: int
    output_dir: str | os.PathLike[str] | None

    def __post_init__(self) -> None:
        if self.max_trials < 1 or not (self.tolerance is None or self.tolerance >= 0):
            raise ValueError(
                "max_trials must be positive and tolerance not negative, got "
                f"max_trials={self.max_trials}, tolerance={self.tolerance}. Use e.g. max_trials=24, tolerance=0.005."
            )


@dataclass
class RunningSearch:
    """A search under way.

    Attributes:
        scope: whose corruption is learnt; its corruption is that which is tried while a trial runs.
        how: the settings.
        objective: the score.
        scorer: scores the guarded model.
        questions: those that are scored.
        aim: what the score should be.
        plain: the score without the guard.
        learnt: what of the corruption is learnt.
        hidden: dimensions of the embeddings.
        history: what was tried.
        prompts_sha256: fingerprint of all prompts that were given.
    """

    scope: ForgetScope
    how: SearchSettings
    objective: Score
    scorer: Scorer
    questions: QuestionSet
    aim: SurrogateScore
    plain: float
    learnt: list[Parameter]
    hidden: int
    history: History
    prompts_sha256: str

    @classmethod
    def prepare(
        cls,
        model: Any,
        scope: ForgetScope,
        given: QuestionSet,
        score: str | ScoreFunction,
        surrogate: SurrogateLike,
        how: SearchSettings,
        tokenizer: PreTrainedTokenizerBase | None,
    ) -> RunningSearch:
        """Finds out what is scored and what the score should be."""
        guarded_model: Any = find_guarded(model)
        guard: Guard = guarded_model.eco_guard
        hidden = int(guarded_model.get_input_embeddings().weight.shape[-1])
        learnt = find_parameters(scope.corruption, how.parameters, how.bounds, hidden)
        objective, estimator = find_score(score, given, how.max_new_tokens), as_surrogate(surrogate)
        if how.output_dir is not None and objective.name.endswith("<lambda>"):
            raise ValueError(
                f"score is a lambda, {objective.name!r}, which nothing tells from another in output_dir="
                f"{str(how.output_dir)!r}. Define it by def, or leave output_dir out."
            )
        tokenizer = guard.tokenizer if tokenizer is None else tokenizer
        options: dict[str, Any] = {"batch_size": how.batch_size, "cache": ResultCache.open(how.output_dir)}
        scorer = Scorer(model, tokenizer, protocol=how.protocol, **options)
        unguarded = UnguardedScorer(model, tokenizer, **options)
        questions = _flagged(guard, scorer, as_asked(given, tokenizer), scope.name)
        estimate = estimator.estimate(Setting(objective, questions, unguarded, guard, scope.name))
        target = np.asarray(estimate.values, dtype=np.float64)
        aim = SurrogateScore(estimator.kind, float(target.mean()), standard_error(target, how.seed), target.size)
        questions = questions if estimate.rows is None else questions.take(estimate.rows)
        history = History(how.output_dir, _identity(model, scope, objective, aim, questions, how))
        plain = float(objective(unguarded, questions).mean())
        sha256 = prompts_sha256(map(text_of, given.prompts))
        return cls(scope, how, objective, scorer, questions, aim, plain, learnt, hidden, history, sha256)

    @property
    def near(self) -> float:
        """A gap that is small enough to stop at."""
        if self.how.tolerance is not None:
            return self.how.tolerance
        return _NEAR * abs(self.plain - self.aim.value)

    def run(self) -> None:
        """Tries corruptions until one is near enough, or the trials are spent."""
        asked: list[CorruptionConfig] = []
        with logging.tqdm(total=self.how.max_trials, desc="Learning the corruption", dynamic_ncols=True) as bar:

            def try_out(point: Point) -> Trial:
                """What comes of a corruption, which is tried if it has not been."""
                tried = _at(self.scope.corruption, self.learnt, point)
                known = tried in asked
                if not known and len(asked) == self.how.max_trials:
                    raise Enough
                trial = self._measured(tried)
                if not known:
                    asked.append(tried)
                    bar.update(1)
                    said = {"strength": trial.level, "dims": tried.dims, "score": trial.score}
                    bar.set_postfix(**said, surrogate=self.aim.value)
                if abs(trial.score - self.aim.value) <= self.near:
                    raise Enough
                return trial

            def residual(point: Point) -> float:
                return try_out(point).score - self.aim.value

            def noise(point: Point) -> float:
                return standard_error(np.array(try_out(point).values), self.how.seed)

            with contextlib.suppress(Enough):
                search(residual, self.learnt, self.how.seed, noise, self.plain - self.aim.value)
        old = _old(self.scope.corruption, self.learnt, self.hidden)
        if self._missed() and old is not None:
            self._measured(old)

    def result(self) -> CorruptionSearch:
        """The best of what was tried."""
        trials, seed = self.history.trials, self.how.seed
        best = choose(trials, self.aim.value, self.near, seed, self.hidden)
        strength = list(best.strength) if isinstance(best.strength, tuple) else best.strength
        return CorruptionSearch(
            scope=self.scope.name,
            corruption=replace(self.scope.corruption, strength=strength, dims=best.dims),
            score=self.objective.name,
            value=best.score,
            standard_error=standard_error(np.array(best.values), seed),
            surrogate=self.aim,
            unguarded=self.plain,
            history=tuple(trials),
            n=len(self.questions),
            prompts_sha256=self.prompts_sha256,
            seed=seed,
        )

    def warn(self, found: CorruptionSearch) -> None:
        """Says if nothing helps, or the surrogate is not reached."""
        if not found.helps:
            logger.warning(
                f"No corruption that was tried brings {found.score} nearer to the surrogate than none, by more than "
                f"its standard error: it is {found.value:.4g} ± {found.standard_error:.2g} with the guard, "
                f"{found.unguarded:.4g} without, and should be {self.aim.value:.4g}. Scope {found.scope!r} keeps the "
                "corruption it has. Use more prompts, another score, or a surrogate farther from the model's own "
                "score."
            )
        elif self._missed():
            logger.warning(
                f"The corruption of scope {found.scope!r} does not reach the surrogate: {found.score} is "
                f"{self._nearest().score:.4g} at best, and should be {self.aim.value:.4g}. Try another method, "
                "dims=None, tokens='all', wider bounds or more max_trials."
            )

    def _measured(self, tried: CorruptionConfig) -> Trial:
        strength = as_tried(tried.number)
        trial = self.history.find(strength, tried.dims)
        if trial is None:
            with _in_force(self.scope, tried):
                values = self.objective(self.scorer, self.questions)
            trial = Trial(strength, tried.dims, tuple(values.tolist()))
            self.history.add(trial)
        return trial

    def _nearest(self) -> Trial:
        return min(self.history.trials, key=lambda trial: abs(trial.score - self.aim.value))

    def _missed(self) -> bool:
        """Whether even the nearest trial is farther from the surrogate than is near enough, and than chance
        explains."""
        nearest = self._nearest()
        error = standard_error(np.array(nearest.values), self.how.seed)
        return abs(nearest.score - self.aim.value) > max(self.near, error)


def _flagged(guard: Guard, scorer: Scorer, questions: QuestionSet, scope: str) -> QuestionSet:
    """Those questions that are flagged for the scope: on the others the corruption has no influence."""
    guard.to(scorer.model.device)
    verdicts = judge(guard, scorer.encode(questions.prompts))
    rows = [i for i, verdict in enumerate(verdicts) if verdict is not None and verdict.scope == scope]
    if len(rows) < FEWEST:
        raise ValueError(
            f"The guard flags {len(rows) or 'none'} of the {len(questions)} prompts for scope {scope!r}, too few to "
            f"learn from: no corruption changes the others' answers. Pass {FEWEST} prompts of the scope at least, "
            "better some dozens, or calibrate its threshold."
        )
    if len(rows) < len(questions):
        logger.warning(
            f"The guard flags {len(rows)} of {len(questions)} prompts for scope {scope!r}; only those are scored. The "
            "others get through as they are: see to the classifier and its threshold."
        )
    return questions.take(rows)


def _old(corruption: CorruptionConfig, learnt: Sequence[Parameter], hidden: int) -> CorruptionConfig | None:
    """The corruption that a scope has, as one that might have been tried; None if its strength is out of bounds."""
    strengths = [parameter for parameter in learnt if parameter.name != "dims"]
    for parameter in strengths[:1]:  # all have the same bounds
        if any(not parameter.low <= level <= parameter.high for level in np.atleast_1d(corruption.strength)):
            return None
    return corruption if len(strengths) == len(learnt) else replace(corruption, dims=corruption.dims or hidden)


def _at(corruption: CorruptionConfig, parameters: Sequence[Parameter], point: Point) -> CorruptionConfig:
    if parameters[0].name == "strengths":
        return replace(corruption, strength=list(point), dims=len(point))
    values: dict[str, Any] = {
        p.name: int(value) if p.whole else value for p, value in zip(parameters, point, strict=True)
    }
    return replace(corruption, **values)


@contextlib.contextmanager
def _in_force(scope: ForgetScope, corruption: CorruptionConfig) -> Iterator[None]:
    """Inside, the scope's prompts are corrupted by `corruption`."""
    before, scope.corruption = scope.corruption, corruption
    try:
        yield
    finally:
        scope.corruption = before


def _identity(
    model: Any,
    scope: ForgetScope,
    score: Score,
    aim: SurrogateScore,
    questions: QuestionSet,
    how: SearchSettings,
) -> dict[str, Any]:
    """All that determines the score of a corruption, the corruption aside."""
    return {
        "model": fingerprint(model),
        "scope": scope.name,
        "method": scope.corruption.method,
        "noise_seed": scope.corruption.seed,
        "tokens": scope.tokens,
        "entities": scope.entities,
        "score": score.name,
        "max_new_tokens": how.max_new_tokens,
        "protocol": how.protocol,
        "surrogate": aim.kind,
        "surrogate_value": round(aim.value, 6),
        "questions": key_of(questions.prompts, questions.answers, questions.wrong_answers),
    }
