"""What is forgotten against what is kept, of every model in a comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..evaluation import ComparisonReport
from .chart import Axis, Chart, Figure, Key, powers, ticks

LOWEST_P = 1e-12  # what is below is drawn there
COLOURS = 7  # of the style sheet: c0, c1 ...


@dataclass(frozen=True)
class TaskTable:
    """One task's measures.

    Attributes:
        name: the task's.
        kind: "forget" or "retain".
        measures: the columns.
        rows: a model, its protocol, and each measure in words.
    """

    name: str
    kind: str
    measures: Sequence[str]
    rows: Sequence[tuple[str, str, Sequence[str]]]


def draw_trades(comparison: ComparisonReport) -> list[tuple[str, Figure]]:
    """For each forget task, forget quality against model utility, a point for each model and protocol; none where no
    model has both."""
    tasks = dict.fromkeys(task for row in comparison.rows for task in comparison.forget_quality(row))
    return [(task, figure) for task in tasks if (figure := _draw_trade(comparison, task)) is not None]


def _draw_trade(comparison: ComparisonReport, task: str) -> Figure | None:
    points = []
    for row in comparison.rows:
        quality, utility = comparison.forget_quality(row).get(task), row.report.model_utility
        if quality is not None and utility is not None:
            points.append((row.label, row.report.protocol, utility, quality.p_value))
    if not points:
        return None
    lowest = max(LOWEST_P, min(0.01, *(p for *_, p in points)) / 3)
    low, high = min(u for _, _, u, _ in points), max(u for _, _, u, _ in points)
    margin = max(0.15 * (high - low), 0.02)
    low, high = low - margin, high + margin
    chart = Chart(
        Axis("model utility", low, high, ticks(low, high)),
        Axis("forget quality, p", lowest, 1.6, powers(lowest, 1.0), math.log10),
        f"Forget quality against model utility, {task}",
    )
    chart.horizontal(0.05, "abstain")
    labels = list(dict.fromkeys(label for label, *_ in points))
    keys = []
    for label, protocol, utility, p in points:
        kind, shape = f"c{labels.index(label) % COLOURS}", "triangle" if protocol == "paper" else "circle"
        chart.dot(utility, p, kind, f"{label}, {protocol}: utility {utility:.4f}, p = {p:.3g}", shape, 5)
        keys.append(Key(kind, f"{label}, {protocol}", shape))
    caption = (
        "Top right is best: as useful as before, and no more to be told from a model that never saw the scope (p near "
        "1). Below 0.05 it can be told."
        + (f" What is below {LOWEST_P:g} is drawn there." if min(p for *_, p in points) < LOWEST_P else "")
    )
    return Figure(chart.svg(), [*keys, Key("abstain", "p = 0.05")], caption)


def summary_rows(comparison: ComparisonReport) -> list[tuple[str, ...]]:
    """Of each model and protocol its utility, that relative to the original's, and its forget quality by task."""
    tasks = quality_tasks(comparison)
    rows = []
    for row in comparison.rows:
        qualities = comparison.forget_quality(row)
        values = [row.report.model_utility, comparison.relative_utility(row)]
        values += [qualities[task].p_value if task in qualities else None for task in tasks]
        rows.append((row.label, row.report.protocol, *(_words(value) for value in values)))
    return rows


def quality_tasks(comparison: ComparisonReport) -> list[str]:
    """The tasks that have a forget quality."""
    return list(dict.fromkeys(task for row in comparison.rows for task in comparison.forget_quality(row)))


def task_tables(comparison: ComparisonReport) -> list[TaskTable]:
    """The measures of every task, a table each."""
    tables = []
    for name in dict.fromkeys(result.name for row in comparison.rows for result in row.report.results):
        found = [(row, result) for row in comparison.rows for result in row.report.results if result.name == name]
        measures = list(dict.fromkeys(measure for _, result in found for measure in result.measures))
        rows = [
            (
                row.label,
                row.report.protocol,
                [str(result.measures[m]) if m in result.measures else "not measured" for m in measures],
            )
            for row, result in found
        ]
        tables.append(TaskTable(name, found[0][1].kind, measures, rows))
    return tables


def _words(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4g}"
