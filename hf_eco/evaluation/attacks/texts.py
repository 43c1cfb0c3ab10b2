"""The texts around the prompt, which are data: hf_eco/data/attacks. They name no real person, place or work."""

from __future__ import annotations

from ...data import shipped_rows
from .pieces import frame
from .registry import Member


def frames(name: str) -> list[Member]:
    """A member for each row of a file of names, descriptions and texts, which say {prompt} where the prompt goes."""
    return [(row["name"], row["description"], frame(row["text"])) for row in shipped_rows(f"attacks/{name}")]
