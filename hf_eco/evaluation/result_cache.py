"""Results that are not computed twice: rows of a file, found by a hash of all that determines them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from transformers.utils import logging

logger = logging.get_logger(__name__)

FILE_NAME = "results.jsonl"
_OPEN: WeakValueDictionary[Path, ResultCache] = WeakValueDictionary()


class ResultCache:
    """Values by key, kept in memory and, where there is a directory, in its `results.jsonl`, one line each.

    A line is written as soon as its value is known, so an interrupted run loses at most the batch it was at. Use
    `ResultCache.open` to share what several scorers of one process find out.

    Args:
        directory: created if need be. None to keep the values in memory alone.
    """

    def __init__(self, directory: str | os.PathLike[str] | None = None) -> None:
        self._values: dict[str, Any] = {}
        self.path = None if directory is None else Path(directory) / FILE_NAME
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._read(self.path)

    @classmethod
    def open(cls, where: str | os.PathLike[str] | ResultCache | None) -> ResultCache:
        """The cache of a directory, the same one for all who have it open; a cache as it is; a new one for None."""
        if isinstance(where, ResultCache):
            return where
        if where is None:
            return cls()
        key = Path(where).resolve()
        cache = _OPEN.get(key)
        if cache is None or not key.is_dir():  # somebody has deleted it to begin anew
            cache = _OPEN[key] = cls(where)
        return cache

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __len__(self) -> int:
        return len(self._values)

    def update(self, values: Mapping[str, Any]) -> None:
        """Keeps `values`, which json can write."""
        self._values.update(values)
        if self.path is not None and values:
            lines = "".join(json.dumps({"key": key, "value": value}) + "\n" for key, value in values.items())
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(lines)

    def _read(self, path: Path) -> None:
        if not path.exists():
            return
        text = path.read_text(encoding="utf-8")
        damaged = 0
        for line in text.split("\n"):
            try:
                row = json.loads(line) if line else None
                if row is not None:
                    self._values[row["key"]] = row["value"]
            except (json.JSONDecodeError, TypeError, KeyError):
                damaged += 1
        if damaged:
            logger.warning(f"{damaged} lines of {str(path)!r} cannot be read; what they held is computed again.")
        if text and not text.endswith("\n"):  # the run was interrupted while it wrote
            with open(path, "a", encoding="utf-8") as file:
                file.write("\n")


def key_of(*parts: Any) -> str:
    """A key from whatever determines a value, as far as json can write it."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
