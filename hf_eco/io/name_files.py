"""Requests to be forgotten, from files: names, and documents beside them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from .prompt_files import read_prompts
from .rows import ROW_FILES, read_text, rows_of_file

_FIELDS = ("id", "name", "aliases", "documents")


@dataclass(frozen=True)
class Request:
    """Whom or what is to be forgotten.

    Attributes:
        names: the name and its aliases.
        documents: texts on whom or what bears them.
    """

    names: list[str]
    documents: list[str] = field(default_factory=list)


def read_requests(source: str | os.PathLike[str]) -> dict[str, Request]:
    """The requests in a file, by their ids.

    Args:
        source: a .txt file (one name per line), or a .csv or .jsonl file with the fields `name` and, as far as there
            are any, `id`, `aliases` and `documents` (the last two separated by ";", or a list). Documents are files of
            text, or of rows with a text each, named from where `source` lies. A request without an id is called
            request-1, request-2 and so on, by its row.

    Raises:
        OSError: there is no such file, or no such document.
        ValueError: the file is of another kind, holds no names or fields of no known meaning, a row has no name, or
            two have the same id.
    """
    path = Path(source)
    if path.suffix == ".txt":
        lines = enumerate(read_text(path).splitlines(), 1)
        rows = [(f"line {number} of {str(path)!r}", {"name": line}) for number, line in lines if line.strip()]
    elif path.suffix in ROW_FILES:
        rows = list(rows_of_file(path))
    else:
        raise ValueError(f"{str(path)!r} is of no known kind. Use .txt, .csv or .jsonl.")
    requests: dict[str, Request] = {}
    for number, (where, row) in enumerate(rows, 1):
        key, request = _request(row, where, path.parent)
        key = key or f"request-{number}"
        if key in requests:
            raise ValueError(f"{where} has the id of another request, {key!r}. Give each an id of its own.")
        requests[key] = request
    if not requests:
        raise ValueError(f"{str(path)!r} holds no names.")
    return requests


def read_document(path: Path) -> list[str]:
    """The texts in a file: one in a file of text, one a row in a .jsonl or .csv file.

    Raises:
        OSError: there is no such file.
        ValueError: it is not text, is empty, or its rows have no text.
    """
    texts = read_prompts(path) if path.suffix in ROW_FILES else [read_text(path)]
    if not any(text.strip() for text in texts):
        raise ValueError(f"{str(path)!r} holds no text.")
    return texts


def _request(row: object, where: str, folder: Path) -> tuple[str, Request]:
    """The id of a request, "" if it has none, and the request."""
    if not isinstance(row, dict):
        raise ValueError(f'{where} is no object with a name. Write e.g. {{"name": "Jane Doe"}}.')
    if unknown := [field for field, value in row.items() if field not in _FIELDS and value]:
        raise ValueError(
            f"{where} has the field {', '.join(map(repr, unknown))}, which is not read. Known are "
            f"{', '.join(_FIELDS)}; leave the others out."
        )
    name = row.get("name")
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"{where} has no name.")
    names = [name.strip(), *_listed(row, "aliases", "names", where)]
    documents = [
        text for file in _listed(row, "documents", "paths of files", where) for text in read_document(folder / file)
    ]
    key = row.get("id")
    return "" if key is None else str(key).strip(), Request(names, documents)


def _listed(row: dict[str, object], key: str, what: str, where: str) -> list[str]:
    """What stands under a key: a list, or a string with ";" between."""
    values = row.get(key) or []
    if isinstance(values, str):
        values = values.split(";")
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{where} has {key} that are no {what}: {values!r}.")
    return [own for value in values if (own := value.strip())]
