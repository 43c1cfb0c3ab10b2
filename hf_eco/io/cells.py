"""What a row holds: a text, a list of texts, or a chat; and what its columns are called."""

from __future__ import annotations

import ast
import difflib
import io
import json
import tokenize
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from .text_files import check_unicode

# Columns tried in this order where the user names none.
PROMPT_COLUMNS = ("prompt", "question", "query", "instruction", "text")
CHAT_COLUMNS = ("messages", "conversations")
ANSWER_COLUMNS = ("answer", "labels", "gt", "response", "output")
WRONG_COLUMNS = ("perturbed_answer",)

Values = Mapping[str, Any]


def column_in(row: Any, named: str | None, known: Sequence[str], where: str, option: str) -> str:
    """What a column is called in a row: as the user named it, or else as the first of the `known` names that there is.

    Args:
        row: the row.
        named: the name that the user gave, None for none.
        known: names to try.
        where: says in the error which row it is.
        option: what the user names the column by on the command line, e.g. "answer".

    Raises:
        ValueError: there is no such column, or the row has no columns.
    """
    if not isinstance(row, Mapping):
        raise ValueError(f"{where}: expected an object with columns, got {repr(row)[:80]}.")
    wanted = known if named is None else (named,)
    found = next((own for name in wanted if (own := _own_name(row, name)) is not None), None)
    if found is None:
        argument = "column" if option == "column" else f"{option}_column"
        close = [own for name in wanted for own in difflib.get_close_matches(name, map(str, row), n=1)]
        near = f"Did you mean {close[0]!r}? " if close else ""
        raise ValueError(
            f"{where}: there is no column {' or '.join(map(repr, wanted))} among {list(row)}. {near}Name the column: "
            f"{argument}=..., or FILE,{option}=... on the command line."
        )
    return found


def _own_name(row: Values, column: str) -> str | None:
    """What a row calls a column: it may differ in case; None if there is no such column."""
    if has_column(row, column):
        return column
    return next((own for own in row if isinstance(own, str) and own.strip().casefold() == column.casefold()), None)


def has_column(row: Values, column: str) -> bool:
    """Whether a row has a column, see `value_of`."""
    try:
        value_of(row, column, "")
    except ValueError:
        return False
    return True


def value_of(row: Values, column: str, where: str) -> Any:
    """The value of a column; "choices.text" is the value `text` of the column `choices`.

    Raises:
        ValueError: there is no such column; `where` says in the error which row it is.
    """
    if column in row:
        return row[column]
    value: Any = row
    for name in column.split("."):
        if not isinstance(value, Mapping) or name not in value:
            raise ValueError(f"{where}: there is no column {column!r} among {sorted(row)}. Name the right one.")
        value = value[name]
    return value


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: None, NaN, or white space."""
    return (
        value is None
        or (isinstance(value, float) and value != value)
        or (isinstance(value, str) and not value.strip())
    )


def text_of(row: Values, column: str, where: str) -> str:
    """The text in a column. Raises ValueError if there is none."""
    value = value_of(row, column, where)
    if not isinstance(value, str) or is_missing(value):
        raise ValueError(f"{where}: column {column!r} holds {value!r}, where a text is needed.")
    return check_unicode(value, f"{where}: column {column!r}")


def texts_of(row: Values, column: str, where: str) -> list[str]:
    """The texts in a column: a list; a list as text, as JSON or pandas writes it into a .csv file; or one text alone.
    Empty where the cell holds nothing.

    Raises:
        ValueError: what looks like a list cannot be read, or holds something else than texts.
    """
    value = value_of(row, column, where)
    if is_missing(value):
        return []
    texts = list_in(value, f"{where}: column {column!r}") if isinstance(value, str) else value
    if not isinstance(texts, (list, tuple)) or not all(isinstance(t, str) and not is_missing(t) for t in texts):
        raise ValueError(f"{where}: column {column!r} holds {value!r}, where a list of texts is needed.")
    return [check_unicode(text, f"{where}: column {column!r}") for text in texts]


def prompt_of(row: Values, column: str, where: str) -> str | None:
    """The prompt in a column: a text, or what the user says in a chat of one turn; None where the cell holds nothing.

    A chat is a list of messages, {"role": "user", "content": ...} or {"from": "human", "value": ...}. What the system
    and the assistant say is left out.

    Raises:
        ValueError: the cell holds something else, or a chat in which the user speaks several times or not at all.
    """
    value = value_of(row, column, where)
    if is_missing(value):
        return None
    if isinstance(value, str) and (column not in CHAT_COLUMNS or not value.lstrip().startswith("[")):
        return check_unicode(value, f"{where}: column {column!r}")
    messages = list_in(value, f"{where}: column {column!r}") if isinstance(value, str) else value
    if not isinstance(messages, (list, tuple)) or not all(isinstance(message, Mapping) for message in messages):
        raise ValueError(f"{where}: column {column!r} holds {value!r}, which is neither a text nor a chat.")
    said = [
        message.get("content", message.get("value"))
        for message in messages
        if message.get("role", message.get("from")) in ("user", "human")
    ]
    if len(said) != 1:
        raise ValueError(
            f"{where}: the user speaks {len(said)} times in the chat of column {column!r}, and a prompt is one text. "
            "Write the prompt into a column of its own, and name that."
        )
    text = _content(said[0])
    if text is None:
        raise ValueError(f"{where}: column {column!r} holds a message without text, {said[0]!r}. Leave the row out.")
    return None if is_missing(text) else check_unicode(text, f"{where}: column {column!r}")


def _content(content: Any) -> str | None:
    """The text of a message: it, or its parts; None where one is something else."""
    if isinstance(content, (list, tuple)):
        parts = [part.get("text") for part in content if isinstance(part, Mapping) and part.get("type") == "text"]
        texts = [part for part in parts if isinstance(part, str)]
        return "\n".join(texts) if len(texts) == len(content) else None
    return content if isinstance(content, str) else None


def list_in(cell: str, where: str) -> Any:
    """The list that a cell of a .csv file holds as text; a list of the text itself where it does not look like one.

    Raises:
        ValueError: it looks like one and cannot be read.
    """
    text = cell.strip()
    if not text.startswith(("[", "array(")):
        return [cell]
    for read in (json.loads, _python_list):
        try:
            found = read(text)
        except (ValueError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError):
            continue
        if isinstance(found, list):
            return found
    raise ValueError(
        f"{where} holds {cell[:80]!r}, which looks like a list and cannot be read as one. Write lists as JSON, "
        '["a", "b"]; or use .jsonl or .parquet.'
    )


def _python_list(text: str) -> Any:
    """The list that Python writes so. Raises ValueError where two strings stand side by side, as numpy writes arrays:
    Python would make one of them."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    kinds = [token.type for token in tokens if token.type != tokenize.NL]
    if any(pair == (tokenize.STRING, tokenize.STRING) for pair in pairwise(kinds)):
        raise ValueError("strings without a comma between them")
    return ast.literal_eval(text)
