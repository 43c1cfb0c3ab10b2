"""All that a model card says, as data, and the card made of it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from ...configuration import ECOConfig
from ...data import SHIPPED
from .known import Figure, Measurement, TrainingData
from .words import cell, eval_result, evaluation_row, scope_rows

CARD_MARK = "<!-- written by hf-eco; without this line it is not written again -->"
TAGS = ("eco", "unlearning")


@dataclass(frozen=True)
class CardRecord:
    """All that a card says.

    Attributes:
        eco: the guard.
        base_model: Hub id of the base model, if not the one in `eco`: that may be a directory of one machine.
        license: identifier of the base model's licence; None if it is not known.
        tags: beside "eco" and "unlearning".
        training: by scope, as far as known.
        evaluation: figures of this checkpoint and of what it is compared with.
        figures: plots.
        alike: where a scope of `eco` stands for others that are not in it, by its name the names of all.
    """

    eco: ECOConfig
    base_model: str | None = None
    license: str | None = None
    tags: Sequence[str] = ()
    training: Mapping[str, TrainingData] = field(default_factory=dict)
    evaluation: Sequence[Measurement] = ()
    figures: Sequence[Figure] = ()
    alike: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def base_on_hub(self) -> str | None:
        """The base model's Hub id; None for a directory, which nobody else has."""
        base = self.base_model or self.eco.base_model_name_or_path
        return base if base is not None and not os.path.isabs(base) and not os.path.isdir(base) else None

    def metadata(self) -> ModelCardData:
        """What the Hub reads of the card. A guard alone is an adapter to its base; with the base's weights it is, of
        the relations the Hub knows (adapter, finetune, merge, quantized), a finetune: a model of its own."""
        base = self.base_on_hub
        own = [eval_result(row) for row in self.evaluation if row.model == "guarded"]
        return ModelCardData(
            library_name="hf-eco",
            pipeline_tag="text-generation",
            license=self.license,
            tags=[*TAGS, *self.tags],
            base_model=base,
            base_model_relation=None if base is None else "adapter" if self.eco.guard_only else "finetune",
            model_name=f"{(base or 'language model').rpartition('/')[2]} guarded by ECO prompts" if own else None,
            eval_results=own or None,
        )

    def render(self) -> ModelCard:
        """The card."""
        base = self.base_on_hub
        of = f"[{base}](https://huggingface.co/{base})" if base else "a base model that is not on the Hub"
        return ModelCard.from_template(
            self.metadata(),
            template_str=(SHIPPED / "model_card.md.jinja").read_text(encoding="utf-8"),
            mark=CARD_MARK,
            holding=f"a guard for {of}, without its weights" if self.eco.guard_only else f"{of} and a guard",
            guard_only=self.eco.guard_only,
            base_argument=json.dumps(base or "path of the base model"),
            policy=self.eco.policy_in_words,
            scopes=scope_rows(self.eco.scopes, self.training, self.alike),
            evaluation=[evaluation_row(row) for row in self.evaluation],
            figures=[{"caption": cell(figure.caption), "path": figure.name} for figure in self.figures],
        )


def model_card(eco: ECOConfig, **known: Any) -> ModelCard:
    """The model card of a guard; `known` are the other fields of a
    [`CardRecord`][hf_eco.checkpoint.model_card.CardRecord]."""
    return CardRecord(eco, **known).render()
