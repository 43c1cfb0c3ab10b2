"""Several models at the same tasks: what has been forgotten, and at what price."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from ..plan import Protocol
from .metrics import ForgetQuality, forget_quality
from .report import EvaluationReport, read_json, read_report, table, write_json
from .result_cache import ResultCache
from .runner import evaluate
from .tasks import Reference, Task


@dataclass(frozen=True)
class ComparisonRow:
    """One model under one protocol.

    Attributes:
        label: what the model is called in the comparison.
        report: what it did.
        strength: that of its corruption, in the sweep of one.
    """

    label: str
    report: EvaluationReport
    strength: float | None = None


@dataclass(frozen=True)
class ComparisonReport:
    """Several models at the same tasks.

    Attributes:
        rows: one for each model and protocol.
        original: the label of the model that knows everything; utility is relative to its.
        retain: the label of the model that never saw the forget set; forget quality compares with it.
    """

    rows: list[ComparisonRow]
    original: str = "original"
    retain: str = "retain"

    def row(self, label: str, protocol: Protocol) -> ComparisonRow:
        """The row of a model under a protocol. Raises KeyError if there is none."""
        found = self._find(label, protocol)
        if found is None:
            raise KeyError(f"{label!r} has not been measured under {protocol!r}. There are {self._labels()}.")
        return found

    def forget_quality(self, row: ComparisonRow) -> dict[str, ForgetQuality]:
        """By forget task with truth ratios: could this model's be the retain model's? Empty without a retain model."""
        retain = self._find(self.retain, row.report.protocol)
        if retain is None:
            return {}
        return {
            result.name: forget_quality(result.column("truth_ratio"), retain.report[result.name].column("truth_ratio"))
            for result in row.report.results
            if result.kind == "forget" and "truth_ratio" in result.measures
        }

    def relative_utility(self, row: ComparisonRow) -> float | None:
        """Model utility divided by the original's. None where either is unknown, or the original has none."""
        original = self._find(self.original, row.report.protocol)
        utility, best = row.report.model_utility, original and original.report.model_utility
        return utility / best if utility is not None and best else None

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
            raise ValueError(f"{str(path)!r} is no comparison: {error}.") from error

    def to_markdown(self) -> str:
        """A table of forget quality and utility, then a table of each task's measures with their 95 % intervals."""
        forget = list(dict.fromkeys(task for row in self.rows for task in self.forget_quality(row)))
        lines = []
        for row in self.rows:
            qualities = self.forget_quality(row)
            values = [qualities[task].p_value if task in qualities else None for task in forget]
            values += [row.report.model_utility, self.relative_utility(row)]
            lines.append([row.label, row.report.protocol, *("" if v is None else f"{v:.4g}" for v in values)])
        header = ["model", "protocol", *(f"forget quality p, {task}" for task in forget)]
        parts = [table([*header, "model utility", "/ original's"], lines)]
        for name in dict.fromkeys(result.name for row in self.rows for result in row.report.results):
            parts.append(f"### {name}\n\n{self._task_table(name)}")
        return "\n".join(parts)

    def plot(self, directory: str | os.PathLike[str]) -> list[Path]:
        """Draws, as .png files, forget quality against model utility, each forget task's truth ratios under each
        protocol, and the measures against the strength in a sweep; whichever have been measured.

        Returns:
            The files.

        Raises:
            ImportError: matplotlib is missing.
        """
        from .plots import plot_comparison

        return plot_comparison(self, Path(directory))

    def _task_table(self, name: str) -> str:
        found = [(row, result) for row in self.rows for result in row.report.results if result.name == name]
        measures = list(dict.fromkeys(measure for _, result in found for measure in result.measures))
        lines = [
            [
                row.label,
                row.report.protocol,
                *(str(result.measures[m]) if m in result.measures else "" for m in measures),
                str(len(result.rows)),
            ]
            for row, result in found
        ]
        return table(["model", "protocol", *measures, "n"], lines)

    def _find(self, label: str, protocol: Protocol) -> ComparisonRow | None:
        return next((row for row in self.rows if (row.label, row.report.protocol) == (label, protocol)), None)

    def _labels(self) -> list[tuple[str, str]]:
        return [(row.label, row.report.protocol) for row in self.rows]


def compare(
    models: Mapping[str, Any],
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[Task],
    *,
    original: str = "original",
    retain: str = "retain",
    protocols: Sequence[Protocol] = ("strict", "paper"),
    batch_size: int = 16,
    cache_dir: str | os.PathLike[str] | ResultCache | None = None,
    reference: Reference | None = None,
    seed: int = 0,
) -> ComparisonReport:
    """Measures several models at the same tasks.

    What a guard leaves alone is computed once for a model and all guarded variants and baselines of it; the second
    protocol costs the scored answers to flagged prompts, and nothing at all for an unguarded model.

    Args:
        models: models and baselines, by the label each is to have.
        tokenizer: that of all of them.
        tasks: as for [`evaluate`][hf_eco.evaluation.evaluate].
        original: the label of the model that knows everything. Without such a model there is no relative utility.
        retain: the label of the model that never saw the forget set. Without such a model there is no forget quality.
        protocols: "strict", "paper" or both.
        batch_size: as for `evaluate`.
        cache_dir: as for `evaluate`.
        reference: as for `evaluate`.
        seed: as for `evaluate`.

    Raises:
        ValueError: there are no models or no protocols, or as `evaluate`.
    """
    if not models or not protocols or isinstance(protocols, str):
        raise ValueError(f"compare() wants models and a list of protocols, got {list(models)} and {protocols!r}.")
    options: dict[str, Any] = {"batch_size": batch_size, "reference": reference, "seed": seed}
    cache = ResultCache.open(cache_dir)
    rows = [
        ComparisonRow(label, evaluate(model, tokenizer, tasks, protocol, cache_dir=cache, name=label, **options))
        for label, model in models.items()
        for protocol in protocols
    ]
    return ComparisonReport(rows, original, retain)


def sweep_strength(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[Task],
    strengths: Sequence[float],
    *,
    scope: str | None = None,
    others: Mapping[str, Any] | None = None,
    **options: Any,
) -> ComparisonReport:
    """Measures a guarded model with one scope's corruption at several strengths; afterwards it is as it was.

    Args:
        model: a guarded model.
        tokenizer: the model's.
        tasks: as for [`evaluate`][hf_eco.evaluation.evaluate].
        strengths: the strengths, 0 or more.
        scope: the scope's name; may be None if there is only one.
        others: models by label to compare with, such as "original" and "retain".
        options: as for [`compare`][hf_eco.evaluation.compare].

    Raises:
        ValueError: there are no strengths, one is negative, or there are several scopes and none is named.
        KeyError: there is no such scope.
    """
    config = model.eco_guard.config
    if not strengths or (scope is None and len(config.scopes) != 1):
        names = [own.name for own in config.scopes]
        raise ValueError(f"Name one scope and some strengths, got scope={scope!r} of {names} and {list(strengths)}.")
    swept = config.scopes[0] if scope is None else config.scope(scope)
    before = swept.corruption
    corruptions = [dataclasses.replace(before, strength=strength) for strength in strengths]
    options["cache_dir"] = ResultCache.open(options.get("cache_dir"))
    found = compare(others, tokenizer, tasks, **options) if others else None
    rows = list(found.rows) if found else []
    try:
        for corruption in corruptions:
            swept.corruption = corruption
            label = f"strength {corruption.strength:g}"
            single = compare({label: model}, tokenizer, tasks, **options)
            rows += [dataclasses.replace(row, strength=corruption.strength) for row in single.rows]
    finally:
        swept.corruption = before
    return ComparisonReport(rows, options.get("original", "original"), options.get("retain", "retain"))
