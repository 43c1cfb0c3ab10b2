"""Reading prompts from files and data sets."""

from __future__ import annotations

import csv
import importlib.resources
import io
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

SHIPPED = importlib.resources.files("hf_eco") / "data"
# Columns tried in this order where the user names none.
PROMPT_COLUMNS = ("prompt", "question", "query", "instruction", "text")


def read_prompts(source: str | os.PathLike[str], *, column: str | None = None, split: str = "train") -> list[str]:
    """The prompts in a file or a data set.

    Args:
        source: a .txt file (one prompt per line), a .jsonl file (objects, or strings), a .csv file with a header, or
            the id of a data set on the Hub.
        column: the field that holds the prompt; the first of prompt, question, query, instruction, text if None.
        split: split of the data set; files have none.

    Raises:
        OSError: there is no such file or data set.
        ValueError: the file is empty, is not text, or lacks the column.
    """
    path = Path(source)
    if not path.exists():
        if path.suffix in (".txt", ".jsonl", ".csv"):
            raise FileNotFoundError(f"There is no prompt file {str(source)!r}.")
        return _from_dataset(os.fspath(source), column, split)
    if path.is_dir():
        raise IsADirectoryError(f"{str(source)!r} is a directory. Name a .txt, .jsonl or .csv file.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(source)!r} is not a text file (byte {error.start} is no UTF-8).") from error
    if "\0" in text:
        raise ValueError(f"{str(source)!r} is not a text file (it holds zero bytes).")
    readers = {".txt": _from_lines, ".jsonl": _from_jsonl, ".csv": _from_csv}
    if path.suffix not in readers:
        raise ValueError(f"{str(source)!r} is of no known kind. Use .txt, .jsonl or .csv.")
    prompts = [prompt for prompt in readers[path.suffix](text, str(source), column) if prompt.strip()]
    if not prompts:
        raise ValueError(f"{str(source)!r} holds no prompts.")
    return prompts


def demo_prompts(name: str) -> list[str]:
    """The prompts of the demo's scope that come with hf_eco: "forget", "retain", "examples_forget" or
    "examples_retain"."""
    return [row["prompt"] for row in shipped_rows(f"harry-potter/{name}")]


def shipped_rows(name: str) -> list[dict[str, Any]]:
    """The rows of a file that comes with hf_eco, named by its place in hf_eco/data without its ending."""
    text = (SHIPPED / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@cache
def shipped_names() -> dict[str, list[str]]:
    """The names that come with hf_eco, by kind: people, works, places, first and last names. Not to be changed."""
    return dict(json.loads((SHIPPED / "names.json").read_text(encoding="utf-8")))


def _from_lines(text: str, source: str, column: str | None) -> list[str]:
    if column is not None:
        raise ValueError(f"{source!r} is a .txt file and has no column {column!r}: it holds one prompt per line.")
    return text.splitlines()


def _from_jsonl(text: str, source: str, column: str | None) -> list[str]:
    prompts = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{source!r}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{where}: not JSON ({error}). A .jsonl file holds one JSON object or string per line."
            ) from error
        prompts.append(row if isinstance(row, str) else _field(row, column, where))
    return prompts


def _from_csv(text: str, source: str, column: str | None) -> list[str]:
    rows = csv.DictReader(io.StringIO(text, newline=""))
    return [_field(row, column, f"{source!r}, line {rows.line_num}") for row in rows]


def _from_dataset(name: str, column: str | None, split: str) -> list[str]:
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise ImportError(f"Reading the data set {name!r} needs datasets. pip install hf-eco[train]") from error
    try:
        dataset = load_dataset(name, split=split)
    except Exception as error:  # datasets raises errors of a dozen kinds, its own and its back-ends'
        raise OSError(f"{name!r} is neither a file nor a data set that can be loaded: {error}") from error
    return [_field(row, column, f"{name!r}, row {i}") for i, row in enumerate(dataset)]


def _field(row: Any, column: str | None, where: str) -> str:
    if not isinstance(row, dict):
        raise ValueError(f"{where}: expected an object or a string, got {row!r}.")
    name = column or next((name for name in PROMPT_COLUMNS if name in row), None)
    if name not in row:
        wanted = repr(name) if name else " or ".join(map(repr, PROMPT_COLUMNS))
        raise ValueError(
            f"{where}: no column {wanted} among {list(row)}. Name the column: column=..., or "
            "--forget-column and --retain-column."
        )
    if not isinstance(row[name], str):
        raise ValueError(f"{where}: column {name!r} holds {row[name]!r}, which is no string.")
    return row[name]
