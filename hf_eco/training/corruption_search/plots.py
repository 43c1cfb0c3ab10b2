"""A search drawn: the score against what was learnt, the surrogate, and the path between."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ...io.optional import import_extra
from .history import level_of, on_one_curve

if TYPE_CHECKING:
    from .result import CorruptionSearch

PLOT_NAME = "search.png"


def plot_search(found: CorruptionSearch, path: str | os.PathLike[str]) -> None:
    """Draws `found` into an image file, its kind by the ending of `path`.

    Raises:
        ImportError: matplotlib is missing.
    """
    figure = import_extra("matplotlib.figure", "eval").Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    # what was learnt; of a single trial, whatever can be drawn
    fixed = len({trial.level for trial in found.history}) == 1
    over = "dims" if fixed and all(trial.dims for trial in found.history) else "strength"
    xs = [trial.place(over) for trial in found.history]
    scores = [trial.score for trial in found.history]
    ordered = sorted(zip(xs, scores, strict=True))
    if on_one_curve(found.history, over):
        axes.plot(*zip(*ordered, strict=True), color="0.75", zorder=1)
    axes.plot(xs, scores, linestyle=":", linewidth=0.8, color="tab:blue", zorder=2, label="path taken")
    dots = axes.scatter(xs, scores, c=range(1, len(xs) + 1), cmap="viridis", zorder=3)
    figure.colorbar(dots, label="order of the trials")
    axes.axhline(found.surrogate.value, color="tab:red", linestyle="--", label=f"surrogate: {found.surrogate.kind}")
    axes.axhline(found.unguarded, color="0.4", linestyle="-.", label="without the guard")
    chosen = found.corruption.dims if over == "dims" else level_of(found.corruption.strength)
    axes.scatter([chosen], [found.value], marker="*", s=220, color="tab:orange", zorder=4, label="learnt")
    several = over == "strength" and isinstance(found.corruption.strength, list)
    label = "strength (root mean square)" if several else over
    axes.set(xscale="log", xlabel=label, ylabel=found.score, title=f"{found.scope}: {found.corruption.method}")
    axes.legend()
    figure.savefig(path, dpi=120)
