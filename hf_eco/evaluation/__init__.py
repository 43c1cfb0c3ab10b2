"""Judging a guard: the attacks it has to hold up under ([`hf_eco.evaluation.attacks`][])."""
