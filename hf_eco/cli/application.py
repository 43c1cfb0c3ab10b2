"""What all commands share: their frame, how they end, and the one line they say when something is wrong."""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import Annotated, Any, NoReturn

import typer

from .._version import __version__
from ..errors import HUB_ERRORS, ECOError
from ..io.terminal import printable
from .wording import in_options, message_of

app = typer.Typer(
    help="Make a language model forget, at inference, and ship that as an ordinary Hugging Face checkpoint.",
    epilog="Exit status: 0 done, 1 an error, 2 a command line that is wrong whatever lies on disk.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

MAKE, LOOK, SHARE = "Make a guard", "Look at it", "Share and check"  # panels of the help

_UsageError: Any = typer.BadParameter.__base__  # click's, or the copy of it that newer versions of typer bring


class Misuse(ValueError):
    """Arguments that do not go together, whatever the files, guards and scopes hold that they name."""


def for_example(*lines: str) -> str:
    """What stands at the end of a command's help."""
    return "\n\n".join(["Example:" if len(lines) == 1 else "Examples:", *lines])


def main() -> None:
    """Runs the command.

    Exit status: 0 done; 1 an error, said in one line on standard error; 2 a command line that is wrong whatever lies
    on disk, likewise; 3 `calibrate` has found an outdated calibration; 130 interrupted.
    """
    warnings = _Warnings(logging.WARNING)
    logging.getLogger("hf_eco").addHandler(warnings)
    for sent in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):  # Windows has no SIGHUP
        signal.signal(sent, lambda number, _: sys.exit(128 + number))  # so that scratch directories are removed, too
    try:
        sys.exit(app(prog_name="hf-eco", standalone_mode=False) or 0)
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()
        else:
            command = error.ctx.command_path if error.ctx is not None else "hf-eco"
            _complain(f"{error.format_message()} See: {command} --help")
        sys.exit(2)
    except (ValueError, TypeError, OSError, ImportError, KeyError, ECOError) as error:
        _give_up(error, message_of(error))
    except HUB_ERRORS as error:
        _give_up(error, f"The Hub cannot be reached: {error}. Check the connection, and HF_ENDPOINT if it is set.")
    except (KeyboardInterrupt, typer.Abort):
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)
    finally:
        logging.getLogger("hf_eco").removeHandler(warnings)


def _give_up(error: Exception, message: str) -> NoReturn:
    if {"--verbose", "-v"} & set(sys.argv):
        raise error
    _complain(in_options(message, _options_said()))
    sys.exit(2 if isinstance(error, Misuse) else 1)


def _complain(message: str, kind: str = "Error") -> None:
    print(f"{kind}: {printable(' '.join(message.split()))}", file=sys.stderr)


def _options_said() -> dict[str, str]:
    """The options of the command that is run, by the names of what they set."""
    command: Any = typer.main.get_command(app)
    for word in sys.argv[1:]:
        if word in getattr(command, "commands", {}):
            command = command.commands[word]
    return {own.name: max(own.opts, key=len) for own in command.params if own.opts[0].startswith("-")}


class _Warnings(logging.Handler):
    """Says what the library warns of, in the words of the command line."""

    def emit(self, record: logging.LogRecord) -> None:
        _complain(in_options(record.getMessage(), _options_said()), record.levelname.capitalize())


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
    if not verbose:
        _quiet()
    if not sys.stderr.isatty():
        _without_progress_bars()


def _quiet() -> None:
    """The libraries say errors alone. They read these variables when they are imported, which is later."""
    for library in ("TRANSFORMERS", "HF_HUB"):
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    for name in ("transformers", "huggingface_hub"):
        if (logging := sys.modules.get(f"{name}.utils.logging")) is not None:
            logging.set_verbosity_error()


def _without_progress_bars() -> None:
    for variable in ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS"):
        os.environ.setdefault(variable, "1")
    if (transformers_logging := sys.modules.get("transformers.utils.logging")) is not None:
        transformers_logging.disable_progress_bar()
