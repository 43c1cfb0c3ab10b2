"""What a forward pass is called with: its arguments by name, and those the guard cannot follow."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import GuardError


def named_arguments(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """A forward call's arguments by name."""
    if not args:
        return kwargs
    names = _parameter_names(type(module))  # type: ignore[arg-type]
    if not names:  # forward(*args, **kwargs): that of the module it hands them on to
        inner = (_parameter_names(type(part)) for part in module.modules())  # type: ignore[arg-type]
        names = next((names for names in inner if "input_ids" in names), ())
    return dict(zip(names, args, strict=False)) | kwargs


@functools.cache  # asked at every forward pass, decode steps included
def _parameter_names(module_class: type[nn.Module]) -> tuple[str, ...]:
    """The names of a module's forward parameters that may be given by position, without self."""
    parameters = list(inspect.signature(module_class.forward).parameters.values())[1:]
    return tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)


def refuse_what_is_not_guarded(call: dict[str, Any]) -> None:
    if torch.jit.is_tracing() or torch.compiler.is_exporting():
        raise GuardError(
            "A trace or an export would hold one prompt's verdict for ever. Guarded models are not exported."
        )
    if call.get("inputs_embeds") is not None:
        raise GuardError(
            "inputs_embeds carry no token ids, so the guard cannot read the prompt. Pass input_ids; the owner may "
            "compare with the unguarded model in `with model.disable_guard()`. (Soft prompts, as prompt tuning and "
            "p-tuning make them, are not guarded; LoRA is.)"
        )
    ids = call.get("input_ids")
    if not isinstance(ids, Tensor) or ids.dim() != 2 or ids.is_meta:
        given = f"one of shape {tuple(ids.shape)} on {ids.device}" if isinstance(ids, Tensor) else type(ids).__name__
        raise GuardError(f"The guard reads input_ids, a (batch, sequence) tensor, and was given {given}.")
    others = [name for name, value in call.items() if name.endswith("_ids") and value is not None]
    unknown = [name for name in others if not name.endswith(("input_ids", "position_ids", "token_type_ids"))]
    if call.get("per_layer_inputs") is not None or unknown:
        name = (*unknown, "per_layer_inputs")[0]
        raise GuardError(f"{name} would tell the model of the prompt once more, uncorrupted. Leave it out.")
