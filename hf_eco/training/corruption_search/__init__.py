"""How strongly a scope's prompts are corrupted, learnt without a gradient and without a retrained model.

| module | what it holds |
|---|---|
| `search` | the call, `optimize_corruption` |
| `running` | a search under way |
| `result` | what it gives back |
| `questions` | what the model is asked |
| `objective` | the scores |
| `surrogates`, `counterfactuals`, `made_up` | what the score should be |
| `optimiser` | the search in numbers, which knows of no model |
| `choice` | what can be learnt, and which trial is taken |
| `history` | what is kept of a search |
"""

from .history import Trial
from .questions import QuestionSet
from .result import CorruptionSearch, SurrogateScore
from .search import optimize_corruption
from .surrogates import (
    Counterfactuals,
    LookAlikes,
    Refusals,
    RetainModel,
    Setting,
    Surrogate,
    SurrogateEstimate,
)

__all__ = [
    "CorruptionSearch",
    "Counterfactuals",
    "LookAlikes",
    "QuestionSet",
    "Refusals",
    "RetainModel",
    "Setting",
    "Surrogate",
    "SurrogateEstimate",
    "SurrogateScore",
    "Trial",
    "optimize_corruption",
]
