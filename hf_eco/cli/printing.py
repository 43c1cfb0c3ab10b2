"""What the commands print: lines for people, or one JSON document."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from ..configuration import Calibration, ForgetScope
from ..io.terminal import printable

NOT_MEASURED = "not measured"


class _Terminal(Console):
    """Shows what it is given, whatever it holds: the escapes in it are its own."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


console = _Terminal()


def say(*parts: str | tuple[str, str]) -> None:
    """One line, which a pipe gets as one line, of texts that are printed as they are: a path or a prompt may hold
    brackets, which rich would take for markup. A pair is a text and its style."""
    console.print(Text.assemble(*parts), soft_wrap=True)


def print_json(values: Any) -> None:
    """The whole of standard output."""
    print(printable(json.dumps(values, indent=2, ensure_ascii=False), json.dumps))


def scope_values(scope: ForgetScope) -> dict[str, Any]:
    """What is known of a scope, for JSON; without the calibration's single scores, the known answers, and documents,
    which a guard does not keep."""
    values = dataclasses.asdict(scope)
    del values["probes"], values["documents"]
    if scope.calibration is not None:
        values["calibration"] = calibration_values(scope.calibration)
    return values


def calibration_values(calibration: Calibration) -> dict[str, Any]:
    """A calibration without its single scores."""
    values = dataclasses.asdict(calibration)
    return {name: value for name, value in values.items() if name not in ("retain_scores", "forget_scores")}


def bounded(share: float | None, bound: float | None) -> str:
    """An error rate with its upper confidence bound."""
    return NOT_MEASURED if share is None or bound is None else f"{share:.4f} (<= {bound:.4f})"


def rates(threshold: float, calibration: Calibration | None) -> str:
    """One line about a threshold and its measured error rates."""
    if calibration is None:
        return f"Threshold {threshold:.4f}, as given; its error rates were not measured."
    c = calibration
    missed = NOT_MEASURED if c.fnr is None else f"{c.fnr:.4f} (<= {c.fnr_bound:.4f}, n = {c.n_forget})"
    line = (
        f"Threshold {threshold:.4f}: false positive rate {c.fpr:.4f} (<= {c.fpr_bound:.4f}, n = {c.n_retain}), "
        f"false negative rate {missed}, bounds at {c.confidence:.0%} confidence."
    )
    if c.near_fpr is not None:
        line += f" Of {c.n_near} near misses {c.near_fpr:.4f} are flagged."
    if c.abstain_threshold is not None and c.abstain_threshold < threshold:
        line += (
            f" Uncertain from {c.abstain_threshold:.4f}: below that lie {c.abstain_fnr:.4f} (<= "
            f"{c.abstain_fnr_bound:.4f}) of the forget prompts."
        )
    return line


def names_line(names: list[str]) -> str:
    """One line about the names that a classifier looks for, so that a wrong one is seen."""
    if not names:
        return "It looks for no name: none was given, and none stands out in the prompts."
    return f"It looks for the names: {', '.join(names)}. If one is wrong, pass the right ones with --name."


def warn_of_misses(calibration: Calibration | None) -> None:
    """Says so where a guard overlooks a good part of its scope."""
    if calibration is not None and calibration.fnr is not None and calibration.fnr > 0.2:
        say(
            (f"It misses {calibration.fnr:.0%} of the forget prompts kept aside.", "bold red"),
            " Add prompts of both kinds, or allow more false positives with --max-fpr.",
        )
