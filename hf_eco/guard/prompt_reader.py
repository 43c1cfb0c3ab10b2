"""Reading a prompt from its token ids: its text, and the words that somebody wrote."""

from __future__ import annotations

import datetime
import itertools
import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias, TypeGuard

import jinja2
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from .._transformers import decode, knows
from ..detection.windows import Span
from ..errors import GuardError
from ..io.text_files import check_unicode

Chat: TypeAlias = Sequence[Mapping[str, Any]]
"""A conversation: messages {"role": ..., "content": ...}."""

# Read back by any tokenizer that keeps letters and spaces.
_SAMPLE = "Who wrote Emma, and where was the author Jane Austen born? She was born near Basingstoke."
# Special tokens that are marks and not words: <|im_start|>, [CLS], </s>.
_MARK = re.compile(r"[<\[{(|]\S*[>\]})|]|[\W_]*")
_TOKENS_PER_CHARACTER = 4  # a character has at most four bytes in UTF-8, and a token at least one of them


@dataclass(frozen=True)
class DecodedPrompt:
    """A prompt as text, with what each of its tokens stands for.

    Attributes:
        text: the decoded prompt, special tokens included.
        offsets: each token's characters in `text`, in order.
        segments: the characters somebody wrote: neither special tokens nor the chat template's own words. One segment
            for each message of a chat, one for a plain prompt. Those that the guard's policy exempts are left out.
        exempt: the segments that are.
        turns: the turn that each segment belongs to, counted from 1; 0 for what stands before the user's first
            message, and for everything where turns cannot be told. Empty if nobody asked.
        last_turn: the turn in hand.
    """

    text: str
    offsets: tuple[Span, ...]
    segments: tuple[Span, ...]
    exempt: tuple[Span, ...] = ()
    turns: tuple[int, ...] = ()
    last_turn: int = 0

    def tokens_in(self, spans: Sequence[Span]) -> tuple[int, ...]:
        """Indices of the tokens that overlap any of `spans`."""
        found: dict[int, None] = {}
        for start, end in merged(spans):
            found.update(dict.fromkeys(range(bisect_right(self._ends, start), bisect_left(self._starts, end))))
        return tuple(found)

    @cached_property
    def content(self) -> frozenset[int]:
        """Indices of the tokens of what somebody wrote."""
        return frozenset(self.tokens_in(self.segments))

    @cached_property
    def _starts(self) -> list[int]:
        return [start for start, _ in self.offsets]

    @cached_property
    def _ends(self) -> list[int]:
        return [end for _, end in self.offsets]


class PromptReader:
    """Turns token ids into a `DecodedPrompt`, knowing the model's tokenizer alone.

    The chat template's words are found by rendering the tokenizer's own template around placeholders: whatever it puts
    between them is the template's.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder
        self.special_ids = frozenset(tokenizer.all_special_ids) | {i for i, token in added.items() if token.special}
        self.marks = {
            i: mark for i in self.special_ids if _MARK.fullmatch(mark := self._decode_piece([i]).strip(" ▁"))
        }
        self._template: tuple[Any, re.Pattern[str] | None] | None = None

    def are_special(self, ids: Tensor) -> Tensor:
        """Which of `ids` are special tokens: a bool tensor of the same shape, on the CPU."""
        return torch.isin(ids.cpu(), torch.tensor(sorted(self.special_ids), dtype=torch.long))

    def read(self, ids: Sequence[int]) -> DecodedPrompt:
        """Decodes `ids`, a prompt without padding. Special tokens that carry words are read as words.

        Raises:
            GuardError: the tokenizer has no token of such an id.
            ValueError: an id is no number that fits into 64 bits.
        """
        self._check_ids(ids)
        text, offsets = self._decode(ids)
        taken = [span for i, span in zip(ids, offsets, strict=True) if i in self.marks]
        if pattern := self._template_pattern():
            taken += [match.span() for match in pattern.finditer(text)]
        return DecodedPrompt(text, tuple(offsets), tuple(_gaps(text, taken)))

    def encode(self, prompt: str | Chat) -> list[int]:
        """Token ids of a string, or of a chat rendered by the tokenizer's template with the answer's opening.

        Raises:
            TypeError: `prompt` is neither.
            ValueError: it is a chat and the tokenizer has no chat template, or it holds what is no text.
        """
        _check_text(prompt)
        if isinstance(prompt, str):
            return list(self.tokenizer(prompt)["input_ids"])
        if not is_chat(prompt):
            raise TypeError(
                f"A prompt is a string or a list of messages {{'role': ..., 'content': ...}}, got {prompt!r}."
            )
        ids: Any = self.tokenizer.apply_chat_template(
            [dict(message) for message in prompt], add_generation_prompt=True, tokenize=True, return_dict=True
        )
        return list(ids["input_ids"])

    def check_round_trip(self) -> None:
        """Raises GuardError if the tokenizer loses letters or spaces: no name could be found in what it gives back."""
        ids = self.encode(_SAMPLE)
        if self.tokenizer.unk_token_id in ids:  # of such words the model sees nothing, either
            return
        read = self.read(ids)
        found = " ".join(read.text[start:end] for start, end in read.segments)
        if _words(found) != _words(_SAMPLE):
            raise GuardError(
                f"{type(self.tokenizer).__name__} gives {_SAMPLE!r} back as {found!r}, so the guard would not read "
                "what was written. Load the tokenizer that belongs to the model, with its decoder (use_fast=True)."
            )

    def _check_ids(self, ids: Sequence[int]) -> None:
        for token in set(ids):
            if not isinstance(token, int) or not -(2**63) <= token < 2**63:
                raise ValueError(f"A token id is a number that fits into 64 bits, got {_shortened(token)}.")
            if not knows(self.tokenizer, token):
                raise GuardError(
                    f"The guard's tokenizer has no token of id {token}, so it cannot read the prompt. If the "
                    "vocabulary was extended, give the guard the new tokenizer: model.set_tokenizer(tokenizer)."
                )

    def _decode(self, ids: Sequence[int]) -> tuple[str, list[Span]]:
        """The text of `ids` and each token's characters. Tokens that make up one character together share it."""
        text, offsets = "", []
        before: list[int] = []  # what the waiting tokens follow: some decoders drop the space in front of the first
        waiting: list[int] = []
        for n, token in enumerate(ids):
            waiting.append(token)
            piece, count = self._decode_after(before, waiting), len(waiting)
            if n + 1 < len(ids) and (not piece or piece.endswith("\ufffd")):  # perhaps the middle of a character
                if count < _TOKENS_PER_CHARACTER:
                    continue
                # Bytes that belong to no character are in front: only they are done with.
                whole = self._decode_piece(waiting)
                for k in range(1, count):
                    if whole == self._decode_piece(waiting[:k]) + self._decode_piece(waiting[k:]):
                        count = k
                        break
                piece = self._decode_after(before, waiting[:count])
            offsets += [(len(text), len(text) + len(piece))] * count
            text, before, waiting = text + piece, waiting[:count], waiting[count:]
        return text, offsets

    def _decode_after(self, before: list[int], ids: list[int]) -> str:
        known, both = self._decode_piece(before), self._decode_piece(before + ids)
        return both[len(known) :] if both.startswith(known) else self._decode_piece(ids)

    def _decode_piece(self, ids: list[int]) -> str:
        return decode(self.tokenizer, ids)

    def _template_pattern(self) -> re.Pattern[str] | None:
        # a template may print today's date
        key = (str(self.tokenizer.chat_template), datetime.date.today())
        if self._template is None or self._template[0] != key:
            self._template = key, self._compile_template() if self.tokenizer.chat_template else None
        return self._template[1]

    def _compile_template(self) -> re.Pattern[str] | None:
        special = sorted((str(self.tokenizer.decode([i])) for i in self.special_ids), key=len, reverse=True)
        splitter = re.compile("(" + "|".join(map(re.escape, filter(None, special))) + r")|\s+") if special else None
        patterns = set()
        for piece in self._template_pieces():
            words = [word for word in (splitter.split(piece) if splitter else piece.split()) if word]
            letters = sum(character.isalnum() for word in words if word not in special for character in word)
            # A piece without a special token must be long enough not to be met by chance in what somebody wrote.
            if letters >= 3 or (letters and any(word in special for word in words)):
                patterns.add(r"\s*".join(map(re.escape, words)))
        if not patterns:
            return None
        return re.compile("|".join(sorted(patterns, key=len, reverse=True)))

    def _template_pieces(self) -> set[str]:
        """What the template puts around messages, from chats of placeholders: with and without a system message, of
        one and two rounds, with and without the answer's opening."""
        rounds = (["user"], ["user", "assistant"], ["user", "assistant", "user"])
        chats = [list(system) + list(turns) for system in ([], ["system"]) for turns in rounds]
        pieces: set[str] = set()
        for roles, opening in itertools.product(chats, (False, True)):
            slots = [f"qz{i}slotzq" for i in range(len(roles))]
            messages = [{"role": role, "content": slot} for role, slot in zip(roles, slots, strict=True)]
            try:
                rendered = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=opening)
            except jinja2.TemplateError:  # this template has no such chats (no system role, say)
                continue
            pieces.update(re.split("|".join(slots), str(rendered)))
        return pieces


def is_chat(value: Any) -> TypeGuard[Chat]:
    """True for a list of messages, dictionaries with a role."""
    return isinstance(value, (list, tuple)) and bool(value) and all(map(_is_message, value))


def prompts_of(given: Any) -> tuple[list[str | Chat], bool]:
    """The prompts that somebody gives, and whether it is one alone: a string, a message, a list of messages, or a list
    of strings and such lists.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(given, str) or is_chat(given):
        return [given], True
    if _is_message(given):
        return [[given]], True
    if isinstance(given, (list, tuple)) and all(isinstance(prompt, str) or is_chat(prompt) for prompt in given):
        return list(given), False
    raise TypeError(
        "A prompt is a string, a message {'role': ..., 'content': ...}, or a list of messages; several are a list of "
        f"those. Got {_shortened(given)}."
    )


def _is_message(value: Any) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping) and "role" in value


def _check_text(value: Any) -> None:
    """Raises ValueError if a string somewhere in `value` holds a lone surrogate, which stands for no character."""
    if isinstance(value, str):
        check_unicode(value, "A prompt")
    elif isinstance(value, (Mapping, list, tuple)):
        for part in value.values() if isinstance(value, Mapping) else value:
            _check_text(part)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _shortened(value: Any) -> str:
    shown = f"{type(value).__name__} {value!r}" if not isinstance(value, int) else "an integer beyond that"
    return shown if len(shown) <= 200 else shown[:200] + " ..."


def merged(spans: Sequence[Span]) -> list[Span]:
    """`spans` in order, those that overlap put together."""
    together: list[Span] = []
    for start, end in sorted(spans):
        if together and start < together[-1][1]:
            together[-1] = together[-1][0], max(end, together[-1][1])
        else:
            together.append((start, end))
    return together


def _gaps(text: str, taken: list[Span]) -> list[Span]:
    """The stretches of `text` that none of `taken` covers, without the white space around them; empty ones left
    out."""
    gaps, position = [], 0
    for start, end in [*sorted(taken), (len(text), len(text))]:
        gap = text[position:start]
        if gap.strip():
            gaps.append((position + len(gap) - len(gap.lstrip()), position + len(gap.rstrip())))
        position = max(position, end)
    return gaps
