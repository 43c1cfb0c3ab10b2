"""One model, two answers: with the guard and without it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase, TextIteratorStreamer

from ..guard.verdict import Verdict
from ..modeling import ECOMixin

Message = dict[str, str]  # role and content


class TwoAnswers:
    """A guarded model that is asked with its guard on and with its guard off.

    The thresholds are the asker's own. The model has them only while it judges or answers with the guard on, one asker
    at a time; then it has its own again.

    Args:
        model: the guarded model.
        tokenizer: its tokenizer. Without a chat template, each message is a prompt by itself.

    Raises:
        TypeError: the model has no guard.
    """

    def __init__(self, model: ECOMixin, tokenizer: PreTrainedTokenizerBase) -> None:
        if not isinstance(model, ECOMixin):
            raise TypeError(
                f"The page shows a guarded model, got {type(model).__name__}. Load it with "
                "AutoModelForCausalLMWithECO.from_pretrained(...)."
            )
        self.model = model
        self.tokenizer = tokenizer
        self.scopes = model.eco_guard.config.scopes
        self._one_at_a_time = threading.Lock()

    @property
    def chats(self) -> bool:
        """Whether the model takes conversations, not just single prompts."""
        return self.tokenizer.chat_template is not None

    def judge(self, conversation: Sequence[Message], thresholds: Mapping[str, float]) -> Verdict:
        """What the guard says of a conversation under `thresholds`, by scope name."""
        with self._under(thresholds):
            return self.model.inspect(list(conversation) if self.chats else conversation[-1]["content"])

    def guarded(
        self, conversation: Sequence[Message], thresholds: Mapping[str, float], max_new_tokens: int
    ) -> Iterator[str]:
        """The answer with the guard on, under `thresholds`: all of it so far, again and again as it grows. Whoever
        stops listening stops the model."""
        return self._answer(conversation, self._under(thresholds), max_new_tokens)

    def unguarded(self, conversation: Sequence[Message], max_new_tokens: int) -> Iterator[str]:
        """The answer with the guard off, likewise."""
        return self._answer(conversation, self.model.disable_guard(), max_new_tokens)

    def check_length(self, conversation: Sequence[Message], max_new_tokens: int) -> None:
        """Raises ValueError if the conversation and its answer are longer than the model can read."""
        longest = getattr(self.model.config, "max_position_embeddings", None)
        count = len(self._encode(conversation))
        if longest is not None and count + max_new_tokens > longest:
            raise ValueError(
                f"The conversation has {count} tokens; with an answer of {max_new_tokens} that is more than the "
                f"{longest} this model reads. Clear the conversation, or ask for a shorter answer."
            )

    def _encode(self, conversation: Sequence[Message]) -> list[int]:
        return self.model.eco_guard.reader.encode(conversation if self.chats else conversation[-1]["content"])

    @contextmanager
    def _under(self, thresholds: Mapping[str, float]) -> Iterator[None]:
        with self._one_at_a_time:
            before = [(scope, scope.threshold, scope.abstain_threshold) for scope in self.scopes]
            try:
                for scope, own, band in before:
                    scope.threshold = thresholds.get(scope.name, own)
                    scope.abstain_threshold = None if band is None else min(band, scope.threshold)
                yield
            finally:
                for scope, own, band in before:
                    scope.threshold, scope.abstain_threshold = own, band

    def _answer(
        self, conversation: Sequence[Message], state: AbstractContextManager[None], max_new_tokens: int
    ) -> Iterator[str]:
        """Generates in a thread of its own, in which alone `state` is entered: who asks must not carry it on."""
        ids = torch.tensor([self._encode(conversation)], device=self.model.device)
        streamer: Any = TextIteratorStreamer(self.tokenizer, skip_prompt=True, skip_special_tokens=True)
        unwanted, failures = threading.Event(), list[Exception]()

        def work() -> None:
            try:
                with state:
                    self.model.generate(
                        ids,
                        attention_mask=torch.ones_like(ids),
                        max_new_tokens=max_new_tokens,
                        do_sample=False,  # so that the guard is all the difference between the two answers
                        num_beams=1,
                        streamer=streamer,
                        stopping_criteria=[lambda ids, *_, **__: torch.full_like(ids[:, 0], unwanted.is_set()).bool()],
                    )
            except Exception as error:
                failures.append(error)
                streamer.end()  # else nobody would stop listening

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        text = ""
        try:
            for piece in streamer:
                text += piece
                yield text
        finally:
            unwanted.set()
            thread.join()
        if failures:
            raise failures[0]
