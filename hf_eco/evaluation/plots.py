"""The reports' pictures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..io.optional import import_extra
from .tasks import TaskResult

if TYPE_CHECKING:
    from .comparison_report import ComparisonReport, ComparisonRow, ModelSummary

_LOWEST_P = 1e-12  # what is below is drawn there
_NO_SHARES = ("perplexity", "exact_prefix", "retain_kl")  # measures that may be above 1
_SWEPT = ("strength", "dims")
_OVER_A_SWEEP = ("answer_probability", "rouge_l_recall", "truth_ratio", "letter_accuracy", "option_accuracy")
_MARKERS = {"strict": "o", "paper": "^"}


def plot_measures(results: Sequence[TaskResult], path: Path) -> Path:
    """All measures from 0 to 1, with their intervals."""
    bars = [
        (f"{result.name}: {name}", estimate)
        for result in results
        for name, estimate in result.measures.items()
        if name not in _NO_SHARES
    ]
    figure, axes = _figure(8, 1 + 0.3 * len(bars))
    for place, (_, estimate) in enumerate(bars):
        axes.barh(place, estimate.value, color="tab:blue")
        if estimate.low is not None and estimate.high is not None:
            axes.plot([estimate.low, estimate.high], [place, place], color="black")
    axes.set_yticks(range(len(bars)), [label for label, _ in bars])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("value, with its 95 % interval")
    return _save(figure, path)


def plot_truth_ratios(ratios: Mapping[str, Sequence[float]], path: Path, title: str = "") -> Path:
    """The distribution functions of truth ratios; forget quality tests whether two of them are one."""
    figure, axes = _figure(7, 4.5)
    for label, values in ratios.items():
        ordered = np.sort(np.asarray(values, dtype=np.float64))
        axes.step(ordered, np.arange(1, len(ordered) + 1) / len(ordered), where="post", label=label)
    axes.set_xscale("log")
    axes.set_xlabel("truth ratio (low: the model knows the truth)")
    axes.set_ylabel("share of the questions")
    axes.set_title(title)
    axes.legend(fontsize="small")
    return _save(figure, path)


def plot_comparison(comparison: ComparisonReport, directory: Path) -> list[Path]:
    """Whatever pictures a comparison gives: the files."""
    files = []
    if any(row.report.model_utility is not None for row in comparison.rows):
        models = comparison.summary()
        for task in comparison.quality_tasks:
            files.append(_plot_trade(models, task, directory / f"forget_quality-{_slug(task)}.png"))
    for task in comparison.truth_ratio_tasks:
        for protocol in dict.fromkeys(row.report.protocol for row in comparison.rows):
            ratios = {
                row.label: row.report[task].column("truth_ratio")
                for row in comparison.rows
                if row.report.protocol == protocol
            }
            path = directory / f"truth_ratios-{_slug(task)}-{protocol}.png"
            files.append(plot_truth_ratios(ratios, path, f"{task}, {protocol}"))
    for over in _SWEPT:
        swept = [row for row in comparison.rows if getattr(row, over) is not None]
        for task in dict.fromkeys(result.name for row in swept for result in row.report.results):
            if measures := [name for name in _OVER_A_SWEEP if name in swept[0].report[task].measures]:
                path = directory / f"{over}-{_slug(task)}.png"
                files.append(_plot_sweep(comparison, over, task, measures, path))
    return files


def _plot_trade(models: Sequence[ModelSummary], task: str, path: Path) -> Path:
    """Forget quality against model utility, a point for each model and protocol."""
    figure, axes = _figure(8, 5)
    colours = {label: f"C{n}" for n, label in enumerate(dict.fromkeys(own.label for own in models))}
    for own in models:
        if task not in own.forget_quality or own.model_utility is None:
            continue
        style = {"marker": _MARKERS[own.protocol], "color": colours[own.label], "alpha": 0.7}
        p = max(own.forget_quality[task].p_value, _LOWEST_P)
        axes.scatter(own.model_utility, p, label=f"{own.label}, {own.protocol}", **style)
    axes.axhline(0.05, color="grey", linestyle=":", label="p = 0.05")
    axes.set_yscale("log")
    axes.set_xlabel("model utility")
    axes.set_ylabel(f"forget quality p, {task}")
    figure.legend(loc="outside right upper", fontsize="x-small")  # the points may lie close together
    return _save(figure, path)


def _plot_sweep(comparison: ComparisonReport, over: str, task: str, measures: Sequence[str], path: Path) -> Path:
    """One task's measures against the strength or the dims, with those of the models beside as lines."""
    swept = [row for row in comparison.rows if getattr(row, over) is not None]
    beside = [row for row in comparison.rows if getattr(row, over) is None]
    figure, panels = _figure(4.5 * len(measures), 4, columns=len(measures))
    for axes, measure in zip(panels, measures, strict=True):
        for protocol in dict.fromkeys(row.report.protocol for row in swept):
            own = [row for row in swept if row.report.protocol == protocol]
            points = sorted((getattr(row, over), _value(row, task, measure)) for row in own)
            axes.plot(*zip(*points, strict=True), marker=_MARKERS[protocol], label=protocol)
        for number, row in enumerate(beside):
            if row.report.protocol == comparison.rows[0].report.protocol:
                axes.axhline(_value(row, task, measure), linestyle=":", color=f"C{number + 3}", label=row.label)
        if min(getattr(row, over) for row in swept) > 0:
            axes.set_xscale("log")
        axes.set_xlabel(over)
        axes.set_title(f"{task}: {measure}", fontsize="small")
        axes.legend(fontsize="x-small")
    return _save(figure, path)


def _value(row: ComparisonRow, task: str, measure: str) -> float:
    return row.report[task].measures[measure].value


def _figure(width: float, height: float, columns: int = 0) -> tuple[Any, Any]:
    """A figure without pyplot's global state, with its axes; a list of them for some columns."""
    figure = import_extra("matplotlib.figure", "eval").Figure(figsize=(width, height), layout="constrained")
    if not columns:
        return figure, figure.subplots()
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def _save(figure: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "_", name).strip("_")
