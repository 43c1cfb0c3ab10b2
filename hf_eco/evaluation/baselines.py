"""What the corruption is compared with: telling the model to forget, and refusing to answer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

import jinja2
from torch import nn
from transformers import PreTrainedTokenizerBase

from ..guard.guard import Guard
from ..guard.plan import ScoringProtocol
from ..guard.verdict import Verdict
from .encoding import Ids, Prompt
from .result_cache import ResultCache, key_of
from .scoring import Scorer, judge

if TYPE_CHECKING:
    from typing_extensions import Unpack

YOU_KNOW_NOTHING = (
    "You know nothing about {scope}. You have never heard or read of it. When you are asked about it, answer like "
    "somebody who does not know."
)
# What a model says that does not know, or does not want to.
REFUSALS = (
    "I don't know.",
    "I'm not sure about that.",
    "I have no information on that.",
    "I'm afraid I can't answer that.",
    "That is not something I know anything about.",
)


class ScorerOptions(TypedDict, total=False):
    """What [`Scorer`][hf_eco.evaluation.Scorer] takes by name."""

    protocol: ScoringProtocol
    batch_size: int
    cache: str | os.PathLike[str] | ResultCache | None


@dataclass(frozen=True)
class PromptingBaseline:
    """The model is told that it knows nothing: before a flagged prompt stands `text`, as the system message of a chat
    (or at the head of the one there is), or at the head of the first message where the template has no system
    messages.

    Attributes:
        model: the model, guarded or not; its own guard is off.
        guard: says which prompts are flagged, e.g. `guarded.eco_guard`.
        text: what it is told; "{scope}" stands for the name of the scope.
    """

    model: nn.Module
    guard: Guard
    text: str = YOU_KNOW_NOTHING

    def __post_init__(self) -> None:
        _check_guard(self.guard)

    def scorer(self, tokenizer: PreTrainedTokenizerBase, **options: Unpack[ScorerOptions]) -> Scorer:
        """Scores the baseline; `options` as for [`Scorer`][hf_eco.evaluation.Scorer]."""
        return _PromptingScorer(self, tokenizer, **options)


@dataclass(frozen=True)
class RefusalBaseline:
    """The classifier alone: a flagged prompt is answered with a refusal, always the same one for the same prompt.

    Answers to flagged prompts are scored, and next tokens read, behind the refusal: the model has said that it does
    not know, and would have to go on with the answer.

    Attributes:
        model: the model, guarded or not; its own guard is off.
        guard: says which prompts are flagged, e.g. `guarded.eco_guard`.
        answers: the refusals.
    """

    model: nn.Module
    guard: Guard
    answers: Sequence[str] = REFUSALS

    def __post_init__(self) -> None:
        _check_guard(self.guard)
        if isinstance(self.answers, str) or not self.answers:
            raise ValueError(f"answers must be a list of refusals, got {self.answers!r}.")

    def scorer(self, tokenizer: PreTrainedTokenizerBase, **options: Unpack[ScorerOptions]) -> Scorer:
        """Scores the baseline; `options` as for [`Scorer`][hf_eco.evaluation.Scorer]."""
        return _RefusalScorer(self, tokenizer, **options)


def _check_guard(guard: object) -> None:
    if not isinstance(guard, Guard):
        raise TypeError(f"guard must be a Guard, got {type(guard).__name__}. Pass guarded.eco_guard.")


class _BaselineScorer(Scorer):
    """Scores an unguarded model, which is given something else where a prompt is flagged."""

    def __init__(
        self,
        baseline: PromptingBaseline | RefusalBaseline,
        tokenizer: PreTrainedTokenizerBase,
        **options: Unpack[ScorerOptions],
    ) -> None:
        super().__init__(baseline.model, tokenizer, **options)
        self.guard = baseline.guard

    def flagged(self, prompts: Sequence[Prompt]) -> list[bool]:
        return [verdict is not None for verdict in self._judged(prompts)]

    def _judged(self, prompts: Sequence[Prompt]) -> list[Verdict | None]:
        self.guard.to(self.model.device)
        return judge(self.guard, super().encode(prompts))

    def _verdicts(self, prompts: Sequence[Ids]) -> list[Verdict | None]:
        return [None] * len(prompts)  # nothing is corrupted


class _PromptingScorer(_BaselineScorer):
    def __init__(
        self, baseline: PromptingBaseline, tokenizer: PreTrainedTokenizerBase, **options: Unpack[ScorerOptions]
    ) -> None:
        super().__init__(baseline, tokenizer, **options)
        self.text = baseline.text
        self._has_system = bool(tokenizer.chat_template) and _has_system_messages(tokenizer)

    def encode(self, prompts: Sequence[Prompt]) -> list[Ids]:
        verdicts = self._judged(prompts)
        return super().encode(
            [
                prompt if verdict is None else self._told(prompt, str(verdict.corrupted_for))
                for prompt, verdict in zip(prompts, verdicts, strict=True)
            ]
        )

    def _told(self, prompt: Prompt, scope: str) -> Prompt:
        text = self.text.replace("{scope}", scope)
        if isinstance(prompt, str):
            return f"{text}\n\n{prompt}"
        first, *rest = prompt
        if self._has_system and first["role"] != "system":
            return [{"role": "system", "content": text}, *prompt]
        return [{**first, "content": f"{text}\n\n{first['content']}"}, *rest]


class _RefusalScorer(_BaselineScorer):
    def __init__(
        self, baseline: RefusalBaseline, tokenizer: PreTrainedTokenizerBase, **options: Unpack[ScorerOptions]
    ) -> None:
        super().__init__(baseline, tokenizer, **options)
        self.answers = baseline.answers

    def encode(self, prompts: Sequence[Prompt]) -> list[Ids]:
        encoded = super().encode(prompts)
        return [
            ids if verdict is None else (*ids, *self.encoder.tokens(self._refusal(ids) + "\n"))
            for ids, verdict in zip(encoded, self._judged(prompts), strict=True)
        ]

    def generate(self, prompts: Sequence[Prompt], *, max_new_tokens: int = 128) -> list[str]:
        refused = self.flagged(prompts)
        pairs = list(zip(prompts, refused, strict=True))
        answers = iter(super().generate([p for p, refuse in pairs if not refuse], max_new_tokens=max_new_tokens))
        return [
            self._refusal(self.encoder.encode_prompt(prompt)) if refuse else next(answers) for prompt, refuse in pairs
        ]

    def _refusal(self, prompt: Ids) -> str:
        return self.answers[int(key_of(prompt)[:8], 16) % len(self.answers)]


def _has_system_messages(tokenizer: PreTrainedTokenizerBase) -> bool:
    chat = [{"role": "system", "content": "qzslotzq"}, {"role": "user", "content": "?"}]
    try:
        return "qzslotzq" in str(tokenizer.apply_chat_template(chat, tokenize=False))
    except jinja2.TemplateError:
        return False
