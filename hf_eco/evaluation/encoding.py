"""Prompts and answers as token ids: the ids that the model generates from, and those that it is scored on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import jinja2
from transformers import PreTrainedTokenizerBase

from ..guard.prompt_reader import PromptReader
from ..io.text_files import check_unicode
from .metrics.words import is_blank

Prompt: TypeAlias = str | Sequence[Mapping[str, Any]]
"""A text, used as it stands, or a chat: messages {"role": ..., "content": ...}."""
Ids: TypeAlias = tuple[int, ...]

_SLOT = "qz0slotzq"  # stands for an answer in a rendered chat


def as_chat(question: str, tokenizer: PreTrainedTokenizerBase) -> str | list[dict[str, str]]:
    """`question` as one asks it of a model: a chat of one message where the tokenizer has a chat template, else the
    text "Question: ...\\nAnswer:"."""
    if tokenizer.chat_template:
        return [{"role": "user", "content": question}]
    return f"Question: {question}\nAnswer:"


class Encoder:
    """Turns prompts and answers into token ids by one tokenizer.

    Raises:
        ValueError: the tokenizer has a chat template, but nothing that ends a turn.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.reader = PromptReader(tokenizer)
        self.end_of_turn = self._find_end_of_turn() if tokenizer.chat_template else None

    def encode_prompt(self, prompt: Prompt) -> Ids:
        """The ids of a prompt; those of a chat end with the opening of the answer.

        Raises:
            TypeError: it is neither a text nor a chat.
            ValueError: it has no tokens, holds half a character (a lone surrogate), or is a chat and the tokenizer has
                no chat template.
        """
        for text in (prompt,) if isinstance(prompt, str) else _contents(prompt):
            check_unicode(text, f"The prompt {text[:80]!r}")
        ids = tuple(self.reader.encode(prompt))
        if not ids:
            raise ValueError(f"The prompt {prompt!r} has no tokens. Leave it out.")
        return ids

    def encode_answer(self, prompt: Prompt, answer: str) -> Ids:
        """The ids of an answer to `prompt`.

        In a chat they end with the token that ends a turn. Behind a text, the answer is parted by a space from a
        prompt that does not end in white space, and read in its place: some tokenizers give a text other tokens at the
        beginning than behind something.

        Raises:
            TypeError: the answer is no string.
            ValueError: it is blank, or holds half a character.
        """
        if not isinstance(answer, str):
            raise TypeError(f"An answer is a string, got {answer!r}.")
        check_unicode(answer, f"The answer {answer[:80]!r}")
        if is_blank(answer):
            raise ValueError(f"The answer to {prompt!r} is blank: there is nothing to score. Leave the row out.")
        if not isinstance(prompt, str):
            assert self.end_of_turn is not None  # the prompt has been rendered by a template
            return (*self.tokens(answer), self.end_of_turn)
        space = "" if prompt[-1:].isspace() or answer[0].isspace() else " "
        before, whole = (tuple(self.tokenizer(text)["input_ids"]) for text in (prompt, prompt + space + answer))
        if whole[: len(before)] == before and len(whole) > len(before):
            return whole[len(before) :]
        return self.tokens(space + answer)  # a token would lie across the border

    def tokens(self, text: str) -> Ids:
        """The ids of a text without the tokenizer's special tokens around it."""
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _find_end_of_turn(self) -> int:
        """The first special token that the chat template puts behind an answer, or else the end of sequence."""
        chat = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _SLOT}]
        try:
            rendered = str(self.tokenizer.apply_chat_template(chat, tokenize=False))
        except jinja2.TemplateError:  # an unusual template; its end of sequence is what there is
            rendered = _SLOT
        behind = self.tokens(rendered.rpartition(_SLOT)[2])
        special = [token for token in behind if token in self.reader.special_ids]
        end = special[0] if special else self.tokenizer.eos_token_id
        if end is None:
            raise ValueError("Nothing ends a turn in this tokenizer's chats. Set tokenizer.eos_token.")
        return int(end)


def _contents(chat: Any) -> list[str]:
    """The texts of a chat; what is none is the reader's business."""
    messages = chat if isinstance(chat, Sequence) else ()
    found = [message.get("content") for message in messages if isinstance(message, Mapping)]
    return [content for content in found if isinstance(content, str)]
