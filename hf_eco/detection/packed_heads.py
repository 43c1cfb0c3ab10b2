"""A head's weights as they are used in scoring: few large products instead of many small ones.

Heads are computed one after the other, each by products whose sizes know nothing of the other heads. So a scope's
score is the same to the bit whichever other scopes there are, on any machine: how a library sums a product up may
depend on the product's size, and on nothing else. One product for all heads would be no quicker: the products of a
head are large enough to keep the processor busy. The first member of a head is asked before the others, which a text
that speaks clearly against the scope does not need (see `ScopeHeads.scores`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from .heads import TokenHead


@dataclass(frozen=True)
class HeadInputs:
    """What all heads read of a batch, computed once for them.

    Attributes:
        normalised: (batch * sequence, inputs), each token's features with mean 0 and variance 1.
        attended: (batch, 1, 1, sequence), 0 where a token is read and minus infinity for padding; None where there is
            no padding.
        batch: texts.
    """

    normalised: Tensor
    attended: Tensor | None
    batch: int

    @classmethod
    def of(cls, features: Tensor, mask: Tensor) -> HeadInputs:
        """The inputs of a batch.

        Args:
            features: (batch, sequence, inputs).
            mask: (batch, sequence) bool, False for padding.
        """
        flat = features.flatten(0, 1)
        attended = None
        if not mask.all():
            attended = torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask, -torch.inf)[:, None, None, :]
        return cls(F.layer_norm(flat, flat.shape[-1:]), attended, len(mask))


class PackedHead:
    """A [`TokenHead`][hf_eco.detection.heads.TokenHead] as two stacks of members: the first, and all others."""

    def __init__(self, head: TokenHead) -> None:
        self._weights = tuple(head.parameters())
        self._state = self._state_now()
        self._members = len(head.members)
        self._first = _Members(head.members[:1])
        self._others = _Members(head.members[1:]) if self._members > 1 else None

    @property
    def is_current(self) -> bool:
        """Whether the head's weights are where they were, and nobody has changed them in place."""
        return self._state == self._state_now()

    def _state_now(self) -> tuple[int, int]:
        # tensors made in inference mode cannot be changed outside of it, and count no changes
        changes = sum(weight._version for weight in self._weights if not weight.is_inference())
        return self._weights[0].data_ptr(), changes

    def first(self, inputs: HeadInputs) -> Tensor:
        """Log-odds of each token by the first member alone, (batch, sequence)."""
        return self._first(inputs)[0]

    def all(self, inputs: HeadInputs, first: Tensor) -> Tensor:
        """Log-odds of each token, (batch, sequence), as `TokenHead.forward` gives them, to rounding.

        Args:
            inputs: as for `first`.
            first: what that said.
        """
        if self._others is None:
            return first
        return (first + self._others(inputs).sum(0)) / self._members


class _Members:
    """Members of a head side by side, every scale and shift of a layer norm folded into the layer behind it."""

    def __init__(self, stacked: nn.ModuleList) -> None:
        members: list[Any] = list(stacked)  # the names are those of a member's layers
        self._attention_heads = int(members[0].attention_heads)
        weights, biases = zip(*(_folded(member.input) for member in members), strict=True)
        self._input = torch.cat(biases), torch.cat(weights, 1)
        self._attention = _stacked(_folded(member.attention) for member in members)
        self._mixed = _stacked(_of(member.mixed) for member in members)
        self._wider = _stacked(_folded(member.feed_forward) for member in members)
        self._narrower = _stacked(_of(member.feed_forward[3]) for member in members)
        self._output = _stacked(_folded(member.output) for member in members)

    def __call__(self, inputs: HeadInputs) -> Tensor:
        """Log-odds of each token by each member, (members, batch, sequence); see `TokenHead.each`."""
        count, rows = len(self._attention[0]), len(inputs.normalised)
        states = torch.addmm(self._input[0], inputs.normalised, self._input[1])
        states = states.view(rows, count, -1).transpose(0, 1).contiguous()  # (members, batch * sequence, width)
        split = _product(self._attention, _normalised(states))
        split = split.view(count * inputs.batch, rows // inputs.batch, 3, self._attention_heads, -1)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        mask = None if inputs.attended is None else inputs.attended.repeat(count, 1, 1, 1)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        attended = attended.transpose(1, 2).reshape(states.shape)
        states = _added(states, self._mixed, attended)
        states = _added(states, self._narrower, F.gelu(_product(self._wider, _normalised(states))))
        return _product(self._output, _normalised(states)).view(count, inputs.batch, -1)


def _normalised(states: Tensor) -> Tensor:
    return F.layer_norm(states, states.shape[-1:])


def _product(layer: tuple[Tensor, Tensor], states: Tensor) -> Tensor:
    bias, weight = layer
    return torch.baddbmm(bias, states, weight)


def _added(states: Tensor, layer: tuple[Tensor, Tensor], others: Tensor) -> Tensor:
    """`states` and what a layer makes of `others`."""
    bias, weight = layer
    return torch.baddbmm(states.add_(bias), others, weight)


def _of(linear: nn.Linear) -> tuple[Tensor, Tensor]:
    """The weight, (in, out), and the bias, (out,), of a layer."""
    return linear.weight.detach().t(), linear.bias.detach()


def _folded(layers: nn.Sequential) -> tuple[Tensor, Tensor]:
    """Those of a linear layer that takes what a layer norm gives, as if it took it before the norm's own scale and
    shift: W(g * x + s) + b = (W * g) x + (W s + b)."""
    norm: Any = layers[0]
    linear: Any = layers[1]
    weight, bias = linear.weight.detach().double(), linear.bias.detach().double()
    scaled = (weight * norm.weight.detach().double()).t().to(linear.weight.dtype)
    return scaled, (weight @ norm.bias.detach().double() + bias).to(linear.bias.dtype)


def _stacked(layers: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Biases, (members, 1, out), and weights, (members, in, out)."""
    weights, biases = zip(*layers, strict=True)
    return torch.stack(biases).unsqueeze(1), torch.stack(weights).contiguous()
