"""No serialised form of a guarded model's config loads as that of a bare model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BertConfig,
    BertModel,
    EncoderDecoderConfig,
    EncoderDecoderModel,
    Gemma3Config,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    SpeechEncoderDecoderModel,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
)

from hf_eco import GuardError
from hf_eco.modeling import guarded_config_class

FORMS = {
    "to_dict": lambda config: json.dumps(config.to_dict()),
    "to_diff_dict": lambda config: json.dumps(config.to_diff_dict()),
    "to_json_string": lambda config: config.to_json_string(),
    "to_json_string, whole": lambda config: config.to_json_string(use_diff=False),
    "in another config": lambda config: LlavaConfig(text_config=config).to_json_string(),
    "in an encoder-decoder's": lambda config: json.dumps(
        {"model_type": "encoder-decoder", "encoder": BertConfig().to_dict(), "decoder": config.to_dict()}
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_no_serialised_form_beside_the_weights_makes_an_unguarded_repository(form, guarded, base, tmp_path) -> None:
    base.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(FORMS[form](guarded.config))
    for load in (AutoModelForCausalLM, LlamaForCausalLM, AutoConfig, LlamaConfig):
        with pytest.raises(Exception, match="pip install hf-eco"):
            load.from_pretrained(tmp_path)


def test_a_part_of_a_guarded_config_is_refused_like_the_whole(eco_config) -> None:
    config = guarded_config_class(Gemma3Config)()
    config.eco = eco_config
    for refused, values in ((Gemma3Config, config.to_dict()), (Gemma3TextConfig, config.to_dict()["text_config"])):
        with pytest.raises(ValueError, match="pip install hf-eco"):
            refused.from_dict(values)
    again = type(config).from_dict(config.to_dict())  # ours reads it, without a guard
    assert again.eco is None and again.text_config.to_dict() == config.text_config.to_dict()


def test_peft_and_loggers_read_the_base_models_values(guarded, base) -> None:
    written = json.loads(guarded.config.to_json_string(use_diff=False))
    for values in (guarded.config.to_dict(), guarded.config.to_diff_dict(), written):
        for key in ("model_type", "hidden_size", "num_attention_heads", "vocab_size", "eos_token_id", "dtype"):
            assert json.dumps(values[key]) == json.dumps(base.config.to_dict()[key], default=str).replace("torch.", "")
        assert "eco" not in values  # whose names would be logged


def tiny_encoder() -> BertModel:
    return BertModel(BertConfig(vocab_size=9, hidden_size=32, num_hidden_layers=1, num_attention_heads=2))


ENCODERS = {
    EncoderDecoderModel: tiny_encoder,
    VisionEncoderDecoderModel: lambda: ViTModel(
        ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=8, patch_size=4)
    ),
    SpeechEncoderDecoderModel: lambda: Wav2Vec2Model(
        Wav2Vec2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, conv_dim=(8,), conv_stride=(5,), conv_kernel=(10,), num_feat_extract_layers=1, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2)  # noqa: E501
    ),
}  # fmt: skip


@pytest.mark.parametrize("composite", ENCODERS, ids=lambda composite: composite.__name__)
def test_a_composite_model_that_could_not_be_saved_with_its_guard_is_not_built(composite, guarded, tmp_path) -> None:
    encoder = ENCODERS[composite]()
    with pytest.raises(ValueError, match="guarded by ECO prompts"):
        composite(encoder=encoder, decoder=guarded)
    encoder.save_pretrained(tmp_path / "encoder")
    guarded.save_pretrained(tmp_path / "guarded")
    paths = str(tmp_path / "encoder"), str(tmp_path / "guarded")
    with pytest.raises(ValueError, match="guarded by ECO prompts"):
        composite.from_encoder_decoder_pretrained(*paths)


def test_a_guarded_model_does_not_take_another_config_in_place_of_its_own(guarded, base) -> None:
    encoder = tiny_encoder()
    config = EncoderDecoderConfig(encoder=encoder.config.to_dict(), decoder=base.config.to_dict())
    with pytest.raises(GuardError, match="keeps its own config"):
        EncoderDecoderModel(config=config, encoder=encoder, decoder=guarded)
    guarded.config = guarded.config
    assert torch.is_tensor(guarded(torch.tensor([[5, 6]])).logits)


@pytest.mark.parametrize(
    "overrides", [["architectures"], ["eco", "architectures"], ["architectures", "eco"]], ids="+".join
)
def test_an_engine_told_the_base_models_architecture_is_refused_even_if_the_guard_is_taken_away_first(
    overrides, guarded, tmp_path: Path
) -> None:
    guarded.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    values = {"architectures": ["LlamaForCausalLM"], "eco": None}
    with pytest.raises(GuardError, match="without the guard"):
        for key in overrides:
            setattr(config, key, values[key])
    assert config.architectures == ["AutoModelForCausalLM"]


def test_what_is_written_is_the_base_models_own_config_and_the_guard(guarded, base, tmp_path: Path) -> None:
    guarded.config.save_pretrained(tmp_path)
    base.save_pretrained(tmp_path / "base")
    stored = json.loads((tmp_path / "config.json").read_text())
    native = json.loads((tmp_path / "base" / "config.json").read_text())
    written = stored["base_config"]
    written["model_type"] = written.pop("base_model_type")
    assert written == native
