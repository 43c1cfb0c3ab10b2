"""What an attack is, and how a family of them is made."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

Chat = list[dict[str, str]]
Attacked = str | Chat
Transform = Callable[[str, random.Random], Attacked]  # of a prompt, with dice
TextTransform = Callable[[str, random.Random], str]
Member = tuple[str, str, Transform]  # its name within the family, its description, what it does


@dataclass(frozen=True)
class Attack:
    """A transform of a prompt. Call it with the prompt and, where another roll of the dice is wanted, a seed.

    Attributes:
        name: the family and the member, such as "homoglyphs-cyrillic".
        family: one of `families`.
        description: what it does, in one sentence.
        answerable: True if a good model can still read the question.
    """

    name: str
    family: str
    description: str
    answerable: bool
    transform: Transform = field(repr=False)

    def __call__(self, prompt: str, *, seed: int = 0) -> Attacked:
        """The attacked prompt: a text, or for multi-turn attacks a chat, a list of {"role", "content"} in which user
        and assistant take turns and the user has the last word."""
        # Not hash(): that one differs from process to process. JSON writes any text, lone surrogates too, as ASCII.
        digest = hashlib.sha256(json.dumps([self.name, prompt, seed]).encode("ascii")).digest()
        return self.transform(prompt, random.Random(int.from_bytes(digest, "big")))


def family(name: str, *members: Member, unreadable: Collection[str] = ()) -> list[Attack]:
    """The attacks of a family, of which those called `unreadable` leave nothing that a model could answer."""
    return [
        Attack(f"{name}-{member}", name, description, member not in unreadable, transform)
        for member, description, transform in members
    ]


def as_messages(attacked: Attacked) -> Chat:
    """A chat as it is, a text as a chat of one user message."""
    return [{"role": "user", "content": attacked}] if isinstance(attacked, str) else attacked


def as_text(attacked: Attacked) -> str:
    """A text as it is, a chat as its messages' contents, one below the other."""
    return attacked if isinstance(attacked, str) else "\n".join(message["content"] for message in attacked)
