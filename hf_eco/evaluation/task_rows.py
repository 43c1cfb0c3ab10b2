"""Rows of evaluation data: from files, directories of files, and data sets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..io.rows import KINDS, rows_of


def read_rows(
    source: str | os.PathLike[str], *, config: str | None = None, split: str | None = None, limit: int | None = None
) -> list[dict[str, Any]]:
    """The rows of a data set.

    Args:
        source: a .jsonl file (one object per line), .json file (the same, or a list of objects), .csv or .tsv file
            with a header (all of these also packed, .gz), or .parquet file; a directory that holds one called like
            `config` or `split`, or a data set; or the id of a data set on the Hub.
        config: the data set's configuration, or the file's name in a directory.
        split: the data set's split, or the file's name where there is none called like `config`. None: the only split,
            or train.
        limit: the first so many rows. None: all.

    Raises:
        OSError: there is no such file or data set.
        ValueError: it holds no rows, or one that is no object, has several configurations or splits and none is named,
            or `limit` is not positive.
        ImportError: datasets is missing, and `source` is a data set.
    """
    check_limit(limit)
    try:
        found = rows_of(source, config=config, split=split, limit=limit, extra="eval")
        rows = [_as_values(row, where) for where, row in found]
    except OSError as error:
        if Path(source).is_dir():
            names = " or ".join(f"{name}.jsonl" for name in (config, split) if name)
            raise FileNotFoundError(
                f"{str(source)!r} has no file {names} (or another of {KINDS}) and is no data set. Name the "
                "file itself."
            ) from error
        raise
    if not rows:
        raise ValueError(f"{str(source)!r} holds no rows.")
    return rows


def check_limit(limit: int | None) -> None:
    """Raises ValueError if `limit` is no number of rows."""
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be positive, got limit={limit}. Use None for all rows.")


def _as_values(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise ValueError(f"{where}: expected an object, got {repr(row)[:80]}.")
    return row
