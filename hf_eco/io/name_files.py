"""Names of those who are to be forgotten, and documents about them, from files."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .cells import is_missing, list_in
from .prompt_files import read_prompts
from .rows import KINDS, ROW_FILES, rows_of_file
from .text_files import check_unicode, kind_of, read_lines, read_text

_FIELDS = ("id", "name", "aliases", "documents")


@dataclass(frozen=True)
class Request:
    """A request to forget somebody.

    Attributes:
        id: by which it is known.
        names: the name, and the aliases.
        documents: files of texts about the person.
    """

    id: str
    names: tuple[str, ...]
    documents: tuple[Path, ...] = ()

    def texts(self) -> list[str]:
        """What stands in the documents: one text in a file of text, one a row in a .jsonl or .csv file.

        Raises:
            OSError: one cannot be read.
            ValueError: one is not text, is empty, or its rows have no text.
        """
        return [text for path in self.documents for text in _read_document(path)]


def read_requests(source: str | os.PathLike[str]) -> dict[str, Request]:
    """The requests in a file, by their ids.

    Args:
        source: a .txt file (one name per line), or a file of rows (.csv, .tsv, .jsonl, .json, .parquet) with the
            fields `name` and, as far as there are any, `id`, `aliases`, and `documents` (paths, relative to the file's
            folder); the last two are lists, or separated by ";". A request without an id is called request-1,
            request-2 and so on, by its row.

    Raises:
        OSError: there is no such file, or one of the documents is missing.
        ValueError: the file is of another kind, holds no names or fields of no known meaning, a row has no name, or
            two have the same id.
    """
    path = Path(source)
    if kind_of(path) == ".txt":
        lines = enumerate(read_lines(path), 1)
        rows = [(f"line {number} of {str(path)!r}", {"name": line}) for number, line in lines if line.strip()]
    elif kind_of(path) in ROW_FILES:
        rows = list(rows_of_file(path))
    else:
        raise ValueError(f"{str(path)!r} is of no known kind. Use .txt, {KINDS}.")
    requests: dict[str, Request] = {}
    for number, (where, row) in enumerate(rows, 1):
        request = _request(row, where, number, path.parent)
        if request.id in requests:
            raise ValueError(f"{where} has the id of another request, {request.id!r}. Give each an id of its own.")
        requests[request.id] = request
    if not requests:
        raise ValueError(f"{str(path)!r} holds no names.")
    return requests


def write_requests(target: str | os.PathLike[str], requests: Sequence[Request]) -> None:
    """Writes requests to a new .csv or .jsonl file, as `read_requests` reads them.

    Raises:
        FileExistsError: there is such a file.
        ValueError: it is to be of another kind, or a name holds the ";" that separates names.
    """
    path = Path(target)
    if path.suffix not in (".csv", ".jsonl"):
        raise ValueError(f"{str(path)!r} is of no known kind. Use .csv or .jsonl.")
    if path.exists():
        raise FileExistsError(f"There is a file {str(path)!r} already. Name a new one.")
    fields = _FIELDS if any(request.documents for request in requests) else _FIELDS[:-1]
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, fields, lineterminator="\n")
    if path.suffix == ".csv":
        table.writeheader()
    for request in requests:
        row = dict(zip(fields, _row(request, path.parent), strict=False))
        if path.suffix == ".csv":
            table.writerow(row)
        else:
            text.write(json.dumps(row, ensure_ascii=False) + "\n")
    path.write_text(text.getvalue(), encoding="utf-8")


def _row(request: Request, folder: Path) -> tuple[str, str, str, str]:
    if several := [name for name in request.names if ";" in name]:
        raise ValueError(f'The name {several[0]!r} of request {request.id!r} holds a ";", which separates names.')
    documents = [os.path.relpath(path, folder) for path in request.documents]
    return request.id, request.names[0], ";".join(request.names[1:]), ";".join(documents)


def _read_document(path: Path) -> list[str]:
    texts = read_prompts(path) if kind_of(path) in ROW_FILES else [read_text(path)]
    if not any(text.strip() for text in texts):
        raise ValueError(f"{str(path)!r} holds no text.")
    return texts


def _request(row: object, where: str, number: int, folder: Path) -> Request:
    if not isinstance(row, dict):
        raise ValueError(f'{where} is no object with a name. Write e.g. {{"name": "Jane Doe"}}.')
    if unknown := [field for field, value in row.items() if field not in _FIELDS and not is_missing(value)]:
        raise ValueError(
            f"{where} has the field {', '.join(map(repr, unknown))}, which is not read. Known are "
            f"{', '.join(_FIELDS)}; leave the others out."
        )
    name, key = row.get("name"), row.get("id")
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"{where} has no name.")
    aliases = _several(row.get("aliases"), f"{where} has aliases that are no names")
    documents = [folder / path for path in _several(row.get("documents"), f"{where} has documents that are no paths")]
    if missing := [path for path in documents if not path.is_file()]:
        raise FileNotFoundError(f"{where} names the document {str(missing[0])!r}, which is no file.")
    key = f"request-{number}" if is_missing(key) else str(key).strip()
    check_unicode(name, where)
    return Request(key, (name.strip(), *aliases), tuple(documents))


def _several(value: object, wrong: str) -> list[str]:
    """The entries of a list, which may be written as text, or of a string in which ";" separates them; `wrong` says
    what is wrong with others."""
    if is_missing(value):
        return []
    listed = isinstance(value, str) and value.lstrip().startswith("[")
    entries = list_in(str(value), wrong) if listed else value.split(";") if isinstance(value, str) else value
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise ValueError(f"{wrong}: {value!r}.")
    return [entry.strip() for entry in entries if entry.strip()]
