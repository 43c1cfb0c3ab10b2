"""The page itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from .._version import __version__
from ..checkpoint.loading import read_guard
from ..checkpoint.source import find_guard
from ..configuration import ECOConfig, ForgetScope
from ..data import SHIPPED
from ..evaluation import ComparisonReport
from ..evaluation.comparison_report import ORIGINAL, RETAIN
from .chart import Figure
from .detection import draw_detection
from .examples import Example, examples_from
from .strength import Search, draw_search, read_search
from .trade import draw_trades, summary_rows

_TEMPLATE = "report.html.jinja"


@dataclass(frozen=True)
class WrittenReport:
    """What was written.

    Attributes:
        path: the page.
        not_measured: what the page says was not measured.
    """

    path: Path
    not_measured: list[str]


def write_report(
    model: str | os.PathLike[str],
    output: str | os.PathLike[str] = "report.html",
    *,
    examples: Sequence[Example] = (),
    histories: Sequence[str | os.PathLike[str]] = (),
    comparison: ComparisonReport | str | os.PathLike[str] | None = None,
) -> WrittenReport:
    """Writes a page about a guard: one HTML file that needs nothing else, no network and no scripts.

    Args:
        model: path or Hub id of a guarded checkpoint or a guard. Its config alone is read, and its classifiers where
            the examples come from `comparison`.
        output: the file; one that is there is replaced.
        examples: answers before and after, see [`ask`][hf_eco.report.ask]. Without any, those of `comparison`, if it
            has the original model and another.
        histories: `history.jsonl` of searches for the scopes' corruptions.
        comparison: a report of [`compare`][hf_eco.evaluation.compare], or its JSON file.

    Raises:
        ValueError: the model carries no guard, a file is not what it should be, or a history is of no scope of the
            guard.
        OSError: there is no such model or file.
    """
    model = os.fspath(model)
    eco = find_guard(model).eco
    searches = [read_search(path) for path in histories]
    for path, search in zip(histories, searches, strict=True):
        if search.scope not in (names := [scope.name for scope in eco.scopes]):
            raise ValueError(f"{str(path)!r} is of scope {search.scope!r}; the guard holds {', '.join(names)}.")
    if comparison is not None and not isinstance(comparison, ComparisonReport):
        comparison = ComparisonReport.from_json(comparison)
    if not examples and comparison is not None and (label := _guarded_label(comparison)) is not None:
        examples = examples_from(comparison, read_guard(model), label)
    missing: list[str] = []
    context = {
        "name": model.rstrip("/").rpartition("/")[2] or model,
        "base": _base(eco),
        "version": __version__,
        "scopes": [_scope(scope, [s for s in searches if s.scope == scope.name], missing) for scope in eco.scopes],
        "examples": _examples(examples, missing),
        "comparison": _comparison(comparison, missing),
    }
    text = _environment().get_template(_TEMPLATE).render(context, not_measured=missing)
    path = Path(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return WrittenReport(path, missing)


def _environment() -> jinja2.Environment:
    def load(name: str) -> str:
        return (SHIPPED / name).read_text(encoding="utf-8")

    return jinja2.Environment(
        loader=jinja2.FunctionLoader(load),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _base(eco: ECOConfig) -> str | None:
    base = eco.base_model_name_or_path
    return None if base is None else os.path.basename(base.rstrip("/")) if os.path.isabs(base) else base


def _scope(scope: ForgetScope, searches: Sequence[Search], missing: list[str]) -> dict[str, object]:
    """What the page says of a scope; adds to `missing` what it lacks."""
    detection = draw_detection(scope)
    strengths: list[Figure] = [draw_search(search, scope) for search in searches]
    measured, learned = scope.calibration_in_force, scope.learned_in_force
    if measured is None:
        missing.append(f"the error rates of scope {scope.name} at its threshold (hf-eco calibrate --write)")
    if detection is None:
        missing.append(f"the detection curves of scope {scope.name}: its calibration stores no scores")
    if learned is None:
        missing.append(f"what the corruption of scope {scope.name} does to its answers' score (hf-eco tune)")
    if not strengths:
        missing.append(f"how the score of scope {scope.name} goes with the strength (--history search/history.jsonl)")
    return {
        "name": scope.name,
        "threshold": scope.threshold,
        "tokens": scope.tokens,
        "corruption": scope.corruption,
        "calibration": measured,
        "learned": learned,
        "detection": detection,
        "strengths": strengths,
    }


def _examples(examples: Sequence[Example], missing: list[str]) -> list[tuple[str, list[Example]]]:
    """The examples under their headings."""
    titles = {"forget": "What was forgotten", "retain": "What was kept"}
    found = []
    for kind, title in titles.items():
        own = [example for example in examples if example.kind == kind]
        if not own:
            missing.append(f"{title[0].lower()}{title[1:]}, in examples (--{kind} FILE of prompts)")
        found.append((title, own))
    return found


def _comparison(comparison: ComparisonReport | None, missing: list[str]) -> dict[str, object] | None:
    if comparison is None:
        missing.append("forget quality and utility (hf-eco evaluate -o results.json, then --comparison results.json)")
        return None
    trades = draw_trades(comparison)
    if not trades:
        missing.append(
            "forget quality against model utility: it takes TOFU's forget split, its three sets to be retained, and a "
            "retain model"
        )
    return {
        "trades": trades,
        "quality_tasks": comparison.quality_tasks,
        "summary": summary_rows(comparison),
        "tables": comparison.task_tables(),
    }


def _guarded_label(comparison: ComparisonReport) -> str | None:
    """The first model that is neither the original nor the retain model."""
    others = (row.label for row in comparison.rows if row.label not in (ORIGINAL, RETAIN))
    return next(others, None)
