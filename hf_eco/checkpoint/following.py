"""A running process that follows a guard on disk.

Between requests, at most so often, the files of the guard are looked at. Where they have changed, the guard is read
anew: config.json and its scopes whole, of the classifiers those whose files are others than before. A version that
cannot be trusted never takes over, and is never passed over in silence.
"""

from __future__ import annotations

import dataclasses
import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from transformers.utils import logging

from ..errors import GuardError, GuardLoadError
from ..guard.guard import Guard
from ..io.directories import check_directory
from .format import CONFIG_NAME
from .loading import load_guard
from .source import GuardSource, find_guard
from .writing import folders_of

logger = logging.get_logger(__name__)

_Files = tuple[tuple[str, int, int, int], ...]  # name, inode, size and time of change of each


class GuardFollower:
    """Follows the guard in a directory; made by `model.follow_guard`.

    Attributes:
        directory: of the guard.
        every: seconds between two looks at it; None to look at `refresh()` alone.
        error: why the guard in charge is not the one on disk; None if it is. For a server to read.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        every: float | None,
        put_in_charge: Callable[[Guard], None],
        stopped: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_directory(directory)
        if every is not None and not 0 <= every < math.inf:  # by what is no number it would never look
            raise ValueError(f"every is a number of seconds, got every={every}. Use e.g. every=1.0.")
        self.directory = os.path.abspath(directory)
        self.every = every
        self.error: Exception | None = None
        self._put_in_charge = put_in_charge
        self._stopped = stopped
        self._clock = clock
        self._looking = threading.Lock()
        self._at_an_end = False
        self._looked = clock()
        self._seen: dict[str, _Files] = {}  # of the version in charge: of the directory's root, "", and each folder
        self._loaded: dict[tuple[type, str], Any] = {}
        self._base: tuple[Any, ...] | None = None

    def start(self, guard: Guard) -> None:
        """Puts the guard of today in charge.

        Args:
            guard: the one in charge before, with the model's tokenizer and its base model.

        Raises:
            OSError: it cannot be trusted.
            ValueError: there is none, or it does not fit the model.
        """
        self._guard = guard
        with self._looking:
            self._read()

    def look(self) -> None:
        """Looks at the directory if it is time to, and nobody else does."""
        if self.is_due and self._looking.acquire(blocking=False):
            try:
                self._refresh()
            finally:
                self._looking.release()

    @property
    def is_due(self) -> bool:
        """Whether it is time to look at the directory."""
        return self.every is not None and self._clock() - self._looked >= self.every

    def refresh(self) -> bool:
        """Looks at the directory now.

        Returns:
            True if the guard in charge is the one on disk; if not, `error` says why.

        Raises:
            GuardError: it was stopped.
        """
        with self._looking:
            if self._at_an_end:
                raise GuardError(f"The guard in {self.directory!r} is not followed any more. Call follow_guard again.")
            self._refresh()
            return self.error is None

    def stop(self) -> None:
        """Follows no more; the guard in charge stays."""
        with self._looking:
            self.every, self._at_an_end = None, True
            self._stopped()

    def __enter__(self) -> GuardFollower:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "stopped" if self._at_an_end else "up to date" if self.error is None else f"error={self.error!r}"
        return f"GuardFollower({self.directory!r}, every={self.every}, {state})"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_looking"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _looking=threading.Lock())

    def _refresh(self) -> None:
        self._looked = self._clock()
        try:
            if self.error is not None or {folder: self._files(folder) for folder in self._seen} != self._seen:
                self._read()
        except Exception as error:  # whatever is wrong with it, requests go on by the guard there is
            self.error = error
            logger.error(f"The guard in {self.directory!r} was changed, and the guard before stays in charge: {error}")
        else:
            self.error = None

    def _read(self) -> None:
        """Loads the guard in the directory and puts it in charge."""
        root = self._files("")  # before the files are read: what changes meanwhile is seen at the next look
        source = find_guard(self.directory)
        seen = {"": root} | {folder: self._files(folder) for folder in sorted(folders_of(source.eco.scopes))}
        base = (source.eco.base_model_name_or_path, source.eco.base_subfolder)
        if self._base is not None and base != self._base:
            raise GuardLoadError(
                f"It was made for the base model {base[0]!r}, the one before for {self._base[0]!r}. Load the model "
                "anew, or put the right guard back."
            )
        kept = {key: model for key, model in self._loaded.items() if seen.get(key[1]) == self._seen.get(key[1])}
        guard = self._load(source, kept)
        self._put_in_charge(guard)
        self._guard, self._seen, self._base = guard, seen, base
        self._loaded = {key: model for key, model in kept.items() if key[1] in seen}

    def _load(self, source: GuardSource, loaded: dict[tuple[type, str], Any]) -> Guard:
        before = self._guard.config
        eco = dataclasses.replace(
            source.eco,
            base_model_name_or_path=before.base_model_name_or_path,  # where the model at hand came from
            base_revision=before.base_revision,
            base_subfolder=before.base_subfolder,
            guard_only=False,
        )
        return load_guard(eco, self._guard.tokenizer, {}, {}, source, loaded=loaded, names=self._guard.names)

    def _files(self, folder: str) -> _Files:
        """What tells one version of the files apart from the next: of the guard's folder, or "" for its config."""
        where = Path(self.directory, folder)
        paths = sorted(where.iterdir()) if folder else [where / CONFIG_NAME]
        return tuple((path.name, s.st_ino, s.st_size, s.st_mtime_ns) for path in paths for s in [path.stat()])
