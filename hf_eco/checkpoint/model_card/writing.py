"""README.md: where a card goes, and what is done about one that is there already."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard
from transformers.utils import logging
from transformers.utils.hub import cached_file

from ...configuration import ECOConfig
from ...detection.classifier import TRAINING_REPORT
from ...io.directories import replace_text
from ..format import CARD_NAME
from ..source import read_eco
from .known import FIGURES, Figure, Measurement, TrainingData
from .record import CARD_MARK, TAGS, model_card

logger = logging.get_logger(__name__)


def is_own_card(text: str) -> bool:
    """Whether hf-eco has written this card, and may write it again."""
    return CARD_MARK in text


def write_model_card(
    directory: str | os.PathLike[str],
    *,
    evaluation: Sequence[Measurement] = (),
    figures: Sequence[Figure] = (),
    base_model: str | None = None,
    license: str | None = None,
    tags: Sequence[str] = (),
) -> None:
    """Writes the model card of a guarded or guard-only directory, with what was measured on it.

    The licence and the tags that an older card of hf-eco's names are kept, beside the new ones.

    Args:
        directory: where `save_pretrained` or `save_guard` has written a guard.
        evaluation: figures, of the guarded model and of what it is compared with.
        figures: plots; copied to `figures/` in the directory.
        base_model: Hub id of the base model, where the guard was made from a copy on this machine.
        license: the base model's licence; what is known of it if None.
        tags: beside "eco" and "unlearning".

    Raises:
        FileExistsError: the directory has a model card that hf-eco did not write.
        FileNotFoundError: a figure is missing.
        ValueError: the directory holds no guard, or two figures share a name.
    """
    directory = Path(directory)
    eco = read_eco(os.fspath(directory), {})
    if eco is None:
        raise ValueError(f"{str(directory)!r} carries no guard, so there is nothing to say of one. Guard it first.")
    path = directory / CARD_NAME
    if path.exists() and not is_own_card(path.read_text(encoding="utf-8")):
        raise FileExistsError(f"{str(path)!r} was not written by hf-eco and is left alone. Move it away first.")
    if len({figure.name for figure in figures}) < len(figures):
        raise ValueError(f"Two figures share a name: {[figure.name for figure in figures]}. Rename one.")
    for figure in figures:
        if not Path(figure.path).is_file():
            raise FileNotFoundError(f"There is no figure at {os.fspath(figure.path)!r}. Draw it first.")
    for figure in figures:
        (directory / FIGURES).mkdir(exist_ok=True)
        if Path(figure.path).resolve() != (directory / figure.name).resolve():
            shutil.copyfile(figure.path, directory / figure.name)
    kept = kept_from(directory)
    update_card(
        eco,
        directory,
        evaluation=evaluation,
        figures=figures,
        base_model=base_model or kept.get("base_model"),
        license=license or kept.get("license"),
        tags=tuple(dict.fromkeys([*kept.get("tags", ()), *tags])),
    )


def kept_from(directory: Path) -> dict[str, Any]:
    """What hf-eco's card in `directory` says that does not follow from the guard: `base_model`, `license` and `tags`.
    Empty without a card of hf-eco's."""
    path = directory / CARD_NAME
    if not path.exists() or not is_own_card(text := path.read_text(encoding="utf-8")):
        return {}
    data: Any = ModelCard(text).data
    own = [tag for tag in data.tags or [] if tag not in TAGS]
    return {"base_model": data.base_model, "license": data.license, "tags": own}


def update_card(eco: ECOConfig, directory: Path, **known: Any) -> None:
    """Writes the card of the guard `eco` into `directory`, unless there is one that is somebody's own; `known` are
    fields of a [`CardRecord`][hf_eco.checkpoint.model_card.CardRecord].

    What an older card says of an evaluation is not taken over: it was measured on the guard as it was then.
    """
    path = directory / CARD_NAME
    if path.exists():
        older = path.read_text(encoding="utf-8")
        if not is_own_card(older):
            return
        if ModelCard(older).data.get("eval_results") and not known.get("evaluation"):
            logger.warning(
                "The evaluation in the model card was measured on the guard as it was before and is dropped. Evaluate "
                "again, then call hf_eco.checkpoint.model_card.write_model_card(directory, evaluation=...)."
            )
    known["license"] = known.get("license") or base_license(eco)
    card = model_card(eco, training=training_data(eco, directory), **known)
    replace_text(path, str(card))


def base_license(eco: ECOConfig) -> str | None:
    """The licence that the base model's own card names, if that card is on this machine; None if it is not known."""
    base = eco.base_model_name_or_path
    if base is None:
        return None
    try:
        path = str(cached_file(base, CARD_NAME, revision=eco.base_revision, local_files_only=True))
        card = ModelCard(Path(path).read_text(encoding="utf-8"), ignore_metadata_errors=True)
    except Exception:  # no card, or one that is no card: it is somebody else's and may be anything
        return None
    license = card.data.get("license")
    return license if isinstance(license, str) else None


def training_data(eco: ECOConfig, directory: Path) -> dict[str, TrainingData]:
    """How many prompts the classifiers in `directory` were trained on, by scope, as far as their reports say."""
    found = {}
    for scope in eco.scopes:
        if scope.classifier is None:
            continue
        try:
            report = json.loads((directory / str(scope.classifier) / TRAINING_REPORT).read_text(encoding="utf-8"))
            forget, retain = report["prompts"]["forget"], report["prompts"]["retain"]
            sizes = (forget["training"], retain["training"], forget["validation"], retain["validation"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        found[scope.name] = TrainingData(*sizes)
    return found
