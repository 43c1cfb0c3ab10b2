"""The texts around the prompt, which are in `data/`. They name no real person, place or work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .pieces import frame
from .registry import Member

_DATA = Path(__file__).parent / "data"


def rows_of(name: str) -> list[dict[str, Any]]:
    """The rows of a file in `data/`, named without its ending."""
    text = (_DATA / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def frames(name: str) -> list[Member]:
    """A member for each row of a file of names, descriptions and texts, which say {prompt} where the prompt goes."""
    return [(row["name"], row["description"], frame(row["text"])) for row in rows_of(name)]
