"""Checkpoints of every format version load for ever, and decide and answer as on the day they were saved."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from hf_eco import AutoModelForCausalLMWithECO, CorruptionConfig, ECOConfig
from hf_eco.checkpoint.loading import read_guard
from hf_eco.checkpoint.source import find_guard

FIXTURES = Path(__file__).parent / "fixtures"
BASE = FIXTURES / "format-v1" / "base"
GUARDS = ("format-v1/guard-only", "format-v2/guard-only")
CHECKPOINTS = ("format-v1/whole", "format-v1/entities", *GUARDS)
# Float32 sums in another order, on another machine or by another version of torch, end in other last digits. The
# logits lie between -4 and 4 and were stored with five digits behind the point.
PROBABILITY_TOLERANCE, LOGIT_TOLERANCE = 1e-4, 1e-3
# What is ours of the base model's config; the rest of it transformers renames and adds to as it pleases.
SHAPE = ("base_model_type", "architectures", "hidden_size", "num_hidden_layers", "vocab_size", "eos_token_id")
STAMPS = {"version", "hf_eco_version", "transformers_version"}  # of whoever saved it


@cache
def load(name: str) -> Any:
    if name in GUARDS:
        return AutoModelForCausalLMWithECO.from_pretrained(str(BASE), eco_config=FIXTURES / name)
    return AutoModelForCausalLMWithECO.from_pretrained(str(FIXTURES / name))


def stored(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FIXTURES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def config_of(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "config.json").read_text(encoding="utf-8"))


def assert_kept(before: Any, after: Any, where: str = "config") -> None:
    """Every value of `before` is in `after`; a later version may have added keys."""
    if isinstance(before, dict):
        for key in before.keys() - STAMPS:
            assert key in after, f"{where} lost {key}"
            assert_kept(before[key], after[key], f"{where}.{key}")
    elif isinstance(before, list):
        assert len(before) == len(after), where
        for i, (old, new) in enumerate(zip(before, after, strict=True)):
            assert_kept(old, new, f"{where}[{i}]")
    else:
        assert before == after, where


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_verdicts_are_those_of_the_day_it_was_saved(name) -> None:
    model = load(name)
    for expected in stored(name):
        verdict = model.inspect(expected["prompt"])
        assert verdict.probabilities == pytest.approx(expected["probabilities"], abs=PROBABILITY_TOLERANCE)
        decided = (verdict.flagged, verdict.uncertain, verdict.scope)
        assert decided == (expected["flagged"], expected["uncertain"], expected["scope"]), expected["prompt"]
        assert list(verdict.tokens) == expected["tokens"]
        assert [list(span) for span in verdict.spans] == expected["spans"]


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_guard_read_without_its_model_decides_alike(name) -> None:
    guard = read_guard(str(FIXTURES / name))
    answers = stored(name)
    verdicts = guard.inspect([expected["prompt"] for expected in answers])
    assert [v.scope for v in verdicts] == [expected["scope"] for expected in answers]


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_logits_are_those_of_the_day_it_was_saved(name) -> None:
    model, base = load(name), AutoModelForCausalLM.from_pretrained(BASE)
    corrupted = 0
    for expected in stored(name):
        ids = torch.tensor([model.eco_guard.reader.encode(expected["prompt"])])
        with torch.no_grad():
            logits, bare = model(ids).logits[0, -1], base(ids).logits[0, -1]
        torch.testing.assert_close(logits, torch.tensor(expected["logits"]), atol=LOGIT_TOLERANCE, rtol=0)
        assert torch.equal(logits, bare) is not expected["flagged"]
        if expected["flagged"]:
            assert (logits - bare).abs().max() > 10 * LOGIT_TOLERANCE
            corrupted += 1
    assert corrupted >= 3


def test_a_whole_checkpoints_config_says_what_it_said() -> None:
    eco = load("format-v1/whole").config.eco
    (scope,) = eco.scopes
    assert (eco.version, eco.guard_only, eco.base_model_name_or_path) == (1, False, "someone/tiny-llama")
    assert (scope.name, scope.classifier, scope.threshold) == ("wizards", "classifier-wizards", 0.5)
    assert (scope.tokens, scope.label, scope.abstain_threshold) == ("content", "forget", None)
    assert scope.corruption == CorruptionConfig("rand_noise_first_n", dims=4, strength=10.0, seed=3)
    assert scope.calibration is None and scope.learned is None and len(scope.probes) == 4


def test_a_guards_config_says_what_it_said() -> None:
    eco = ECOConfig.from_dict(config_of(FIXTURES / "format-v1" / "guard-only")["eco"])
    wizards, poisons = eco.scopes
    assert (eco.guard_only, eco.base_model_name_or_path, eco.base_revision) == (True, "someone/tiny-llama", "1" * 40)
    assert (wizards.name, wizards.label, wizards.threshold) == ("wizards", "wizards", 0.6)
    assert (poisons.name, poisons.label, poisons.threshold, poisons.tokens) == ("poisons", "poisons", 0.55, "all")
    assert wizards.classifier == poisons.classifier == "classifier-wizards"
    assert (poisons.corruption.method, poisons.corruption.dims) == ("zero_out_first_n", None)


def test_heads_share_an_encoder_and_know_their_names() -> None:
    guard = load("format-v1/guard-only").eco_guard
    classifier = guard.classifiers["wizards"]
    assert guard.classifiers["poisons"] is classifier
    assert classifier.heads.heads["wizards"].names == ["Hermia Dovetail"]
    assert classifier.floor("poisons") == 0.25


def test_a_guard_by_names_says_what_it_said() -> None:
    eco = find_guard(str(FIXTURES / "format-v2" / "guard-only")).eco
    assert [scope.name for scope in eco.scopes] == ["wizards", "poisons", "request-1", "request-2", "request-3"]
    jane, omega = eco.scopes[2:4]
    assert (jane.names, jane.threshold, jane.tokens) == (("Jane Quillfeather", "J. Q. Quillfeather"), 0.5, "mentions")
    assert jane.corruption == CorruptionConfig("rand_noise_first_n", dims=1, strength=100.0, seed=0)
    assert (omega.names, omega.threshold, omega.tokens) == (("Ωμέγα Παππάς",), 0.9, "content")
    assert (
        omega.corruption == CorruptionConfig("zero_out_first_n", dims=None, strength=100.0) and len(omega.probes) == 1
    )


def test_a_calibrated_learnt_scope_says_what_it_said() -> None:
    (scope,) = load("format-v1/entities").config.eco.scopes
    assert (scope.tokens, scope.entities) == ("entities", "tokens-wizards")
    assert (scope.threshold, scope.abstain_threshold) == (0.9, 0.001)
    measured, learned = scope.calibration, scope.learned
    assert (measured.fpr_bound, measured.fnr_bound, measured.n_forget, measured.n_retain) == (0.259, 0.4707, 8, 10)
    assert (measured.retain_scores, measured.forget_scores) == ([-5.5, -4.25, -1.0], [1.0, 4.5, 5.25])
    assert learned.corruption == scope.corruption == CorruptionConfig("rand_noise_first_n", 2, 12.5, 5)
    assert (learned.protocol, learned.value, learned.surrogate_value, learned.trials) == ("paper", 0.031, 0.03, 40)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_saved_again_it_says_the_same_and_decides_alike(name, tmp_path) -> None:
    model, before = load(name), config_of(FIXTURES / name)
    if name in GUARDS:
        named = before["eco"]["base_model_name_or_path"]
        model.save_guard(tmp_path, base_model=named, base_revision=before["eco"]["base_revision"])
    else:
        shutil.copytree(FIXTURES / name, tmp_path, dirs_exist_ok=True)
        AutoModelForCausalLMWithECO.from_pretrained(tmp_path).save_pretrained(tmp_path)
    before["base_config"] = {key: before["base_config"][key] for key in SHAPE}
    assert_kept(before, config_of(tmp_path))
    verdicts = read_guard(str(tmp_path)).inspect([expected["prompt"] for expected in stored(name)])
    assert [list(v.tokens) for v in verdicts] == [expected["tokens"] for expected in stored(name)]
