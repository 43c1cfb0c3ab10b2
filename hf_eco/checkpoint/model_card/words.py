"""What a model card says, in words and numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from huggingface_hub import EvalResult

from ...configuration import Calibration, ForgetScope, in_short
from .known import Measurement, TrainingData

NOT_MEASURED = "not measured"


def scope_rows(
    scopes: Sequence[ForgetScope], training: Mapping[str, TrainingData], alike: Mapping[str, Sequence[str]]
) -> list[dict[str, str]]:
    """What the card says of the scopes. Those by names alone of which it says the same share a row: there may be
    thousands.

    Args:
        scopes: the scopes.
        training: by scope, as far as known.
        alike: where a scope stands for others too, by its name the names of all.
    """
    rows: dict[tuple[tuple[tuple[str, str], ...], str], list[str]] = {}
    for scope in scopes:
        said = tuple(scope_row(scope, training.get(scope.name)).items())
        rows.setdefault((said, "" if scope.untrained else scope.name), []).extend(alike.get(scope.name, (scope.name,)))
    return [{"name": in_short(names), **dict(said)} for (said, _), names in rows.items()]


def scope_row(scope: ForgetScope, training: TrainingData | None) -> dict[str, str]:
    c, how = scope.calibration_in_force, scope.corruption
    rates = (NOT_MEASURED, NOT_MEASURED)
    if c is not None:
        rates = (
            f"{c.fpr:.3f} (≤ {c.fpr_bound:.3f} at {c.confidence:.0%}, n = {c.n_retain})",
            NOT_MEASURED
            if c.fnr is None
            else f"{c.fnr:.3f} (≤ {c.fnr_bound:.3f} at {c.confidence:.0%}, n = {c.n_forget})",
        )
    return {
        "threshold": f"{scope.threshold:.4f}",
        "false_positives": rates[0],
        "false_negatives": rates[1],
        "corruption": f"{how.in_words}, on {scope.tokens}",
        "how_chosen": _how_chosen(scope, c),
        "training": _training(scope, training),
        "how_learnt": _how_learnt(scope),
    }


def _how_chosen(scope: ForgetScope, c: Calibration | None) -> str:
    """Where a scope's threshold comes from, which near misses it was held against and what its band of uncertain
    prompts means."""
    if c is None:
        line = "given; its error rates were not measured."
    elif c.max_fpr is None:
        line = (
            f"given; the false positives were counted on {c.n_retain} prompts outside the scope. The bound (≤) is "
            f"{c.method}, at {c.confidence:.0%} confidence; it speaks of prompts like those."
        )
    else:
        prompts = f"on {c.n_retain} prompts outside the scope" + (f" and {c.n_forget} in it" if c.n_forget else "")
        line = (
            f"{prompts}, none of which the classifier was trained on, for a false positive rate of "
            f"at most {c.max_fpr:g}. The bounds (≤) are {c.method}, each at "
            f"{c.confidence:.0%} confidence; they speak of prompts like those."
        )
        if c.near_fpr is not None:
            line += f" Of {c.n_near} near misses, outside the scope but like it, {c.near_fpr:.3f} are flagged."
    if scope.abstain_threshold is not None and scope.abstain_threshold < scope.threshold:
        line += (
            f" A prompt that scores from {scope.abstain_threshold:.4f} up to the threshold is *uncertain*: it is not "
            "corrupted, but its verdict says so, for the application to refuse, ask or log."
        )
        if c is not None and c.abstain_fnr is not None and c.abstain_threshold == scope.abstain_threshold:
            line += (
                f" {c.abstain_fnr:.3f} (≤ {c.abstain_fnr_bound:.3f} at {c.confidence:.0%}, n = {c.n_forget}) of the "
                f"prompts of the scope score lower still; {c.abstain_retain:.3f} of the prompts outside of it are "
                "uncertain."
            )
    return line


def _training(scope: ForgetScope, data: TrainingData | None) -> str:
    if scope.untrained:
        kept = ", of which hashes are kept" if scope.hashed_names else ""
        by_names = [f"its names{kept}"] if scope.names or scope.hashed_names else []
        by_facts = ["what documents say"] if scope.by_facts else []
        return f"nothing; it is recognised by {' and by '.join([*by_names, *by_facts])}."
    if data is None:
        return "not known; the classifier came without a training report."
    return (
        f"{data.forget} prompts in the scope and {data.retain} outside of it; {data.forget_validation} and "
        f"{data.retain_validation} more decided when to stop."
    )


def _how_learnt(scope: ForgetScope) -> str:
    learned = scope.learned_in_force
    if learned is None:
        return "given, not learnt; what it does to the answers was not measured."
    value, error, unguarded, wanted = (
        f"{number:.4g}"
        for number in (learned.value, learned.standard_error, learned.unguarded, learned.surrogate_value)
    )
    return (
        f"{' and '.join(learned.parameters)} learnt by zeroth-order optimisation from {learned.n_prompts} prompts of "
        f"the scope: their {learned.score.replace('_', ' ')} ({learned.protocol} protocol) is {value} ± {error} with "
        f"the guard and {unguarded} without; that of a model which never learnt the scope is estimated at {wanted} "
        f"({learned.surrogate}). It speaks of prompts like those."
    )


def evaluation_row(row: Measurement) -> dict[str, str]:
    """A figure as a row of the table."""
    interval = "—"
    if row.interval is not None:
        low, high = row.interval
        interval = f"{_number(low)} to {_number(high)} at {row.confidence:.0%}"
    return {
        "task": cell(row.task),
        "model": cell(row.model),
        "metric": cell(row.metric),
        "value": _number(row.value),
        "interval": interval,
    }


def eval_result(row: Measurement) -> EvalResult:
    """A figure as the Hub reads it."""
    return EvalResult(
        task_type="text-generation",
        dataset_type=row.dataset or _slug(row.task),
        dataset_name=row.task,
        metric_type=_slug(row.metric),
        metric_name=row.metric,
        metric_value=float(row.value),
    )


def _number(value: float) -> str:
    return f"{value:.4g}"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def cell(text: str) -> str:
    """`text` for one cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
