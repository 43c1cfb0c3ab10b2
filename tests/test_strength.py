"""The unit of a corruption's strength: multiples of the root mean square of the model's embeddings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, LlamaForCausalLM

from hf_eco import AutoModelForCausalLMWithECO, CorruptionConfig, ECOConfig, ForgetScope, Guard
from hf_eco.auto import embedding_alone
from hf_eco.errors import GuardError, GuardLoadError
from hf_eco.inference.embedding import embedding_probes, embedding_rms
from hf_eco.training import guard_by_names
from hf_eco.training.saved_guards import add_scopes_to_guard

NAME = "Jane Quillfeather"


def rms_of(base: LlamaForCausalLM) -> float:
    return float(base.get_input_embeddings().weight.square().mean().sqrt())


@pytest.fixture
def jane(base_dir: str) -> Any:
    """A model guarded by name, by the default corruption."""
    config = ECOConfig([ForgetScope("jane", names=[NAME])])
    return AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=config)


def test_a_multiple_becomes_a_number_when_the_scope_is_attached(jane: Any, base: Any) -> None:
    how = jane.config.eco.scopes[0].corruption
    assert (how.dims, how.in_rms) == (None, None)
    assert how.strength == pytest.approx(1.2 * rms_of(base), rel=0.02)
    own = CorruptionConfig(strength="0.5rms", dims=4)
    scope = ForgetScope("other", names=["Ambrose Fennimore"], corruption=own)
    jane.add_scope(scope)
    assert jane.config.eco.scope("other").corruption.strength == pytest.approx(0.5 * rms_of(base), rel=0.02)
    assert own.strength == "0.5rms"  # the caller's own is left alone


def test_the_stored_number_is_what_was_resolved(jane: Any, tmp_path: Path) -> None:
    jane.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLMWithECO.from_pretrained(tmp_path)
    assert loaded.config.eco.scopes[0].corruption == jane.config.eco.scopes[0].corruption
    assert loaded.config.eco.embedding_rms == jane.config.eco.embedding_rms


def test_a_scope_added_to_a_stored_guard_has_the_unit_that_the_guard_says(jane: Any, tmp_path: Path) -> None:
    jane.save_guard(tmp_path / "guard", base_model="base")
    add_scopes_to_guard(tmp_path / "guard", [ForgetScope("other", names=["Ambrose Fennimore"])])
    eco = json.loads((tmp_path / "guard" / "config.json").read_text())["eco"]
    assert eco["scopes_file"]["common"]["corruption"]["strength"] == jane.config.eco.scopes[0].corruption.strength
    file = tmp_path / "guard" / "config.json"
    config = json.loads(file.read_text())
    config["eco"]["embedding_rms"] = None
    file.write_text(json.dumps(config))
    with pytest.raises(GuardError, match="save it again"):
        add_scopes_to_guard(tmp_path / "guard", [ForgetScope("third", names=["Tobias Ravenscroft"])])


def test_a_guard_made_without_weights_knows_the_embeddings(base_dir: str, base: Any, tmp_path: Path) -> None:
    guard_by_names(base_model=base_dir, names={"jane": [NAME]}, output_dir=tmp_path / "guard", weights=False)
    eco = AutoModelForCausalLMWithECO.from_pretrained(tmp_path / "guard").config.eco
    assert eco.scopes[0].corruption.strength == pytest.approx(1.2 * rms_of(base), rel=0.02)
    assert [probe.values for probe in eco.embedding_probes] == [
        base.get_input_embeddings().weight[probe.token_id, :16].tolist() for probe in eco.embedding_probes
    ]


def test_a_scale_within_the_embedding_layer_counts(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=64, hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, head_dim=32
    )
    model = Gemma3ForCausalLM(config)
    model.save_pretrained(tmp_path)
    scaled = embedding_rms(model.get_input_embeddings(), 64)
    assert scaled == pytest.approx(8 * float(model.get_input_embeddings().weight.square().mean().sqrt()), rel=0.05)
    alone = embedding_alone(tmp_path)
    assert embedding_rms(*alone) == scaled and embedding_probes(*alone) == embedding_probes(
        model.get_input_embeddings(), 64
    )


def test_without_a_model_nothing_is_corrupted_by_a_multiple(jane: Any) -> None:
    guard = Guard(ECOConfig([ForgetScope("jane", names=[NAME])]), {}, jane.eco_guard.tokenizer)
    ids = torch.tensor([guard.reader.encode(f"Who is {NAME}?")])
    with pytest.raises(GuardError, match=r"nobody has looked.*number"):
        guard.corrupt(torch.randn(1, ids.shape[1], 32), guard.plan(ids))


def test_a_stored_multiple_is_refused(jane: Any, tmp_path: Path) -> None:
    jane.save_guard(tmp_path, base_model="base")
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    config["eco"]["scopes_file"]["common"]["corruption"]["strength"] = "1.2rms"
    file.write_text(json.dumps(config))
    with pytest.raises(GuardLoadError, match="nobody has looked what that is"):
        AutoModelForCausalLMWithECO.from_pretrained(str(jane.name_or_path).split(" ")[0], eco_config=str(tmp_path))


def test_presets() -> None:
    paper = CorruptionConfig.preset("paper", seed=3)
    assert (paper.method, paper.dims, paper.strength, paper.seed) == ("rand_noise_first_n", 1, 100.0, 3)
    assert CorruptionConfig.preset("default") == CorruptionConfig()
    with pytest.raises(ValueError, match="Use one of: default, paper"):
        CorruptionConfig.preset("papers")


def test_a_corruption_that_is_changed_afterwards_has_the_models_unit(jane: Any, tmp_path: Path) -> None:
    scope = jane.config.eco.scopes[0]
    number = scope.corruption.strength
    ids = torch.tensor([jane.eco_guard.reader.encode(f"Who is {NAME}?")])
    with torch.no_grad():
        before = jane(ids).logits
        scope.corruption = CorruptionConfig(strength="1.2rms")
        assert torch.equal(jane(ids).logits, before)
    jane.save_pretrained(tmp_path)
    assert AutoModelForCausalLMWithECO.from_pretrained(tmp_path).config.eco.scopes[0].corruption.strength == number
