"""Reading a user's prompts from files and data sets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .rows import ROW_FILES, read_text, rows_of_dataset, rows_of_file

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
        ImportError: datasets is missing, and `source` is an id.
    """
    path = Path(source)
    if not path.exists():
        if path.suffix in (".txt", *ROW_FILES):
            raise FileNotFoundError(f"There is no prompt file {str(source)!r}.")
        return [_field(row, column, where) for where, row in rows_of_dataset(os.fspath(source), split=split)]
    if path.is_dir():
        raise IsADirectoryError(f"{str(source)!r} is a directory. Name a .txt, .jsonl or .csv file.")
    if path.suffix == ".txt":
        prompts = _lines(path, column)
    elif path.suffix in ROW_FILES:
        prompts = [row if isinstance(row, str) else _field(row, column, where) for where, row in rows_of_file(path)]
    else:
        raise ValueError(f"{str(source)!r} is of no known kind. Use .txt, .jsonl or .csv.")
    prompts = [prompt for prompt in prompts if prompt.strip()]
    if not prompts:
        raise ValueError(f"{str(source)!r} holds no prompts.")
    return prompts


def _lines(path: Path, column: str | None) -> list[str]:
    if column is not None:
        raise ValueError(f"{str(path)!r} is a .txt file and has no column {column!r}: it holds one prompt per line.")
    return read_text(path).splitlines()


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
