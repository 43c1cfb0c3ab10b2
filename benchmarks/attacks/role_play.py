"""A scene in which somebody has to answer."""

from __future__ import annotations

from .registry import family
from .texts import frames

ATTACKS = family(
    "role-play",
    *frames("role-play"),
)
