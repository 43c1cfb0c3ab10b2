"""Making a guard: prompt classifier, threshold and corruption. Needs the extra: pip install hf-eco[train]"""

from .calibration import CalibrationCheck, calibrate_threshold, check_calibration
from .corruption_search import Counterfactuals, LookAlikes, optimize_corruption
from .prompt_classifier import train_prompt_classifier
from .recipe import guard_model

__all__ = [
    "CalibrationCheck",
    "Counterfactuals",
    "LookAlikes",
    "calibrate_threshold",
    "check_calibration",
    "guard_model",
    "optimize_corruption",
    "train_prompt_classifier",
]
