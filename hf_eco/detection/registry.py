"""Detectors of your own, by the name that scopes call them by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

from .detector import Detector

DetectorFactory: TypeAlias = Callable[[Mapping[str, Mapping[str, Any]]], Detector]
"""Makes a detector of scopes, from the settings of each by its name: a class, or a function."""

_BUILT_IN = ("classifier", "facts", "names")
_FACTORIES: dict[str, DetectorFactory] = {}
_FactoryT = TypeVar("_FactoryT", bound=DetectorFactory)


def register_detector(name: str) -> Callable[[_FactoryT], _FactoryT]:
    """Decorator: makes a [`Detector`][hf_eco.detection.detector.Detector] of your own available to scopes as
    `ForgetScope(detectors={name: settings})`.

    What is decorated is called once for a guard, with the settings of all of its scopes that ask for the detector.
    Register it before the guard is loaded: a guard whose detector is not known is refused.

    Args:
        name: the detector's name in configs.

    Raises:
        ValueError: the name is taken.
    """

    def register(factory: _FactoryT) -> _FactoryT:
        known = _FACTORIES.get(name, factory)
        same = (known.__module__, known.__qualname__) == (factory.__module__, factory.__qualname__)
        if name in _BUILT_IN or not same:  # a cell may run twice
            raise ValueError(f"A detector called {name!r} exists already. Choose another name.")
        _FACTORIES[name] = factory
        return factory

    return register


def make_detectors(settings: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[Detector]:
    """The registered detectors of a guard.

    Args:
        settings: by detector and scope.

    Raises:
        ValueError: a detector is not registered.
    """
    for name, of_scopes in settings.items():
        if name not in _FACTORIES:
            raise ValueError(
                f"Scope {min(of_scopes)!r} is recognised by the detector {name!r}, which is not registered. Import "
                "the module that registers it, see hf_eco.detection.registry, before the guard is loaded."
            )
    return [_FACTORIES[name](of_scopes) for name, of_scopes in settings.items()]
