"""How the corruption was learnt: the score of each that was tried, and what it should be."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..configuration import ForgetScope
from ..training.corruption_search.history import Trial, as_tried, on_one_curve, read_history
from .chart import Axis, Chart, Figure, Key, powers, ticks


@dataclass(frozen=True)
class Search:
    """The history of a search for one scope's corruption.

    Attributes:
        scope: name of the scope.
        method: of the corruption.
        score: name of the score.
        protocol: how answers were scored.
        surrogate: how the score of a model that never learnt the scope was estimated.
        aim: that estimate.
        tried: in order.
    """

    scope: str
    method: str
    score: str
    protocol: str
    surrogate: str
    aim: float
    tried: Sequence[Trial]


def read_search(path: str | os.PathLike[str]) -> Search:
    """Reads the `history.jsonl` that [`optimize_corruption`][hf_eco.training.optimize_corruption] leaves in its
    `output_dir`; an unfinished last line is left out.

    Raises:
        OSError: there is no such file.
        ValueError: it is no such history, or nothing was tried yet.
    """
    said, tried = read_history(Path(path))
    try:
        words = {name: str(said[name]) for name in ("scope", "method", "score", "protocol", "surrogate")}
        search = Search(**words, aim=float(said["surrogate_value"]), tried=tried)
    except KeyError as error:
        raise ValueError(f"{str(path)!r} is no history of a search: it lacks {error}.") from error
    if not tried:
        raise ValueError(f"{str(path)!r} is the history of a search that has tried nothing yet. Let it go on.")
    return search


def draw_search(search: Search, scope: ForgetScope) -> Figure:
    """The scores against the strength, or against the dims where these were learnt."""
    over = "strength" if len({trial.level for trial in search.tried}) > 1 else "dims"
    shown: list[tuple[float, Trial]] = [
        (float(value), trial) for trial in search.tried if (value := trial.place(over)) is not None and value > 0
    ]
    left_out = len(search.tried) - len(shown)
    learned = scope.learned_in_force
    same = learned is not None and (learned.score, learned.protocol) == (search.score, search.protocol)
    unguarded = learned.unguarded if learned is not None and same else None
    xs = [x for x, _ in shown] or [1.0]
    scores = [end for _, t in shown for end in (t.score - t.error, t.score + t.error)]
    scores += [search.aim, *([unguarded] if unguarded is not None else [])]
    margin = 0.06 * (max(scores) - min(scores)) or 0.1
    low, high = min(scores) - margin, max(scores) + margin
    x = Axis(
        f"{over} (of {search.method})", min(xs) / 1.6, max(xs) * 1.6, powers(min(xs) / 1.6, max(xs) * 1.6), math.log10
    )
    y = Axis(search.score.replace("_", " "), low, high, ticks(low, high))
    chart = Chart(x, y, f"{search.score} of scope {search.scope} against the {over}")
    chart.horizontal(search.aim, "chosen")
    keys = [Key("chosen", f"surrogate: {search.surrogate}, {search.aim:.4g}")]
    if unguarded is not None:
        chart.horizontal(unguarded, "abstain")
        keys.append(Key("abstain", f"without the guard, {unguarded:.4g}"))
    if on_one_curve([trial for _, trial in shown], over):
        chart.line(sorted((x, t.score) for x, t in shown), "forget")
    for x_value, trial in shown:
        if trial.error:
            chart.whisker(x_value, trial.score - trial.error, trial.score + trial.error, "forget")
        said = f"{over} {x_value:g}: {trial.score:.4g} ± {trial.error:.2g}"
        chart.dot(x_value, trial.score, "forget", said)
    keys.append(Key("forget", "tried, ± its standard error", "circle"))
    in_force = scope.corruption
    taken = [(x, t) for x, t in shown if (t.strength, t.dims) == (as_tried(in_force.number), in_force.dims)]
    for x_value, trial in taken[:1]:
        chart.dot(x_value, trial.score, "plain", f"in force: {over} {x_value:g}", "ring", 8)
        keys.append(Key("plain", f"in force, {over} {x_value:.4g}", "ring"))
    caption = f"{len(search.tried)} corruptions were tried, {search.protocol} protocol."
    if left_out:
        caption += f" {left_out} with all dims or none at all are not drawn."
    if not taken:
        caption += " The corruption in force is none of them."
    return Figure(chart.svg(), keys, caption)
