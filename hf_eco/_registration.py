"""transformers' Auto classes get to know guarded checkpoints as soon as they are imported, and not before.

`AutoConfig` brings torch with it. So `import hf_eco` does not import it, but waits for it: who never loads a model
(the command's help, a list of scopes) never pays for it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_AUTO_CONFIG = "transformers.models.auto.configuration_auto"


def register_with_auto_classes() -> None:
    """From now on `AutoConfig` knows model type "eco": at once if it is imported already, else as soon as it is."""
    module = sys.modules.get(_AUTO_CONFIG)
    if module is not None and hasattr(module, "AutoConfig"):
        _register(module)
    else:
        sys.meta_path.insert(0, _Waiting())


class _Waiting(MetaPathFinder):
    """Finds one module, by the usual way, and has `_register` called when it has run."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _AUTO_CONFIG:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        loader: Any = spec.loader
        run = loader.exec_module

        def run_and_register(module: ModuleType) -> None:
            run(module)
            _register(module)

        loader.exec_module = run_and_register
        return spec


def _register(module: Any) -> None:
    from .auto import GuardedConfig

    module.AutoConfig.register(GuardedConfig.model_type, GuardedConfig, exist_ok=True)
