"""ECO prompts for Hugging Face transformers: a checkpoint that forgets at inference, and loads like any other."""

from ._version import __version__
from .auto import AutoModelForCausalLMWithECO
from .classifier import PromptClassifier
from .configuration import Calibration, CorruptionConfig, ECOConfig, ForgetScope
from .errors import ECOError, GuardError, GuardLoadError
from .guard import Guard
from .modeling import ECOMixin
from .plan import Verdict
from .selection import EntityTagger

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
