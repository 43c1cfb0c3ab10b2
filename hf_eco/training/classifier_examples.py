"""What a prompt classifier is trained on: forms of the forget prompts, near misses, and other prompts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

from .augmentation import Augmenter, Example

_T = TypeVar("_T")
_FORGET_SHARE = 0.28  # of the examples that are of the scope; as many are near misses
_FORMS = 5  # of one prompt in one round, and near misses of it
_MOST_ROUNDS = 25
_LONG = 400  # characters of a prompt for which one window is taken
_MOST_WINDOWS = 12


def make_examples(
    make: Augmenter, forget: Sequence[str], retain: Sequence[str], count: int | None, seed: int
) -> list[Example]:
    """What is learnt from, about `count`: forms of the forget prompts, as many near misses, and retain prompts. The
    prompts as they stand if None."""
    if count is None:
        return [whole(text, True) for text in forget] + [whole(text, False) for text in retain]
    rng = random.Random(seed)
    positives, near = [], []
    wanted = round(_FORGET_SHARE * count)
    for _ in range(min(max(1, round(wanted / (_FORMS * len(forget)))), _MOST_ROUNDS)):
        for prompt in forget:
            _, *others = make.positives(prompt)
            positives += [make.example(text, True) for text in (prompt, *_some(rng, others, _FORMS - 1))]
            near += [make.example(text, False) for text in _some(rng, make.near_misses(prompt), _FORMS)]
    general = []
    for prompt in retain:
        general += [whole(prompt, False)] * min(1 + len(prompt) // _LONG, _MOST_WINDOWS)
        general.append(make.example(prompt, False))
    examples = [*_some(rng, positives, wanted), *_some(rng, near, wanted)]
    return examples + _some(rng, general, count - len(examples))


def whole(prompt: str, forget: bool) -> Example:
    """A prompt as it stands."""
    return Example(prompt, forget, 0, len(prompt))


def _some(rng: random.Random, choices: Sequence[_T], most: int) -> list[_T]:
    return list(choices) if len(choices) <= most else rng.sample(choices, most)
