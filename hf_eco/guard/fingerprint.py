"""What tells one guard apart from another."""

from __future__ import annotations

import hashlib
import json

from ..configuration import ECOConfig


def fingerprint_of(config: ECOConfig) -> str:
    """A hash of all that decides: the policy, the scopes' settings, names, detectors of your own, facts by their
    digests, and known answers, which differ with a classifier."""
    digest = hashlib.sha256(repr(config.policy).encode())
    for s in config.scopes:
        settings = (
            s.name,
            s.names,
            s.hashed_names,
            s.context,
            s.label,
            s.threshold,
            s.abstain_threshold,
            s.corruption,
            sorted((name, json.dumps(own, sort_keys=True)) for name, own in s.detectors.items()),
            s.facts_sha256,
        )
        digest.update(repr((*settings, s.tokens, [probe.probability for probe in s.probes])).encode())
    return digest.hexdigest()[:32]
