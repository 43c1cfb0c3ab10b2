"""The corruption functions of ECO prompts (Liu et al. 2024, section 3.3 and appendix): tensors in, tensors out.

Every function has the signature

    corrupt(embeddings, mask, *, positions, token_ids, dims, strength, seed) -> new embeddings

- `embeddings`: (batch, sequence, hidden), any floating dtype and device; never changed in place;
- `mask`: (batch, sequence) bool, True for the tokens to corrupt; the others come back bit-identical;
- `positions`: (batch, sequence) integer, each token's index in its own prompt, padding not counted;
- `token_ids`: (batch, sequence) integer. Noise that is added is a function of (seed, position, token, dimension)
  alone, so a prompt is corrupted alike alone, in a batch, padded left or right; and of two prompts with other words
  each has its own noise, so that what a seed does averages out over prompts;
- `dims`: how many dimensions per token, None for all; `strength`: see each function, a number, or (dims,) where the
  method takes one for each dimension; `seed`: of all randomness.

Use [`corrupt`][hf_eco.corruption.corrupt] to call one by name; it checks the arguments and fills in those that may be
left out.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

CorruptionFunction = Callable[..., Tensor]


@dataclass(frozen=True)
class _Method:
    """A corruption function, and how it is called; see `register_corruption`."""

    function: CorruptionFunction
    mixes_positions: bool
    takes_strengths: bool
    takes_tokens: bool


_METHODS: dict[str, _Method] = {}


def register_corruption(
    name: str, *, mixes_positions: bool = False, takes_strengths: bool = False
) -> Callable[[CorruptionFunction], CorruptionFunction]:
    """Decorator: makes a corruption function available as `CorruptionConfig(method=name)`. `token_ids` is left out
    where the function has no such argument.

    Args:
        name: the method's name in configs.
        mixes_positions: True if a token's new embedding depends on other tokens', so that the whole prompt must be
            corrupted in one call.
        takes_strengths: True if `strength` may be one number for each of the dimensions 0..dims-1.

    Raises:
        ValueError: the name is taken by another function.
    """

    def register(function: CorruptionFunction) -> CorruptionFunction:
        known = _METHODS[name].function if name in _METHODS else function
        if (known.__module__, known.__qualname__) != (
            function.__module__,
            function.__qualname__,
        ):  # a cell may run twice
            raise ValueError(f"A corruption method called {name!r} exists already. Choose another name.")
        parameters = inspect.signature(function).parameters.values()
        takes_tokens = any(p.name == "token_ids" or p.kind is p.VAR_KEYWORD for p in parameters)
        _METHODS[name] = _Method(function, mixes_positions, takes_strengths, takes_tokens)
        return function

    return register


def corruption_methods() -> list[str]:
    """The names of all registered corruption methods, sorted."""
    return sorted(_METHODS)


def mixes_positions(method: str) -> bool:
    """True if `method` needs the whole prompt in one call."""
    return method in _METHODS and _METHODS[method].mixes_positions


def takes_strengths(method: str) -> bool:
    """True if `method` takes one strength for each dimension."""
    return method in _METHODS and _METHODS[method].takes_strengths


def heeded_parameters(method: str) -> list[str]:
    """Which of "strength" and "dims" make a difference to what `method` does, found by trying.

    Raises:
        ValueError: there is no such method.
    """
    plain = _tried(method, dims=2, strength=1.0)
    changed = {"strength": _tried(method, dims=2, strength=2.0), "dims": _tried(method, dims=4, strength=1.0)}
    return [name for name, other in changed.items() if not torch.equal(plain, other)]


def changes_embeddings(method: str, *, dims: int | None, strength: float | Sequence[float], seed: int = 0) -> bool:
    """Whether a corruption makes any difference, found by trying; with strength 0 most make none.

    Raises:
        ValueError: as `corrupt`.
    """
    embeddings = _example(max(dims or 1, 8))
    tried = _tried(method, embeddings, dims=dims, strength=strength, seed=seed)
    return not torch.equal(tried, embeddings)


def _example(hidden: int = 8) -> Tensor:
    return torch.linspace(-1, 1, 4 * hidden).view(1, 4, hidden)


def _tried(method: str, embeddings: Tensor | None = None, **arguments: Any) -> Tensor:
    """What becomes of a small example."""
    embeddings = _example() if embeddings is None else embeddings
    return corrupt(embeddings, torch.ones(1, 4, dtype=torch.bool), method, **arguments)


def corrupt(
    embeddings: Tensor,
    mask: Tensor,
    method: str,
    *,
    positions: Tensor | None = None,
    token_ids: Tensor | None = None,
    dims: int | None = None,
    strength: float | Sequence[float] = 1.0,
    seed: int = 0,
) -> Tensor:
    """Corrupts the tokens selected by `mask` with the method called `method`; returns a new tensor.

    Args:
        embeddings: (batch, sequence, hidden), floating point.
        mask: (batch, sequence) bool.
        method: one of `corruption_methods()`.
        positions: (batch, sequence) integer; None numbers the columns 0, 1, 2, ...
        token_ids: (batch, sequence) integer, modulo 2**32; None: all 0, so that noise goes by the positions alone.
        dims: dimensions per token, None for all.
        strength: standard deviation of the noise, or the value added or subtracted; or one for each of `dims`
            dimensions, for the methods that go by the dimensions' order.
        seed: seed of the noise, the random dimensions or the order.

    Raises:
        ValueError: an unknown method, shapes or dtypes that do not fit, dims outside 1..hidden, strength or seed out
            of range, or strengths that are not `dims` many or that the method does not take.
    """
    if method not in _METHODS:
        raise ValueError(f"Unknown corruption method {method!r}. Use one of: {', '.join(corruption_methods())}.")
    if embeddings.dim() != 3 or not embeddings.is_floating_point():
        raise ValueError(
            f"embeddings must be (batch, sequence, hidden) floats, got {tuple(embeddings.shape)} {embeddings.dtype}."
        )
    if mask.shape != embeddings.shape[:2] or mask.dtype != torch.bool:
        raise ValueError(
            f"mask must be bool of shape {tuple(embeddings.shape[:2])}, got {tuple(mask.shape)} {mask.dtype}."
        )
    hidden = embeddings.shape[-1]
    if dims is not None and (not isinstance(dims, int) or not 1 <= dims <= hidden):
        raise ValueError(
            f"dims must be in 1..{hidden}, the embedding's size, got dims={dims}. Use dims=None for all dimensions."
        )
    if positions is None:
        positions = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape)
    token_ids = torch.zeros_like(positions) if token_ids is None else token_ids
    for name, given in (("positions", positions), ("token_ids", token_ids)):
        if given.shape != mask.shape or given.is_floating_point():
            raise ValueError(
                f"{name} must be integers of shape {tuple(mask.shape)}, got {tuple(given.shape)} {given.dtype}."
            )
    dims = hidden if dims is None else dims
    how: float | Tensor
    if isinstance(strength, (list, tuple)):
        check_strengths(method, len(strength), dims)
        largest = torch.finfo(torch.float32).max
        how = torch.tensor([min(value, largest) for value in strength], device=embeddings.device)
        finite = all(map(math.isfinite, strength))
    else:
        how = cast(float, strength)
        finite = math.isfinite(how)
    if not finite or not 0 <= seed < 2**63:
        raise ValueError(f"strength must be finite and seed in [0, 2**63), got strength={strength}, seed={seed}.")
    mask, positions, token_ids = (given.to(embeddings.device) for given in (mask, positions, token_ids))
    found = _METHODS[method]
    tokens = {"token_ids": token_ids} if found.takes_tokens else {}
    return found.function(embeddings, mask, positions=positions, dims=dims, strength=how, seed=seed, **tokens)


def check_strengths(method: str, count: int, dims: int | None) -> None:
    """Raises ValueError if `method` does not take `count` strengths for `dims` dimensions; None: nobody said how
    many."""
    if not takes_strengths(method):
        raise ValueError(
            f"Corruption {method!r} takes one strength, got a list. Only "
            f"{', '.join(filter(takes_strengths, corruption_methods()))} take one for each dimension."
        )
    if dims is None or not count:
        raise ValueError(f"A list of strengths needs its number as dims, got {count} strengths and dims={dims}.")
    if count != dims:
        raise ValueError(f"There are {count} strengths for {dims} dimensions. Give each one, or one for all.")


# ---------------------------------------------------------------------------------------------------------------------
# Noise


def _philox(counter: list[Tensor], key: tuple[int, int]) -> list[Tensor]:
    """Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).

    Args:
        counter: four int64 tensors of one shape holding 32-bit words.
        key: two 32-bit words.

    Returns:
        Four int64 tensors of that shape: 32 random bits each.
    """
    word = 0xFFFFFFFF
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        # 32 x 32 -> 64 bit products: int64 wraps, the bits are those of the unsigned product
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = ((p1 >> 32) & word) ^ c1 ^ k0, p1 & word, ((p0 >> 32) & word) ^ c3 ^ k1, p0 & word
        k0, k1 = (k0 + 0x9E3779B9) & word, (k1 + 0xBB67AE85) & word
    return [c0, c1, c2, c3]


def standard_normal(positions: Tensor, dims: int, seed: int, token_ids: Tensor | None = None) -> Tensor:
    """N(0, 1) noise that is a function of (seed, position, token, dimension) alone.

    Args:
        positions: (...) integer token positions.
        dims: how many dimensions, counted from 0.
        seed: in [0, 2**63).
        token_ids: (...) integers, modulo 2**32; None: all 0.

    Returns:
        (..., dims) float32 on the device of `positions`.
    """
    device = positions.device
    # Without float64 on the device, the last bit of the logarithm would depend on it.
    compute = torch.device("cpu") if device.type == "mps" else device
    token_ids = torch.zeros_like(positions) if token_ids is None else token_ids
    position, token = (given.to(compute, torch.int64).unsqueeze(-1) for given in (positions, token_ids))
    block = torch.arange((dims + 3) // 4, device=compute).expand(*position.shape[:-1], -1)
    zero = torch.zeros_like(block)
    words = _philox(
        [block, (token & 0xFFFFFFFF) + zero, (position & 0xFFFFFFFF) + zero, ((position >> 32) & 0xFFFFFFFF) + zero],
        (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF),
    )
    # Box-Muller on uniforms in (0, 1), in float64: rounded to float32 it is the same on every device
    u = [(w.to(torch.float64) + 0.5) / 2.0**32 for w in words]
    normals = []
    for uniform, angle in ((u[0], u[1]), (u[2], u[3])):
        radius = torch.sqrt(-2.0 * torch.log(uniform))
        normals += [radius * torch.cos(2.0 * math.pi * angle), radius * torch.sin(2.0 * math.pi * angle)]
    return torch.stack(normals, dim=-1).flatten(-2)[..., :dims].to(device=device, dtype=torch.float32)


# ---------------------------------------------------------------------------------------------------------------------
# Which dimensions: boolean masks over the hidden dimension


def _first(embeddings: Tensor, dims: int) -> Tensor:
    """(hidden,) bool: dimensions 0..dims-1."""
    return torch.arange(embeddings.shape[-1], device=embeddings.device) < dims


def _largest(values: Tensor, dims: int) -> Tensor:
    """(..., hidden) bool: the `dims` largest of each row; of equal values the one of lower index."""
    order = torch.sort(values, dim=-1, descending=True, stable=True).indices[..., :dims]
    return torch.zeros_like(values, dtype=torch.bool).scatter_(-1, order, True)


def _change(embeddings: Tensor, mask: Tensor, chosen: Tensor, changed: Tensor) -> Tensor:
    """`changed`, in any precision, where a token is selected and a dimension chosen; `embeddings`, and their dtype,
    elsewhere."""
    limits = torch.finfo(embeddings.dtype)
    changed = changed.to(torch.promote_types(changed.dtype, embeddings.dtype))
    changed = changed.clamp(limits.min, limits.max).to(embeddings.dtype)  # a huge strength must not become infinite
    return torch.where(mask.unsqueeze(-1) & chosen, changed, embeddings)


def _precise(embeddings: Tensor) -> Tensor:
    """In float32 at least: what is added to half precision is rounded once."""
    return embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))


def _noise(
    embeddings: Tensor, positions: Tensor, dims: int, strength: float | Tensor, seed: int, token_ids: Tensor | None
) -> Tensor:
    """(batch, sequence, hidden) float32: N(0, strength²) on dimensions 0..dims-1, zero on the others."""
    noise = strength * standard_normal(positions, dims, seed, token_ids)
    return torch.nn.functional.pad(noise, (0, embeddings.shape[-1] - dims))


def _over_all(strength: float | Tensor, embeddings: Tensor) -> float | Tensor:
    """A number, or (hidden,): the strengths of dimensions 0..dims-1, zero on the others."""
    if isinstance(strength, Tensor):
        return torch.nn.functional.pad(strength, (0, embeddings.shape[-1] - strength.shape[-1]))
    return strength


# ---------------------------------------------------------------------------------------------------------------------
# The methods


@register_corruption("rand_noise_first_n", takes_strengths=True)
def rand_noise_first_n(
    e: Tensor, mask: Tensor, *, positions: Tensor, token_ids: Tensor, dims: int, strength: float | Tensor, seed: int
) -> Tensor:
    """Adds N(0, strength²) to dimensions 0..dims-1 of each selected token."""
    return _change(e, mask, _first(e, dims), _precise(e) + _noise(e, positions, dims, strength, seed, token_ids))


@register_corruption("rand_noise_rand_n")
def rand_noise_rand_n(
    e: Tensor, mask: Tensor, *, positions: Tensor, token_ids: Tensor, dims: int, strength: float, seed: int
) -> Tensor:
    """Adds N(0, strength²) to `dims` random dimensions, the same for every token."""
    hidden = e.shape[-1]
    # a position no token has: the draw of the dimensions is independent of the noise
    lottery = standard_normal(torch.tensor(-1, device=e.device), hidden, seed)
    noise = _noise(e, positions, hidden, strength, seed, token_ids)
    return _change(e, mask, _largest(lottery, dims), _precise(e) + noise)


@register_corruption("rand_noise_top_k")
def rand_noise_top_k(
    e: Tensor, mask: Tensor, *, positions: Tensor, token_ids: Tensor, dims: int, strength: float, seed: int
) -> Tensor:
    """Adds N(0, strength²) to each selected token's `dims` dimensions of largest magnitude."""
    noise = _noise(e, positions, e.shape[-1], strength, seed, token_ids)
    return _change(e, mask, _largest(e.abs(), dims), _precise(e) + noise)


@register_corruption("set_rand_noise_first_n", takes_strengths=True)
def set_rand_noise_first_n(
    e: Tensor, mask: Tensor, *, positions: Tensor, dims: int, strength: float | Tensor, seed: int, **_: Any
) -> Tensor:
    """Replaces dimensions 0..dims-1 of each selected token by N(0, strength²), which goes by the position alone: of
    the token nothing is left there."""
    return _change(e, mask, _first(e, dims), _noise(e, positions, dims, strength, seed, None))


@register_corruption("zero_out_first_n")
def zero_out_first_n(e: Tensor, mask: Tensor, *, dims: int, **_: Any) -> Tensor:
    """Sets dimensions 0..dims-1 of each selected token to zero. Ignores `strength` and `seed`."""
    return _change(e, mask, _first(e, dims), torch.zeros_like(e, dtype=torch.float32))


@register_corruption("zero_out_top_k")
def zero_out_top_k(e: Tensor, mask: Tensor, *, dims: int, **_: Any) -> Tensor:
    """Sets each selected token's `dims` dimensions of largest magnitude to zero. Ignores `strength` and `seed`."""
    return _change(e, mask, _largest(e.abs(), dims), torch.zeros_like(e, dtype=torch.float32))


@register_corruption("flip_sign_first_n")
def flip_sign_first_n(e: Tensor, mask: Tensor, *, dims: int, **_: Any) -> Tensor:
    """Flips the sign of dimensions 0..dims-1 of each selected token. Ignores `strength` and `seed`."""
    return _change(e, mask, _first(e, dims), -e)


@register_corruption("flip_sign_top_k")
def flip_sign_top_k(e: Tensor, mask: Tensor, *, dims: int, **_: Any) -> Tensor:
    """Flips the sign of each selected token's `dims` dimensions of largest magnitude. Ignores `strength` and
    `seed`."""
    return _change(e, mask, _largest(e.abs(), dims), -e)


@register_corruption("add_value_first_n", takes_strengths=True)
def add_value_first_n(e: Tensor, mask: Tensor, *, dims: int, strength: float | Tensor, **_: Any) -> Tensor:
    """Adds `strength` to dimensions 0..dims-1 of each selected token. Ignores `seed`."""
    return _change(e, mask, _first(e, dims), _precise(e) + _over_all(strength, e))


@register_corruption("sub_value_first_n", takes_strengths=True)
def sub_value_first_n(e: Tensor, mask: Tensor, *, dims: int, strength: float | Tensor, **_: Any) -> Tensor:
    """Subtracts `strength` from dimensions 0..dims-1 of each selected token. Ignores `seed`."""
    return _change(e, mask, _first(e, dims), _precise(e) - _over_all(strength, e))


@register_corruption("sub_value_top_k")
def sub_value_top_k(e: Tensor, mask: Tensor, *, dims: int, strength: float, **_: Any) -> Tensor:
    """Subtracts `strength` from each selected token's `dims` largest values (signed). Ignores `seed`."""
    return _change(e, mask, _largest(e, dims), _precise(e) - strength)


@register_corruption("add_value_least_k")
def add_value_least_k(e: Tensor, mask: Tensor, *, dims: int, strength: float, **_: Any) -> Tensor:
    """Adds `strength` to each selected token's `dims` smallest values (signed). Ignores `seed`."""
    return _change(e, mask, _largest(-e, dims), _precise(e) + strength)


def _reorder(e: Tensor, mask: Tensor, key: Tensor) -> Tensor:
    """Lays each row's selected tokens into their own places in ascending order of `key`, (batch, sequence) float."""
    out = e.clone()
    for row in range(e.shape[0]):
        places = mask[row].nonzero().squeeze(-1)
        out[row, places] = e[row, places[torch.sort(key[row, places], stable=True).indices]]
    return out


@register_corruption("reverse_order", mixes_positions=True)
def reverse_order(e: Tensor, mask: Tensor, *, positions: Tensor, **_: Any) -> Tensor:
    """Puts the selected tokens' embeddings in reverse order. Ignores `dims`, `strength` and `seed`."""
    return _reorder(e, mask, -positions.to(torch.float32))


@register_corruption("shuffle", mixes_positions=True)
def shuffle(e: Tensor, mask: Tensor, *, positions: Tensor, seed: int, **_: Any) -> Tensor:
    """Puts the selected tokens' embeddings in a seeded random order, that of their positions alone. Ignores `dims` and
    `strength`."""
    return _reorder(e, mask, standard_normal(positions, 1, seed).squeeze(-1))
