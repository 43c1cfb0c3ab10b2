"""Reading rows: from files, and from data sets, on the Hub or in a directory."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from .data_sets import load_data_set
from .optional import import_extra
from .text_files import kind_of, read_bytes, read_text

ROW_FILES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
KINDS = ".jsonl, .json, .csv, .tsv or .parquet"
_NOT_THERE = {"nan", "NaN", "None", "<NA>"}  # what pandas and str() write of a cell without a value
Rows = Iterator[tuple[str, Any]]
"""Each row with the words that say in an error where it stands."""


def rows_of(
    source: str | os.PathLike[str],
    *,
    config: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    extra: str = "train",
) -> Rows:
    """The rows of a file, of one in a directory, or of a data set.

    Args:
        source: a file, see `rows_of_file`; a directory that holds a file called like `config` or `split`, or a data
            set; or the id of a data set on the Hub.
        config: the data set's configuration; None for the only or default one. A file has none.
        split: its split; None for the only one, or "train". A file has none.
        limit: the first so many rows. None: all.
        extra: the extra of hf_eco that brings the library for data sets.

    Raises:
        OSError: there is no such file or data set.
        ValueError: the file cannot be read, or the data set has several configurations or splits and none is named.
        ImportError: a library for data sets is missing.
    """
    path = Path(source)
    if path.is_dir():
        path = _file_in(path, config, split) or path
    if path.is_file():
        return islice(rows_of_file(path, extra), limit)
    if not path.exists() and kind_of(path) in (".txt", *ROW_FILES):
        raise FileNotFoundError(f"There is no file {str(source)!r}.")
    loaded = load_data_set(os.fspath(source), config, split, extra)
    rows = loaded if limit is None else loaded.select(range(min(limit, len(loaded))))
    return ((f"{os.fspath(source)!r}, row {number}", row) for number, row in enumerate(rows))


def rows_of_file(path: Path, extra: str = "train") -> Rows:
    """The rows of a file: what JSON holds of a line of a .jsonl file; of a .json file the same, or of a list that is
    all of the file; the values of a row of a .csv, .tsv or .parquet file by the names of its columns. All but the last
    may be packed (.gz).

    What parts the cells of a .csv file (comma, semicolon or tab) is told by its header. A cell without a value is
    None.

    Raises:
        OSError: there is no such file.
        ValueError: it is of another kind, is not text, or a line cannot be read.
        ImportError: pyarrow is missing, and it is a .parquet file.
    """
    kind, source = kind_of(path), repr(str(path))
    if kind not in ROW_FILES:
        raise ValueError(f"{source} is of no known kind. Use {KINDS}.")
    if kind == ".parquet":
        return _rows_of_parquet(read_bytes(path), source, extra)
    text = read_text(path)
    if kind in (".csv", ".tsv"):
        return _rows_of_csv(text, source, "\t" if kind == ".tsv" else _separator(text, source))
    if kind == ".json" and text.lstrip().startswith("["):
        return _rows_of_json(text, source)
    return _rows_of_jsonl(text, source)


def has_rows(directory: str | os.PathLike[str], name: str) -> bool:
    """Whether there is a file of rows called `name` in a directory."""
    return _file_in(Path(directory), name, None) is not None


def _file_in(directory: Path, *names: str | None) -> Path | None:
    files = [f"{name}{ending}{packed}" for name in names if name for ending in ROW_FILES for packed in ("", ".gz")]
    return next((directory / file for file in files if (directory / file).is_file()), None)


def _rows_of_jsonl(text: str, source: str) -> Rows:
    for number, line in enumerate(text.split("\n"), start=1):  # any other line end may stand in a string
        if not line.strip():
            continue
        where = f"{source}, line {number}"
        try:
            row = json.loads(line)
        except ValueError as error:  # of JSON, or an integer of thousands of digits
            raise ValueError(f"{where}: not JSON ({error}). A .jsonl file holds one JSON value per line.") from error
        yield where, row


def _rows_of_json(text: str, source: str) -> Rows:
    try:
        rows = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{source}: not JSON ({error}). Use a list of objects, or one object per line.") from error
    return ((f"{source}, row {number}", row) for number, row in enumerate(rows))


def _rows_of_csv(text: str, source: str, separator: str) -> Rows:
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        if twice := [name for name, count in Counter(rows.fieldnames or ()).items() if count > 1]:
            raise ValueError(f"{source}: several columns are called {twice[0]!r}. Give each a name of its own.")
        for row in rows:
            where = f"{source}, line {rows.line_num}"
            if None in row:
                raise ValueError(
                    f"{where}: there are more values than names in the header. Quote texts with {separator!r} in them."
                )
            yield where, {name: None if cell in _NOT_THERE else cell for name, cell in row.items()}
    except csv.Error as error:
        raise ValueError(
            f"{source}, line {rows.reader.line_num}: not CSV ({error}). Quote texts as CSV does, or use .jsonl."
        ) from error


def _separator(text: str, source: str) -> str:
    """What parts the cells of a .csv file: what parts those of its header.

    Raises:
        ValueError: it may be one or the other.
    """
    header = text.lstrip("\n").partition("\n")[0]
    able = [separator for separator in ",;\t" if len(next(csv.reader([header], delimiter=separator), [])) > 1]
    if len(able) > 1:
        raise ValueError(
            f"{source}: the cells of the header {header[:80]!r} may be parted by any of {able}. Quote the names, or "
            "use .tsv or .jsonl."
        )
    return able[0] if able else ","


def _rows_of_parquet(data: bytes, source: str, extra: str) -> Rows:
    pyarrow, parquet = import_extra("pyarrow", extra), import_extra("pyarrow.parquet", extra)
    try:
        rows = parquet.read_table(pyarrow.BufferReader(data)).to_pylist()
    except pyarrow.ArrowException as error:
        raise ValueError(f"{source}: no whole Parquet file ({error}). Write it anew, or use .jsonl.") from error
    return ((f"{source}, row {number}", row) for number, row in enumerate(rows))
