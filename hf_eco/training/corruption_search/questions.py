"""What the guarded model is asked while its corruption is learnt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from ...evaluation.scoring import Prompt, as_chat
from ...guard.prompt_reader import is_chat


@dataclass(frozen=True)
class QuestionSet:
    """Prompts, with their answers where answers are scored.

    Attributes:
        prompts: n questions, or chats (lists of messages).
        answers: the right answer of each; None where no answer is needed.
        wrong_answers: of each, some wrong ones; None where none are needed.

    Raises:
        TypeError: a prompt is neither a string nor a chat, or an answer no string.
        ValueError: there are no prompts, one is blank, or the numbers of prompts and answers differ.
    """

    prompts: Sequence[Prompt]
    answers: Sequence[str] | None = None
    wrong_answers: Sequence[Sequence[str]] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.prompts, str):
            raise TypeError("prompts must be a list of prompts, got one string. Put it in a list.")
        if len(self.prompts) == 0:
            raise ValueError("There are no prompts. Pass some dozens.")
        for i, prompt in enumerate(self.prompts):
            if not isinstance(prompt, str) and not is_chat(prompt):
                raise TypeError(f"prompts[{i}] must be a string or a list of messages, got {prompt!r}.")
            if not text_of(prompt).strip():
                raise ValueError(f"prompts[{i}] is blank. Leave it out, and its answer.")
        for name, answers in (("answers", self.answers), ("wrong_answers", self.wrong_answers)):
            if answers is None:
                continue
            if isinstance(answers, str) or len(answers) != len(self.prompts):
                raise ValueError(
                    f"There must be one entry of {name} for each of the {len(self.prompts)} prompts, got "
                    f"{1 if isinstance(answers, str) else len(answers)}."
                )
            for i, own in enumerate(answers):
                wanted = isinstance(own, str) if name == "answers" else not isinstance(own, str) and len(own) > 0
                texts = (own,) if isinstance(own, str) else own
                if not wanted or not all(isinstance(text, str) and text.strip() for text in texts):
                    kind = "an answer" if name == "answers" else "a list of answers"
                    raise TypeError(f"{name}[{i}] must be {kind}, got {own!r}.")

    def __len__(self) -> int:
        return len(self.prompts)

    def take(self, rows: Sequence[int]) -> QuestionSet:
        """The questions at `rows`."""
        return QuestionSet(
            [self.prompts[row] for row in rows],
            None if self.answers is None else [self.answers[row] for row in rows],
            None if self.wrong_answers is None else [self.wrong_answers[row] for row in rows],
        )

    def rewritten(self, rewrite: Callable[[str], str]) -> QuestionSet:
        """The same with every text, the messages of chats included, put through `rewrite`."""
        return QuestionSet(
            [_rewritten(prompt, rewrite) for prompt in self.prompts],
            None if self.answers is None else [rewrite(answer) for answer in self.answers],
            None if self.wrong_answers is None else [[rewrite(text) for text in own] for own in self.wrong_answers],
        )


def text_of(prompt: Prompt) -> str:
    """What somebody wrote in a prompt: the messages of a chat, one under the other."""
    return prompt if isinstance(prompt, str) else "\n".join(str(message.get("content", "")) for message in prompt)


def _rewritten(prompt: Prompt, rewrite: Callable[[str], str]) -> Prompt:
    if isinstance(prompt, str):
        return rewrite(prompt)
    return [
        {**message, "content": rewrite(message["content"])} if isinstance(message.get("content"), str) else message
        for message in prompt
    ]


def as_asked(questions: QuestionSet, tokenizer: PreTrainedTokenizerBase) -> QuestionSet:
    """The same with plain questions put as one puts them to the model, see
    [`as_chat`][hf_eco.evaluation.scoring.as_chat]."""
    prompts = [as_chat(prompt, tokenizer) if isinstance(prompt, str) else prompt for prompt in questions.prompts]
    return QuestionSet(prompts, questions.answers, questions.wrong_answers)
