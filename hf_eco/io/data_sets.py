"""Loading data sets, and saying which configurations and splits there are."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .optional import import_extra


def load_data_set(name: str, config: str | None, split: str | None, extra: str) -> Any:
    """A split of a data set: an id on the Hub, or a directory.

    Raises:
        OSError: there is no such data set.
        ValueError: it has several configurations or splits and none is named, or has not the one that is.
        ImportError: datasets is missing; `extra` brings it.
    """
    datasets = import_extra("datasets", extra)
    try:
        loaded = datasets.load_dataset(name, config, split=split)
    except Exception as error:  # datasets raises errors of a dozen kinds, its own and its back-ends'
        _check("config", config, _known(lambda: datasets.get_dataset_config_names(name)), name)
        if split is not None:
            _check("split", split, _known(lambda: datasets.get_dataset_split_names(name, config)), name)
        raise OSError(f"{name!r} is neither a file nor a data set that can be loaded: {error}") from error
    if split is not None or not isinstance(loaded, Mapping):
        return loaded
    chosen = next(iter(loaded)) if len(loaded) == 1 else "train"
    _check("split", chosen if chosen in loaded else None, list(loaded), name)
    return loaded[chosen]


def _known(names: Callable[[], Sequence[str]]) -> list[str]:
    """What there is, as far as it can be told."""
    try:
        return list(names())
    except Exception:  # as above; there is an error to report already
        return []


def _check(what: str, given: str | None, known: list[str], name: str) -> None:
    """Raises ValueError unless `given` is among the `known` configurations or splits, or None and needless."""
    if given is None and len(known) < 2:
        return
    wanted = None if given is None else re.split(r"[\[+]", given)[0]  # of "train[:100]"
    if known in ([], ["default"]) or wanted in known:  # that is what datasets calls the only one
        return
    called = {"config": "configurations", "split": "splits"}[what]
    raise ValueError(
        f"{name!r} has the {called} {', '.join(known)}{'' if given is None else f', none called {given!r}'}. Name "
        f"one: {what}=..., or {name},{what}={known[0]} on the command line."
    )
