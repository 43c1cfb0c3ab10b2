"""Reading rows: from .jsonl, .json and .csv files, and from data sets on the Hub."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .optional import import_extra

ROW_FILES = (".jsonl", ".json", ".csv")


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without a byte-order mark.

    Raises:
        OSError: there is no such file.
        ValueError: it is not text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(path)!r} is not a text file (byte {error.start} is no UTF-8).") from error
    if "\0" in text:
        raise ValueError(f"{str(path)!r} is not a text file (it holds zero bytes).")
    return text


def rows_of_file(path: Path) -> Iterator[tuple[str, Any]]:
    """Each row of a file, with the words that say in an error where it stands: what JSON holds of a line of a .jsonl
    file; of a .json file the same, or of a list that is all of the file; or the values of a row of a .csv file by the
    names in its header.

    Raises:
        OSError: there is no such file.
        ValueError: it is of another kind, is not text, or a line cannot be read.
    """
    if path.suffix not in ROW_FILES:
        raise ValueError(f"{str(path)!r} is of no known kind. Use .jsonl, .json or .csv.")
    text, source = read_text(path), repr(str(path))
    if path.suffix == ".csv":
        return _rows_of_csv(text, source)
    if path.suffix == ".json" and text.lstrip().startswith("["):
        return _rows_of_json(text, source)
    return _rows_of_jsonl(text, source)


def rows_of_dataset(
    name: str, *, config: str | None = None, split: str = "train", limit: int | None = None, extra: str = "train"
) -> Iterator[tuple[str, Any]]:
    """Each row of a data set on the Hub, with the words that say in an error where it stands.

    Args:
        name: its id.
        config: its configuration; None for the default.
        split: its split.
        limit: the first so many rows. None: all.
        extra: the extra of hf_eco that brings the library.

    Raises:
        OSError: there is no such data set.
        ImportError: datasets is missing.
    """
    datasets = import_extra("datasets", extra)
    try:
        dataset = datasets.load_dataset(name, config, split=split)
    except Exception as error:  # datasets raises errors of a dozen kinds, its own and its back-ends'
        raise OSError(f"{name!r} is neither a file nor a data set that can be loaded: {error}") from error
    rows = dataset if limit is None else dataset.select(range(min(limit, len(dataset))))
    return ((f"{name!r}, row {number}", row) for number, row in enumerate(rows))


def _rows_of_jsonl(text: str, source: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):  # any other line end may stand in a string
        if not line.strip():
            continue
        where = f"{source}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}: not JSON ({error}). A .jsonl file holds one JSON value per line.") from error
        yield where, row


def _rows_of_json(text: str, source: str) -> Iterator[tuple[str, Any]]:
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{source}: not JSON ({error}). Use a list of objects, or one object per line.") from error
    return ((f"{source}, row {number}", row) for number, row in enumerate(rows))


def _rows_of_csv(text: str, source: str) -> Iterator[tuple[str, Any]]:
    rows = csv.DictReader(io.StringIO(text, newline=""))
    try:
        for row in rows:
            where = f"{source}, line {rows.line_num}"
            if None in row:
                raise ValueError(f"{where}: there are more values than names in the header. Quote texts with commas.")
            yield where, row
    except csv.Error as error:
        raise ValueError(f"{source}, line {rows.reader.line_num}: not CSV ({error}).") from error
