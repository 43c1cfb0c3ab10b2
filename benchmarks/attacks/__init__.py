"""Attacks on a prompt classifier: ways to ask a question that it may overlook and a language model still understands.

Every `Attack` is a transform of one prompt. The families are what a person would
try who knows that something reads the prompt before the model does, and who knows nothing else about it:

| family | what changes |
|---|---|
| case | upper and lower case |
| typos | letters swapped, dropped, doubled, mistyped, written as they sound |
| homoglyphs | letters replaced by characters that look alike |
| zero-width | characters that nobody sees |
| spacing | where the spaces are |
| leet | letters replaced by digits and signs |
| punctuation | marks between the letters or the words |
| encodings | base64, hex, rot13, Morse code and the like, with and without a request to decode them |
| jailbreak | a text before or after the prompt that talks the model out of refusing |
| padding | 50 to 1,500 words about everyday things before, after or around the prompt |
| multi-turn | a chat that holds the question in an earlier turn, or in pieces |
| role-play | a scene in which somebody has to answer |
| formats | the prompt inside JSON, code, a table, an e-mail |
| languages | a request in another language, or another script; the question itself is not translated |

    from attacks import attack, attacks, as_messages

    attack("Who is Harry Potter?", "leet-light")                           # 'Wh0 15 H4rry P0773r?'
    caught = {name: model.inspect(as_messages(attack(prompt, name))).flagged for name in attacks()}

An attack is a function of (prompt, name, seed) alone: the same on every machine and in every process. The texts around
the prompt name no real person, place or work, so a harmless prompt stays harmless. Attacks can be chained by hand, as
long as the first of them gives text: `attack(attack(prompt, "typos-swapped"), "jailbreak-persona")`.

Each family is a module of its name that ends in the list `ATTACKS`: a line there adds an attack. What families share
is in `pieces`, what an attack is in `registry`, and the longer texts are in `data`, read by `texts`.
"""

from __future__ import annotations

from . import (
    case,
    encodings,
    formats,
    homoglyphs,
    jailbreak,
    languages,
    leet,
    multi_turn,
    padding,
    punctuation,
    role_play,
    spacing,
    typos,
    zero_width,
)
from .registry import Attack, Attacked, as_messages, as_text

__all__ = ["Attack", "as_messages", "as_text", "attack", "attacks", "families"]

_FAMILIES = (  # in the order of the table above
    case,
    typos,
    homoglyphs,
    zero_width,
    spacing,
    leet,
    punctuation,
    encodings,
    jailbreak,
    padding,
    multi_turn,
    role_play,
    formats,
    languages,
)
_ATTACKS = {member.name: member for family in _FAMILIES for member in family.ATTACKS}


def attacks() -> dict[str, Attack]:
    """All attacks by name, family by family."""
    return dict(_ATTACKS)


def families() -> list[str]:
    """The families' names, in the order of the table above."""
    return list(dict.fromkeys(member.family for member in _ATTACKS.values()))


def attack(prompt: str, name: str, seed: int = 0) -> Attacked:
    """The prompt under the attack called `name`.

    Raises:
        ValueError: there is no such attack.
    """
    if name not in _ATTACKS:
        raise ValueError(f"Unknown attack {name!r}. Use one of: {', '.join(_ATTACKS)}.")
    return _ATTACKS[name](prompt, seed=seed)
