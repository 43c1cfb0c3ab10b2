"""Measures of forgetting and of what is left: functions of arrays and texts. Needs the extra: pip install hf-eco[eval]

| module | what is asked | measures |
|---|---|---|
| `tofu` | does the model know the answer? | `answer_probability`, `normalized_probability`, `truth_ratio` |
| | has it forgotten, and what else does it know? | `truth_ratio_score`, `forget_quality`, `model_utility` |
| `texts` | does it say the same as the reference? | `exact_match`, `rouge_l_recall` |
| | how like is it to the reference? | `rouge`, `bleu`, `corpus_bleu`, `meteor` |
| | as much as the retain model does? does it repeat itself? | `average_similarity_gap`, `unique_token_ratio` |
| `bert_score` | does it mean what the reference means? | `bert_score` |
| `fluency` | is it language at all? | `perplexity` |
| `choices` | does the model pick the right option? | `letter_accuracy`, `option_accuracy` |
| `logits` | what do its next-token distributions give away? | `kl_divergence`, `linear_probe` |

A measure of single answers gives one value for each, as a float64 array (n,); its mean is what tables show. A measure
of a whole set gives a number, or a small tuple of named ones. All of them want at least one row, raise ValueError for
anything that is no number to count with, and never give NaN.
"""

from __future__ import annotations

from .bert_score import bert_score
from .choices import letter_accuracy, option_accuracy
from .fluency import perplexity
from .logits import LinearProbe, kl_divergence, linear_probe
from .texts import (
    Overlap,
    average_similarity_gap,
    bleu,
    corpus_bleu,
    exact_match,
    meteor,
    rouge,
    rouge_l_recall,
    unique_token_ratio,
)
from .tofu import (
    ForgetQuality,
    answer_probability,
    forget_quality,
    model_utility,
    normalized_probability,
    truth_ratio,
    truth_ratio_score,
)

__all__ = [
    "ForgetQuality",
    "LinearProbe",
    "Overlap",
    "answer_probability",
    "average_similarity_gap",
    "bert_score",
    "bleu",
    "corpus_bleu",
    "exact_match",
    "forget_quality",
    "kl_divergence",
    "letter_accuracy",
    "linear_probe",
    "meteor",
    "model_utility",
    "normalized_probability",
    "option_accuracy",
    "perplexity",
    "rouge",
    "rouge_l_recall",
    "truth_ratio",
    "truth_ratio_score",
    "unique_token_ratio",
]
