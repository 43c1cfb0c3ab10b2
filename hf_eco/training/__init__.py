"""Making a guard: the prompt classifier and its threshold. Needs the extra: pip install hf-eco[train]"""

from .calibration import CalibrationCheck, calibrate_threshold, check_calibration
from .prompt_classifier import train_prompt_classifier
from .recipe import guard_model

__all__ = [
    "CalibrationCheck",
    "calibrate_threshold",
    "check_calibration",
    "guard_model",
    "train_prompt_classifier",
]
