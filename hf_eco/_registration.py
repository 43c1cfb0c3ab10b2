"""transformers gets to know guarded checkpoints as soon as its Auto classes are imported, and not before.

`AutoConfig` brings torch with it. So `import hf_eco` does not import it, but waits for it: who never loads a model
(the command's help, a list of scopes) never pays for it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any


def register_with_auto_classes() -> None:
    """From now on `AutoConfig` knows model type "eco", the Auto classes keep a guard whatever config they are handed,
    and `Trainer` pushes guards whole: at once if they are imported already, else as soon as they are."""
    waited_for = {}
    for name, (defined, teach) in _TAUGHT.items():
        module = sys.modules.get(name)
        if module is not None and hasattr(module, defined):
            teach(module)
        else:
            waited_for[name] = teach
    if waited_for:
        sys.meta_path.insert(0, _Waiting(waited_for))


class _Waiting(MetaPathFinder):
    """Finds modules, by the usual way, and has each one's function called when it has run."""

    def __init__(self, waited_for: dict[str, Callable[[Any], None]]) -> None:
        self._waited_for = waited_for

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        teach = self._waited_for.get(fullname)
        spec = None if teach is None else PathFinder.find_spec(fullname, path, target)
        if teach is None or spec is None or spec.loader is None:
            return None
        loader: Any = spec.loader
        run = loader.exec_module

        def run_and_teach(module: ModuleType) -> None:
            run(module)
            teach(module)

        loader.exec_module = run_and_teach
        return spec


def _register_config(module: Any) -> None:
    from .auto import GuardedConfig

    module.AutoConfig.register(GuardedConfig.model_type, GuardedConfig, exist_ok=True)


def _teach_auto_models(module: Any) -> None:
    from ._transformers import auto_model_classes
    from .auto import keep_guards

    keep_guards(auto_model_classes(module))


def _teach_trainer(module: Any) -> None:
    from .auto import push_guards_whole

    push_guards_whole(module.Trainer)


# By module of transformers: what it has defined when it is whole, and what is done with it then.
_TAUGHT: dict[str, tuple[str, Callable[[Any], None]]] = {
    "transformers.models.auto.configuration_auto": ("AutoConfig", _register_config),
    "transformers.models.auto.modeling_auto": ("__all__", _teach_auto_models),
    "transformers.trainer": ("Trainer", _teach_trainer),
}
