"""What an evaluation found, for programs, for people and on disk."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._version import __version__
from ..guard.plan import ScoringProtocol
from .estimates import Estimate
from .metrics import model_utility
from .tasks import TaskResult

_UTILITY = ("answer_probability", "rouge_l_recall", "truth_ratio")  # of three sets: the nine values


@dataclass(frozen=True)
class EvaluationReport:
    """What one model did at all tasks of a run.

    Attributes:
        model: what the model is called.
        protocol: how answers to flagged prompts were scored.
        results: one for each task, in the order of the run.
        seed: of the bootstrap.
        hf_eco_version: the version that measured.
    """

    model: str
    protocol: ScoringProtocol
    results: list[TaskResult]
    seed: int = 0
    hf_eco_version: str = field(default=__version__)

    def __getitem__(self, task: str) -> TaskResult:
        """The result of the task of that name. Raises KeyError if there is none."""
        for result in self.results:
            if result.name == task:
                return result
        raise KeyError(f"There is no task {task!r}; the report has {[result.name for result in self.results]}.")

    @property
    def model_utility(self) -> float | None:
        """TOFU's model utility: the harmonic mean of probability, ROUGE-L recall and truth ratio on the three sets to
        be retained. None unless there are exactly three tasks of the kind "retain" that measure all of these."""
        sets = [
            [result.measures[name].value for name in _UTILITY]
            for result in self.results
            if result.kind == "retain" and all(name in result.measures for name in _UTILITY)
        ]
        return model_utility([value for own in sets for value in own]) if len(sets) == 3 else None

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Writes the whole report, rows included."""
        write_json(path, dataclasses.asdict(self))

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> EvaluationReport:
        """Reads what `to_json` wrote.

        Raises:
            OSError: there is no such file.
            ValueError: it is no such report.
        """
        return read_report(read_json(path), str(path))

    def to_markdown(self) -> str:
        """How many rows of each task were flagged, and a table of all measures with their 95 % intervals."""
        lines = [f"## {self.model}, protocol {self.protocol}", ""]
        if (utility := self.model_utility) is not None:
            lines += [f"Model utility: {utility:.4f}", ""]
        lines += [f"Rows flagged, {result.name}: {result.flagged_in_words}" + "\n" for result in self.results]
        rows = [
            [result.name, result.kind, name, str(estimate), str(estimate.n)]
            for result in self.results
            for name, estimate in result.measures.items()
        ]
        return "\n".join(lines) + table(["task", "kind", "measure", "value [95 %]", "n"], rows)


def table(header: list[str], rows: list[list[str]]) -> str:
    """A markdown table, with a line end behind it."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]]) + "\n"


def write_json(path: str | os.PathLike[str], values: dict[str, Any]) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: str | os.PathLike[str]) -> Any:
    """
    Raises:
        OSError: there is no such file.
        ValueError: it is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{str(path)!r} is not JSON ({error}), so no report.") from error


def read_report(values: Any, where: str) -> EvaluationReport:
    """A report from what JSON holds of it. Raises ValueError if it is none; `where` says in the error what is read."""
    try:
        results = [
            TaskResult(**{**own, "measures": {name: Estimate(**e) for name, e in own["measures"].items()}})
            for own in values["results"]
        ]
        return EvaluationReport(**{**values, "results": results})
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{where!r} is no report that hf-eco {__version__} reads: {error}.") from error
