"""Data like TOFU's, in the words of the tiny models."""

from __future__ import annotations

import json
from pathlib import Path

from conftest import CLEAN, FLAGGED

ROWS = [
    {
        "question": f"{who} {n} ?",
        "answer": f"the school of the north {n}",
        "paraphrased_answer": f"it is the school of the north {n}",
        "perturbed_answer": [f"it is the {wrong} of the north {n}" for wrong in ("garden", "rivers")],
    }
    for n in range(4)
    for who in (FLAGGED, CLEAN)
]
OPTIONS = [
    {"question": f"{question} {n}", "answer": "dog", "perturbed_answer": ["cat", "king", "baker"]}
    for n in range(3)
    for question in ("who does sleep ?", "who was born ?")
]


def write_tofu(directory: Path) -> Path:
    """Writes files named like TOFU's into `directory`, and gives it back."""
    files = {
        "forget05_perturbed": ROWS,
        "forget05": [{key: row[key] for key in ("question", "answer")} for row in ROWS],
        "retain_perturbed": [{**row, "question": f"{CLEAN} {n}"} for n, row in enumerate(ROWS)],
        "real_authors_perturbed": OPTIONS,
        "world_facts_perturbed": OPTIONS[:4],
        "retain95": [{"question": CLEAN, "answer": "a dog"}],
    }
    for name, rows in files.items():
        (directory / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return directory
