"""Judging a guard: what a model still knows of the scope and of the rest, and the attacks the guard has to hold up
under ([`hf_eco.evaluation.attacks`][]). Needs the extra: pip install hf-eco[eval]"""

from __future__ import annotations

from .baselines import PromptingBaseline, RefusalBaseline
from .comparisons import ComparisonReport, ComparisonRow, compare, sweep_strength
from .estimates import Estimate
from .report import EvaluationReport
from .result_cache import ResultCache
from .runner import evaluate
from .scoring import Scorer, as_chat
from .tasks import ChoiceData, ContinuationTask, MultipleChoiceTask, PromptsTask, Task, TaskResult, TofuTask

__all__ = [
    "ChoiceData",
    "ComparisonReport",
    "ComparisonRow",
    "ContinuationTask",
    "Estimate",
    "EvaluationReport",
    "MultipleChoiceTask",
    "PromptingBaseline",
    "PromptsTask",
    "RefusalBaseline",
    "ResultCache",
    "Scorer",
    "Task",
    "TaskResult",
    "TofuTask",
    "as_chat",
    "compare",
    "evaluate",
    "sweep_strength",
]
