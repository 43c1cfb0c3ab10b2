"""Arguments that several commands take."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

import typer

from ..configuration import (
    CONVERSATION,
    DEFAULT_STRENGTH,
    ROLES,
    CorruptionConfig,
    ECOConfig,
    ForgetScope,
    checked_duration,
    checked_roles,
    in_short,
)
from ..io import PromptSource
from .application import Misuse

# Where prompts are, on every command line: io.PromptSource reads it.
PROMPTS = "FILE|ID[,column=C][,config=C][,split=S]"
QUESTIONS = "FILE|ID[,column=C][,answer=C][,wrong=C][,config=C][,split=S]"


def prompt_source(text: str | PromptSource) -> PromptSource:
    """What a command line says about where prompts are. Raises Misuse."""
    if isinstance(text, PromptSource):
        return text
    try:
        source = PromptSource.parse(text)
        source.check_not_said("answer", "wrong")
        return source
    except ValueError as error:
        raise Misuse(str(error)) from error


def question_source(text: str | PromptSource) -> PromptSource:
    """What a command line says about where questions with answers are. Raises Misuse."""
    try:
        return text if isinstance(text, PromptSource) else PromptSource.parse(text)
    except ValueError as error:
        raise Misuse(str(error)) from error


def prompts_at(help: str) -> Any:
    """An option that says where prompts are."""
    return typer.Option(help=help, parser=prompt_source, metavar=PROMPTS)


class Tokens(str, Enum):
    """Which tokens of a flagged prompt are corrupted."""

    content = "content"
    all = "all"
    entities = "entities"
    mentions = "mentions"


class NameContext(str, Enum):
    """Whether a name by itself is enough."""

    auto = "auto"
    ignored = "ignored"
    required = "required"


class NameStore(str, Enum):
    """How a guard keeps names."""

    plain = "plain"
    hashed = "hashed"


class ProtocolChoice(str, Enum):
    """How answers to flagged prompts are scored."""

    strict = "strict"
    paper = "paper"


Guarded = Annotated[str, typer.Argument(help="Path or Hub id of a guarded checkpoint or a guard.")]
GuardedDirectory = Annotated[str, typer.Argument(help="Directory of a guarded checkpoint or a guard.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")]
ScopeChoice = Annotated[str | None, typer.Option("--scope", help="Which scope, if the guard has several.")]
Method = Annotated[
    str | None, typer.Option(help="Corruption method, e.g. zero_out_top_k. \\[default: rand_noise_first_n]")
]
Dims = Annotated[
    int | None, typer.Option(help="Embedding dimensions corrupted per token; 0 for all. \\[default: all]")
]
Strength = Annotated[
    str | None,
    typer.Option(
        help="Strength of the corruption: a number, or a multiple of the embeddings' root mean square. "
        f"\\[default: {DEFAULT_STRENGTH}]"
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(help="Corruption by name, in place of method, dims and strength: default, or paper (Liu et al.)."),
]
TokenChoice = Annotated[
    Tokens | None,
    typer.Option(
        help="Which tokens of a flagged prompt are corrupted. \\[default: content; by names alone: mentions]"
    ),
]
JudgedRoles = Annotated[
    str | None,
    typer.Option(help=f"Whose messages are judged; the user's always. \\[default: {','.join(ROLES)}]"),
]
FlagLasts = Annotated[
    str | None,
    typer.Option(help=f"How long a flag lasts: conversation, turn, or a number of turns. \\[default: {CONVERSATION}]"),
]
Entities = Annotated[str | None, typer.Option(help="Token classifier for --tokens entities.")]
ContextChoice = Annotated[
    NameContext | None,
    typer.Option(
        help="Is a name enough? auto: yes, unless more than 5,000 people bear it; ignored: always; required: never, "
        "something else in the prompt must speak for the scope. \\[default: auto]"
    ),
]
Names = Annotated[
    list[str] | None,
    typer.Option(help="Full name of whom or what the scope is about; repeat for several. Mined if not given."),
]
Documents = Annotated[
    PromptSource | None,
    prompts_at("Texts of the scope, in the forms of prompts. Prompts about what they say are of the scope."),
]
Encoder = Annotated[
    str | None, typer.Option(help="Encoder that reads prompts and documents. \\[default: all-MiniLM-L6-v2]")
]
ExampleCount = Annotated[
    int | None,
    typer.Option(
        help="Examples made for training; fewer take less time, and the classifier misses more. \\[default: 18000]"
    ),
]
MaxFpr = Annotated[
    float | None, typer.Option(help="Highest false positive rate the calibration may allow. \\[default: 0.01]")
]
Confidence = Annotated[float | None, typer.Option(help="Confidence of the calibration's bounds. \\[default: 0.95]")]
Device = Annotated[
    str | None, typer.Option(help="Where the model runs, e.g. cpu, cuda:1. \\[default: cuda if there is one]")
]


def said(**options: Any) -> dict[str, Any]:
    """Those of `options` that were given."""
    return {name: value for name, value in options.items() if value is not None}


def corruption_from(
    method: str | None, dims: int | None, strength: str | None, seed: int, preset: str | None = None
) -> CorruptionConfig:
    """The corruption that was asked for; what was not said is the default.

    Raises:
        ValueError: a value is none, or there is a preset and more.
    """
    given: dict[str, Any] = said(method=method, dims=dims, strength=strength)
    if preset is not None:
        if given:
            raise ValueError(f"--preset says {', '.join(f'--{name}' for name in given)} too. Leave that out.")
        return CorruptionConfig.preset(preset, seed)
    if strength is not None and not strength.strip().lower().endswith("rms"):
        try:
            given["strength"] = float(strength)
        except ValueError:
            raise ValueError(
                f"--strength is a number or a multiple like {DEFAULT_STRENGTH}, got {strength!r}."
            ) from None
    if dims == 0:
        given["dims"] = None
    return CorruptionConfig(**given, seed=seed)


def policy_from(judged_roles: str | None, flag_lasts: str | None) -> dict[str, Any]:
    """What was asked for of conversations; what was not said is the default. Raises ValueError if it is unknown."""
    given: dict[str, Any] = {}
    if judged_roles is not None:
        given["judged_roles"] = checked_roles([role.strip() for role in judged_roles.split(",")])
    if flag_lasts is not None:
        turns = flag_lasts.isascii() and flag_lasts.isdigit()
        given["flag_lasts"] = checked_duration(int(flag_lasts) if turns else flag_lasts)
    return given


def scopes_of(model: str) -> ECOConfig:
    """The config of a guard; nothing else of it is loaded."""
    from ..checkpoint.source import find_guard

    return find_guard(model).eco


def choose_scope(eco: ECOConfig, name: str | None) -> ForgetScope:
    """The scope called `name`; the only one if None. Raises ValueError if the guard has no such scope."""
    names = [scope.name for scope in eco.scopes]
    if name is None and len(names) == 1:
        return eco.scopes[0]
    if name not in names:
        asked = "Which scope is meant" if name is None else f"No scope is called {name!r}"
        raise ValueError(f"{asked}: the guard holds {in_short(names)}. Name one of them.")
    return eco.scope(name)


def refuse_ignored(where: str, instead: str, **options: Any) -> None:
    """Raises Misuse if any of `options` was given (is not None), which `where` they stand would have no effect."""
    given = [f"--{name.replace('_', '-')}" for name in said(**options)]
    if given:
        raise Misuse(f"{where}, {' and '.join(given)} would be ignored. {instead}")


def load_model(path: str, device: str | None) -> Any:
    """Any causal language model, guarded or not."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(path, device_map=place(device))


def place(device: str | None) -> str:
    """The device that models are loaded on."""
    import torch

    return device or ("cuda" if torch.cuda.is_available() else "cpu")
