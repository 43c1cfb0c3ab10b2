"""What a model is measured at.

| file | what it holds |
|---|---|
| `base` | what a task is, and what it gives |
| `answers` | questions with answers |
| `tofu` | those of TOFU |
| `multiple_choice`, `choice_data` | questions with options, and the well-known data sets of them |
| `continuation` | passages that must not be recited |
| `prompts` | prompts without right answers |
| `text_metrics` | further measures of the answers, of a user's choice |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

from .choice_data import KNOWN, ChoiceData

if TYPE_CHECKING:
    from .answers import AnswersTask
    from .base import Kind, Reference, Task, TaskResult
    from .continuation import ContinuationTask
    from .multiple_choice import MultipleChoiceTask
    from .prompts import PromptsTask
    from .tofu import TofuTask

__all__ = [
    "KNOWN",
    "AnswersTask",
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

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "answers": ["AnswersTask"],
        "base": ["Kind", "Reference", "Task", "TaskResult"],
        "continuation": ["ContinuationTask"],
        "multiple_choice": ["MultipleChoiceTask"],
        "prompts": ["PromptsTask"],
        "tofu": ["TofuTask"],
    },
)
