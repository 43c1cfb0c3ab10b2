"""Learning a scope's corruption."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from ...configuration import LearnedCorruption, resolve_strengths
from ...evaluation.scoring import Prompt, ScoringProtocol
from ...modeling import find_guarded
from .objective import ScoreFunction
from .optimiser import Parameter
from .questions import QuestionSet
from .result import CorruptionSearch
from .running import RunningSearch, SearchSettings
from .surrogates import SurrogateLike


@torch.no_grad()
def optimize_corruption(
    model: Any,
    scope: str,
    prompts: Sequence[Prompt],
    answers: Sequence[str] | None = None,
    *,
    wrong_answers: Sequence[Sequence[str]] | None = None,
    score: str | ScoreFunction = "answer_probability",
    surrogate: SurrogateLike = "counterfactual",
    protocol: ScoringProtocol = "strict",
    parameters: Sequence[str] | None = None,
    bounds: tuple[float, float] = (1e-2, 1e4),
    tolerance: float | None = None,
    max_trials: int = 24,
    max_new_tokens: int = 128,
    batch_size: int = 16,
    seed: int = 0,
    output_dir: str | os.PathLike[str] | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    update: bool = True,
) -> CorruptionSearch:
    """Learns how strongly a scope's prompts are to be corrupted, so that their answers score like those of a model
    that never learnt the scope; by zeroth-order optimisation (Liu et al. 2024, section 3.3), without a gradient.

    What is minimised is |s - ŝ|: s the score of the guarded model on those of the prompts that the guard flags for the
    scope and the surrogate speaks of, ŝ the surrogate. The method, the tokens and the noise's seed stay those of the
    scope. While it runs, the model's guard corrupts by whatever is being tried: nobody else should use the model
    meanwhile. If it fails or is interrupted, the scope has its old corruption again.

    Args:
        model: a guarded model.
        scope: name of the scope.
        prompts: prompts of the scope, questions or chats, five at least that the guard flags; none that the result
            will be judged by. A question is put as a chat where the tokenizer has a chat template, else as
            "Question: ...\\nAnswer:".
        answers: the right answer to each prompt, where the score needs them.
        wrong_answers: some wrong answers to each, where the score needs them.
        score: "answer_probability", "rouge_l_recall" (both need answers), "log_truth_ratio" (log r of
            [`truth_ratio`][hf_eco.evaluation.metrics.truth_ratio]; answers and wrong answers), "accuracy" (how often
            the right option's letter is the likeliest; letters as answers and wrong answers), "refusal_similarity"
            (ROUGE-L of the answer with the refusal it is most like); or a function of a
            [`Scorer`][hf_eco.evaluation.scoring.Scorer] and a `QuestionSet` that gives a number for each prompt, or
            one for all. `output_dir` tells such functions apart by module and name alone, objects by their class, and
            takes no lambda; name another directory after a change of what one computes.
        surrogate: "counterfactual" (see `Counterfactuals`), "refusals" (see `Refusals`), a number, chance level say,
            a retain model, `LookAlikes(...)`, or whatever has `kind` and `estimate`.
        protocol: how answers to flagged prompts are scored: "strict", they stay clean; "paper", their selected tokens
            are corrupted too.
        parameters: what is learnt: ("strength",), ("dims",), ("strength", "dims"), or ("strengths",), one for each of
            the scope's dims, where the method takes them. None: the strength where the method heeds it, else the dims.
        bounds: lowest and highest strength.
        tolerance: a gap that is small enough to stop at. None: a hundredth of how far the score without the guard is
            from the surrogate.
        max_trials: corruptions to try at most, the scope's old one aside.
        max_new_tokens: of the answers that are generated for a score.
        batch_size: rows of a forward pass.
        seed: of the bootstrap and the directions of a search for several parameters.
        output_dir: directory for `history.jsonl` and `results.jsonl`. With it, an interrupted call that is made again
            goes on where it was, and more `max_trials` go on where it ended. None: nothing is kept.
        tokenizer: the model's; the guard's if None.
        update: False to leave the scope as it is.

    Returns:
        What was found. If it `helps`, its corruption is in force already and stands in the scope's config, with how it
        was learnt beside it (`ForgetScope.learned`); if not, the scope keeps the corruption it had. Where none reaches
        the surrogate, the scope's old one, if it is within the bounds, is measured too, and stays if it comes nearest.

    Raises:
        GuardError: the model has no guard.
        KeyError: the guard has no such scope.
        TypeError: an argument is of the wrong kind.
        ValueError: an argument is out of its range, the score lacks what it needs, the guard flags fewer than five of
            the prompts for the scope, `output_dir` holds the history of another search, or it is given and the score
            a lambda.
        ImportError: what the score needs is missing.
    """
    how = SearchSettings(
        protocol, parameters, bounds, tolerance, max_trials, max_new_tokens, batch_size, seed, output_dir
    )
    guard = find_guarded(model).eco_guard
    guarded = guard.config.scope(scope)
    resolve_strengths([guarded], guard.config.embedding_rms)
    given = QuestionSet(prompts, answers, wrong_answers)
    running = RunningSearch.prepare(model, guarded, given, score, surrogate, how, tokenizer)
    running.run()
    found = running.result()
    running.warn(found)
    if found.helps and update:
        guarded.corruption, guarded.learned = found.corruption, _record(found, running.learnt, protocol)
    return found


def _record(found: CorruptionSearch, parameters: Sequence[Parameter], protocol: str) -> LearnedCorruption:
    return LearnedCorruption(
        corruption=replace(found.corruption),
        parameters=list(dict.fromkeys(parameter.name for parameter in parameters)),
        score=found.score,
        protocol=protocol,
        value=found.value,
        standard_error=found.standard_error,
        unguarded=found.unguarded,
        surrogate=found.surrogate.kind,
        surrogate_value=found.surrogate.value,
        surrogate_n=found.surrogate.n,
        n_prompts=found.n,
        trials=len(found.history),
        prompts_sha256=found.prompts_sha256,
        seed=found.seed,
    )
