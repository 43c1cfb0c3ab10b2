"""Every private name of transformers that hf_eco relies on is there, and does what it is relied on for. A failure here
says which of them a new version of transformers has changed."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    DynamicCache,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    PreTrainedModel,
    Trainer,
)
from transformers.cache_utils import StaticLayer
from transformers.generation.continuous_batching import requests as batching_requests
from transformers.models.auto import modeling_auto

from hf_eco import _transformers as names
from hf_eco.modeling import guarded_config_class, guarded_model_class

FIXTURES = Path(__file__).parent / "fixtures" / "format-v1"
TINY = {"hidden_size": 8, "num_hidden_layers": 1, "vocab_size": 16}
LLAMA = LlamaConfig(**TINY, intermediate_size=8, num_attention_heads=2)


def test_every_name_that_is_listed_has_a_test_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in names.__all__ if f"names.{name}" not in text] == []


def test_a_model_takes_its_files_by_these_arguments() -> None:
    taken = inspect.signature(PreTrainedModel.from_pretrained).parameters
    source = inspect.getsource(PreTrainedModel.from_pretrained)
    assert [n for n in names.DOWNLOAD_ARGUMENTS if n not in taken and f'kwargs.pop("{n}"' not in source] == []


def test_arguments_are_parted_into_those_of_the_config_and_those_of_the_model() -> None:
    given = {"use_cache": False, "dtype": "float16", "device_map": "cpu", "attn_implementation": "eager"}
    for loader in (AutoConfig, LlamaConfig):
        config, left = names.config_and_model_arguments(loader, str(FIXTURES / "base"), given)
        assert (config.use_cache, config._attn_implementation) == (False, "eager")
        assert left == {"dtype": "float16", "device_map": "cpu"}
        assert config.name_or_path == str(FIXTURES / "base")


def test_a_missing_file_is_none() -> None:
    assert names.file_in_repository(str(FIXTURES / "base"), "config.json") == str(FIXTURES / "base" / "config.json")
    assert names.file_in_repository(str(FIXTURES / "base"), "README.md") is None
    assert names.file_in_repository("nobody/nothing", "config.json", quiet=True) is None


def test_a_files_commit_is_read_from_its_path_in_the_cache() -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    assert names.revision_of_file(f"/cache/models--me--guard/snapshots/{commit}/config.json") == commit
    assert names.revision_of_file(str(FIXTURES / "base" / "config.json")) is None
    assert names.revision_of_file(None) is None


def test_a_weight_is_read_from_whole_and_sharded_checkpoints(tmp_path: Path) -> None:
    base = LlamaForCausalLM.from_pretrained(FIXTURES / "base")
    base.save_pretrained(tmp_path / "whole")
    base.save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    assert (tmp_path / "sharded" / "model.safetensors.index.json").exists()
    weight, name = base.get_input_embeddings().weight, "model.embed_tokens.weight"
    for directory in ("whole", "sharded"):
        assert names.stored_weight(str(tmp_path / directory), ["no.such.weight", name]).equal(weight)
        assert names.stored_weight(str(tmp_path / directory), ["no.such.weight"]) is None


def test_the_auto_class_builds_what_was_registered() -> None:
    assert names.causal_lm_of(LlamaConfig) is LlamaForCausalLM
    assert names.causal_lm_of(SimpleNamespace) is None  # type: ignore[arg-type]
    config_class, model_class = guarded_config_class(LlamaConfig), guarded_model_class(LlamaForCausalLM)
    names.register_causal_lm(config_class, model_class)
    assert names.causal_lm_of(config_class) is model_class


def test_the_auto_classes_of_models_load_by_their_own_from_pretrained() -> None:
    classes = names.auto_model_classes(modeling_auto)
    assert {AutoModelForCausalLM, AutoModel, AutoModelForImageTextToText} <= set(classes)
    assert all(isinstance(vars(auto_class)["from_pretrained"], classmethod) for auto_class in classes)
    assert callable(Trainer._push_from_checkpoint)  # which pushes while it trains


def test_code_that_is_not_trusted_is_refused_and_weights_are_known_by_their_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}')
    with pytest.raises(ValueError, match="code of its own"):
        names.load_without_code(AutoConfig, str(tmp_path))
    assert type(names.load_without_code(AutoConfig, str(FIXTURES / "base"))) is LlamaConfig
    names.check_weights(str(FIXTURES / "base"))
    for files, pickled in ((names.MODEL_FILES, "pytorch_model.bin"), (names.ADAPTER_FILES, "adapter_model.bin")):
        (tmp_path / pickled).touch()
        with pytest.raises(OSError, match=pickled):
            names.check_weights(str(tmp_path), files)


def test_a_native_class_announces_itself_to_its_config() -> None:
    seen = []

    class Watching(LlamaConfig):
        def __setattr__(self, key: str, value: object) -> None:
            if names.first_write_of_native_init(key):
                seen.append(key)
            super().__setattr__(key, value)

    config = Watching(**TINY, intermediate_size=8, num_attention_heads=2)
    assert not seen
    LlamaForCausalLM(config)
    assert seen


def test_special_floats_are_written_as_json_has_none() -> None:
    encoded = names.encode_special_floats(LLAMA, {"a": math.inf, "b": {"c": 1.5}})
    assert encoded["b"] == {"c": 1.5} and not isinstance(encoded["a"], float)


def test_a_model_says_if_it_holds_an_adapter() -> None:
    peft = pytest.importorskip("peft")
    model = LlamaForCausalLM(LLAMA)
    assert not names.holds_adapter_alone(model)
    try:
        model.add_adapter(peft.LoraConfig(target_modules=["q_proj"]))
    except ValueError as error:
        pytest.skip(str(error))
    assert names.holds_adapter_alone(model)


def test_a_model_says_what_it_keeps_what_it_has_read_in() -> None:
    assert names.supports_dynamic_cache(LlamaForCausalLM(LLAMA))
    assert not names.supports_dynamic_cache(MambaForCausalLM(MambaConfig(**TINY)))


def test_a_tokenizer_decodes_special_tokens_and_spaces_as_they_stand() -> None:
    tokenizer = AutoTokenizer.from_pretrained(FIXTURES / "base")
    ids = tokenizer("who is the wizard ?")["input_ids"]
    assert names.decode(tokenizer, [1, *ids]) == "<|im_start|>who is the wizard ?"


def test_layers_of_a_cache_are_of_these_classes() -> None:
    cache = DynamicCache(config=LlamaConfig(**TINY, intermediate_size=8, num_attention_heads=2))
    assert type(cache.layers[0]) is names.DynamicLayer and isinstance(cache.layers[0], names.CacheLayerMixin)
    assert issubclass(names.DynamicSlidingWindowLayer, names.CacheLayerMixin)
    assert issubclass(StaticLayer, names.CacheLayerMixin)
    assert not any(
        isinstance(layer, names.CacheLayerMixin) for layer in DynamicCache(config=MambaConfig(**TINY)).layers
    )


def test_a_model_takes_its_cache_by_one_of_these_names() -> None:
    taken = inspect.signature(LlamaForCausalLM.forward).parameters
    assert sum(name in taken for name in names.CACHE_ARGUMENTS) >= 1
    assert not any(name in taken for name in names.OTHER_CACHE_ARGUMENTS)


def test_a_request_of_continuous_batching_keeps_its_prompt_apart() -> None:
    request = batching_requests.RequestState(request_id="r", initial_tokens=[1, 2, 3], max_new_tokens=2)
    assert names.prompt_of_request(request) == [1, 2, 3]
    request._true_initial_tokens, request.initial_tokens = 3, [1, 2, 3, 9]
    assert names.prompt_of_request(request) == [1, 2, 3]


def test_a_manager_says_which_requests_are_in_its_batch(guarded) -> None:
    """The real manager's attributes: one request is run through it, and looked at in the middle."""
    seen = []
    prompt = guarded.eco_guard.tokenizer("who is the baker ?")["input_ids"]

    def look(module: torch.nn.Module, args: object, kwargs: dict) -> None:
        cache = next((kwargs[name] for name in names.CACHE_ARGUMENTS if kwargs.get(name) is not None), None)
        for manager in managers:
            found = names.requests_of_batch(manager, cache)
            if found is not None:
                seen.append(([names.prompt_of_request(r) for r in found[0]], found[1], found[2]))

    from hf_eco.inference import continuous_batching

    managers = continuous_batching._MANAGERS
    handle = guarded.model.register_forward_pre_hook(look, with_kwargs=True)
    try:
        guarded.generate_batch([prompt], max_new_tokens=2, do_sample=False)
    finally:
        handle.remove()
    assert seen and seen[0] == ([prompt], [(0, len(prompt))], [0])
    assert all(names.requests_of_batch(manager, object()) is None for manager in managers)


@pytest.mark.parametrize("fast", [True, False])
def test_a_tokenizer_says_which_ids_it_has(tokenizer, fast) -> None:
    if not fast:
        tokenizer = SimpleNamespace(vocab_size=len(tokenizer), added_tokens_decoder={len(tokenizer) + 3: "<x>"})
    size = tokenizer.vocab_size
    known = [names.knows(tokenizer, i) for i in (0, size - 1, size, size + 3, -1, 2**40)]
    assert known == [True, True, False, not fast, False, False]
