"""What a model was made to say is judged: an answer is the model's own only where nobody dictates it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria

from ..errors import GuardError
from ..guard.guard import Guard
from ..guard.plan import Plan
from .state import Generation

EVERY = 8  # tokens between two judgements of an answer that nobody sees before it is complete


def refuse_dictated(guard: Guard, plan: Plan, answers: Tensor, how: str) -> None:
    """Raises GuardError if an answer falls in a scope by itself, or makes a conversation do so that did not before.

    Args:
        guard: judges.
        plan: of the prompts.
        answers: (rows, columns), what follows them; the plan's rows, each as often as it is repeated.
        how: by what the answers may have been dictated.
    """
    own = plan.ids.shape[0]
    if answers.shape[0] % own:
        raise GuardError(f"{answers.shape[0]} answers to {own} prompts, that is not known which answers which.")
    plan = plan.repeat(answers.shape[0] // own)
    prompts = [plan.ids[row][plan.attended[row]].tolist() for row in range(len(plan.verdicts))]
    verdict = guard.judge_answers(prompts, answers.tolist(), plan.scopes)
    if verdict is not None:
        raise GuardError(why_refused(str(verdict.scope), how))


def why_refused(scope: str, how: str) -> str:
    """What is said of an answer that falls in a scope, and that `how` may have dictated."""
    return (
        f"What was generated falls in the forget scope {scope!r}, and {how} may have dictated it. Ask for it in the "
        "prompt, or leave that out."
    )


class AnswerWatch(StoppingCriteria):
    """Stops nothing, and judges what is generated.

    Args:
        generation: the call that is going on.
        options: those that may dictate an answer.
        every: tokens between two judgements.
    """

    def __init__(self, generation: Generation, options: Sequence[str], every: int) -> None:
        self.generation = generation
        self.every = every
        self._how = " and ".join(options)
        self._judged = 0

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        new = input_ids.shape[1] - self.generation.given
        if new >= self._judged + self.every:
            self._judged = new
            self.judge(input_ids)
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)

    def judge(self, sequences: Tensor) -> None:
        """Raises GuardError if what was generated falls in a scope.

        Args:
            sequences: (rows, columns), what `generate` returns: its ids and the answers.
        """
        answers = sequences[:, self.generation.given :]
        refuse_dictated(self.generation.guard, self.generation.plan, answers, self._how)
