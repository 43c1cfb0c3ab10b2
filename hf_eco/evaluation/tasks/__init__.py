"""What a model is measured at: questions and answers, choices, passages, prompts."""

from __future__ import annotations

from .base import Kind, Reference, Task, TaskResult
from .choice_data import KNOWN, ChoiceData
from .continuation import ContinuationTask
from .multiple_choice import MultipleChoiceTask
from .prompts import PromptsTask
from .tofu import TofuTask

__all__ = [
    "KNOWN",
    "ChoiceData",
    "ContinuationTask",
    "Kind",
    "MultipleChoiceTask",
    "PromptsTask",
    "Reference",
    "Task",
    "TaskResult",
    "TofuTask",
]
