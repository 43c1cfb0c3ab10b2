"""The model card says what is known of a guard, and nothing that was not measured."""

from __future__ import annotations

import logging
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import MEASURED
from huggingface_hub import ModelCard

from hf_eco import AutoModelForCausalLMWithECO, CorruptionConfig, ECOConfig, ForgetScope
from hf_eco.checkpoint.model_card import CardRecord, Figure, Measurement, TrainingData, model_card, write_model_card
from hf_eco.checkpoint.writing import rewrite_eco
from hf_eco.configuration import LearnedCorruption

CORRUPTION = CorruptionConfig(strength=31.6)
LEARNED = LearnedCorruption(
    corruption=CORRUPTION,
    parameters=["strength"],
    score="answer_probability",
    protocol="strict",
    value=0.0871,
    standard_error=0.0052,
    unguarded=0.642,
    surrogate="counterfactual prompts",
    surrogate_value=0.0903,
    surrogate_n=60,
    n_prompts=48,
    trials=12,
    prompts_sha256="0" * 64,
    seed=0,
)
ROWS = (
    Measurement("TOFU forget10", "forget quality", 0.4312, interval=(0.31, 0.55), dataset="locuslab/TOFU"),
    Measurement("TOFU forget10", "forget quality", 1.3e-21, model="base"),
    Measurement("WMDP | bio", "accuracy", 0.26),
)


def eco(*scopes: ForgetScope, base: str | None = "me/base", **kwargs: Any) -> ECOConfig:
    return ECOConfig(scopes=list(scopes or [ForgetScope("x")]), base_model_name_or_path=base, **kwargs)


def line(card: Any, start: str) -> str:
    return next(text for text in str(card).splitlines() if text.startswith(start))


# -- what the Hub reads


@pytest.mark.parametrize("guard_only, relation", [(False, "finetune"), (True, "adapter")])
def test_the_metadata_names_library_task_tags_licence_and_base(guard_only, relation):
    card = model_card(eco(guard_only=guard_only), license="apache-2.0", tags=["wizards"])
    assert ModelCard(str(card)).data.to_dict() == {
        "base_model": "me/base",
        "base_model_relation": relation,
        "library_name": "hf-eco",
        "license": "apache-2.0",
        "pipeline_tag": "text-generation",
        "tags": ["eco", "unlearning", "wizards"],
    }


def test_a_directory_of_this_machine_is_not_told(tmp_path):
    card = model_card(eco(base=str(tmp_path)))
    assert str(tmp_path) not in str(card) and "base_model" not in card.data.to_dict()
    assert model_card(eco(base=str(tmp_path)), base_model="me/base").data.to_dict()["base_model"] == "me/base"


def test_only_the_checkpoints_own_figures_become_its_results():
    data = ModelCard(str(model_card(eco(), evaluation=ROWS))).data
    assert [(row.dataset_name, row.metric_name, row.metric_value) for row in data.eval_results] == [
        ("TOFU forget10", "forget quality", 0.4312),
        ("WMDP | bio", "accuracy", 0.26),
    ]
    assert data.eval_results[0].dataset_type == "locuslab/TOFU"


# -- what a person reads


def test_figures_stand_in_the_table_with_their_intervals_beside_what_they_are_compared_with():
    card = model_card(eco(), evaluation=ROWS, figures=[Figure("/tmp/scatter.png", "Quality against utility")])
    assert "| TOFU forget10 | guarded | forget quality | 0.4312 | 0.31 to 0.55 at 95% |" in str(card)
    assert "| TOFU forget10 | base | forget quality | 1.3e-21 | — |" in str(card)
    assert r"| WMDP \| bio | guarded | accuracy | 0.26 | — |" in str(card)
    assert "![Quality against utility](figures/scatter.png)" in str(card)


def test_what_was_not_measured_is_said_not_to_be():
    card = str(model_card(eco(ForgetScope("x"))))
    assert "What is forgotten and what is kept was not measured." in card
    assert "| x | 0.5000 | not measured | not measured |" in card
    for said in ("not known; the classifier", "given, not learnt", "given; its error rates were not measured"):
        assert said in card
    assert "None" not in card and "{" not in card


@pytest.mark.parametrize("value", [None, math.nan, math.inf, "0.5", True])
def test_a_figure_that_was_not_measured_is_refused(value):
    with pytest.raises(ValueError, match="was not measured"):
        Measurement("TOFU", "forget quality", value)
    with pytest.raises(ValueError, match="was not measured"):
        Measurement("TOFU", "forget quality", 0.5, interval=(0.1, value))


@pytest.mark.parametrize("wrong", [{"interval": (0.6, 0.4)}, {"interval": (0.4, 0.6), "confidence": 95}])
def test_an_interval_that_is_none_is_refused(wrong):
    with pytest.raises(ValueError, match="is no confidence interval"):
        Measurement("TOFU", "forget quality", 0.5, **wrong)


def test_rates_of_another_threshold_are_not_stated():
    in_force = ForgetScope("x", threshold=0.75, calibration=MEASURED)
    assert "0.004 (≤ 0.012 at 90%, n = 310)" in line(model_card(eco(in_force)), "| x |")
    moved = ForgetScope("x", threshold=0.8, calibration=MEASURED)
    assert line(model_card(eco(moved)), "| x |").count("not measured") == 2


def test_how_the_corruption_was_learnt_is_told_as_long_as_it_is_in_force():
    learned = ForgetScope("x", corruption=CORRUPTION, learned=LEARNED)
    said = str(model_card(eco(learned)))
    for part in (
        "from 48 prompts",
        "answer probability",
        "0.0871 ± 0.0052",
        "0.642 without",
        "at 0.0903 (count",
    ):
        assert part in said
    other = ForgetScope("x", corruption=replace(CORRUPTION, strength=1.0), learned=LEARNED)
    assert "0.0871" not in str(model_card(eco(other)))


def test_the_card_tells_what_the_classifier_was_trained_on():
    card = CardRecord(eco(), training={"x": TrainingData(132, 221, 29, 15)}).render()
    assert "132 prompts in the scope and 221 outside of it; 29 and 15 more decided" in str(card)


def test_the_threat_model_and_the_way_to_load_it_are_there():
    card = str(model_card(eco(guard_only=True)))
    for part in (
        "suppresses, it does not delete",
        "can strip any guard",
        "pip install hf-eco",
    ):
        assert part in card
    assert 'from_pretrained("me/base", eco_config="path or Hub id of this repository")' in card
    assert "eco_config=" not in str(model_card(eco()))


# -- the file


@pytest.fixture
def saved(guarded: Any, tmp_path: Path) -> Path:
    guarded.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def card_of(directory: Path) -> ModelCard:
    return ModelCard.load(directory / "README.md")


def test_a_report_is_written_into_a_saved_guard_with_its_plots(saved, tmp_path):
    (tmp_path / "scatter.png").write_bytes(b"an image")
    write_model_card(saved, evaluation=ROWS, figures=[Figure(tmp_path / "scatter.png", "S")], base_model="me/base")
    assert (saved / "figures" / "scatter.png").read_bytes() == b"an image"
    assert len(card_of(saved).data.eval_results) == 2 and card_of(saved).data.base_model == "me/base"


def test_what_the_report_of_the_training_says_is_told_of_that_classifier_alone(saved, guarded):
    report = '{"prompts": {"forget": {"training": 7, "validation": 1}, "retain": {"training": 9, "validation": 2}}}'
    (saved / "classifier-wizards" / "training_report.json").write_text(report)
    write_model_card(saved)
    assert "7 prompts in the scope and 9 outside of it; 1 and 2 more" in str(card_of(saved))
    guarded.save_pretrained(saved)  # the same classifier
    assert "7 prompts in the scope" in str(card_of(saved))
    weights = next(guarded.eco_guard.classifiers["wizards"].model.parameters()).data
    weights.mul_(1.01)
    guarded.save_pretrained(saved)  # another one, of which that report says nothing
    assert "7 prompts" not in str(card_of(saved))


def test_the_licence_of_the_base_is_its_own_cards(base_dir, eco_config, tmp_path):
    shutil.copytree(base_dir, tmp_path / "base")
    (tmp_path / "base" / "README.md").write_text("---\nlicense: llama3.2\n---\n# Base\n")
    model = AutoModelForCausalLMWithECO.from_pretrained(tmp_path / "base", eco_config=eco_config)
    model.save_pretrained(tmp_path / "saved")
    assert card_of(tmp_path / "saved").data.license == "llama3.2"
    (tmp_path / "base" / "README.md").write_text("---\n- no: metadata\n---\n")
    model.save_pretrained(tmp_path / "unknown")
    assert card_of(tmp_path / "unknown").data.license is None
    shutil.rmtree(tmp_path / "base")  # as on another machine
    model.save_pretrained(tmp_path / "elsewhere")
    assert card_of(tmp_path / "elsewhere").data.license is None


def test_a_card_of_ones_own_is_refused_or_left_alone(saved):
    (saved / "README.md").write_text("mine")
    with pytest.raises(FileExistsError, match="not written by hf-eco"):
        write_model_card(saved, evaluation=ROWS)
    assert (saved / "README.md").read_text() == "mine"


def test_a_new_calibration_keeps_licence_and_tags_and_drops_the_old_evaluation(saved, guarded, caplog):
    write_model_card(saved, evaluation=ROWS, license="mit", tags=["wizardry"], base_model="me/base")
    write_model_card(saved, evaluation=ROWS, tags=["spells"])
    guarded.config.eco.scopes[0].threshold = 0.25
    with caplog.at_level(logging.WARNING, logger="hf_eco"):
        rewrite_eco(saved, guarded.config.eco)
    data = card_of(saved).data
    assert (data.license, data.tags) == ("mit", ["eco", "unlearning", "wizardry", "spells"])
    assert data.base_model == "me/base" and data.eval_results is None and "0.2500" in str(card_of(saved))
    assert "was measured on the guard as it was before" in caplog.text


def test_tags_of_the_model_reach_its_card(guarded, tmp_path):
    guarded.add_model_tags(["spells", "eco"])
    guarded.save_guard(tmp_path, base_model="me/base", tags="wizardry")
    assert card_of(tmp_path).data.tags == ["eco", "unlearning", "spells", "wizardry"]


def test_nothing_is_written_where_something_is_missing(saved, base_dir, tmp_path):
    before = (saved / "README.md").read_bytes()
    with pytest.raises(FileNotFoundError, match="no figure at"):
        write_model_card(saved, figures=[Figure(tmp_path / "nowhere.png", "None")])
    with pytest.raises(ValueError, match="share a name"):
        write_model_card(saved, figures=[Figure("a/x.png", "One"), Figure("b/x.png", "Other")])
    with pytest.raises(ValueError, match="carries no guard"):
        write_model_card(base_dir)
    assert (saved / "README.md").read_bytes() == before and not (saved / "figures").exists()
