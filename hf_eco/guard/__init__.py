"""The guard: token ids in, a `Verdict` and a `Plan` out. It knows a tokenizer and no model.

| file | what it holds |
|---|---|
| `guard` | `Guard`, which puts the others together |
| `prompt_reader` | token ids as text, and which of it somebody wrote |
| `roles` | whose words are whose, as far as the chat template tells; what the policy leaves out |
| `judging` | what the detectors say about the parts of a conversation |
| `verdict` | what was decided about one prompt |
| `selection` | which tokens of a flagged prompt are corrupted |
| `plan` | the columns of a batch to corrupt |
| `naming` | who finds the names; how names that are to be hashed come to be hashes |
| `fingerprint` | what tells one guard apart from another |
| `audit` | the audit trail: which prompts were flagged, without the prompts |
"""

from .audit import AuditEvent, JsonLinesLog
from .guard import Guard
from .plan import Plan, ScoringProtocol
from .verdict import Verdict

__all__ = ["AuditEvent", "Guard", "JsonLinesLog", "Plan", "ScoringProtocol", "Verdict"]
