"""The prompts of the demo's scope, which ship with the package."""

from __future__ import annotations

from ..data import shipped_rows


def demo_prompts(name: str) -> list[str]:
    """The prompts of the demo's scope that come with hf_eco: "forget", "retain", "examples_forget" or
    "examples_retain"."""
    return [row["prompt"] for row in shipped_rows(f"harry-potter/{name}")]
