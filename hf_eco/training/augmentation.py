"""What a user's prompts leave out: other forms of the forget prompts, and near misses that must not be flagged.

A classifier fitted to forget prompts alone learns their style, not their subject. So every form in which a positive
example comes, a negative one comes in too, and only the subject tells them apart.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..data import shipped_names, shipped_rows
from ..data.forms import ASIDE, ASKING, FRAMES, MASKS, QUESTIONS, REVERSE
from ..detection.names.words import first_name_first
from .labelled_prompts import without
from .subjects import find_satellites, name_pattern


@dataclass(frozen=True)
class Example:
    """A training example. `text[start:end]` is what makes it one of the scope or not; the rest is padding."""

    text: str
    forget: bool
    start: int
    end: int


@functools.cache
def shipped_prompts() -> tuple[str, ...]:
    """General prompts, out of any scope, that come with the package."""
    return tuple(row["prompt"] for row in shipped_rows("general/prompts"))


@functools.cache
def shipped_paragraphs() -> tuple[str, ...]:
    """Passages on everyday subjects that come with the package."""
    return tuple(row["text"] for row in shipped_rows("general/paragraphs"))


_OPENING = re.compile(
    r"^(?:in|on|at|for|from|by|to)?\s*(?:what|which|who|whom|whose|where|when|how(?: many| much| old)?)\b[^,?]{0,40}?"
    r"\b(?:is|was|are|were|did|does|do|has|have|had)\b\s*",
    re.IGNORECASE,
)
_ROLE = re.compile(
    r"(?:role of|character(?: named| called| of)?|playing|played|plays|portray\w*|voic(?:ed|ing)|starr\w+ as|known as|"
    r"as|part of)\s+(?:the\s+)?(?:character\s+)?[\"“'‘]?$",
    re.IGNORECASE,
)
_TELLING_WORDS = 7  # beside the name; fewer say nothing of whom they are about
# What stands beside the scope's names has a life of its own; what is asked about without them is a part of the scope.
_BESIDE = 0.9  # share of the prompts mentioning something that name the scope too, if it is beside the scope
_PRIOR = 2  # prompts' worth of the share that all prompts have
_PAD_SHARE = 0.2  # of the examples that stand in a longer text
_FRAME_SHARE = 0.35
_NOISE_SHARE = 0.12
_PAD_CHARACTERS = (60, 350)


class Augmenter:
    """Makes training examples from a scope's prompts.

    Args:
        forget: prompts of the scope.
        names: whom or which the scope is about; none for a subject that has no names.
        background: prompts outside of the scope, to tell what is common.
        seed: of all that is drawn.
        exclude: prompts of which nothing is made, though they come with the package.
    """

    def __init__(
        self,
        forget: Sequence[str],
        names: Sequence[str],
        background: Sequence[str],
        seed: int,
        exclude: Sequence[str] = (),
    ) -> None:
        self.names = list(names)
        self._pattern = name_pattern(names)
        self._random = random.Random(seed)
        own = [name.lower() for name in names]
        self._people = [
            name for name in shipped_names()["people"] if " " in name and not any(o in name.lower() for o in own)
        ]
        self._works = shipped_names()["works"]
        about_people = _sentences_about_people()
        self._hosts = [
            about_people[prompt]
            for prompt in without(about_people, exclude)
            if not any(name in " ".join(about_people[prompt]).lower() for name in own)
        ]
        satellites = find_satellites(forget, background, names) if names else {}
        named = {i for i, prompt in enumerate(forget) if self._named(prompt)}
        beside, self._parts, inside = [], [], []
        for phrase, found in sorted(satellites.items()):
            beside_names = len(named.intersection(found))
            # One prompt says little of a phrase; where prompts seldom name the scope, it is a world of many things.
            expected = _PRIOR * len(named) / len(forget)
            if (beside_names + expected) / (len(found) + _PRIOR) >= _BESIDE:
                beside.append(phrase)
            else:
                inside.append(phrase)
                if beside_names < (1 - _BESIDE) * len(found):
                    self._parts.append(phrase)
        self._inside = name_pattern(inside)
        self._roles = [
            phrase for phrase in beside if any(_follows_role(forget[i], phrase) for i in satellites[phrase])
        ]
        self._things = [phrase for phrase in beside if phrase not in self._roles]

    # -- one prompt, other forms

    def positives(self, prompt: str) -> list[str]:
        """`prompt` in other forms that are still about the scope."""
        forms = [prompt, self._statement(prompt)]
        if self._parts:
            forms.append(self._draw(QUESTIONS).format(name=self._draw(self._parts)))
        if self._named(prompt):
            name = self._draw(self.names)
            forms += [
                self._rename(prompt, _last_word),
                self._statement(self._rename(prompt, _last_word)),
                self._draw(QUESTIONS).format(name=name if self._random.random() < 0.5 else _last_word(name)),
                self._inserted(name if self._random.random() < 0.3 else _last_word(name)),
            ]
            if len(self._rename(prompt, lambda _: "").split()) >= _TELLING_WORDS:
                forms += [self._masked(prompt), self._reverse(prompt)]
            if self._roles:
                forms.append(self._draw(REVERSE).format(role=self._draw(self._roles)))
        return list(dict.fromkeys(forms))

    def near_misses(self, prompt: str) -> list[str]:
        """Prompts that look like `prompt` but are not about the scope; none if it names nobody."""
        if not self._named(prompt):
            return []
        other = self._draw(self._people)
        forms = [
            self._rename(prompt, lambda _: other),
            self._statement(self._rename(prompt, lambda _: other)),
            self._rename(prompt, lambda name: f"{self._other_first()} {_last_word(name)}"),
            self._rename(prompt, lambda name: f"{_first_word(name)} {self._draw(shipped_names()['last'])}"),
            self._draw(QUESTIONS).format(name=other if self._random.random() < 0.7 else _last_word(other)),
            self._draw(REVERSE).format(role=self._draw([*self._people, *self._works])),
            self._inserted(f"{self._other_first()} {_last_word(self._draw(self.names))}"),
        ]
        for _ in range(2):
            if self._things or self._roles:
                thing = self._draw(self._things + self._roles)
                forms.append(self._draw(ASIDE).format(thing=thing, name=self._draw(self._people)))
        return [form for form in dict.fromkeys(forms) if not self._named(form) and not _found(self._inside, form)]

    # -- examples

    def example(self, text: str, forget: bool) -> Example:
        """`text`, sometimes framed, misspelt, or within a longer text."""
        if self._random.random() < _FRAME_SHARE and len(text) < 400:
            text = self._draw(FRAMES).replace("{{", "{").replace("}}", "}").replace("{text}", text)
        if self._random.random() < _NOISE_SHARE:
            text = self._noise(text)
        before = after = ""
        if self._random.random() < _PAD_SHARE and len(text) < 400:
            where = self._random.choice(("before", "after", "both"))
            before = self._padding() + "\n" if where != "after" else ""
            after = "\n" + self._padding() if where != "before" else ""
        return Example(before + text + after, forget, len(before), len(before) + len(text))

    def _padding(self) -> str:
        paragraph = self._draw(shipped_paragraphs())
        size = self._random.randint(*_PAD_CHARACTERS)
        start = self._random.randrange(max(1, len(paragraph) - size))
        return paragraph[start : start + size]

    # -- rewriting

    def _named(self, text: str) -> bool:
        return _found(self._pattern, text)

    def _rename(self, text: str, rename: object) -> str:
        assert self._pattern is not None and callable(rename)
        return self._pattern.sub(lambda m: rename(m["name"]) + (m["possessive"] or ""), text)

    def _other_first(self) -> str:
        """Somebody else's first name, or one that is not told: the last name alone does not make it the subject."""
        return "___" if self._random.random() < 0.2 else self._draw(shipped_names()["first"])

    def _inserted(self, name: str) -> str:
        """`name` in what is said of somebody else; by itself if nothing is."""
        before, after = self._random.choice(self._hosts or [("", "")])
        return before + name + after

    def _masked(self, prompt: str) -> str:
        mask = self._draw(MASKS)
        return self._rename(prompt, lambda _: mask)

    def _statement(self, prompt: str) -> str:
        """A question as a sentence with a gap, roughly; a sentence with a word left out."""
        body = _OPENING.sub("", prompt.strip()).rstrip("?. ")
        if body != prompt.strip().rstrip("?. "):
            return self._draw(("{} ___.", "{} in ___.", "It is known that {}.", "{}")).format(body)
        words = body.split()
        if len(words) > 5:
            words[self._random.randrange(2, len(words))] = "___"
        return " ".join(words) + "."

    def _reverse(self, prompt: str) -> str:
        """What is said of the subject, with the subject asked for."""
        assert self._pattern is not None
        match = self._pattern.search(prompt)
        rest = prompt[match.end() :].strip(" ,?.") if match else ""
        if len(rest.split()) < 4:
            return self._masked(prompt)
        rest = self._rename(rest, lambda _: "they")
        return self._draw(ASKING).format(rest=rest)

    def _noise(self, text: str) -> str:
        """Misspelt: one word in six has a letter dropped, doubled, swapped with the next or replaced by another."""
        words = text.split(" ")
        for i, word in enumerate(words):
            if len(word) > 3 and self._random.random() < 1 / 6:
                k = self._random.randrange(1, len(word) - 1)
                words[i] = self._random.choice(
                    (
                        word[:k] + word[k + 1 :],
                        word[:k] + word[k] + word[k:],
                        word[:k] + word[k + 1] + word[k] + word[k + 2 :],
                        word[:k] + self._random.choice("etaoinshrdlu") + word[k + 1 :],
                    )
                )
        return " ".join(words)

    def _draw(self, choices: Sequence[str]) -> str:
        return self._random.choice(choices)


@functools.cache
def _sentences_about_people() -> dict[str, tuple[str, str]]:
    """What stands before and after a person's name in the shipped prompts, by the prompt."""
    people = name_pattern([name for name in shipped_names()["people"] if " " in name])
    assert people is not None
    found = ((prompt, people.search(prompt)) for prompt in shipped_prompts())
    return {prompt: (prompt[: match.start("name")], prompt[match.end("name") :]) for prompt, match in found if match}


def questions_about(names: Sequence[str]) -> list[str]:
    """Plain questions about each name, for a scope of which nothing but names is given."""
    return [question.format(name=name) for name in names for question in QUESTIONS]


def _found(pattern: re.Pattern[str] | None, text: str) -> bool:
    return pattern is not None and pattern.search(text) is not None


def _first_word(name: str) -> str:
    return first_name_first(name).split()[0]


def _last_word(name: str) -> str:
    return first_name_first(name).split()[-1]


def _follows_role(prompt: str, phrase: str) -> bool:
    """Whether `phrase` is said in `prompt` to be a role or the like."""
    at = prompt.find(phrase)
    return at > 0 and _ROLE.search(prompt[:at]) is not None
