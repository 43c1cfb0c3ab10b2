"""What a call of `generate` is given, as far as the guard has to know it."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import GuardError
from .answer_watch import EVERY
from .caches import find_cache
from .generate_options import watched_options


@dataclass(frozen=True)
class GenerateCall:
    """The prompts of a call of `generate`.

    Attributes:
        ids: (batch, columns), the conversation, or what follows a filled cache.
        mask: (batch, columns of the conversation), its attention mask; None if there is no padding.
        cache: the cache that was given, None if none was.
        unconditional: ids and attention mask of the prompt for classifier-free guidance, None without it.
        drafts: True if several tokens are drafted and then checked in one pass.
        positions: (batch, columns), the position_ids; None if none were given.
        watched: the options that may dictate what is generated.
        every: tokens after which that is judged; None if the decoding cannot be asked to.
        own_loop: True if it is code of the user's or of a repository's that decodes.
    """

    ids: Tensor
    mask: Tensor | None
    cache: Any
    unconditional: tuple[Tensor, Tensor | None] | None
    drafts: bool
    positions: Tensor | None = None
    watched: tuple[str, ...] = ()
    every: int | None = EVERY
    own_loop: bool = False


def by_name(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `model.generate(inputs, *args, **kwargs)` behind `inputs`, by name."""
    names = list(inspect.signature(type(model)._eco_base_class.generate).parameters)[2:]
    return dict(zip(names, args, strict=False)) | kwargs


def read_generate_call(model: Any, inputs: Tensor | None, kwargs: dict[str, Any], recipe: bool) -> GenerateCall:
    """Reads the arguments of `model.generate(inputs, **kwargs)` as generate itself puts its options together.

    Args:
        model: the guarded model.
        inputs: as for generate.
        kwargs: likewise.
        recipe: whether a repository's own code decodes.

    Raises:
        GuardError: the cache is none that the guard can follow, or an option is unknown.
    """
    given = kwargs.get("generation_config")

    def option(name: str) -> Any:
        found = kwargs.get(name, getattr(given, name, None))
        return getattr(model.generation_config, name, None) if found is None else found

    ids = inputs if inputs is not None else kwargs.get("input_ids")
    if ids is None:
        bos = option("bos_token_id")
        ids = torch.full((1, 1), 0 if bos is None else bos, device=model.device)
    mask = kwargs.get("attention_mask")
    if mask is None:
        mask = _mask_from_padding(ids, option("pad_token_id"), option("eos_token_id"))
    unconditional = None
    if option("guidance_scale") not in (None, 1, 1.0):
        negative = kwargs.get("negative_prompt_ids")  # by default guidance leads away from the last token alone
        last = (ids[:, -1:], None)
        unconditional = last if negative is None else (negative, kwargs.get("negative_prompt_attention_mask"))
    drafters = (kwargs.get("assistant_model"), option("prompt_lookup_num_tokens"), option("assistant_early_exit"))
    custom = kwargs.get("custom_generate")
    drafts = any(drafter is not None for drafter in drafters) and custom is None
    every = None if recipe or isinstance(custom, str) or option("num_beams") not in (None, 1) else EVERY
    return GenerateCall(
        ids,
        mask,
        find_cache(kwargs),
        unconditional,
        drafts,
        kwargs.get("position_ids"),
        watched_options(option),
        1 if every is not None and kwargs.get("streamer") is not None else every,
        own_loop=recipe or custom is not None,
    )


def refuse_embeddings(kwargs: dict[str, Any]) -> None:
    """Raises GuardError if generate is given embeddings in place of ids."""
    if kwargs.get("inputs_embeds") is not None:
        raise GuardError("inputs_embeds carry no token ids, so the guard cannot read the prompt. Pass input_ids.")


def _mask_from_padding(ids: Tensor, padding: Any, ends: Any) -> Tensor | None:
    """The attention mask that `generate` infers where none is given: padding is what equals the pad token, unless
    that is an end-of-sequence token as well."""
    ends = ends if isinstance(ends, (list, tuple)) else [ends]
    return None if padding is None or padding in ends else ids.ne(padding)
