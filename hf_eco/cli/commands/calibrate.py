"""calibrate: the threshold of a guard, held against new prompts."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from ...configuration import Calibration
from ...io import PromptSource
from ...io.directories import check_directory
from ..application import MAKE, app, for_example
from ..arguments import AsJson, Guarded, ScopeChoice, choose_scope, prompts_at, refuse_ignored, scopes_of
from ..printing import bounded, calibration_values, console, print_json, say, warn_of_misses

if TYPE_CHECKING:
    from ...training import CalibrationCheck, Recalibration

OUTDATED = 3  # exit status where a stored calibration no longer fits the prompts


@app.command(
    rich_help_panel=MAKE,
    epilog=for_example(
        "hf-eco calibrate guarded --retain todays-prompts.jsonl",
        "hf-eco calibrate guarded --retain todays-prompts.jsonl --write",
        "hf-eco calibrate guarded --retain todays-prompts.jsonl --forget new-forget.jsonl --max-fnr 0.05 --write",
    ),
)
def calibrate(
    model: Guarded,
    retain: Annotated[
        PromptSource, prompts_at("New prompts outside the scope: .txt, .jsonl, .csv ... or a data set id.")
    ],
    forget: Annotated[
        PromptSource | None,
        prompts_at(
            "New prompts in the scope. Without them a calibration is checked only; where there is none, or with "
            "--write, a new one bounds false positives alone."
        ),
    ] = None,
    near: Annotated[
        PromptSource | None, prompts_at("Near misses: prompts that look like the scope but are outside of it.")
    ] = None,
    scope: ScopeChoice = None,
    max_fpr: Annotated[
        float | None, typer.Option(help="Highest false positive rate. \\[default: as before, else 0.01]")
    ] = None,
    max_fnr: Annotated[
        float | None,
        typer.Option(help="Highest rate of forget prompts that are not even uncertain. \\[default: as before]"),
    ] = None,
    max_near_fpr: Annotated[
        float | None, typer.Option(help="Highest share of near misses flagged. \\[default: as before, else 0.02]")
    ] = None,
    confidence: Annotated[
        float | None, typer.Option(help="Confidence of the bounds. \\[default: as before, else 0.95]")
    ] = None,
    write: Annotated[
        bool, typer.Option("--write/--dry-run", help="Put the new threshold into the checkpoint, or only show it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check a guard's calibration on new prompts, and choose its threshold anew.

    The exit status is 3 if the new prompts refute a stored bound, or score otherwise than the old ones, and nothing
    new was written.
    """
    if forget is None:
        instead = "Pass --forget, or leave out the rest."
        refuse_ignored("Without --forget", instead, max_fnr=max_fnr)
    if near is None:
        refuse_ignored("Without --near", "Pass --near, or leave out the rest.", max_near_fpr=max_near_fpr)
    if write:
        check_directory(model)
    of = choose_scope(scopes_of(model), scope)
    if forget is None and not write and of.calibration_in_force is not None:
        instead = "Pass --forget or --write to choose a new threshold, or leave out the rest."
        asked = {"max_fpr": max_fpr, "confidence": confidence}
        refuse_ignored("To check a calibration", instead, near=near, max_near_fpr=max_near_fpr, **asked)
    retain_prompts = retain.prompts()
    forget_prompts = None if forget is None else forget.prompts()
    near_prompts = None if near is None else near.prompts()

    from ...training import recalibrate_guard

    done = recalibrate_guard(
        model,
        retain_prompts,
        forget_prompts,
        near_prompts,
        scope=of.name,
        max_fpr=max_fpr,
        max_fnr=max_fnr,
        max_near_fpr=max_near_fpr,
        confidence=confidence,
        write=write,
    )
    if as_json:
        print_json(_values(done))
    else:
        _print(model, done, near=bool(near_prompts))
    if done.outdated and not write:
        raise typer.Exit(OUTDATED)


def _values(done: Recalibration) -> dict[str, Any]:
    return {
        "scope": done.scope,
        "threshold": done.threshold,
        "check": None if done.check is None else _check_values(done.check),
        "new": None if done.new is None else calibration_values(done.new),
        "outdated": done.outdated,
        "written": done.written,
    }


def _print(model: str, done: Recalibration, near: bool) -> None:
    if done.check is not None:
        say("The stored calibration of ", (done.scope, "bold"), ", on the new prompts:")
        for line in done.check.lines:
            say(line)
    if done.new is not None:
        console.print(_side_by_side(done.threshold, done.old, done.new))
        warn_of_misses(done.new)
        if done.old is not None and done.old.fnr is not None and done.new.fnr is None:
            told = "The old threshold's false negatives were measured, the new one's are not."
            say((told, "yellow"), " Pass --forget.")
        if done.old is not None and done.old.n_near and not near:
            told = f"The old threshold was also held against {done.old.n_near} near misses, the new one is not."
            say((told, "yellow"), " Pass --near.")
    if done.written:
        say(f"Written to {model}.")
    if done.outdated and done.check is not None:
        what = "The stored bounds are not to be relied on any more"
        what = what if not done.check.tenable else "The prompts have changed"
        say((f"{what}.", "bold red"), "" if done.written else " Calibrate anew: --forget FILE --write.")


def _check_values(check: CalibrationCheck) -> dict[str, Any]:
    return {**dataclasses.asdict(check), "tenable": check.tenable, "shifted": check.shifted}


def _side_by_side(old_threshold: float, old: Calibration | None, new: Calibration) -> Table:
    """The thresholds and rates of two calibrations; no more than the threshold where the old one was not measured."""

    def rate(share: float | None, bound: float | None) -> str:
        if share is None:
            return "-"
        return f"{share:.4f}" if bound is None else bounded(share, bound)

    def column(c: Calibration) -> list[str]:
        return [
            "-" if c.abstain_threshold is None else f"{c.abstain_threshold:.8g}",
            rate(c.fpr, c.fpr_bound),
            bounded(c.fnr, c.fnr_bound),
            rate(c.abstain_fnr, c.abstain_fnr_bound),
            rate(c.abstain_retain, None),
            rate(c.near_fpr, None),
            f"{c.n_retain}, {c.n_forget}, {c.n_near}",
            f"{c.confidence:.0%}",
        ]

    rows = [
        "uncertain from",
        "false positive rate",
        "false negative rate",
        "neither flagged nor uncertain",
        "retain prompts uncertain",
        "near misses flagged",
        "retain, forget, near prompts",
        "confidence of the bounds",
    ]
    table = Table("", "old", "new")
    table.add_row("threshold", f"{old_threshold:.8g}", f"{new.threshold:.8g}")
    for row in zip(rows, ["not measured"] * len(rows) if old is None else column(old), column(new), strict=True):
        table.add_row(*row)
    return table
