"""From names, and documents beside them, to a guarded checkpoint on disk, without training."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..auto import AutoModelForCausalLMWithECO, embedding_alone
from ..checkpoint.source import find_guard
from ..checkpoint.writing import rewrite_eco
from ..configuration import CONVERSATION, ROLES, Calibration, CorruptionConfig, ECOConfig, ForgetScope
from ..detection.names.last_names import telling_last_name
from ..guard import Guard
from ..guard.naming import NAME_PROBE
from ..inference.embedding import note_embeddings
from ..io.directories import changing, check_directory, replacing
from ..modeling import ECOMixin
from .augmentation import shipped_prompts
from .bounds import clopper_pearson_upper
from .guarding import check_base, check_output, check_room_for, name_after
from .labelled_prompts import unique_prompts, without


@dataclass(frozen=True)
class FalsePositives:
    """How many prompts that should pass a guard flags.

    Attributes:
        flagged: the prompts it flags.
        n: how many prompts there were.
        bound: upper bound of the rate.
        confidence: that the rate lies below the bound.
        by_scope: how many of them each scope flags, of scopes that flag some.
    """

    flagged: tuple[str, ...]
    n: int
    bound: float
    confidence: float
    by_scope: Mapping[str, int] = field(default_factory=dict)


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
    context: str | Mapping[str, str] = "auto",
    store_names: str = "plain",
    names_key: str | None = None,
    judged_roles: Sequence[str] = ROLES,
    flag_lasts: str | int = CONVERSATION,
    weights: bool = True,
    overwrite: bool = False,
) -> ECOMixin:
    """Guards `base_model` against whoever bears the names, and saves the guarded checkpoint. Nothing is trained.

    Args:
        base_model: path or Hub id of a causal language model.
        names: for each forget scope, by its name, the full name and aliases of whom or what is to be forgotten.
        output_dir: directory for the checkpoint: a new or empty one; with `overwrite` also a guarded checkpoint.
            Nothing is written there until all is done.
        documents: for scopes, by their names, texts on whom or what they are about: prompts that speak of what the
            texts say are flagged, though they name nobody. The texts are not saved.
        encoder: path or Hub id of the text encoder for documents; the default encoder if None.
        corruption: what is done to a flagged prompt; the default corruption if None.
        tokens: which tokens of a flagged prompt are corrupted, see [`ForgetScope`][hf_eco.ForgetScope].
        entities: token classifier for `tokens="entities"`.
        threshold: how sure a mention must be; higher for fewer misspellings and fewer false positives.
        context: whether a name by itself is enough, see [`ForgetScope`][hf_eco.ForgetScope]; one for all scopes, or
            by scope, "auto" for those that are not in it.
        store_names: "plain", or "hashed" for a guard that does not tell whose names it knows, see
            [`ECOConfig`][hf_eco.ECOConfig]. Call its scopes after the requests then, not after the names.
        names_key: of the hashes, see `ECOConfig`; one is made if None.
        judged_roles: whose messages are judged, see [`ECOConfig`][hf_eco.ECOConfig].
        flag_lasts: how long a flagged conversation stays flagged, likewise.
        weights: save the base model's weights too. If not, `output_dir` holds the guard alone, which names the base
            model, and the returned model has no weights.
        overwrite: replace a guard in `output_dir`, with all its scopes.

    Returns:
        The guarded model.

    Raises:
        ValueError: there are no names, one is too short to be told from parts of other words, or a scope is called
            after a name that is to be hashed; or documents are of no scope that has names, or hold no sentence.
        OSError: the base model or the encoder cannot be found.
        FileExistsError: `output_dir` holds something else, or a guard and `overwrite` is not set.
    """
    if not names:
        raise ValueError("There are no names to forget. Pass e.g. names={'request-1': ['Jane Doe']}.")
    may_replace = check_output(output_dir, overwrite)
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
            context=context if isinstance(context, str) else context.get(scope, "auto"),
        )
        for scope, own in names.items()
    ]
    policy: dict[str, Any] = {"judged_roles": judged_roles, "flag_lasts": flag_lasts}
    config = ECOConfig(scopes=scopes, store_names=store_names, names_key=names_key, **policy)
    check_base(base_model)
    if weights:
        check_room_for(base_model, output_dir)
    device = None if weights else "meta"
    if not weights:
        embedding, vocabulary = embedding_alone(base_model)
        if embedding is None:  # they can be told by the whole model alone
            device = None
        else:
            note_embeddings(config, embedding, vocabulary)
    with replacing(output_dir, may_replace) as staged:
        model = AutoModelForCausalLMWithECO.from_pretrained(base_model, eco_config=config, device_map=device)
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
    verdicts = guard.inspect(asked)
    flagged = tuple(p for p, verdict in zip(asked, verdicts, strict=True) if verdict.flagged)
    by_scope = Counter(
        scope
        for verdict in verdicts
        if verdict.flagged
        for scope, probability in verdict.probabilities.items()
        if probability >= guard.config.scope(scope).threshold
    )
    bound = clopper_pearson_upper(len(flagged), len(asked), confidence)
    return FalsePositives(flagged, len(asked), bound, confidence, by_scope)


def keep_false_positives(directory: str | os.PathLike[str], measured: FalsePositives) -> None:
    """Writes into a stored guard, and its model card, how many prompts each scope flags that it should not; of scopes
    without a classifier, which a calibration measures.

    Args:
        directory: of a guarded checkpoint or a guard.
        measured: what `count_false_positives` has found with the guard.

    Raises:
        OSError: there is no such directory, or it cannot be written.
        ValueError: it holds no guard.
    """
    check_directory(directory)
    with changing(directory) as scratch:
        eco = find_guard(os.fspath(directory)).eco
        for scope in eco.scopes:
            if scope.untrained:
                scope.calibration = _false_positives_of(scope, measured)
        rewrite_eco(directory, eco, scratch)


def _false_positives_of(scope: ForgetScope, measured: FalsePositives) -> Calibration:
    count = measured.by_scope.get(scope.name, 0)
    return Calibration(
        threshold=scope.threshold,
        fpr=count / measured.n,
        fpr_bound=clopper_pearson_upper(count, measured.n, measured.confidence),
        fnr=None,
        fnr_bound=None,
        n_forget=0,
        n_retain=measured.n,
        max_fpr=None,
        confidence=measured.confidence,
    )


def last_names_alone(guard: Guard, names: Mapping[str, Sequence[str]]) -> list[str]:
    """The last names that by themselves have `guard` flag a prompt, whoever or whatever bears them.

    Args:
        guard: the guard.
        names: by scope, the names of those it forgets.
    """
    telling = {last: None for own in names.values() for name in own if (last := telling_last_name(name))}
    prompts = [NAME_PROBE.format(name=last) for last in telling]
    return [last for last, verdict in zip(telling, guard.inspect(prompts), strict=True) if verdict.flagged]
