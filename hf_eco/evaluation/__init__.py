"""Judging a guard: what a model still knows of the scope and of the rest, and the attacks the guard has to hold up
under ([`hf_eco.evaluation.attacks`][]). Needs the extra: pip install hf-eco[eval]"""

from __future__ import annotations

from .baselines import PromptingBaseline, RefusalBaseline
from .comparison_report import ComparisonReport, ComparisonRow, ModelSummary, TaskLine, TaskTable
from .comparisons import compare
from .estimates import Estimate
from .linear_probes import LinearProbeComparison, compare_linear_probes
from .report import EvaluationReport
from .result_cache import ResultCache
from .runner import evaluate
from .scoring import Scorer, as_chat
from .sweeps import sweep_dims, sweep_strength
from .tasks import (
    ChoiceData,
    ContinuationTask,
    MultipleChoiceTask,
    PromptsTask,
    Task,
    TaskResult,
    TofuTask,
)

__all__ = [
    "ChoiceData",
    "ComparisonReport",
    "ComparisonRow",
    "ContinuationTask",
    "Estimate",
    "EvaluationReport",
    "LinearProbeComparison",
    "ModelSummary",
    "MultipleChoiceTask",
    "PromptingBaseline",
    "PromptsTask",
    "RefusalBaseline",
    "ResultCache",
    "Scorer",
    "Task",
    "TaskLine",
    "TaskResult",
    "TaskTable",
    "TofuTask",
    "as_chat",
    "compare",
    "compare_linear_probes",
    "evaluate",
    "sweep_dims",
    "sweep_strength",
]
