"""What ships with the package: prompts, names and templates."""

from __future__ import annotations

import importlib.resources
import json
from functools import cache
from typing import Any

SHIPPED = importlib.resources.files("hf_eco") / "data"


def shipped_rows(name: str) -> list[dict[str, Any]]:
    """The rows of a file that comes with hf_eco, named by its place in hf_eco/data without its ending."""
    text = (SHIPPED / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@cache
def shipped_table(name: str) -> dict[str, Any]:
    """What a .json file that comes with hf_eco holds, named likewise. Not to be changed."""
    return dict(json.loads((SHIPPED / f"{name}.json").read_text(encoding="utf-8")))


def shipped_names() -> dict[str, list[str]]:
    """The names that come with hf_eco, by kind: people, works, places, first and last names. Not to be changed."""
    return shipped_table("names")
