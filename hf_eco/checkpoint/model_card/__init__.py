"""The model card of a guarded checkpoint: what is known of it, as data, and the README.md made of that.

A card states only what was measured. What is not known is said to be so; there are no blanks to fill in.
"""

from .known import Figure, Measurement, TrainingData
from .record import CardRecord, model_card
from .writing import (
    base_license,
    is_own_card,
    kept_from,
    training_data,
    update_card,
    write_model_card,
)

__all__ = [
    "CardRecord",
    "Figure",
    "Measurement",
    "TrainingData",
    "base_license",
    "is_own_card",
    "kept_from",
    "model_card",
    "training_data",
    "update_card",
    "write_model_card",
]
