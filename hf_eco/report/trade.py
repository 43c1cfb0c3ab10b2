"""What is forgotten against what is kept, of every model in a comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..evaluation import ComparisonReport, ModelSummary
from .chart import Axis, Chart, Figure, Key, powers, ticks

LOWEST_P = 1e-12  # what is below is drawn there
COLOURS = 7  # of the style sheet: c0, c1 ...


def draw_trades(comparison: ComparisonReport) -> list[tuple[str, Figure]]:
    """For each forget task, forget quality against model utility, a point for each model and protocol; none where no
    model has both."""
    models = comparison.summary()
    return [(task, figure) for task in comparison.quality_tasks if (figure := _draw_trade(models, task)) is not None]


def _draw_trade(models: Sequence[ModelSummary], task: str) -> Figure | None:
    points = [
        (own.label, own.protocol, own.model_utility, own.forget_quality[task].p_value)
        for own in models
        if task in own.forget_quality and own.model_utility is not None
    ]
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
    rows = []
    for own in comparison.summary():
        qualities = [own.forget_quality.get(task) for task in comparison.quality_tasks]
        values = [own.model_utility, own.relative_utility, *(found and found.p_value for found in qualities)]
        rows.append((own.label, own.protocol, *(_words(value) for value in values)))
    return rows


def _words(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4g}"
