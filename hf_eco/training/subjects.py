"""Whom and what a scope is about: names found in its prompts, and the things those prompts mention besides."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from ..detection.names import OPENING_WORDS, without_suffix

MIN_SUPPORT = 4  # prompts that must name a subject
# How many times more often a name must stand in forget prompts than in others. Names of what the scope is about do so
# by a hundred; words that go with its kind ("Golden Globe") do not.
MIN_CONTRAST = 50.0
_SEVERAL_WORDS = 1.25  # a full name is preferred to its last word, which other people bear too
_OWN_SHARE = 0.5  # share of its prompts that a further subject must not share with those found before
_MAX_WORDS = 4

CAPITALISED = r"[^\W\d_a-zß-öø-ÿ][\w’'&-]*"
_RUN = re.compile(
    rf"\b{CAPITALISED}(?:(?:\.?\s+(?:(?:of|the|de|van|von|bin|ibn|al|da|la|and|&)\s+){{0,2}}){CAPITALISED})*"
)
_QUOTED = re.compile(r"(?<!\w)[\"“'‘]([^\"“”'‘’\n]{3,50})[\"”'’](?!\w)")
POSSESSIVE = re.compile(r"['’]s?$")


def find_names(prompts: Sequence[str], background: Sequence[str], known_word: Callable[[str], bool]) -> list[str]:
    """The names of those whom or which `prompts` are about, the most frequent first; empty if no name stands out.

    Runs of capitalised words are counted by the prompts they stand in. Names that are not `MIN_CONTRAST` times more
    frequent than in the background are dropped. Of the rest, again and again the one is taken that most prompts name
    which named none so far: so a person's family and works, which stand beside the person's own name, are left out.

    Args:
        prompts: forget prompts.
        background: prompts outside of the scope.
        known_word: whether a word is common enough for a language model's vocabulary. Such a word is no name if it
            stands alone: it is found in too many other texts.
    """
    where: dict[str, set[int]] = defaultdict(set)
    for i, prompt in enumerate(prompts):
        for name in _names_in(prompt):
            where[name].add(i)
    frequent = [name for name, found in where.items() if len(found) >= MIN_SUPPORT]
    stands_out = _contrast(frequent, {name: len(where[name]) for name in frequent}, len(prompts), background)
    candidates = {
        name: where[name] for name in frequent if stands_out(name) and (" " in name or not known_word(name.lower()))
    }
    names: list[str] = []
    unnamed = set(range(len(prompts)))
    while candidates:
        name = max(
            candidates, key=lambda n: (len(candidates[n] & unnamed) * (_SEVERAL_WORDS if " " in n else 1.0), len(n), n)
        )
        found = candidates.pop(name)
        if len(found & unnamed) < MIN_SUPPORT:
            break
        if len(found & unnamed) >= _OWN_SHARE * len(found):
            names.append(without_suffix(name))
            unnamed -= found
    return names


def find_satellites(prompts: Sequence[str], background: Sequence[str], names: Sequence[str]) -> dict[str, list[int]]:
    """What `prompts` mention besides the scope's `names`: works, roles, relatives, places; and in which prompts.

    Capitalised runs of several words and what stands in quotation marks, without what is common in the background.
    """
    own = [name.lower() for name in names]
    where: dict[str, set[int]] = defaultdict(set)
    for i, prompt in enumerate(prompts):
        for found in (*_QUOTED.findall(prompt), *_runs(prompt)):
            phrase = POSSESSIVE.sub("", found.strip(" .,;:!?"))
            lower = phrase.lower()
            capitalised = phrase[:1].isupper() or phrase[:1].isdigit()
            if len(phrase) >= 3 and capitalised and not any(name in lower or lower in name for name in own):
                where[phrase].add(i)
    stands_out = _contrast(
        list(where), {phrase: len(found) for phrase, found in where.items()}, len(prompts), background
    )
    return {phrase: sorted(found) for phrase, found in where.items() if stands_out(phrase)}


def name_pattern(names: Sequence[str]) -> re.Pattern[str] | None:
    """Finds any of `names`, the longest first, with a possessive ending in the group `possessive`; None of none."""
    if not names:
        return None
    alternatives = "|".join(re.escape(name) for name in sorted(names, key=lambda n: (-len(n), n)))
    return re.compile(rf"(?<!\w)(?P<name>{alternatives})(?P<possessive>['’]s?)?(?!\w)", re.IGNORECASE)


def _contrast(
    phrases: Sequence[str], counts: dict[str, int], n: int, background: Sequence[str]
) -> Callable[[str], bool]:
    """Whether a phrase is `MIN_CONTRAST` times more frequent than in the background, or not in it at all."""
    seen: Counter[str] = Counter()
    wanted = {phrase.lower() for phrase in phrases}
    longest = max((len(phrase.split()) for phrase in wanted), default=0)
    for text in background:
        words = re.findall(r"[\w’'&-]+", text.lower())
        words = [POSSESSIVE.sub("", word) for word in words]
        own = {" ".join(words[i : i + k]) for k in range(1, longest + 1) for i in range(len(words) - k + 1)}
        seen.update(own & wanted)
    return lambda p: seen[p.lower()] * MIN_CONTRAST * n <= counts[p] * len(background)


def _runs(prompt: str) -> list[str]:
    """Runs of capitalised words, without the words that are capitalised because they open a sentence."""
    runs = []
    for match in _RUN.finditer(prompt):
        words = match.group().split()
        while words and words[0].strip(".'’").lower() in OPENING_WORDS:
            words.pop(0)
        if words:
            runs.append(" ".join(words))
    return runs


def _names_in(prompt: str) -> set[str]:
    """Every stretch of up to four words of a capitalised run that begins and ends with a capital."""
    names = set()
    for run in _runs(prompt):
        words = [POSSESSIVE.sub("", word).strip(".'’") for word in run.split()]
        for size in range(1, _MAX_WORDS + 1):
            for i in range(len(words) - size + 1):
                stretch = words[i : i + size]
                if stretch[0][:1].isupper() and stretch[-1][:1].isupper() and sum(map(len, stretch)) >= 5:
                    names.add(" ".join(stretch))
    return names
