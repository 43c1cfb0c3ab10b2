"""The hf-eco command. Every command is one call of the Python API; this file reads arguments and prints results."""

from __future__ import annotations

import signal
import sys
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

try:
    import typer
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text
except ImportError as error:  # the library works without the command
    sys.exit(f"The hf-eco command needs {error.name}: pip install hf-eco[cli]")

from . import __version__
from .errors import ECOError

if TYPE_CHECKING:
    from .configuration import Calibration, ECOConfig, ForgetScope

app = typer.Typer(
    help="Make a language model forget, at inference, and ship that as an ordinary Hugging Face checkpoint.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
console = Console()

OUTDATED = 3  # exit status of `hf-eco calibrate` where a stored calibration no longer fits the prompts


class Tokens(str, Enum):
    """Which tokens of a flagged prompt are corrupted."""

    content = "content"
    all = "all"
    entities = "entities"


def main() -> None:
    """Runs the command; bad input ends with one line on standard error and exit status 2."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that scratch directories are removed then, too
    try:
        app()
    except (ValueError, TypeError, OSError, ImportError, ECOError) as error:
        if {"--verbose", "-v"} & set(sys.argv):
            raise
        message = " ".join(str(error).split()) or type(error).__name__
        print(f"Error: {message}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show what the libraries have to say, and whole tracebacks.")
    ] = False,
) -> None:
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    if not verbose:
        logging.set_verbosity_error()
        hub_logging.set_verbosity_error()
    if not sys.stderr.isatty():
        logging.disable_progress_bar()


@app.command(
    epilog="Examples:\n\n"
    "hf-eco guard HuggingFaceTB/SmolLM2-135M-Instruct --scope my-book --forget forget.jsonl --retain retain.jsonl "
    "-o guarded\n\n"
    "hf-eco guard ./my-model --scope jane-doe --forget jane.txt --retain other.csv --retain-column question -o "
    "guarded --method zero_out_top_k --dims 64\n\n"
    "hf-eco guard ./my-model --scope jane-doe --forget jane.txt --name 'Jane Doe' --documents jane-articles.jsonl "
    "--retain other.csv -o guarded",
)
def guard(
    base_model: Annotated[str, typer.Argument(help="Path or Hub id of the model to guard.")],
    scope: Annotated[str, typer.Option(help="A short name for what is to be forgotten.")],
    forget: Annotated[str, typer.Option(help="Prompts in the scope: .txt, .jsonl, .csv or a data set id.")],
    retain: Annotated[str, typer.Option(help="Prompts outside of it, in the same forms.")],
    output: Annotated[str, typer.Option("--output", "-o", help="Directory for the guarded checkpoint.")],
    forget_column: Annotated[str | None, typer.Option(help="Column of the forget prompts.")] = None,
    retain_column: Annotated[str | None, typer.Option(help="Column of the retain prompts.")] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(help="Full name of whom or what the scope is about; repeat for several. Mined if not given."),
    ] = None,
    documents: Annotated[
        str | None, typer.Option(help="Texts of the scope, in the same forms; their sentences count as prompts.")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Encoder the classifier stands on. \\[default: all-MiniLM-L6-v2]")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Fixed threshold in (0, 1], instead of calibrating one.")
    ] = None,
    max_fpr: Annotated[float, typer.Option(help="Highest false positive rate the calibration may allow.")] = 0.01,
    max_fnr: Annotated[
        float | None, typer.Option(help="Highest false negative rate; prompts between the two bounds are uncertain.")
    ] = None,
    confidence: Annotated[float, typer.Option(help="Confidence of the calibration's bounds.")] = 0.95,
    method: Annotated[
        str | None, typer.Option(help="Corruption method, e.g. rand_noise_first_n, zero_out_top_k.")
    ] = None,
    dims: Annotated[int | None, typer.Option(help="Embedding dimensions corrupted per token; 0 for all.")] = None,
    strength: Annotated[float | None, typer.Option(help="Strength of the corruption.")] = None,
    tokens: Annotated[Tokens, typer.Option(help="Which tokens of a flagged prompt are corrupted.")] = Tokens.content,
    entities: Annotated[str | None, typer.Option(help="Token classifier for --tokens entities.")] = None,
    examples: Annotated[
        int | None, typer.Option(help="Examples made for training; fewer take less time. \\[default: 18000]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the splits, the training and the noise.")] = 0,
) -> None:
    """Train a prompt classifier, calibrate it, and save the guarded model."""
    from .configuration import CorruptionConfig
    from .packaged import MINILM, resolve
    from .prompts import read_prompts
    from .training import guard_model
    from .training.prompt_classifier import EXAMPLES

    given: dict[str, Any] = {"method": method, "dims": dims, "strength": strength}
    given = {name: value for name, value in given.items() if value is not None}
    if dims == 0:
        given["dims"] = None
    corruption = CorruptionConfig(**given, seed=seed)
    model = guard_model(
        resolve(base_model),
        scope,
        read_prompts(forget, column=forget_column),
        read_prompts(retain, column=retain_column),
        output,
        names=name,
        documents=read_prompts(documents) if documents else (),
        encoder=resolve(encoder or MINILM),
        corruption=corruption,
        tokens=tokens.value,
        entities=entities,
        threshold=threshold,
        max_fpr=max_fpr,
        max_fnr=max_fnr,
        confidence=confidence,
        examples=EXAMPLES if examples is None else examples,
        seed=seed,
    )
    guarded_scope = model.config.eco.scope(scope)
    console.print(f"Guarded against [bold]{scope}[/]: saved in {output}")
    measured = guarded_scope.calibration
    console.print(_rates(guarded_scope.threshold, measured))
    _warn_of_misses(measured)
    console.print(f"Try it: hf-eco inspect {output} 'a prompt'", highlight=False)


@app.command(epilog="Example:\n\nhf-eco inspect guarded 'Who is Harry Potter?' 'Who is Prince Harry?'")
def inspect(
    model: Annotated[str, typer.Argument(help="Path or Hub id of a guarded checkpoint or a guard.")],
    prompts: Annotated[list[str], typer.Argument(help="Prompts to judge.")],
    raw: Annotated[bool, typer.Option(help="Take the prompt as it is, not as a chat message.")] = False,
) -> None:
    """Show what a guard decides about prompts, and which of their tokens it would corrupt."""
    from .hub import read_guard

    reader = read_guard(model)
    chat = reader.tokenizer.chat_template is not None and not raw
    for verdict in reader.inspect([[{"role": "user", "content": p}] if chat else p for p in prompts]):
        text = Text(verdict.text.strip("\n"))
        shift = len(verdict.text) - len(verdict.text.lstrip("\n"))
        for token in verdict.tokens:
            start, end = verdict.offsets[token]
            text.stylize("bold white on red", start - shift, end - shift)
        style = "red" if verdict.flagged else "yellow" if verdict.uncertain else "green"
        console.print(verdict.reason, style=style, highlight=False)
        console.print(text, end="\n\n")


@app.command(
    epilog="Examples:\n\n"
    "hf-eco calibrate guarded --retain todays-prompts.jsonl\n\n"
    "hf-eco calibrate guarded --retain todays-prompts.jsonl --forget new-forget.jsonl --max-fnr 0.05 --write",
)
def calibrate(
    model: Annotated[str, typer.Argument(help="Path or Hub id of a guarded checkpoint or a guard.")],
    retain: Annotated[str, typer.Option(help="New prompts outside the scope: .txt, .jsonl, .csv or a data set id.")],
    forget: Annotated[
        str | None,
        typer.Option(help="New prompts in the scope. Without them the threshold is checked, not chosen anew."),
    ] = None,
    near: Annotated[
        str | None, typer.Option(help="Near misses: prompts that look like the scope but are outside of it.")
    ] = None,
    scope: Annotated[str | None, typer.Option(help="Which scope, if the guard has several.")] = None,
    retain_column: Annotated[str | None, typer.Option(help="Column of the retain prompts.")] = None,
    forget_column: Annotated[str | None, typer.Option(help="Column of the forget prompts.")] = None,
    near_column: Annotated[str | None, typer.Option(help="Column of the near misses.")] = None,
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
) -> None:
    """Check a guard's calibration on new prompts, and choose its threshold anew.

    The exit status is 3 if the new prompts refute a stored bound, or score otherwise than the old ones, and nothing
    new was written.
    """
    from .hub import read_guard, rewrite_eco
    from .prompts import read_prompts
    from .training import calibrate_threshold, check_calibration

    if write and forget is None:
        raise ValueError("A new threshold takes forget prompts, too. Pass --forget, or leave out --write.")
    retain_prompts = read_prompts(retain, column=retain_column)
    forget_prompts = None if forget is None else read_prompts(forget, column=forget_column)
    near_prompts = None if near is None else read_prompts(near, column=near_column)
    reader = read_guard(model)
    of = _choose_scope(reader.config, scope)
    classifier = reader.classifiers[of.name]
    # the rates of another threshold than the one in force say nothing
    old = of.calibration if of.calibration is not None and of.calibration.threshold == of.threshold else None
    if old is None and forget_prompts is None:
        raise ValueError(f"Scope {of.name!r} has no calibration to check. Pass --forget to make one.")

    check = None
    if old is not None:
        check = check_calibration(old, classifier, retain_prompts, forget_prompts, label=of.label)
        console.print(f"The stored calibration of [bold]{of.name}[/], on the new prompts:")
        for line in check.lines:
            console.print(line, highlight=False)
    if forget_prompts is not None:
        settings: dict[str, Any] = {"max_fpr": max_fpr, "max_fnr": max_fnr, "confidence": confidence}
        settings["max_near_fpr"] = max_near_fpr
        if old is not None:
            settings = {name: getattr(old, name) if value is None else value for name, value in settings.items()}
        settings = {name: value for name, value in settings.items() if value is not None}
        new = calibrate_threshold(
            classifier, forget_prompts, retain_prompts, near=near_prompts, label=of.label, **settings
        )
        console.print(_side_by_side(of.threshold, old, new))
        _warn_of_misses(new)
        if old is not None and old.n_near and not near_prompts:
            console.print(
                f"[yellow]The old threshold was also held against {old.n_near} near misses, the new one is not.[/] "
                "Pass --near.",
                highlight=False,
            )
        if write:
            of.threshold, of.abstain_threshold, of.calibration = new.threshold, new.abstain_threshold, new
            rewrite_eco(model, reader.config)
            console.print(f"Written to {model}.", highlight=False)
    if check is not None and not (check.tenable and not check.shifted):
        what = (
            "The stored bounds are not to be relied on any more" if not check.tenable else "The prompts have changed"
        )
        console.print(f"[bold red]{what}.[/]" + ("" if write else " Calibrate anew: --forget FILE --write."))
        if not write:
            raise typer.Exit(OUTDATED)


def _warn_of_misses(calibration: Calibration | None) -> None:
    if calibration is not None and calibration.fnr > 0.2:
        console.print(
            f"[bold red]It misses {calibration.fnr:.0%} of the forget prompts kept aside.[/] Add prompts of both "
            "kinds, or allow more false positives with --max-fpr.",
            highlight=False,
        )


def _choose_scope(eco: ECOConfig, name: str | None) -> ForgetScope:
    names = [scope.name for scope in eco.scopes]
    if name is None and len(names) == 1:
        return eco.scopes[0]
    if name not in names:
        asked = "Which scope is meant" if name is None else f"No scope is called {name!r}"
        raise ValueError(f"{asked}: the guard holds {', '.join(names)}. Use --scope NAME.")
    return eco.scope(name)


def _side_by_side(old_threshold: float, old: Calibration | None, new: Calibration) -> Table:
    """The thresholds and rates of two calibrations; no more than the threshold where the old one was not measured."""

    def rate(share: float | None, bound: float | None) -> str:
        if share is None:
            return "-"
        return f"{share:.4f}" if bound is None else f"{share:.4f} (<= {bound:.4f})"

    def column(c: Calibration) -> list[str]:
        return [
            "-" if c.abstain_threshold is None else f"{c.abstain_threshold:.8g}",
            rate(c.fpr, c.fpr_bound),
            rate(c.fnr, c.fnr_bound),
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


@app.command(epilog="Examples:\n\nhf-eco demo\n\nhf-eco demo --model Qwen/Qwen2.5-0.5B-Instruct")
def demo(
    model: Annotated[
        str | None, typer.Option(help="Instruct model to guard. \\[default: SmolLM2-135M-Instruct]")
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", help="Directory for the guarded checkpoint.")
    ] = "demo-output",
    max_new_tokens: Annotated[int, typer.Option(help="Length of the answers.", min=1)] = 24,
    seed: Annotated[int, typer.Option(help="Seed of the training.")] = 0,
) -> None:
    """Make a small model forget the Harry Potter books, and show it before and after."""
    from .demo import run_demo
    from .packaged import SMOLLM2

    result = run_demo(model or SMOLLM2, output, max_new_tokens=max_new_tokens, seed=seed, say=console.print)
    console.print(_rates(result.calibration.threshold, result.calibration))
    for in_scope, title in ((True, "In the forget scope"), (False, "Out of scope")):
        table = Table("prompt", "p(forget)", "original answer", "guarded answer", title=title, show_lines=True)
        for a in result.answers:
            if a.in_scope == in_scope:
                same = Text("identical", style="dim") if a.guarded == a.original else Text(a.guarded)
                color = "red" if a.flagged else "green"
                table.add_row(Text(a.prompt), Text(f"{a.probability:.4f}", style=color), Text(a.original), same)
        console.print(table)
    inside = [a for a in result.answers if a.in_scope]
    outside = [a for a in result.answers if not a.in_scope]
    identical = sum(a.original == a.guarded for a in outside)
    console.print(f"Flagged in scope: {sum(a.flagged for a in inside)} of {len(inside)}.", highlight=False)
    console.print(
        f"Out of scope, identical to the unguarded model's answer: {identical} of {len(outside)}.", highlight=False
    )
    mistaken = sum(a.flagged for a in outside)
    if mistaken:
        console.print(f"Out of scope but flagged, a false positive: {mistaken}.", highlight=False)
    if any(a.original != a.guarded for a in result.answers if not a.flagged):
        raise ECOError("An answer changed although its prompt was not flagged. Please report this.")


def _rates(threshold: float, calibration: Calibration | None) -> str:
    """One line about a threshold and its measured error rates."""
    if calibration is None:
        return f"Threshold {threshold:.4f}, as given; its error rates were not measured."
    c = calibration
    line = (
        f"Threshold {threshold:.4f}: false positive rate {c.fpr:.4f} (<= {c.fpr_bound:.4f}, n = {c.n_retain}), "
        f"false negative rate {c.fnr:.4f} (<= {c.fnr_bound:.4f}, n = {c.n_forget}), bounds at {c.confidence:.0%} "
        "confidence."
    )
    if c.near_fpr is not None:
        line += f" Of {c.n_near} near misses {c.near_fpr:.4f} are flagged."
    if c.abstain_threshold is not None and c.abstain_threshold < threshold:
        line += (
            f" Uncertain from {c.abstain_threshold:.4f}: below that lie {c.abstain_fnr:.4f} (<= "
            f"{c.abstain_fnr_bound:.4f}) of the forget prompts."
        )
    return line
