"""A guard that would never flag, or change nothing, is neither saved nor loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import FORGET, RETAIN
from test_cli import run  # noqa: F401 - a fixture

from hf_eco import AutoModelForCausalLMWithECO, CorruptionConfig, ECOConfig, ForgetScope, GuardLoadError
from hf_eco.checkpoint import read_guard
from hf_eco.corruption import changes_embeddings, corruption_methods
from hf_eco.training import recalibrate_guard

NAMED = [ForgetScope(name="request-1", names=["Jane Dorrington"])]


def no_probes(scope: dict[str, Any]) -> None:
    scope["probes"] = []


def no_strength(scope: dict[str, Any]) -> None:
    scope["corruption"]["strength"] = 0


def no_strengths(scope: dict[str, Any]) -> None:
    scope["corruption"]["strength"] = [0.0] * 8


def lost_in_rounding(scope: dict[str, Any]) -> None:
    scope["corruption"]["strength"] = 1e-30


def out_of_reach(scope: dict[str, Any]) -> None:
    scope["threshold"] = 1.0


DAMAGE = [
    (no_probes, "no known answers"),
    (no_strength, "changes nothing"),
    (no_strengths, "changes nothing"),
    (lost_in_rounding, "changes nothing"),
    (out_of_reach, "would never flag"),
]


def change(directory: Path, damage: Callable[[dict[str, Any]], None]) -> None:
    path = directory / "config.json"
    config = json.loads(path.read_text())
    damage(config["eco"]["scopes"][0])
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(("damage", "said"), DAMAGE, ids=lambda value: getattr(value, "__name__", ""))
def test_a_stored_guard_without_effect_is_refused(damage, said, guarded, tmp_path) -> None:
    guarded.save_pretrained(tmp_path)
    change(tmp_path, damage)
    for load in (AutoModelForCausalLMWithECO.from_pretrained, read_guard):
        with pytest.raises(GuardLoadError, match=f"'wizards'.*{said}"):
            load(str(tmp_path))


@pytest.mark.parametrize("store_names", ["plain", "hashed"])
def test_a_threshold_that_no_name_reaches_is_refused(store_names, base_dir, tmp_path) -> None:
    config = ECOConfig(scopes=NAMED, store_names=store_names)
    model = AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=config)
    model.save_guard(tmp_path / "guard")
    assert read_guard(str(tmp_path / "guard"))
    model.eco_guard.config.scopes[0].threshold = 1.0
    for save in (model.save_guard, model.save_pretrained):
        with pytest.raises(ValueError, match=r"'request-1' would never flag.*Nothing was saved"):
            save(tmp_path / "other")
    assert not (tmp_path / "other" / "config.json").exists()


def test_a_threshold_above_all_prompts_it_was_calibrated_on_is_refused(calibrated) -> None:
    assert read_guard(str(calibrated))

    def raised(scope: dict[str, Any]) -> None:  # between what it was calibrated on, and what a classifier may say
        scope["threshold"] = 0.9999

    assert max(read_guard(str(calibrated)).config.scopes[0].calibration.forget_scores) < 9.2
    change(calibrated, raised)
    with pytest.raises(GuardLoadError, match="would never flag"):
        read_guard(str(calibrated))


@pytest.mark.parametrize("damage", [no_probes, no_strength, out_of_reach])
def test_a_guard_without_effect_is_not_saved_and_nothing_is_written(damage, guarded, tmp_path) -> None:
    scope = guarded.eco_guard.config.scopes[0]
    {
        no_probes: lambda: setattr(scope, "probes", []),
        no_strength: lambda: setattr(scope, "corruption", CorruptionConfig("sub_value_top_k", 4, 0.0)),
        out_of_reach: lambda: setattr(scope, "threshold", 1.0),
    }[damage]()
    for save in (guarded.save_pretrained, guarded.save_guard):
        with pytest.raises(ValueError, match="Nothing was saved"):
            save(tmp_path / "directory")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", corruption_methods())
def test_every_corruption_changes_something_unless_its_strength_is_zero(method) -> None:
    assert changes_embeddings(method, dims=2, strength=1.0)
    heeds = method.startswith(("add_", "sub_", "rand_noise"))
    assert changes_embeddings(method, dims=2, strength=0.0) is not heeds
    assert torch.is_grad_enabled()


# -- calibrating on prompts of the scope


def many(prompts: list[str], times: int) -> list[str]:
    return [f"{prompt} {i}" for prompt in prompts for i in range(times)]


OF_THE_SCOPE = [*many(RETAIN, 8), *many(FORGET, 8)]


@pytest.mark.parametrize("forget", [None, [f"{prompt} 9" for prompt in FORGET[:4]]], ids=["retain", "and forget"])
def test_a_calibration_whose_retain_prompts_are_of_the_scope_writes_nothing_and_names_them(forget, calibrated) -> None:
    before = (calibrated / "config.json").read_bytes()
    with pytest.raises(
        ValueError, match=r"never flag.*score highest, and decide it: '.*wizard.*' \(0\.9.*take them out"
    ):
        recalibrate_guard(calibrated, OF_THE_SCOPE, forget, max_fpr=0.03, write=True)
    assert (calibrated / "config.json").read_bytes() == before


def test_the_command_says_so_in_one_line_and_fails(run, calibrated, tmp_path) -> None:  # noqa: F811
    (tmp_path / "retain.txt").write_text("\n".join(OF_THE_SCOPE))
    arguments = "--retain", str(tmp_path / "retain.txt"), "--max-fpr", "0.03", "--write"
    status, _, said = run("calibrate", str(calibrated), *arguments)
    assert status == 1 and said.count("\n") == 1 and "would never flag" in said and "wizard" in said


def test_a_threshold_is_not_chosen_where_nobody_knows_how_the_scope_scores(calibrated) -> None:
    def unknown(scope: dict[str, Any]) -> None:
        scope["calibration"] = None
        scope["threshold"] = 0.99999

    change(calibrated, unknown)
    with pytest.raises(ValueError, match="Pass forget prompts"):
        recalibrate_guard(calibrated, many(RETAIN, 8), max_fpr=0.1, write=True)
