"""Whose words are whose: the role of each message of a conversation, told from token ids alone.

A template opens each message with a header of special tokens and words of its own, `<|im_start|>user\\n` say. What the
header of each role is, is found by rendering the template around placeholders; whether it can be relied on, by reading
such renderings back, among them messages that begin with the words of another role's header. What cannot be told has
no role, is judged whatever the policy says, and begins no turn.
"""

from __future__ import annotations

import datetime
import itertools
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import jinja2

from ..configuration import ROLES
from ..detection.windows import Span
from .prompt_reader import DecodedPrompt, PromptReader

# A prompt cut at its special tokens: their ids, and the text between.
_Part: TypeAlias = "int | str"
_SLOTS = tuple(f"qz{i}slotzq" for i in range(5))
_CHATS = (  # what a template has to render for the roles to be told, and what tells of the others
    ("user",),
    ("user", "assistant"),
    ("user", "assistant", "user"),
    ("user", "assistant", "user", "assistant"),
    ("system", "user"),
    ("system", "user", "assistant", "user"),
    ("user", "assistant", "tool"),
)
_NEEDED = 4  # of them


@dataclass(frozen=True)
class _Headers:
    """What a template opens messages with.

    Attributes:
        by_role: each role's header, the longest first: parts that begin with a special token. The words of the last
            part begin the text of the message.
        trusted: the roles that can be relied on. A message with another's header has no role.
        marks: the special tokens that the template writes. With any of them a message is over.
    """

    by_role: Mapping[str, tuple[_Part, ...]] = field(default_factory=dict)
    trusted: frozenset[str] = frozenset()
    marks: frozenset[int] = frozenset()


@dataclass(frozen=True)
class _Message:
    """A message of a prompt.

    Attributes:
        start: its first character, header included.
        end: behind its last.
        role: whose it is; None if nobody can tell.
        complete: whether anything follows. If not, the model goes on writing it.
    """

    start: int
    end: int
    role: str | None
    complete: bool


class RoleReader:
    """Tells roles and turns.

    Args:
        reader: reads the same prompts.
    """

    def __init__(self, reader: PromptReader) -> None:
        self._reader = reader
        self._found: tuple[Any, _Headers] | None = None

    @property
    def told(self) -> frozenset[str]:
        """The roles that can be told. If the user's and the assistant's cannot, none is."""
        return self._headers().trusted

    def under_policy(
        self, ids: Sequence[int], prompt: DecodedPrompt, judged_roles: Sequence[str], by_turns: bool
    ) -> DecodedPrompt:
        """`prompt` without the segments that are exempt from judging, the others with the turns that they belong to.

        A system message is one at the very beginning alone: nothing a user writes stands there. A message is exempt
        only if it is complete: what the model is to go on writing (`continue_final_message`) is judged.

        Args:
            ids: the prompt's token ids.
            prompt: as it was read.
            judged_roles: whose messages are judged; those without a role always are.
            by_turns: whether to tell turns.
        """
        messages = list(self._messages(ids, prompt, self._headers()))
        turns_begin = [message.start for message in messages if message.role == "user"]
        kept: list[Span] = []
        exempt: list[Span] = []
        for segment in prompt.segments:
            own = [message for message in messages if message.start < segment[1] and segment[0] < message.end]
            spared = [m.role is not None and m.role not in judged_roles and m.complete for m in own]
            (exempt if own and all(spared) else kept).append(segment)
        read = replace(prompt, segments=tuple(kept), exempt=tuple(exempt))
        if not by_turns:
            return read
        turns = tuple(bisect_right(turns_begin, start) for start, _ in kept)
        return replace(read, turns=turns, last_turn=len(turns_begin))

    def _messages(self, ids: Sequence[int], prompt: DecodedPrompt, headers: _Headers) -> Iterator[_Message]:
        """The messages of a prompt, from the first that has a header on."""
        parts = list(self._parts(ids, prompt.text, prompt.offsets)) if headers.by_role else []
        found: list[tuple[int, str | None]] = []
        at, written = 0, False  # whether anything but special tokens stands before
        while at < len(parts):
            part, start = parts[at]
            if isinstance(part, str) or part not in headers.marks:
                written |= isinstance(part, str) and bool(part.strip())
                at += 1
                continue
            role, length = self._header_at(parts, at, headers)
            if role not in headers.trusted or (role == "system" and (written or any(own for _, own in found))):
                role = None
            found.append((start, role))
            at += length
        ends = [start for start, _ in found[1:]]
        for (start, role), end in itertools.zip_longest(found, ends):
            yield _Message(start, len(prompt.text) if end is None else end, role, end is not None)

    def _header_at(self, parts: Sequence[tuple[_Part, int]], at: int, headers: _Headers) -> tuple[str | None, int]:
        """The role whose header begins with part `at`, None if there is none, and how many parts it takes up, the last
        one, which is the message's text, not counted."""
        for role, (*before, words) in headers.by_role.items():
            own = [part for part, _ in parts[at : at + len(before) + 1]]
            text = own[len(before)] if len(own) > len(before) else ""
            if _same(own[: len(before)], before) and _begins(text, words):
                return role, len(before)
        return None, 1

    def _parts(self, ids: Sequence[int], text: str, offsets: Sequence[Span]) -> Iterator[tuple[_Part, int]]:
        """`text` cut at its special tokens: their ids and what stands between, each with where it begins. Special
        tokens are known by their ids: the same letters typed as text are text."""
        start = 0
        for token, (first, last) in zip(ids, offsets, strict=True):
            if token in self._reader.special_ids:
                if start < first:
                    yield text[start:first], start
                yield token, first
                start = last
        if start < len(text):
            yield text[start:], start

    # -- what the template says

    def _headers(self) -> _Headers:
        template = self._reader.tokenizer.chat_template
        key = (str(template), datetime.date.today())  # a template may print today's date
        if self._found is None or self._found[0] != key:
            self._found = key, self._find_headers() if template else _Headers()
        return self._found[1]

    def _find_headers(self) -> _Headers:
        rendered = {chat: parts for chat in _CHATS if (parts := self._render(chat)) is not None}
        if any(chat not in rendered for chat in _CHATS[:_NEEDED]):
            return _Headers()
        closing = _behind(rendered[("user",)], _SLOTS[0])
        by_role: dict[str, tuple[_Part, ...]] = {}
        for role in ROLES:
            openings = [
                _before(parts, slot)
                for chat, parts in rendered.items()
                if role in ("system", "tool") or "system" not in chat
                for own, slot in zip(chat, _SLOTS, strict=False)
                if own == role
            ]
            header = _header(_common_ending(openings), closing) if openings else ()
            if header:
                by_role[role] = header
        if "user" not in by_role or "assistant" not in by_role or by_role.get("tool") == by_role["user"]:
            return _Headers()
        if by_role.get("system") == by_role["user"]:  # its words run into the user's
            del by_role["system"]
        longest_first = dict(sorted(by_role.items(), key=lambda item: _length(item[1]), reverse=True))
        marks = {part for parts in rendered.values() for part in parts if isinstance(part, int)}
        headers = _Headers(longest_first, frozenset(by_role), frozenset(marks))
        wrong = self._misread(headers)
        if wrong & {"user", "assistant"}:
            return _Headers()
        # What looks like a tool's result begins no turn. A system message that looks like a user's is one.
        left = {role: header for role, header in longest_first.items() if role not in wrong - {"tool"}}
        return replace(headers, by_role=left, trusted=headers.trusted - wrong)

    def _misread(self, headers: _Headers) -> set[str]:
        """The roles that cannot be relied on: their messages are read as another's in some rendering, or another's as
        theirs, also where a message begins with the words of a header."""
        texts = [part.split() for header in headers.by_role.values() for part in header if isinstance(part, str)]
        words = {" ".join(text[start:]) for text in texts for start in range(len(text))}
        wrong: set[str] = set()
        for chat, begin in itertools.product(_CHATS, ["", *sorted(words)]):
            ids = self._ids_of(chat, [f"{begin}\n{slot}".strip() for slot in _SLOTS])
            if ids is None:
                continue
            prompt = self._reader.read(ids)
            messages = list(self._messages(ids, prompt, headers))
            for role, slot in zip(chat, _SLOTS, strict=False):
                place = prompt.text.find(slot)
                read = next((message.role for message in messages if message.start <= place < message.end), None)
                if read == role:
                    continue
                if read not in (None, "user"):  # what is taken for a user's is judged
                    wrong.add(str(read))
                if read in (None, "user", "assistant") or role in ("system", "tool"):
                    wrong.add(role)
        return wrong

    def _render(self, chat: Sequence[str]) -> list[_Part] | None:
        """A chat of placeholders, cut at its special tokens; None if the template has no such chats."""
        ids = self._ids_of(chat, _SLOTS)
        if ids is None:
            return None
        prompt = self._reader.read(ids)
        return [part for part, _ in self._parts(ids, prompt.text, prompt.offsets)]

    def _ids_of(self, chat: Sequence[str], contents: Sequence[str]) -> list[int] | None:
        messages: list[dict[str, Any]] = [
            {"role": role, "content": text} for role, text in zip(chat, contents, strict=False)
        ]
        if "tool" in chat:  # a result belongs to a call
            call = {"name": "look_up", "arguments": {}}
            messages[1]["tool_calls"] = [{"type": "function", "id": "qz0000000", "function": call}]
            messages[2] |= {"tool_call_id": "qz0000000", "name": "look_up"}
        try:
            ids: Any = self._reader.tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)
        except (jinja2.TemplateError, TypeError, ValueError, KeyError):  # this template has no such chats
            return None
        return list(ids["input_ids"])


def _same(parts: Sequence[_Part], header: Sequence[_Part]) -> bool:
    return len(parts) == len(header) and all(map(_alike, parts, header))


def _alike(one: _Part, other: _Part) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return one.split() == other.split()
    return one == other


def _length(header: Sequence[_Part]) -> tuple[int, int]:
    return len(header), sum(len(part) for part in header if isinstance(part, str))


def _begins(text: _Part, words: _Part) -> bool:
    """Whether a message's text begins with the words of its header, whatever the white space."""
    if not isinstance(text, str) or not isinstance(words, str):
        return False
    end = r"(?!\S)" if words[-1:].isspace() else ""  # or assistant_notes would pass for assistant
    return re.match(r"\s*" + r"\s*".join(map(re.escape, words.split())) + end, text) is not None


def _before(parts: Sequence[_Part], slot: str) -> list[_Part]:
    """What stands in front of `slot`, from the placeholder before it, or the beginning, on; empty if `slot` is not
    there."""
    found: list[_Part] = []
    for part in parts:
        if isinstance(part, int):
            found.append(part)
            continue
        head, there, _ = part.partition(slot)
        *others, last = re.split("|".join(_SLOTS), head)
        found = [*([] if others else found), last]
        if there:
            return found
    return []


def _behind(parts: Sequence[_Part], slot: str) -> list[_Part]:
    """What stands behind `slot`."""
    for number, part in enumerate(parts):
        if isinstance(part, str) and slot in part:
            rest = part.partition(slot)[2]
            return [*([rest] if rest.strip() else []), *parts[number + 1 :]]
    return []


def _common_ending(openings: Sequence[Sequence[_Part]]) -> tuple[_Part, ...]:
    """What all of `openings` end with. The words of a part are common only if they are the same in all."""
    ending: list[_Part] = []
    for parts in zip(*(reversed(opening) for opening in openings), strict=False):
        if not all(_alike(parts[0], other) for other in parts):
            break
        ending.append(parts[0])
    return tuple(reversed(ending))


def _header(opening: tuple[_Part, ...], closing: Sequence[_Part]) -> tuple[_Part, ...]:
    """A header, from its first special token on, of what stands in front of a message: without the end of the message
    before, which may be missing where a model was cut short. Empty if there is no special token."""
    rest = opening
    for start in range(len(opening) - len(closing)):
        behind = opening[start + len(closing) :]
        if closing and _same(opening[start : start + len(closing)], closing) and any(map(_is_mark, behind)):
            rest = behind
    first = next((number for number, part in enumerate(rest) if _is_mark(part)), len(rest))
    return rest[first:]


def _is_mark(part: _Part) -> bool:
    return isinstance(part, int)
