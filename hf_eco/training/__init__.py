"""Making a guard: prompt classifier, threshold and corruption. Needs the extra: pip install hf-eco[train]

| file | what it holds |
|---|---|
| `guarding` | `guard_model`: all of it, from prompts to a guarded checkpoint |
| `naming` | `guard_by_names`: the same from names, without training |
| `aliases`, `alias_statements` | `find_aliases`: a person's other names, found in texts about the person |
| `prompt_classifier` | `train_prompt_classifier`, its settings and its steps |
| `labelled_prompts` | a user's prompts, cleaned once |
| `augmentation`, `forms`, `subjects` | other forms of them, near misses, whom they are about |
| `classifier_examples`, `head_training` | what is learnt from, and the fitting |
| `training_report` | how it was trained |
| `calibration`, `calibration_check` | the threshold, and whether it still holds |
| `bounds` | confidence bounds of error rates |
| `corruption_search/` | `optimize_corruption`: how strongly to corrupt |
| `saved_guards` | changing a guard on disk: threshold, corruption, scopes |
| `defaults` | what is taken where nothing is said |
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from .aliases import Alias, FoundAliases, find_aliases
    from .calibration import calibrate_threshold
    from .calibration_check import CalibrationCheck, check_calibration
    from .corruption_search import Counterfactuals, LookAlikes, optimize_corruption
    from .guarding import guard_model
    from .naming import (
        FalsePositives,
        count_false_positives,
        guard_by_names,
        keep_false_positives,
        last_names_alone,
    )
    from .prompt_classifier import train_prompt_classifier
    from .saved_guards import (
        Recalibration,
        add_scopes_to_guard,
        recalibrate_guard,
        remove_scopes_from_guard,
        tune_guard,
    )

__all__ = [
    "Alias",
    "CalibrationCheck",
    "Counterfactuals",
    "FalsePositives",
    "FoundAliases",
    "LookAlikes",
    "Recalibration",
    "add_scopes_to_guard",
    "calibrate_threshold",
    "check_calibration",
    "count_false_positives",
    "find_aliases",
    "guard_by_names",
    "guard_model",
    "keep_false_positives",
    "last_names_alone",
    "optimize_corruption",
    "recalibrate_guard",
    "remove_scopes_from_guard",
    "train_prompt_classifier",
    "tune_guard",
]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "aliases": ["Alias", "FoundAliases", "find_aliases"],
        "calibration": ["calibrate_threshold"],
        "calibration_check": ["CalibrationCheck", "check_calibration"],
        "corruption_search": ["Counterfactuals", "LookAlikes", "optimize_corruption"],
        "guarding": ["guard_model"],
        "naming": [
            "FalsePositives",
            "count_false_positives",
            "guard_by_names",
            "keep_false_positives",
            "last_names_alone",
        ],
        "prompt_classifier": ["train_prompt_classifier"],
        "saved_guards": [
            "Recalibration",
            "add_scopes_to_guard",
            "recalibrate_guard",
            "remove_scopes_from_guard",
            "tune_guard",
        ],
    },
)
