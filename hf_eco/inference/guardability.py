"""Whether a model can be guarded: all that it knows of a prompt must have come through its embedding layer."""

from __future__ import annotations

import inspect
import re
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from .._transformers import OTHER_CACHE_ARGUMENTS
from ..errors import GuardError
from .caches import cache_argument, find_cache

# Names of embedding layers that take token ids beside the one that get_input_embeddings() returns.
_TOKEN_EMBEDDING = re.compile(r"embed_tokens|tok_emb|token_emb|word_emb|wte|per_layer")
# A row beside a corrupted one: how far its logits may move, in their standard deviations. Rounding moves them less.
_SPOILT = 0.25


def examine_structure(model: PreTrainedModel) -> None:
    """What can be told without weights.

    Raises:
        GuardError: the model keeps what it has read where the guard cannot follow, or has a second embedding layer
            for token ids.
    """
    parameters = inspect.signature(type(model.base_model).forward).parameters
    other = [name for name in OTHER_CACHE_ARGUMENTS if name in parameters]
    if other and cache_argument(type(model.base_model)) is None:
        raise GuardError(
            f"{type(model).__name__} keeps what it has read in {other[0]!r}, which the guard cannot follow. This "
            "architecture is not guarded."
        )
    embedding = model.get_input_embeddings()
    for name, module in model.named_modules():
        own_name = name.rstrip(".0123456789").rpartition(".")[2]
        if isinstance(module, nn.Embedding) and module is not embedding and _TOKEN_EMBEDDING.search(own_name):
            raise GuardError(
                f"{type(model).__name__} looks token ids up in a second embedding layer, {name!r}, which the guard "
                "does not corrupt: a flagged prompt would pass in part. This architecture is not guarded."
            )


@torch.no_grad()
def examine_behaviour(model: PreTrainedModel, ids: Tensor) -> None:
    """Runs the model on `ids` and on other ones, with the same embeddings: its answer must be the same.

    Args:
        model: with the guard disabled.
        ids: (columns,), of any text, on the device where the model takes its input.

    Raises:
        GuardError: the model cannot be run, looks up other ids than it is given, keeps what it has read where the
            guard cannot follow, or token ids reach its answer by another way than the embedding layer.
    """
    embedding: Any = model.get_input_embeddings()
    name = type(model).__name__
    ids = ids.unsqueeze(0) % getattr(embedding, "num_embeddings", embedding.weight.shape[0])
    lookups: list[tuple[Tensor, Tensor]] = []

    def exchange(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor:
        lookups.append((args[0] if args else kwargs["input"], output))
        return lookups[0][1]

    def answer(ids: Tensor) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(0)  # in training mode dropout must not make the difference
            output = model(ids, use_cache=True) if takes_cache else model(ids)
        try:
            find_cache(vars(output))
        except GuardError as error:
            raise GuardError(f"{error} This architecture is not guarded.") from error
        return output.logits.float()

    takes_cache = "use_cache" in inspect.signature(type(model).forward).parameters
    handle = embedding.register_forward_hook(exchange, with_kwargs=True)
    try:
        one, other, again = answer(ids), answer(ids.roll(1, dims=1)), answer(ids)
    except GuardError:
        raise
    except Exception as error:
        raise GuardError(f"{name} could not be tried out before it is guarded: {error}") from error
    finally:
        handle.remove()
    if len(lookups) != 3 or not torch.equal(lookups[0][0], ids):
        raise GuardError(
            f"{name} does not look up just the ids it is given in the layer that get_input_embeddings() returns, so "
            "the guard cannot tell which of them are the prompt's. This architecture is not guarded."
        )
    difference, noise = ((one - logits).nan_to_num(0.0).abs().max() for logits in (other, again))
    if difference > 4 * noise:
        raise GuardError(
            f"Token ids reach the answer of {name} by another way than its embedding layer, where the guard corrupts "
            "them: a flagged prompt would pass in part. This architecture is not guarded."
        )


def is_quantized(model: PreTrainedModel) -> bool:
    """True if the model computes with quantised numbers."""
    kinds = {type(part) for part in (*model.modules(), *model.parameters())}
    return any("quant" in kind.__module__ or "torchao" in kind.__module__ for kind in kinds) or (
        getattr(model, "hf_quantizer", None) is not None
    )


@torch.no_grad()
def shares_scales(model: PreTrainedModel, ids: Tensor) -> bool:
    """Whether a corrupted row spoils the others of its batch, as it does where one scale is taken of all activations
    before they are rounded.

    Args:
        model: with the guard disabled.
        ids: (columns,), of any text, on the device where the model takes its input.
    """
    embedding: Any = model.get_input_embeddings()
    both = ids.unsqueeze(0).repeat(2, 1)

    def corrupt_first(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        noise = torch.randn(output[0].shape, generator=torch.Generator().manual_seed(0)).to(output)
        return torch.stack([output[0] + 100 * output.std() * noise, output[1]])

    def second() -> Tensor:
        return model(both).logits[1].float()

    alone = second()
    handle = embedding.register_forward_hook(corrupt_first)
    try:
        beside = second()
    finally:
        handle.remove()
    return not bool((alone - beside).abs().max() <= _SPOILT * alone.std())
