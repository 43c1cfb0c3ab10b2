"""Who finds the names of a guard's scopes, and how names that are to be hashed come to be hashes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from transformers.utils import logging

from ..configuration import ECOConfig, ForgetScope
from ..detection.names.common import bearers, needs_context
from ..detection.names.detector import NamesDetector
from ..detection.names.hashed import HashedNamesDetector, hash_names, made_up_name, names_key

logger = logging.get_logger(__name__)

NAME_PROBE = "Tell me everything you know about {name}."


def hashing_names(config: ECOConfig) -> ECOConfig:
    """`config` itself; or, where it says `store_names="hashed"` and names stand in it, a copy with their hashes, and
    without known answers, which would tell the names. The guard makes such as name nobody.

    Raises:
        ValueError: a name is too short, would not be recognised, or its scope is called after it.
        GuardLoadError: the key is to come from HF_ECO_NAMES_KEY, and does not.
    """
    if config.store_names == "plain" or not any(scope.names for scope in config.scopes):
        return config
    key = _key(config)
    scopes = [_hashed(scope, key) if scope.names else scope for scope in config.scopes]
    return replace(config, scopes=scopes)


def detector_of_names(
    config: ECOConfig, like: NamesDetector | HashedNamesDetector | None = None
) -> NamesDetector | HashedNamesDetector:
    """What finds the names of all scopes.

    Args:
        config: its names are hashed, if they are to be.
        like: a detector whose index to share.
    """
    if config.store_names == "hashed":
        records = {scope.name: scope.hashed_names for scope in config.scopes if scope.hashed_names}
        return HashedNamesDetector(records, _key(config), like if isinstance(like, HashedNamesDetector) else None)
    by_names = [scope for scope in config.scopes if scope.names]
    return NamesDetector(
        {scope.name: scope.names for scope in by_names},
        like if isinstance(like, NamesDetector) else None,
        {scope.name: scope.context for scope in by_names if scope.context != "auto"},
    )


def joined_names(
    names: NamesDetector | HashedNamesDetector, addition: ECOConfig
) -> NamesDetector | HashedNamesDetector:
    """What finds the names of `addition` besides; they are kept as those of `names` are."""
    more = detector_of_names(addition, names)
    if isinstance(names, HashedNamesDetector):
        assert isinstance(more, HashedNamesDetector)
        return names.joined_by(more)
    assert isinstance(more, NamesDetector)
    return names.joined_by(more)


def words_key(config: ECOConfig) -> bytes:
    """The key by which the words of documents are hashed: of no bytes where names stand in clear.

    Raises:
        GuardLoadError: it is to come from HF_ECO_NAMES_KEY, and does not.
    """
    return _key(config) if config.store_names == "hashed" else b""


def probed_names(config: ECOConfig, scope: ForgetScope) -> Sequence[str]:
    """The names by which a scope's known answers are asked: its own, or one that nobody bears."""
    return [made_up_name(scope.name, _key(config))] if scope.hashed_names else scope.names


def check_recognised(scope: ForgetScope, names: Sequence[str], probabilities: Sequence[float]) -> None:
    """Raises ValueError if one of the names of a scope would not be recognised.

    Args:
        scope: the scope.
        names: its names.
        probabilities: p(forget) of each in `NAME_PROBE`.
    """
    for name, probability in zip(names, probabilities, strict=True):
        if probability < scope.threshold and not needs_context(name, scope.context):
            raise ValueError(
                f"The name {name!r} would not be recognised in {NAME_PROBE.format(name=name)!r}: p(forget) is "
                f"{probability:.4f}, the threshold of scope {scope.name!r} {scope.threshold:g}. A name of "
                "ordinary words needs its capitals; write it as people do, or leave it out."
            )


def warn_of_common_names(scopes: Sequence[ForgetScope], *, tell: bool = True) -> None:
    """Says so where nobody can tell whom a name means. Without `tell` no name is logged, nor how many bear it."""
    common = [
        f"{name!r} of scope {scope.name!r} (some {bearers(name):,} people)"
        if tell
        else f"a name of scope {scope.name!r}"
        for scope in scopes
        for name in scope.names
        if scope.context == "auto" and needs_context(name, scope.context)
    ]
    if common:
        more = f" and {len(common) - 5} more" if len(common) > 5 else ""
        logger.warning(
            f"Thousands of people in the United States bear {', '.join(common[:5])}{more}. A prompt with nothing but "
            "such a name is left uncertain, not flagged. Give the scope documents or a classifier that know whom it "
            "means, or set context='ignored' to flag everybody of that name."
        )


def _key(config: ECOConfig) -> bytes:
    return names_key(config.names_key or "", os.environ)


def _hashed(scope: ForgetScope, key: bytes) -> ForgetScope:
    record = hash_names(scope.name, scope.names, key, scope.context)
    detector = HashedNamesDetector({scope.name: record}, key)
    asked = detector.detect([NAME_PROBE.format(name=name) for name in scope.names])
    check_recognised(scope, scope.names, [max((d.probability for d in own), default=0.0) for own in asked])
    warn_of_common_names([scope], tell=False)
    return replace(scope, names=(), hashed_names=record, probes=[])
