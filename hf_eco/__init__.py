"""ECO prompts for Hugging Face transformers: a checkpoint that forgets at inference, and loads like any other.

`import hf_eco` makes guarded checkpoints known to transformers' Auto classes and pipelines. The names below are
imported when they are first used.
"""

from typing import TYPE_CHECKING

import lazy_loader

from ._registration import register_with_auto_classes
from ._version import __version__

if TYPE_CHECKING:
    from .auto import AutoModelForCausalLMWithECO
    from .configuration import Calibration, CorruptionConfig, ECOConfig, ForgetScope
    from .detection.classifier import PromptClassifier
    from .detection.entities import EntityTagger
    from .errors import ECOError, GuardError, GuardLoadError
    from .guard import Guard, Verdict
    from .modeling import ECOMixin

__all__ = [
    "AutoModelForCausalLMWithECO",
    "Calibration",
    "CorruptionConfig",
    "ECOConfig",
    "ECOError",
    "ECOMixin",
    "EntityTagger",
    "ForgetScope",
    "Guard",
    "GuardError",
    "GuardLoadError",
    "PromptClassifier",
    "Verdict",
    "__version__",
]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "auto": ["AutoModelForCausalLMWithECO"],
        "configuration": ["Calibration", "CorruptionConfig", "ECOConfig", "ForgetScope"],
        "detection.classifier": ["PromptClassifier"],
        "detection.entities": ["EntityTagger"],
        "errors": ["ECOError", "GuardError", "GuardLoadError"],
        "guard": ["Guard", "Verdict"],
        "modeling": ["ECOMixin"],
    },
)
register_with_auto_classes()
