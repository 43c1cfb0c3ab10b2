"""From names, and documents beside them, to a guarded checkpoint on disk, without training."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..auto import AutoModelForCausalLMWithECO
from ..configuration import CONVERSATION, ROLES, CorruptionConfig, ECOConfig, ForgetScope
from ..guard import Guard
from ..io.directories import replacing
from ..modeling import ECOMixin
from .augmentation import shipped_prompts
from .bounds import clopper_pearson_upper
from .guarding import check_base, check_room_for, is_checkpoint_of_ours, name_after
from .labelled_prompts import unique_prompts, without


@dataclass(frozen=True)
class FalsePositives:
    """How many prompts that should pass a guard flags.

    Attributes:
        flagged: the prompts it flags.
        n: how many prompts there were.
        bound: upper bound of the rate.
        confidence: that the rate lies below the bound.
    """

    flagged: tuple[str, ...]
    n: int
    bound: float
    confidence: float


def guard_by_names(
    base_model: str,
    names: Mapping[str, Sequence[str]],
    output_dir: str | os.PathLike[str],
    *,
    documents: Mapping[str, Sequence[str]] | None = None,
    encoder: str | None = None,
    corruption: CorruptionConfig | None = None,
    tokens: str = "",
    entities: str | None = None,
    threshold: float = 0.5,
    context: str = "auto",
    store_names: str = "plain",
    names_key: str | None = None,
    judged_roles: Sequence[str] = ROLES,
    flag_lasts: str | int = CONVERSATION,
    weights: bool = True,
) -> ECOMixin:
    """Guards `base_model` against whoever bears the names, and saves the guarded checkpoint. Nothing is trained.

    Args:
        base_model: path or Hub id of a causal language model.
        names: for each forget scope, by its name, the full name and aliases of whom or what is to be forgotten.
        output_dir: directory for the checkpoint: a new or empty one, or a guarded checkpoint, which is replaced.
            Nothing is written there until all is done.
        documents: for scopes, by their names, texts on whom or what they are about: prompts that speak of what the
            texts say are flagged, though they name nobody. The texts are not saved.
        encoder: path or Hub id of the text encoder for documents; the default encoder if None.
        corruption: what is done to a flagged prompt; the default corruption if None.
        tokens: which tokens of a flagged prompt are corrupted, see [`ForgetScope`][hf_eco.ForgetScope].
        entities: token classifier for `tokens="entities"`.
        threshold: how sure a mention must be; higher for fewer misspellings and fewer false positives.
        context: whether a name by itself is enough, see [`ForgetScope`][hf_eco.ForgetScope].
        store_names: "plain", or "hashed" for a guard that does not tell whose names it knows, see
            [`ECOConfig`][hf_eco.ECOConfig]. Call its scopes after the requests then, not after the names.
        names_key: of the hashes, see `ECOConfig`; one is made if None.
        judged_roles: whose messages are judged, see [`ECOConfig`][hf_eco.ECOConfig].
        flag_lasts: how long a flagged conversation stays flagged, likewise.
        weights: save the base model's weights too. If not, `output_dir` holds the guard alone, which names the base
            model, and the returned model has no weights.

    Returns:
        The guarded model.

    Raises:
        ValueError: there are no names, or one is too short to be told from parts of other words; or a scope is called
            after a name that is to be hashed.
        OSError: the base model cannot be found.
        ValueError: there are no names, one is too short to be told from parts of other words, or documents are of no
            scope that has names, or hold no sentence.
        OSError: the base model or the encoder cannot be found.
        FileExistsError: `output_dir` holds something else.
    """
    if not names:
        raise ValueError("There are no names to forget. Pass e.g. names={'request-1': ['Jane Doe']}.")
    documents = documents or {}
    if unknown := documents.keys() - names.keys():
        raise ValueError(f"There are documents of {min(unknown)!r}, which has no names. Give it a name too.")
    scopes = [
        ForgetScope(
            name=scope,
            names=list(own),
            documents=list(documents.get(scope, ())),
            encoder=encoder if documents.get(scope) else None,
            corruption=corruption or CorruptionConfig(),
            tokens=tokens,
            entities=entities,
            threshold=threshold,
            context=context,
        )
        for scope, own in names.items()
    ]
    policy: dict[str, Any] = {"judged_roles": judged_roles, "flag_lasts": flag_lasts}
    config = ECOConfig(scopes=scopes, store_names=store_names, names_key=names_key, **policy)
    check_base(base_model)
    if weights:
        check_room_for(base_model, output_dir)
    with replacing(output_dir, is_checkpoint_of_ours) as staged:
        model = AutoModelForCausalLMWithECO.from_pretrained(
            base_model, eco_config=config, device_map=None if weights else "meta"
        )
        if weights:
            model.save_pretrained(staged)
        else:
            model.save_guard(staged)
    if weights:
        name_after(model, output_dir)
    return model


def count_false_positives(
    guard: Guard,
    prompts: Sequence[str] | None = None,
    *,
    retain: Sequence[str] = (),
    confidence: float = 0.95,
) -> FalsePositives:
    """Has a guard judge prompts that it should leave alone.

    Args:
        guard: the guard.
        prompts: the prompts; the general ones that come with the package if None. One that does name somebody of a
            scope counts as flagged like any other: read `flagged`.
        retain: further prompts, from where the guard will be used. The bound then speaks of prompts like all of them
            together. Repetitions count once.
        confidence: of the bound (Clopper and Pearson 1934).

    Raises:
        TypeError: a prompt of `retain` is no string.
        ValueError: there are no prompts, or `confidence` is out of (0, 1).
    """
    asked = tuple(shipped_prompts() if prompts is None else prompts)
    asked += tuple(without(unique_prompts("retain", retain).values(), asked))
    flagged = tuple(p for p, verdict in zip(asked, guard.inspect(asked), strict=True) if verdict.flagged)
    bound = clopper_pearson_upper(len(flagged), len(asked), confidence)
    return FalsePositives(flagged, len(asked), bound, confidence)
