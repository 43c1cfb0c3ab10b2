"""Judging a guard: what a model still knows of the scope, and of the rest. Needs the extra: pip install hf-eco[eval]

| file | what it holds |
|---|---|
| `runner`, `comparisons`, `sweeps` | the calls: one model, several, one at several strengths |
| `tasks/` | what a model is measured at |
| `metrics/` | the measures, pure functions of texts and numbers |
| `scoring` | answers scored and generated, nothing twice |
| `passes`, `row_layout`, `prompt_sharing`, `encoding` | the forward passes behind that, and the ids they run |
| `baselines` | prompting and refusing, to compare with |
| `evaluation_report`, `comparison_report`, `estimates` | what was found, with its intervals |
| `linear_probes` | what a classifier reads out of logits |
| `result_cache` | results kept on disk |
| `task_rows` | the rows of a task's file or data set |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from .baselines import PromptingBaseline, RefusalBaseline
    from .comparison_report import ComparisonReport, ComparisonRow, ModelSummary, TaskLine, TaskTable
    from .comparisons import compare
    from .estimates import Estimate
    from .evaluation_report import EvaluationReport
    from .linear_probes import LinearProbeComparison, compare_linear_probes
    from .result_cache import ResultCache
    from .runner import evaluate
    from .scoring import Scorer, as_chat
    from .sweeps import sweep_dims, sweep_strength
    from .tasks import (
        AnswersTask,
        ChoiceData,
        ContinuationTask,
        MultipleChoiceTask,
        PromptsTask,
        Task,
        TaskResult,
        TofuTask,
    )

__all__ = [
    "AnswersTask",
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

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "baselines": ["PromptingBaseline", "RefusalBaseline"],
        "comparison_report": ["ComparisonReport", "ComparisonRow", "ModelSummary", "TaskLine", "TaskTable"],
        "comparisons": ["compare"],
        "estimates": ["Estimate"],
        "evaluation_report": ["EvaluationReport"],
        "linear_probes": ["LinearProbeComparison", "compare_linear_probes"],
        "result_cache": ["ResultCache"],
        "runner": ["evaluate"],
        "scoring": ["Scorer", "as_chat"],
        "sweeps": ["sweep_dims", "sweep_strength"],
        "tasks": [
            "AnswersTask",
            "ChoiceData",
            "ContinuationTask",
            "MultipleChoiceTask",
            "PromptsTask",
            "Task",
            "TaskResult",
            "TofuTask",
        ],
    },
)
