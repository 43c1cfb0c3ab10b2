"""What a comparison of several models found, for programs, for people and on disk."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass

from ..guard.plan import ScoringProtocol
from .estimates import Estimate
from .evaluation_report import EvaluationReport, read_json, read_report, table, write_json
from .metrics import ForgetQuality, forget_quality
from .tasks import Kind, TaskResult

ORIGINAL = "original"  # the label of the model that knows everything; utility is relative to its
RETAIN = "retain"  # the label of the model that never saw the forget set; forget quality compares with it


@dataclass(frozen=True)
class ComparisonRow:
    """One model under one protocol.

    Attributes:
        label: what the model is called in the comparison.
        report: what it did.
        strength: that of its corruption, in a sweep of strengths.
        dims: those of its corruption, in a sweep of dims.
    """

    label: str
    report: EvaluationReport
    strength: float | None = None
    dims: int | None = None


@dataclass(frozen=True)
class ModelSummary:
    """What one row of a comparison comes to.

    Attributes:
        label: what the model is called.
        protocol: how its answers to flagged prompts were scored.
        model_utility: as in [`EvaluationReport`][hf_eco.evaluation.EvaluationReport]; None where it is unknown.
        relative_utility: that divided by the original's; None where it is unknown.
        forget_quality: by task; tasks without one are left out.
    """

    label: str
    protocol: ScoringProtocol
    model_utility: float | None
    relative_utility: float | None
    forget_quality: dict[str, ForgetQuality]


@dataclass(frozen=True)
class TaskLine:
    """What one model did at one task: the values of the table's measures, None where it lacks one, of how many rows,
    and how many of those the guard flagged, in words."""

    label: str
    protocol: ScoringProtocol
    values: list[Estimate | None]
    n: int
    flagged: str


@dataclass(frozen=True)
class TaskTable:
    """What all models did at one task.

    Attributes:
        name: the task's.
        kind: "forget" or "retain".
        measures: the names of the columns.
        lines: one for each row of the comparison that has the task.
    """

    name: str
    kind: Kind
    measures: list[str]
    lines: list[TaskLine]


@dataclass(frozen=True)
class ComparisonReport:
    """Several models at the same tasks.

    Attributes:
        rows: one for each model and protocol. The one called "original" knows everything, and utility is relative to
            its; the one called "retain" never saw the forget set, and forget quality compares with it.
    """

    rows: list[ComparisonRow]

    def row(self, label: str, protocol: ScoringProtocol) -> ComparisonRow:
        """The row of a model under a protocol. Raises KeyError if there is none."""
        found = self._find(label, protocol)
        if found is None:
            raise KeyError(f"{label!r} has not been measured under {protocol!r}. There are {self._labels()}.")
        return found

    def forget_quality(self, row: ComparisonRow) -> dict[str, ForgetQuality]:
        """By forget task with truth ratios: could this model's be the retain model's? Empty without a retain model."""
        retain = self._find(RETAIN, row.report.protocol)
        if retain is None:
            return {}
        return {
            result.name: forget_quality(result.column("truth_ratio"), retain.report[result.name].column("truth_ratio"))
            for result in _with_truth_ratios(row)
        }

    @property
    def quality_tasks(self) -> list[str]:
        """The names of the forget tasks that have a forget quality: those with truth ratios, under a protocol under
        which the retain model was measured too."""
        known = {row.report.protocol for row in self.rows if row.label == RETAIN}
        measured = [row for row in self.rows if row.report.protocol in known]
        return list(dict.fromkeys(result.name for row in measured for result in _with_truth_ratios(row)))

    def relative_utility(self, row: ComparisonRow) -> float | None:
        """Model utility divided by the original's. None where either is unknown, or the original has none."""
        original = self._find(ORIGINAL, row.report.protocol)
        utility, best = row.report.model_utility, original and original.report.model_utility
        return utility / best if utility is not None and best else None

    def summary(self) -> list[ModelSummary]:
        """Utility and forget quality of every row."""
        return [
            ModelSummary(
                row.label,
                row.report.protocol,
                row.report.model_utility,
                self.relative_utility(row),
                self.forget_quality(row),
            )
            for row in self.rows
        ]

    def task_tables(self) -> list[TaskTable]:
        """The measures of every task, a table each."""
        found: dict[str, list[tuple[ComparisonRow, TaskResult]]] = {}
        for row in self.rows:
            for result in row.report.results:
                found.setdefault(result.name, []).append((row, result))
        tables = []
        for name, pairs in found.items():
            measures = list(dict.fromkeys(measure for _, result in pairs for measure in result.measures))
            lines = [
                TaskLine(
                    row.label,
                    row.report.protocol,
                    [result.measures.get(m) for m in measures],
                    len(result.rows),
                    result.flagged_in_words,
                )
                for row, result in pairs
            ]
            tables.append(TaskTable(name, pairs[0][1].kind, measures, lines))
        return tables

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Writes the whole comparison, all rows of all tasks included."""
        write_json(path, dataclasses.asdict(self))

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> ComparisonReport:
        """Reads what `to_json` wrote.

        Raises:
            OSError: there is no such file.
            ValueError: it is no comparison.
        """
        values = read_json(path)
        try:
            rows = [
                ComparisonRow(**{**row, "report": read_report(row["report"], str(path))}) for row in values["rows"]
            ]
            return cls(**{**values, "rows": rows})
        except (TypeError, KeyError) as error:
            raise ValueError(
                f"{str(path)!r} is no comparison of models ({error}). Take what compare() or hf-eco evaluate --output "
                "wrote."
            ) from error

    def to_markdown(self) -> str:
        """A table of forget quality and utility, then a table of each task's measures with their 95 % intervals, and
        of how many rows were flagged."""
        tasks = self.quality_tasks
        lines = []
        for own in self.summary():
            qualities = [own.forget_quality[task].p_value if task in own.forget_quality else None for task in tasks]
            values = [*qualities, own.model_utility, own.relative_utility]
            lines.append([own.label, own.protocol, *("" if v is None else f"{v:.4g}" for v in values)])
        header = ["model", "protocol", *(f"forget quality p, {task}" for task in tasks)]
        parts = [table([*header, "model utility", "/ original's"], lines)]
        for found in self.task_tables():
            lines = [
                [line.label, line.protocol, *("" if v is None else str(v) for v in line.values), line.flagged]
                for line in found.lines
            ]
            parts.append(f"### {found.name}\n\n{table(['model', 'protocol', *found.measures, 'rows flagged'], lines)}")
        return "\n".join(parts)

    def _find(self, label: str, protocol: ScoringProtocol) -> ComparisonRow | None:
        return next((row for row in self.rows if (row.label, row.report.protocol) == (label, protocol)), None)

    def _labels(self) -> list[tuple[str, str]]:
        return [(row.label, row.report.protocol) for row in self.rows]


def _with_truth_ratios(row: ComparisonRow) -> Iterator[TaskResult]:
    """What a model did at the forget tasks that have truth ratios."""
    for result in row.report.results:
        if result.kind == "forget" and "truth_ratio" in result.measures:
            yield result
