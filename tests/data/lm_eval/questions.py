"""The questions of the tasks beside this file, wherever lm-eval is started from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def load(**_: Any) -> Any:
    from datasets import Dataset, DatasetDict

    lines = Path(__file__).with_suffix(".jsonl").read_text(encoding="utf-8")
    return DatasetDict(test=Dataset.from_list([json.loads(line) for line in lines.splitlines()]))
