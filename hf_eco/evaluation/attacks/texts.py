"""The texts around the prompt, which are data: hf_eco/data/attacks. They name no real person, place or work."""

from __future__ import annotations

import importlib.resources
import json
from typing import Any

from .pieces import frame
from .registry import Member


def rows(name: str) -> list[dict[str, Any]]:
    """The rows of one file."""
    file = importlib.resources.files("hf_eco") / "data" / "attacks" / f"{name}.jsonl"
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def frames(name: str) -> list[Member]:
    """A member for each row of a file of names, descriptions and texts, which say {prompt} where the prompt goes."""
    return [(row["name"], row["description"], frame(row["text"])) for row in rows(name)]
