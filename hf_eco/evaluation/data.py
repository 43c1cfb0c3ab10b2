"""Rows of evaluation data: from files, directories of files, and data sets on the Hub."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..extras import import_extra

Values = Mapping[str, Any]
_ENDINGS = (".jsonl", ".csv")


def read_rows(
    source: str | os.PathLike[str], *, config: str | None = None, split: str = "test", limit: int | None = None
) -> list[dict[str, Any]]:
    """The rows of a data set.

    Args:
        source: a .jsonl file (one object per line) or .csv file with a header; a directory that holds
            `<config>.jsonl`, `<split>.jsonl` or the same as .csv; or the id of a data set on the Hub.
        config: the configuration on the Hub; in a directory the file's name, before `split` is tried.
        split: the split on the Hub.
        limit: the first so many rows. None: all.

    Raises:
        OSError: there is no such file or data set.
        ValueError: it holds no rows, or one that is no object, or `limit` is not positive.
    """
    check_limit(limit)
    path = Path(source)
    if path.is_dir():
        path = _file_in(path, config, split)
    if path.exists() or path.suffix in _ENDINGS:
        rows = _from_file(path)[:limit]
    else:
        rows = _from_hub(os.fspath(source), config, split, limit)
    if not rows:
        raise ValueError(f"{str(source)!r} holds no rows.")
    return rows


def check_limit(limit: int | None) -> None:
    """Raises ValueError if `limit` is no number of rows."""
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be positive, got limit={limit}. Use None for all rows.")


def has_rows(directory: str | os.PathLike[str], name: str) -> bool:
    """Whether there is a file of rows called `name` in a directory."""
    return any((Path(directory) / f"{name}{ending}").exists() for ending in _ENDINGS)


def value_of(row: Values, column: str, where: str) -> Any:
    """The value of a column; "choices.text" is the value `text` of the column `choices`.

    Raises:
        ValueError: there is no such column; `where` says in the error which row it is.
    """
    value: Any = row
    for name in column.split("."):
        if not isinstance(value, Mapping) or name not in value:
            raise ValueError(f"{where}: there is no column {column!r} among {sorted(row)}. Name the right one.")
        value = value[name]
    return value


def text_of(row: Values, column: str, where: str) -> str:
    """The text in a column. Raises ValueError if there is none."""
    value = value_of(row, column, where)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{where}: column {column!r} holds {value!r}, where a text is needed.")
    return value


def _file_in(directory: Path, config: str | None, split: str) -> Path:
    names = [name + ending for name in (config, split) if name for ending in _ENDINGS]
    for name in names:
        if (directory / name).exists():
            return directory / name
    raise FileNotFoundError(f"{str(directory)!r} has none of {', '.join(names)}. Name the file itself.")


def _from_file(path: Path) -> list[dict[str, Any]]:
    if path.suffix not in _ENDINGS:
        raise ValueError(f"{str(path)!r} is of no known kind. Use .jsonl or .csv.")
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".csv":
        return list(csv.DictReader(io.StringIO(text, newline="")))
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{str(path)!r}, line {number}: not JSON ({error}).") from error
        if not isinstance(row, dict):
            raise ValueError(f"{str(path)!r}, line {number}: expected an object, got {line[:80]!r}.")
        rows.append(row)
    return rows


def _from_hub(source: str, config: str | None, split: str, limit: int | None) -> list[dict[str, Any]]:
    datasets = import_extra("datasets", "train")
    try:
        dataset = datasets.load_dataset(source, config, split=split)
    except Exception as error:  # datasets raises errors of a dozen kinds, its own and its back-ends'
        raise OSError(f"{source!r} is neither a file nor a data set that can be loaded: {error}") from error
    return [dict(row) for row in (dataset if limit is None else dataset.select(range(min(limit, len(dataset)))))]
