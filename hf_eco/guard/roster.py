"""The scopes of a guard: a `Roster`, of which one with a scope more or less is made at the cost of copying tables."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from ..configuration import ECOConfig, ForgetScope
from ..detection.names.detector import NamesDetector
from ..detection.names.hashed import HashedNamesDetector
from .naming import detector_of_names, hashing_names, joined_names


@dataclass(frozen=True)
class Roster:
    """The scopes of a guard, and what it takes a walk over all of them to find out. Of thousands most have names and
    nothing else; they are looked at once, when they come.

    Attributes:
        config: the scopes. Names that are to be hashed are hashed.
        order: a number for each scope, higher for a later one.
        more_than_names: the scopes that have more than names.
        names: finds the names of all scopes.
    """

    config: ECOConfig
    order: dict[str, int]
    more_than_names: tuple[ForgetScope, ...]
    names: NamesDetector | HashedNamesDetector

    @classmethod
    def of(
        cls,
        config: ECOConfig,
        classified: Collection[str],
        like: NamesDetector | HashedNamesDetector | None = None,
    ) -> Roster:
        """The scopes of a config.

        Args:
            config: the config.
            classified: the scopes that have a classifier.
            like: a detector whose index to share.

        Raises:
            ValueError: a name is too short, or a scope has nothing but names, which it says are not enough.
            GuardLoadError: hashed names are damaged, or their key is to come from HF_ECO_NAMES_KEY and does not.
        """
        config = hashing_names(config)
        more_than_names = tuple([s for s in config.scopes if s.name in classified or _has_more_than_names(s)])
        order = {name: number for number, name in enumerate(config.by_name)}
        _check_context(config, classified)
        return cls(config, order, more_than_names, detector_of_names(config, like))

    def joined_by(self, other: Roster) -> Roster:
        """The scopes of both; names are kept as in this one.

        Raises:
            ValueError: both have a scope of the same name, or `other` has hashed names by another key.
        """
        kept = self.config.how_names_are_kept
        if other.config.names_key != kept["names_key"] and any(scope.hashed_names for scope in other.config.scopes):
            raise ValueError("The names of the two guards are not hashed by one key. Give the names themselves.")
        addition = hashing_names(replace(other.config, **kept))
        first = next(reversed(self.order.values())) + 1
        return Roster(
            self.config.joined_by(addition),
            {**self.order, **{name: number for number, name in enumerate(addition.by_name, first)}},
            (*self.more_than_names, *(addition.by_name[scope.name] for scope in other.more_than_names)),
            joined_names(self.names, addition),
        )

    def without(self, names: Collection[str]) -> Roster:
        """All scopes but these.

        Raises:
            KeyError: there is no such scope.
            ValueError: none would be left.
        """
        config, gone = self.config.without(names), set(names)
        order = dict(self.order)
        for name in gone:
            del order[name]
        more_than_names = tuple(scope for scope in self.more_than_names if scope.name not in gone)
        return Roster(config, order, more_than_names, self.names.without(gone))


def _has_more_than_names(scope: ForgetScope) -> bool:
    """Whether there is more to a scope than names: who else recognises it, or who says which tokens are corrupted."""
    if not (scope.names or scope.hashed_names) or scope.by_facts:
        return True
    return scope.classifier is not None or bool(scope.detectors) or scope.tokens == "entities"


def _check_context(config: ECOConfig, classified: Collection[str]) -> None:
    """Raises ValueError for a scope whose names are not enough, and which has nothing else: it would never flag."""
    required = [s for s in config.scopes if s.context == "required" and s.untrained and s.name not in classified]
    for scope in required:
        if not scope.by_facts and not scope.detectors:
            raise ValueError(
                f"Scope {scope.name!r} says that its names are not enough, and has nothing else. Give it documents or "
                "a classifier, or leave out context='required'."
            )
