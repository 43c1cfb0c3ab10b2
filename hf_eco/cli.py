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
    from .configuration import Calibration

app = typer.Typer(
    help="Make a language model forget, at inference, and ship that as an ordinary Hugging Face checkpoint.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
console = Console()


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
    "guarded --method zero_out_top_k --dims 64",
)
def guard(
    base_model: Annotated[str, typer.Argument(help="Path or Hub id of the model to guard.")],
    scope: Annotated[str, typer.Option(help="A short name for what is to be forgotten.")],
    forget: Annotated[str, typer.Option(help="Prompts in the scope: .txt, .jsonl, .csv or a data set id.")],
    retain: Annotated[str, typer.Option(help="Prompts outside of it, in the same forms.")],
    output: Annotated[str, typer.Option("--output", "-o", help="Directory for the guarded checkpoint.")],
    forget_column: Annotated[str | None, typer.Option(help="Column of the forget prompts.")] = None,
    retain_column: Annotated[str | None, typer.Option(help="Column of the retain prompts.")] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Encoder to train the classifier from. \\[default: all-MiniLM-L6-v2]")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Fixed threshold in (0, 1], instead of calibrating one.")
    ] = None,
    max_fpr: Annotated[float, typer.Option(help="Highest false positive rate the calibration may allow.")] = 0.01,
    confidence: Annotated[float, typer.Option(help="Confidence of the calibration's bounds.")] = 0.95,
    method: Annotated[
        str | None, typer.Option(help="Corruption method, e.g. rand_noise_first_n, zero_out_top_k.")
    ] = None,
    dims: Annotated[int | None, typer.Option(help="Embedding dimensions corrupted per token; 0 for all.")] = None,
    strength: Annotated[float | None, typer.Option(help="Strength of the corruption.")] = None,
    tokens: Annotated[Tokens, typer.Option(help="Which tokens of a flagged prompt are corrupted.")] = Tokens.content,
    entities: Annotated[str | None, typer.Option(help="Token classifier for --tokens entities.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the splits, the training and the noise.")] = 0,
) -> None:
    """Train a prompt classifier, calibrate it, and save the guarded model."""
    from .configuration import CorruptionConfig
    from .packaged import MINILM, resolve
    from .prompts import read_prompts
    from .training import guard_model

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
        encoder=resolve(encoder or MINILM),
        corruption=corruption,
        tokens=tokens.value,
        entities=entities,
        threshold=threshold,
        max_fpr=max_fpr,
        confidence=confidence,
        seed=seed,
    )
    guarded_scope = model.config.eco.scope(scope)
    console.print(f"Guarded against [bold]{scope}[/]: saved in {output}")
    measured = guarded_scope.calibration
    console.print(_rates(guarded_scope.threshold, measured))
    if measured is not None and measured.fnr > 0.2:
        console.print(
            f"[bold red]It misses {measured.fnr:.0%} of the forget prompts kept aside.[/] Add prompts of both kinds, "
            "or allow more false positives with --max-fpr.",
            highlight=False,
        )
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
        console.print(verdict.reason, style="red" if verdict.flagged else "green", highlight=False)
        console.print(text, end="\n\n")


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
    return (
        f"Threshold {threshold:.4f}: false positive rate {c.fpr:.4f} (<= {c.fpr_bound:.4f}, n = {c.n_retain}), "
        f"false negative rate {c.fnr:.4f} (<= {c.fnr_bound:.4f}, n = {c.n_forget}), bounds at {c.confidence:.0%} "
        "confidence."
    )
