"""Making a guard: the prompt classifier and its threshold. Needs the extra: pip install hf-eco[train]"""

from .calibration import calibrate_threshold
from .prompt_classifier import train_prompt_classifier
from .recipe import guard_model

__all__ = ["calibrate_threshold", "guard_model", "train_prompt_classifier"]
