"""Names of those who are to be forgotten, and documents about them, from files."""

from __future__ import annotations

import csv
import difflib
import io
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .cells import is_missing, list_in
from .prompt_files import read_prompts
from .rows import KINDS, ROW_FILES, rows_of_file
from .text_files import check_unicode, kind_of, read_lines, read_text

_FIELDS = ("id", "name", "aliases", "documents", "context")
_COMMA = re.compile(r"\s*[,，、]\s*")
# Behind a comma, and still of the same name: "Davis, Jr.", "Doe, PhD", "Harry, Duke of Sussex", "Charles, the King"
_OF_THE_SAME = re.compile(r"(?:Jr|Sr|Esq|Ph\.?D|[IVX]+|[A-Z]{2,4}|(?:[A-Z]\.){2,})\.?|the\s.*|.*\bof\b.*", re.S)


@dataclass(frozen=True)
class Request:
    """A request to forget somebody.

    Attributes:
        id: by which it is known.
        names: the name, and the aliases.
        documents: files of texts about the person.
        context: whether a name is enough, as in `ForgetScope`; "" where nothing is said.
        where: says in an error where it stands.
    """

    id: str
    names: tuple[str, ...]
    documents: tuple[Path, ...] = ()
    context: str = ""
    where: str = field(default="", compare=False)

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
            fields `name` and, as far as there are any, `id`, `aliases`, `documents` (paths, relative to the file's
            folder) and `context`, in any case; aliases and documents are lists, or separated by ";". A request without
            an id is called request-1, request-2 and so on, by its row.

    Raises:
        OSError: there is no such file, or one of the documents is missing.
        ValueError: the file is of another kind, holds no names or fields of no known meaning, a row has no name, what
            stands there may be several names, or two have the same id.
    """
    path = Path(source)
    if kind_of(path) == ".txt":
        lines = enumerate(read_lines(path), 1)
        rows = [
            (f"{str(path)!r}, line {number}", _named(line, number, path)) for number, line in lines if line.strip()
        ]
    elif kind_of(path) in ROW_FILES:
        rows = list(rows_of_file(path))
        _check_header(rows, path)
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
    optional = [name for name in _FIELDS[3:] if any(getattr(request, name) for request in requests)]
    fields = (*_FIELDS[:3], *optional)
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, fields, lineterminator="\n")
    if path.suffix == ".csv":
        table.writeheader()
    for request in requests:
        row = {name: value for name, value in _row(request, path.parent).items() if name in fields}
        if path.suffix == ".csv":
            table.writerow(row)
        else:
            text.write(json.dumps(row, ensure_ascii=False) + "\n")
    path.write_text(text.getvalue(), encoding="utf-8")


def _row(request: Request, folder: Path) -> dict[str, str]:
    if several := [name for name in request.names if ";" in name]:
        raise ValueError(f'The name {several[0]!r} of request {request.id!r} holds a ";", which separates names.')
    documents = [os.path.relpath(path, folder) for path in request.documents]
    aliases = list(request.names[1:])
    listed = any(_COMMA.search(alias) for alias in aliases)  # a list says which are one name
    written = json.dumps(aliases, ensure_ascii=False) if listed else ";".join(aliases)
    values = request.id, request.names[0], written, ";".join(documents), request.context
    return dict(zip(_FIELDS, values, strict=True))


def _read_document(path: Path) -> list[str]:
    texts = read_prompts(path) if kind_of(path) in ROW_FILES else [read_text(path)]
    if not any(text.strip() for text in texts):
        raise ValueError(f"{str(path)!r} holds no text.")
    return texts


def _request(row: object, where: str, number: int, folder: Path) -> Request:
    if not isinstance(row, dict):
        raise ValueError(f'{where} is no object with a name. Write e.g. {{"name": "Jane Doe"}}.')
    row = _known_fields(row, where)
    name, key = row.get("name"), row.get("id")
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"{where} has no name.")
    check_one_name(name, where)
    aliases = _several(row.get("aliases"), f"{where} has aliases that are no names")
    if isinstance(row.get("aliases"), str) and not row["aliases"].lstrip().startswith("["):
        _check_aliases(name, aliases, where)
    documents = [folder / path for path in _several(row.get("documents"), f"{where} has documents that are no paths")]
    if missing := [path for path in documents if not path.is_file()]:
        raise FileNotFoundError(f"{where} names the document {str(missing[0])!r}, which is no file.")
    key = f"request-{number}" if is_missing(key) else str(key).strip()
    check_unicode(name, where)
    context = "" if is_missing(row.get("context")) else str(row["context"]).strip().lower()
    return Request(key, (name.strip(), *aliases), tuple(documents), context, where)


def _named(line: str, number: int, path: Path) -> dict[str, str]:
    """The row that a line of a .txt file stands for."""
    if line.lstrip().startswith("#"):
        raise ValueError(
            f"{str(path)!r}, line {number} begins with '#', and every line is taken for a name. Delete the comment."
        )
    return {"name": line}


def _check_header(rows: Sequence[tuple[str, object]], path: Path) -> None:
    """Raises ValueError if a file of columns has some that are not read: they stand in its header, not in a row."""
    if kind_of(path) in (".csv", ".tsv", ".parquet"):
        used = {name: value for _, row in rows if isinstance(row, dict) for name, value in row.items() if value}
        _known_fields(used, f"The header of {str(path)!r}")


def _known_fields(row: dict[str, object], where: str) -> dict[str, Any]:
    """The fields of a row, by their names in small letters; `where` says in an error which row it is.

    Raises:
        ValueError: there is one of no known meaning, or one twice.
    """
    known: dict[str, Any] = {}
    for given, value in row.items():
        field_name = str(given).strip().casefold()
        if field_name in _FIELDS and field_name not in known:
            known[field_name] = value
        elif field_name in known:
            raise ValueError(f"{where} has several fields {field_name!r}. Give each a name of its own.")
        elif not is_missing(value):
            near = difflib.get_close_matches(field_name, _FIELDS, n=1)
            instead = f"Did you mean {near[0]!r}?" if near else "Rename it to the one it stands for."
            instead = f"Known are {', '.join(_FIELDS)}. {instead}"
            raise ValueError(f"{where} has the field {given!r}, which is not read. {instead}")
    return known


def check_one_name(name: str, where: str) -> None:
    """Raises ValueError if `name` may be several, joined by commas. "Doe, Jane" is one, with the last name first, and
    so is a name with a title or a degree behind it; `where` says where it stands."""
    first, *others = [part for part in _COMMA.split(name.strip()) if part] or [""]  # who looks for it says it is blank
    others = [part for part in others if not _OF_THE_SAME.fullmatch(part)]
    if not others:
        return
    particles = len([word for word in first.split()[:-1] if word.islower()])
    words = len(first.split()) - particles
    if len(others) > 1 or words > 2 or (words == 2 and len(others[0].split()) > 1):
        raise ValueError(
            f"{where}: {name.strip()!r} may be one name or several. Write one name without commas, first name first; "
            "give each person a line or option of their own, and other names of a person as aliases, with ';' between "
            "them."
        )


def _check_aliases(name: str, aliases: Sequence[str], where: str) -> None:
    """Raises ValueError if an alias holds a comma, which may separate it from another; "Doe, J." for Jane Doe is
    one."""
    last = _COMMA.split(name)[0].casefold() if _COMMA.search(name) else name.split()[-1].casefold()
    for alias in aliases:
        first, *others = _COMMA.split(alias)
        others = [part for part in others if part and not _OF_THE_SAME.fullmatch(part)]
        if others and not (len(others) == 1 and first.casefold() == last):
            raise ValueError(
                f"{where} has the alias {alias!r}, and a comma does not separate aliases. If these are several, write "
                f"{'; '.join([first, *others])!r}; if it is one name, write it without the comma, first name first."
            )


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
