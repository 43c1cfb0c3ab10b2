"""Making a guard: the prompt classifier and its threshold. Needs the extra: pip install hf-eco[train]"""

from .calibration import calibrate_threshold
from .prompt_classifier import train_prompt_classifier

__all__ = ["calibrate_threshold", "train_prompt_classifier"]
