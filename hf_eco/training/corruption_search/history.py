"""The corruptions that have been tried, kept on disk so that none is tried twice."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from transformers.utils import logging

logger = logging.get_logger(__name__)

FILE_NAME = "history.jsonl"


@dataclass(frozen=True)
class Trial:
    """A corruption that was tried.

    Attributes:
        strength: its strength, or one for each dimension.
        dims: its dimensions; None for all.
        values: the score of each prompt, or one for all.
    """

    strength: float | tuple[float, ...]
    dims: int | None
    values: tuple[float, ...]

    @property
    def level(self) -> float:
        """Its strength; of several the root mean square."""
        return level_of(self.strength)

    def place(self, over: str) -> float | None:
        """Where it is drawn: by its "dims", or by its "strength"."""
        return self.dims if over == "dims" else self.level

    @property
    def score(self) -> float:
        """The mean of the values."""
        return float(np.mean(self.values))

    @property
    def error(self) -> float:
        """The standard error of that mean; 0 where there is one value alone."""
        n = len(self.values)
        return float(np.std(self.values, ddof=1)) / math.sqrt(n) if n > 1 else 0.0


def read_history(path: Path) -> tuple[dict[str, Any], list[Trial]]:
    """Reads the history of a search: what its trials belong to, and the trials in order. A last line that was not
    written to its end is left out.

    Raises:
        OSError: there is no such file.
        ValueError: it is no such history.
    """
    complete = path.read_bytes().rpartition(b"\n")[0]
    try:
        settings, *rows = [json.loads(line) for line in complete.split(b"\n")]
        trials = [Trial(as_tried(row["strength"]), row["dims"], tuple(map(float, row["values"]))) for row in rows]
        return dict(settings), trials
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{str(path)!r} is no history of a search ({error}). Name the {FILE_NAME} that a search has written; for "
            "a new search, another output_dir."
        ) from error


def on_one_curve(trials: Sequence[Trial], over: str) -> bool:
    """True if nothing but "dims", or but one "strength" for all dimensions, makes the trials' scores differ."""
    alike = not any(isinstance(trial.strength, tuple) for trial in trials) and len({t.dims for t in trials}) == 1
    return over == "dims" or alike


def level_of(strength: float | Sequence[float]) -> float:
    """A strength; of one for each dimension the root mean square."""
    if isinstance(strength, (list, tuple)):
        return math.sqrt(sum(value * value for value in strength) / len(strength))
    return cast(float, strength)


def as_tried(strength: float | Sequence[float]) -> float | tuple[float, ...]:
    """A config's strength as a trial holds it. Raises ValueError if it is none."""
    if isinstance(strength, (list, tuple)) and not strength:
        raise ValueError("a list of strengths is empty")
    return tuple(map(float, strength)) if isinstance(strength, (list, tuple)) else float(cast(float, strength))


class History:
    """Trials in the order in which they were asked for first.

    Args:
        directory: of its file, whose first line says what the trials belong to and each other one holds a trial; None
            to keep them in memory alone.
        settings: what the trials belong to: all that determines their scores but the corruption itself.

    Raises:
        ValueError: the directory holds the history of another search.
    """

    def __init__(self, directory: str | os.PathLike[str] | None, settings: Mapping[str, Any]) -> None:
        self.trials: list[Trial] = []
        self._known: dict[tuple[float | tuple[float, ...], int | None], Trial] = {}
        self._path = None if directory is None else Path(directory) / FILE_NAME
        if self._path is None:
            return
        written = json.loads(json.dumps(settings))
        if self._path.exists() and self._path.stat().st_size > 0:
            self._read(self._path, written)
        else:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._append(written)

    def find(self, strength: float | tuple[float, ...], dims: int | None) -> Trial | None:
        """The trial of that corruption, if there was one."""
        trial = self._known.get((strength, dims))
        if trial is not None and trial not in self.trials:
            self.trials.append(trial)
        return trial

    def add(self, trial: Trial) -> None:
        """Keeps `trial`."""
        self._known[trial.strength, trial.dims] = trial
        self.trials.append(trial)
        self._append({"strength": trial.strength, "dims": trial.dims, "score": trial.score, "values": trial.values})

    def _append(self, row: Mapping[str, Any]) -> None:
        if self._path is not None:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    def _read(self, path: Path, settings: Mapping[str, Any]) -> None:
        known, trials = read_history(path)
        other = {key: (known.get(key), settings.get(key)) for key in {*known, *settings}}
        if different := sorted(key for key, (before, now) in other.items() if before != now):
            said = "; ".join(f"{key} was {other[key][0]!r}, now it is {other[key][1]!r}" for key in different)
            raise ValueError(f"{str(path)!r} is the history of another search: {said}. Name another output_dir.")
        written = path.read_bytes()
        if not written.endswith(b"\n"):  # the run was interrupted while it wrote
            logger.warning(f"The last line of {str(path)!r} is not complete; that corruption is tried again.")
            os.truncate(path, written.rfind(b"\n") + 1)
        self._known = {(trial.strength, trial.dims): trial for trial in trials}
