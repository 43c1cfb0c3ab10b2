"""Rows of evaluation data: from files, directories of files, and data sets on the Hub."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from ..io.rows import ROW_FILES, rows_of_dataset, rows_of_file

Values = Mapping[str, Any]


def read_rows(
    source: str | os.PathLike[str], *, config: str | None = None, split: str = "test", limit: int | None = None
) -> list[dict[str, Any]]:
    """The rows of a data set.

    Args:
        source: a .jsonl file (one object per line), .json file (the same, or a list of objects) or .csv file with a
            header; a directory that holds `<config>.jsonl`, `<split>.jsonl` or the same as .json or .csv; or the id of
            a data set on the Hub.
        config: the configuration on the Hub; in a directory the file's name, before `split` is tried.
        split: the split on the Hub.
        limit: the first so many rows. None: all.

    Raises:
        OSError: there is no such file or data set.
        ValueError: it holds no rows, or one that is no object, or `limit` is not positive.
        ImportError: datasets is missing, and `source` is an id.
    """
    check_limit(limit)
    path = Path(source)
    if path.is_dir():
        path = _file_in(path, config, split)
    if path.exists() or path.suffix in ROW_FILES:
        found: Iterator[tuple[str, Any]] = islice(rows_of_file(path), limit)
    else:
        found = rows_of_dataset(os.fspath(source), config=config, split=split, limit=limit, extra="eval")
    rows = [_as_values(row, where) for where, row in found]
    if not rows:
        raise ValueError(f"{str(source)!r} holds no rows.")
    return rows


def check_limit(limit: int | None) -> None:
    """Raises ValueError if `limit` is no number of rows."""
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be positive, got limit={limit}. Use None for all rows.")


def has_rows(directory: str | os.PathLike[str], name: str) -> bool:
    """Whether there is a file of rows called `name` in a directory."""
    return any((Path(directory) / f"{name}{ending}").exists() for ending in ROW_FILES)


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
    names = [name + ending for name in (config, split) if name for ending in ROW_FILES]
    for name in names:
        if (directory / name).exists():
            return directory / name
    raise FileNotFoundError(f"{str(directory)!r} has none of {', '.join(names)}. Name the file itself.")


def _as_values(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise ValueError(f"{where}: expected an object, got {repr(row)[:80]}.")
    return row
