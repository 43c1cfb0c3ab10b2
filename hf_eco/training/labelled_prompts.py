"""What is done to labelled prompts before anything is learnt or measured from them."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from transformers.utils import logging

from ..detection.names import Lexicon
from ..evaluation.metrics.words import words

logger = logging.get_logger(__name__)


def fold(prompt: str) -> str:
    """`prompt` without what does not make it another one: case and the amount of white space."""
    return " ".join(prompt.split()).casefold()


@dataclass(frozen=True)
class LabelledPrompts:
    """Prompts in a scope and outside of it: none blank, none twice, none in both. Made by `clean` alone.

    Attributes:
        forget: prompts in the scope.
        retain: prompts outside of it.
    """

    forget: tuple[str, ...]
    retain: tuple[str, ...]

    @classmethod
    def clean(cls, forget: Sequence[str], retain: Sequence[str]) -> LabelledPrompts:
        """A user's lists, cleaned as `clean_prompts` says, with its errors."""
        return cls(*map(tuple, clean_prompts(forget, retain)))

    def with_forget(self, more: Sequence[str]) -> LabelledPrompts:
        """With more forget prompts behind the others; those that are there already are left out.

        Raises:
            ValueError: one is a retain prompt.
        """
        new = unique_prompts("forget", without(more, self.forget))
        _check_both(new, {fold(prompt): prompt for prompt in self.retain})
        return LabelledPrompts((*self.forget, *new.values()), self.retain)

    def without(self, others: Sequence[str]) -> LabelledPrompts:
        """Without those that are among `others`, case and spacing aside."""
        return LabelledPrompts(tuple(without(self.forget, others)), tuple(without(self.retain, others)))

    def split_off(self, fraction: float, seed: int) -> tuple[LabelledPrompts, LabelledPrompts]:
        """In two random parts, the second with `fraction` of each kind that there is."""
        parts = [split_off(own, fraction, seed) if own else ([], []) for own in (self.forget, self.retain)]
        kept, held_out = zip(*parts, strict=True)
        return LabelledPrompts(*map(tuple, kept)), LabelledPrompts(*map(tuple, held_out))


def clean_prompts(forget: Sequence[str], retain: Sequence[str]) -> tuple[list[str], list[str]]:
    """Both classes without blank prompts and repetitions (in any case and spacing; the first stays), order kept. A
    prompt that differs from one of the other class in punctuation alone is reported, and stays.

    Raises:
        TypeError: `forget` or `retain` is one string, or holds something that is no string.
        ValueError: a prompt is in both.
    """
    unique = {name: unique_prompts(name, prompts) for name, prompts in (("forget", forget), ("retain", retain))}
    _check_both(unique["forget"], unique["retain"])
    return list(unique["forget"].values()), list(unique["retain"].values())


def _check_both(forget: Mapping[str, str], retain: Mapping[str, str]) -> None:
    """Refuses prompts that are in both, and reports those that all but are; both by their folded form."""
    both = [prompt for key, prompt in forget.items() if key in retain]
    if both:
        raise ValueError(
            f"{len(both)} prompts are in both forget and retain, the first is {both[0]!r}. "
            "Decide which list each belongs in."
        )
    known = {tuple(words(prompt)): prompt for prompt in retain.values()}
    pairs = [(prompt, known[key]) for prompt in forget.values() if (key := tuple(words(prompt))) in known]
    if pairs:
        logger.warning(
            f"{len(pairs)} forget prompts differ from a retain prompt in punctuation alone, the first is "
            f"{pairs[0][0]!r}, beside {pairs[0][1]!r}. Decide which list each belongs in."
        )


def unique_prompts(name: str, prompts: Sequence[str]) -> dict[str, str]:
    """Prompts by their folded form, without blank ones and repetitions; `name` says in errors what they are."""
    if isinstance(prompts, str):
        raise TypeError(f"{name} must be a list of prompts, got one string. Put it in a list.")
    unique: dict[str, str] = {}
    blank = repeated = 0
    for i, prompt in enumerate(prompts):
        if not isinstance(prompt, str):
            raise TypeError(f"{name}[{i}] must be a string, got {prompt!r} ({type(prompt).__name__}).")
        key = fold(prompt)
        blank += not key
        repeated += key in unique
        if key and key not in unique:
            unique[key] = prompt
    if blank:
        logger.warning(f"{blank} of the {name} prompts are blank and left out.")
    if repeated:
        logger.warning(f"{repeated} of the {name} prompts repeat another (case and spacing aside) and are left out.")
    return unique


def without(prompts: Iterable[str], others: Iterable[str]) -> list[str]:
    """Those of `prompts` that are not among `others`, case and spacing aside; order kept."""
    known = {fold(prompt) for prompt in others}
    return [prompt for prompt in prompts if fold(prompt) not in known]


def without_names(prompts: Sequence[str], names: Sequence[str]) -> list[str]:
    """Those of `prompts` that none of `names` is found in."""
    own = Lexicon(names)
    return [prompt for prompt in prompts if not own.find(prompt)]


def split_off(prompts: Sequence[str], fraction: float, seed: int) -> tuple[list[str], list[str]]:
    """`prompts` in two random parts, the second with `fraction` of them; neither is empty, each keeps its order.

    Raises:
        ValueError: there are fewer than two prompts.
    """
    if len(prompts) < 2:
        raise ValueError(f"{len(prompts)} prompts cannot be split in two. Give at least 2.")
    size = min(max(1, round(fraction * len(prompts))), len(prompts) - 1)
    held_out = set(random.Random(seed).sample(range(len(prompts)), size))
    kept = [prompt for i, prompt in enumerate(prompts) if i not in held_out]
    return kept, [prompt for i, prompt in enumerate(prompts) if i in held_out]


def prompts_sha256(prompts: Iterable[str]) -> str:
    """Fingerprint of a set of prompts, whatever their order, repetitions, case and spacing.

    `training_report.json` holds it for each class, so that whoever has the prompts can check that a classifier was
    trained on them, and nobody learns them from it. It is the SHA-256 of the sorted, folded prompts as a JSON list.
    """
    folded = sorted({fold(prompt) for prompt in prompts} - {""})
    return hashlib.sha256(json.dumps(folded, ensure_ascii=False).encode()).hexdigest()
