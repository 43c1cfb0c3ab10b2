"""What a prompt classifier knows of each scope, on top of a text encoder that all scopes share.

The encoder is never trained. A head reads the encoder's hidden states and says of every token how much it speaks for
its scope, so that a few words of the scope stand out from a long text as they would alone (multiple-instance
learning), and a further scope costs a head, not a pass. A head's verdicts depend on nothing but its own weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .names import Lexicon, Lexicons
from .packed_heads import HeadInputs, PackedHead

# Log-odds by a head's first member below which the others are not asked, p = 0.018. Of half of RWKU's prompts, those
# that a head trained on ten people puts above 0 had at least -3 by its first member.
CLEARLY_NOT = -4.0


@dataclass(frozen=True)
class HeadShape:
    """What heads are made of; the same for all heads on one encoder.

    Attributes:
        layers: hidden states a head reads, counted as in `output_hidden_states`: 0 the embeddings, -1 the last.
        members: networks whose mean a head is.
        width: units of a member's layers.
        attention_heads: of a member's one layer of attention, by which a name finds the question about it.
        top: tokens whose mean is a text's score: those that speak most for the scope.
    """

    layers: tuple[int, ...]
    members: int = 3
    width: int = 128
    attention_heads: int = 4
    top: int = 4


class TokenHead(nn.Module):
    """Hidden states in, one logit for each token out: the mean of a few small networks that begin from other weights
    (Lakshminarayanan et al., "Simple and scalable predictive uncertainty estimation using deep ensembles", NeurIPS
    2017). What one of them takes for the scope by mistake, the others seldom do."""

    def __init__(self, shape: HeadShape, hidden_size: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(_Member(shape, hidden_size) for _ in range(shape.members))

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Log-odds of each token.

        Args:
            features: (batch, sequence, inputs).
            mask: (batch, sequence) bool, False for padding.

        Returns:
            (batch, sequence)
        """
        return self.each(features, mask).mean(0)

    def each(self, features: Tensor, mask: Tensor) -> Tensor:
        """What each member says, (members, batch, sequence)."""
        return torch.stack([member(features, mask) for member in self.members])


class _Member(nn.Module):
    """A small transformer layer between two projections."""

    def __init__(self, shape: HeadShape, hidden_size: int, dropout: float = 0.1) -> None:
        super().__init__()
        inputs, width = len(shape.layers) * hidden_size, shape.width
        self.attention_heads = shape.attention_heads
        self.input = nn.Sequential(nn.LayerNorm(inputs), nn.Linear(inputs, width))
        self.attention = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 3 * width))
        self.mixed = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1))

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        states = self.input(features)
        batch, length, width = states.shape
        split = self.attention(states).view(batch, length, 3, self.attention_heads, -1)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None, :])
        states = states + self.dropout(self.mixed(attended.transpose(1, 2).reshape(batch, length, width)))
        states = states + self.dropout(self.feed_forward(states))
        return self.output(states).squeeze(-1)


def token_features(hidden_states: Sequence[Tensor], shape: HeadShape) -> Tensor:
    """What the heads read of each token: the chosen layers side by side.

    Args:
        hidden_states: the encoder's, each (batch, sequence, hidden).
        shape: which layers.

    Returns:
        (batch, sequence, layers * hidden), float32.
    """
    return torch.cat([hidden_states[layer].float() for layer in shape.layers], -1)


def marked_tokens(rows: Sequence[Sequence[bool]]) -> Tensor:
    """Which tokens of each text count, (batch, longest), False for padding on the right."""
    return nn.utils.rnn.pad_sequence([torch.tensor(row, dtype=torch.bool) for row in rows], batch_first=True)


def pool(logits: Tensor, mask: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """A text's log-odds: the mean of the `top` highest among its tokens, of all where there are fewer.

    Args:
        logits: (batch, sequence).
        mask: (batch, sequence) bool, the tokens that count; at least one in each row.

    Returns:
        The log-odds, (batch,), and the columns they come from, (batch, top); columns that do not count may be among
        them where a row has fewer.
    """
    highest = logits.masked_fill(~mask, -torch.inf).topk(min(top, logits.shape[1]), -1)
    counted = highest.values != -torch.inf  # not a number counts, and is seen
    return highest.values.where(counted, 0.0).sum(-1) / counted.sum(-1).clamp(min=1), highest.indices


@dataclass
class ScopeHead:
    """One scope's part of a classifier.

    Attributes:
        head: says how much each token speaks for the scope.
        lexicon: the names of the scope; None if it has none.
        floor: the p(forget) that near misses of the scope seldom reach. A threshold should lie above it.
    """

    head: TokenHead
    lexicon: Lexicon | None = None
    floor: float = 0.0
    _packed: PackedHead | None = field(default=None, init=False, compare=False, repr=False)

    @property
    def packed(self) -> PackedHead:
        """The head as it is used in scoring, made when it is first asked for and when the weights have changed."""
        packed = self._packed
        if packed is None or not packed.is_current:
            self._packed = packed = PackedHead(self.head)
        return packed

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_packed": None}

    @property
    def names(self) -> list[str]:
        """Whom or which the scope is about."""
        return list(self.lexicon.names) if self.lexicon is not None else []


@dataclass
class ScopeHeads:
    """The heads on one encoder, by the label that stands for their scope."""

    shape: HeadShape
    heads: dict[str, ScopeHead]
    _lexicons: Lexicons | None = field(default=None, init=False, compare=False, repr=False)

    @property
    def lexicons(self) -> Lexicons:
        """The lexicons of all heads as one, by the heads' numbers."""
        if self._lexicons is None:
            self._lexicons = Lexicons([head.lexicon for head in self.heads.values()])
        return self._lexicons

    def replaced_by(self, heads: dict[str, ScopeHead]) -> ScopeHeads:
        """Other heads of the same shape. A name that both have is not indexed again."""
        other = ScopeHeads(self.shape, heads)
        other._lexicons = Lexicons([head.lexicon for head in heads.values()], self.lexicons)
        return other

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_lexicons": None}

    def scores(self, features: Tensor, mask: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
        """Each text's log-odds by each head, and the columns that they come from; see `pool`.

        What a head says is the same to the bit whichever other heads there are. Most texts speak clearly against most
        scopes: where a head's first member gives a text less than `CLEARLY_NOT`, that is the score, and the head's
        other members are not asked. From there on they gain weight, and have all of it one above: no rounding decides.

        Args:
            features: (batch, sequence, inputs).
            mask: (batch, sequence) bool, False for padding.
            counted: (batch, sequence) bool, the tokens that count; at least one in each row.

        Returns:
            (heads, batch) and (heads, batch, top), on the CPU.
        """
        inputs, packed = HeadInputs.of(features, mask), [head.packed for head in self.heads.values()]
        logits = torch.stack([head.first(inputs) for head in packed])
        weights = (self._pooled(logits, counted)[0] - CLEARLY_NOT).clamp(0, 1)  # not a number stays that
        for number in (weights != 0).any(-1).nonzero().flatten().tolist():
            said = packed[number].all(inputs, logits[number])
            logits[number] = logits[number].lerp(said, weights[number, :, None].to(said.device))
        return self._pooled(logits, counted)

    def _pooled(self, logits: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
        """What `pool` gives for each head; `logits` are (heads, batch, sequence)."""
        logits = logits.cpu()
        scores, columns = pool(logits.flatten(0, 1), counted.repeat(len(logits), 1), self.shape.top)
        return scores.view(len(logits), -1), columns.view(*logits.shape[:2], -1)

    def to_dict(self) -> dict[str, object]:
        """What `config.json` of the classifier holds about them."""
        return {
            "version": 1,
            "shape": {**vars(self.shape), "layers": list(self.shape.layers)},
            "scopes": {label: {"names": head.names, "floor": head.floor} for label, head in self.heads.items()},
        }

    def tensors(self) -> dict[str, Tensor]:
        """The weights of all heads, by `<label>/<parameter>`."""
        return {
            f"{label}/{name}": tensor.detach().contiguous()
            for label, head in self.heads.items()
            for name, tensor in head.head.state_dict().items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, object], tensors: Mapping[str, Tensor], hidden_size: int) -> ScopeHeads:
        """Reads what `to_dict` and `tensors` gave.

        Raises:
            ValueError: the description is of a newer version, or weights are missing.
        """
        if values.get("version") != 1:
            raise ValueError(
                f"This classifier's heads are written in version {values.get('version')!r}; this hf-eco reads version "
                "1. Upgrade hf-eco: pip install -U hf-eco"
            )
        try:
            described: Mapping[str, object] = values["shape"]  # type: ignore[assignment]
            shape = HeadShape(**{**described, "layers": tuple(described["layers"])})  # type: ignore[arg-type]
            heads = {}
            for label, scope in values["scopes"].items():  # type: ignore[attr-defined]
                with torch.device("meta"):  # no first weights are drawn: the caller's random numbers are left alone
                    head = TokenHead(shape, hidden_size)
                prefix = f"{label}/"
                own = {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
                head.load_state_dict(own, strict=True, assign=True)
                lexicon = Lexicon(scope["names"]) if scope["names"] else None
                heads[label] = ScopeHead(head.eval().requires_grad_(False), lexicon, scope["floor"])
        except (KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise ValueError(f"The classifier's heads are damaged ({error}). Download it again.") from error
        return cls(shape, heads)
