"""ECO prompts for Hugging Face transformers: a checkpoint that forgets at inference, and loads like any other."""

from ._version import __version__
from .auto import AutoModelForCausalLMWithECO
from .configuration import Calibration, CorruptionConfig, ECOConfig, ForgetScope
from .detection.classifier import PromptClassifier
from .detection.entities import EntityTagger
from .errors import ECOError, GuardError, GuardLoadError
from .guard.guard import Guard
from .guard.verdict import Verdict
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
