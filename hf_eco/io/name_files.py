"""Names of those who are to be forgotten, from files."""

from __future__ import annotations

import os
from pathlib import Path

from .rows import ROW_FILES, read_text, rows_of_file

_FIELDS = ("id", "name", "aliases")


def read_names(source: str | os.PathLike[str]) -> dict[str, list[str]]:
    """The requests in a file: for each, by its id, the name and its aliases.

    Args:
        source: a .txt file (one name per line), or a .csv or .jsonl file with the fields `name` and, as far as there
            are any, `id` and `aliases` (separated by ";", or a list). A request without an id is called request-1,
            request-2 and so on, by its row.

    Raises:
        OSError: there is no such file.
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
    requests: dict[str, list[str]] = {}
    for number, (where, row) in enumerate(rows, 1):
        key, names = _request(row, where)
        key = key or f"request-{number}"
        if key in requests:
            raise ValueError(f"{where} has the id of another request, {key!r}. Give each an id of its own.")
        requests[key] = names
    if not requests:
        raise ValueError(f"{str(path)!r} holds no names.")
    return requests


def _request(row: object, where: str) -> tuple[str, list[str]]:
    """The id of a request, "" if it has none, and its names."""
    if not isinstance(row, dict):
        raise ValueError(f'{where} is no object with a name. Write e.g. {{"name": "Jane Doe"}}.')
    if unknown := [field for field, value in row.items() if field not in _FIELDS and value]:
        raise ValueError(
            f"{where} has the field {', '.join(map(repr, unknown))}, which is not read. Known are "
            f"{', '.join(_FIELDS)}; leave the others out."
        )
    name, aliases = row.get("name"), row.get("aliases") or []
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"{where} has no name.")
    if isinstance(aliases, str):
        aliases = aliases.split(";")
    if not isinstance(aliases, list) or not all(isinstance(alias, str) for alias in aliases):
        raise ValueError(f"{where} has aliases that are no names: {aliases!r}.")
    names = [own.strip() for own in (name, *aliases)]
    key = row.get("id")
    return "" if key is None else str(key).strip(), [own for own in names if own]
