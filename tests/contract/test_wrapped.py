"""A guarded model under adapters, in other dtypes and quantised: a flagged prompt's embeddings are corrupted, whatever
the weights have become, and a clean prompt's answer is that of the same model without the guard."""

from __future__ import annotations

import copy
import inspect

import pytest
import torch
from conftest import CLEAN, FLAGGED, add_adapter, by_hand
from marks import route
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    LlamaForCausalLM,
    QuantoConfig,
    TorchAoConfig,
    pipeline,
)

from hf_eco import AutoModelForCausalLMWithECO, ECOMixin, GuardError

GREEDY = {"do_sample": False, "max_new_tokens": 6}
ATTENTION, EMBEDDING = {"target_modules": ["q_proj", "v_proj"]}, {"target_modules": ["embed_tokens", "q_proj"]}


def case(*values, name, verdict="guarded", id=None, marks=(), **note):
    return pytest.param(*values, id=id or name, marks=[route(name, verdict, **note), *marks])


@pytest.fixture
def prompts(guarded):
    """A flagged and a clean chat."""
    tokenizer = guarded.eco_guard.tokenizer
    options = {"add_generation_prompt": True, "return_dict": True, "return_tensors": "pt"}
    return [tokenizer.apply_chat_template([{"role": "user", "content": text}], **options) for text in (FLAGGED, CLEAN)]


@torch.no_grad()
def assert_guarded(model, bare, guard_of, prompts, **arguments) -> None:
    """`model` answers a flagged prompt as `bare`, the same model unguarded, answers hand-corrupted embeddings, and a
    clean one as `bare`: logits to the bit, and tokens."""
    flagged, clean = prompts
    embeddings = by_hand(guard_of, bare.get_input_embeddings()(flagged["input_ids"]), flagged["input_ids"])
    corrupted = {"inputs_embeds": embeddings, "attention_mask": flagged["attention_mask"]}
    expected = bare(**corrupted).logits
    assert torch.equal(model(**flagged, **arguments).logits, expected)
    assert not torch.allclose(expected, bare(**flagged).logits)
    assert torch.equal(model(**clean, **arguments).logits, bare(**clean).logits)
    answer = model.generate(**flagged, **GREEDY, **arguments)[:, flagged["input_ids"].shape[1] :]
    assert torch.equal(answer, bare.generate(**corrupted, **GREEDY))
    assert torch.equal(model.generate(**clean, **GREEDY, **arguments), bare.generate(**clean, **GREEDY))


# -- adapters


@pytest.fixture
def peft():
    return pytest.importorskip("peft", reason="adapters need peft")


def lora(peft, **options):
    return peft.LoraConfig(**{"task_type": "CAUSAL_LM", "r": 2, **options})


def randomize(model, names=("lora",)):
    """Gives adapters weights as if they had been trained; the same for the same adapter."""
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if any(part in name for part in names):
            torch.nn.init.normal_(parameter.data, std=0.2)
    return model.eval()


def wrapped(peft, model, config):
    torch.manual_seed(0)
    model = peft.get_peft_model(model, copy.deepcopy(config))
    return randomize(model, [name for name, parameter in model.named_parameters() if parameter.requires_grad])


ADAPTERS = [
    case("LoraConfig", ATTENTION, name="peft: LoRA on attention"),
    case("LoraConfig", EMBEDDING, name="peft: LoRA on embed_tokens"),
    case(
        "LoraConfig",
        {"target_modules": ["embed_tokens", "q_proj", "lm_head"]},
        name="peft: LoRA on embed_tokens and lm_head",
    ),
    case("LoraConfig", {**ATTENTION, "trainable_token_indices": [85, 223, 278]}, name="peft: trainable_token_indices"),
    case("TrainableTokensConfig", {"token_indices": [85, 223, 278]}, name="peft: TrainableTokensConfig"),
    case("LoraConfig", {**ATTENTION, "modules_to_save": ["lm_head"]}, name="peft: modules_to_save lm_head"),
    case(
        "LoraConfig",
        {**ATTENTION, "modules_to_save": ["embed_tokens", "lm_head"]},
        name="peft: modules_to_save embed_tokens",
    ),
    case("LoraConfig", {**ATTENTION, "use_dora": True}, name="peft: DoRA"),
    case("LoraConfig", {**EMBEDDING, "use_dora": True}, name="peft: DoRA on embed_tokens"),
    case("IA3Config", {}, name="peft: IA3"),
    case("VeraConfig", {"target_modules": ["q_proj"], "r": 2}, name="peft: VeRA"),
    case("LoHaConfig", {"target_modules": ["q_proj"], "r": 2}, name="peft: LoHa"),
    case("OFTConfig", {"target_modules": ["q_proj"], "r": 2, "oft_block_size": 0}, name="peft: OFT"),
    case("LNTuningConfig", {}, name="peft: layer norm tuning"),
    case("AdaptionPromptConfig", {"adapter_len": 4, "adapter_layers": 1}, name="peft: Llama-Adapter"),
]


@pytest.mark.parametrize("kind, options", ADAPTERS)
def test_a_guarded_model_under_an_adapter_stays_guarded(guarded, base, prompts, peft, kind, options):
    if kind != "LoraConfig" or "r" in options:
        config = getattr(peft, kind)(task_type="CAUSAL_LM", **options)
    else:
        config = lora(peft, **options)
    unadapted = base(**prompts[1]).logits.detach()
    adapted, bare = wrapped(peft, guarded, config), wrapped(peft, base, config)
    with torch.no_grad():
        adapter_changes = (bare(**prompts[1]).logits - unadapted).abs().max()
    assert adapter_changes > 0.01
    assert_guarded(adapted, bare.get_base_model(), guarded, prompts)
    assert_guarded(adapted.base_model.model, bare.get_base_model(), guarded, prompts)


@pytest.mark.parametrize("targets", [ATTENTION, EMBEDDING], ids=["attention", "embedding"])
@pytest.mark.parametrize("way", [case(way, name=f"peft: {way}") for way in ("merge_and_unload", "unload")])
def test_a_model_freed_of_its_adapter_stays_guarded(guarded, base, prompts, peft, targets, way):
    adapted, bare = (wrapped(peft, model, lora(peft, **targets)) for model in (guarded, base))
    adapted(**prompts[0])  # the hooks have moved to the adapter's embedding layer
    freed, plain = (getattr(model, way)() for model in (adapted, bare))
    assert_guarded(freed, plain, guarded, prompts)


@route("peft: disable_adapter()")
@pytest.mark.parametrize("targets", [ATTENTION, EMBEDDING], ids=["attention", "embedding"])
def test_a_disabled_adapter_does_not_disable_the_guard(guarded, base, prompts, peft, targets):
    adapted, bare = (wrapped(peft, model, lora(peft, **targets)) for model in (guarded, base))
    with adapted.disable_adapter(), bare.disable_adapter():
        assert_guarded(adapted, bare.get_base_model(), guarded, prompts)
    adapted.base_model.merge_adapter()
    bare.base_model.merge_adapter()
    assert_guarded(adapted, bare.get_base_model(), guarded, prompts)


def two_adapters(peft, model):
    torch.manual_seed(0)
    model = peft.get_peft_model(model, lora(peft, **EMBEDDING), adapter_name="one")
    model.add_adapter("two", lora(peft, **ATTENTION))
    return randomize(model)


@route("peft: several adapters, set_adapter and add_weighted_adapter")
def test_every_adapter_of_several_is_guarded(guarded, base, prompts, peft):
    models = [two_adapters(peft, model) for model in (guarded, base)]
    for model in models:
        model.add_adapter("three", lora(peft, **EMBEDDING))
        randomize(model, ["three"])
        model.add_weighted_adapter(["one", "three"], [0.3, 0.7], "both")
    for name in ("one", "two", "both"):
        for model in models:
            model.set_adapter(name)
        assert_guarded(models[0], models[1].get_base_model(), guarded, prompts)


@torch.no_grad()
@route("peft: a batch that mixes adapters (adapter_names=)")
def test_a_batch_of_several_adapters_answers_row_by_row_as_each_adapter_alone(guarded, base, prompts, peft):
    adapted, bare = two_adapters(peft, guarded), two_adapters(peft, base)
    names = ["one", "two", "__base__"]
    for prompt, flagged in zip(prompts, (True, False), strict=True):
        ids = prompt["input_ids"].repeat(3, 1)
        embeddings = bare.get_input_embeddings()(ids, adapter_names=names)
        if flagged:
            rows = [by_hand(guarded, row[None], prompt["input_ids"]) for row in embeddings]
            embeddings = torch.cat(rows)
        expected = bare(inputs_embeds=embeddings, adapter_names=names).logits
        assert torch.equal(adapted(ids, adapter_names=names).logits, expected)
        tokens = bare.generate(inputs_embeds=embeddings, adapter_names=names, **GREEDY)
        answer = adapted.generate(input_ids=ids, adapter_names=names, **GREEDY)[:, ids.shape[1] :]
        assert torch.equal(answer, tokens)


@pytest.mark.parametrize(
    "kind, options",
    [
        case(
            kind, options, name=f"peft: {name}", verdict="refused", note="the prompt's ids do not come alone; use LoRA"
        )
        for name, kind, options in [
            ("prompt tuning", "PromptTuningConfig", {}),
            ("p-tuning", "PromptEncoderConfig", {"encoder_hidden_size": 8}),
            ("multitask prompt tuning", "MultitaskPromptTuningConfig", {"num_tasks": 2}),
            ("prefix tuning", "PrefixTuningConfig", {}),
        ]
    ],
)
def test_virtual_tokens_are_refused(guarded, prompts, peft, kind, options):
    config = getattr(peft, kind)(task_type="CAUSAL_LM", num_virtual_tokens=4, **options)
    task = {"task_ids": torch.tensor([0])} if "num_tasks" in options else {}
    adapted = peft.get_peft_model(guarded, config).eval()
    for prompt in prompts:
        with pytest.raises(GuardError):
            adapted(**prompt, **task)
        if kind == "PrefixTuningConfig" and "cache" in inspect.signature(LlamaForCausalLM.forward).parameters:
            # peft 0.21 calls the cache by its old name, which `generate` does not look for: the prefix is left out
            assert torch.equal(adapted.generate(**prompt, **GREEDY), guarded.generate(**prompt, **GREEDY))
            continue
        with pytest.raises(GuardError):
            adapted.generate(**prompt, **task, **GREEDY)


@route("peft: context-aware prompt tuning (CPT)", "refused", note="peft looks embeddings up itself; use LoRA")
def test_context_aware_prompt_tuning_is_refused(guarded, peft):
    config = peft.CPTConfig(task_type="CAUSAL_LM", cpt_token_ids=[5, 6], cpt_mask=[1, 1], cpt_tokens_type_mask=[1, 2])
    with pytest.raises(GuardError):
        peft.get_peft_model(guarded, config)


# -- adapters, saved and loaded


@pytest.fixture
def adapter_of_base(base, peft, tmp_path):
    """(directory of an adapter trained on the unguarded base, the base under it)"""
    bare = wrapped(peft, base, lora(peft, **EMBEDDING))
    bare.save_pretrained(tmp_path / "adapter-of-base")
    return str(tmp_path / "adapter-of-base"), bare.get_base_model()


def put_on_by_peft(peft, model, adapter):
    return peft.PeftModel.from_pretrained(model, adapter)


def put_on_by_transformers(peft, model, adapter):
    model.load_adapter(adapter)
    return model


def added_by_transformers(peft, model, adapter):
    torch.manual_seed(0)
    add_adapter(model, lora(peft, **EMBEDDING))
    return randomize(model)


@pytest.mark.parametrize(
    "put_on",
    [
        case(put_on_by_peft, name="PeftModel.from_pretrained(guarded, adapter)"),
        case(put_on_by_transformers, name="guarded.load_adapter(adapter)"),
        case(added_by_transformers, name="guarded.add_adapter(config)"),
    ],
)
def test_an_adapter_put_on_a_guarded_model_leaves_it_guarded(guarded, prompts, peft, adapter_of_base, put_on):
    directory, bare = adapter_of_base
    assert_guarded(put_on(peft, guarded, directory), bare, guarded, prompts)


@pytest.fixture(params=["peft", "transformers"])
def adapter_of_guarded(request, guarded, peft, tmp_path):
    """Directory of an adapter trained on a guarded checkpoint."""
    guarded.save_pretrained(tmp_path / "guarded")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "guarded")
    if request.param == "peft":
        model = wrapped(peft, model, lora(peft, **EMBEDDING))
    else:
        model = added_by_transformers(peft, model, None)
    model.save_pretrained(tmp_path / "adapter")
    return str(tmp_path / "adapter")


LOADERS = [
    case("AutoPeftModelForCausalLM", name="AutoPeftModelForCausalLM.from_pretrained(adapter of a guarded checkpoint)"),
    case("AutoModelForCausalLM", name="AutoModelForCausalLM.from_pretrained(adapter of a guarded checkpoint)"),
    case("pipeline", name="pipeline(model=adapter of a guarded checkpoint)"),
]


@pytest.mark.parametrize("loader", LOADERS)
def test_an_adapter_of_a_guarded_checkpoint_comes_back_guarded(
    guarded, prompts, peft, adapter_of_base, adapter_of_guarded, loader
):
    _, bare = adapter_of_base  # of the same weights
    if loader == "AutoPeftModelForCausalLM":
        model = peft.AutoPeftModelForCausalLM.from_pretrained(adapter_of_guarded)
    elif loader == "AutoModelForCausalLM":
        model = AutoModelForCausalLM.from_pretrained(adapter_of_guarded)
    else:
        tokenizer = guarded.eco_guard.tokenizer
        model = pipeline("text-generation", model=adapter_of_guarded, tokenizer=tokenizer).model
    assert_guarded(model, bare, guarded, prompts)


@route("LlamaForCausalLM.from_pretrained(adapter of a guarded checkpoint)", "refused", note="use AutoModelForCausalLM")
def test_a_native_class_does_not_load_an_adapter_of_a_guarded_checkpoint(adapter_of_guarded):
    with pytest.raises(Exception, match="hf-eco"):
        LlamaForCausalLM.from_pretrained(adapter_of_guarded)


@route("AutoModelForCausalLMWithECO.from_pretrained(adapter, eco_config=...)")
def test_an_adapter_directory_is_guarded_by_the_factory(prompts, guarded, eco_config, adapter_of_base):
    directory, bare = adapter_of_base
    model = AutoModelForCausalLMWithECO.from_pretrained(directory, eco_config=eco_config)
    assert_guarded(model, bare, guarded, prompts)


@route("AutoModelForCausalLMWithECO.from_pretrained(adapter of a guarded checkpoint)")
def test_the_factory_loads_an_adapter_of_a_guarded_checkpoint(prompts, guarded, adapter_of_base, adapter_of_guarded):
    assert_guarded(
        AutoModelForCausalLMWithECO.from_pretrained(adapter_of_guarded), adapter_of_base[1], guarded, prompts
    )


def test_saving_an_adapter_writes_the_adapter_alone(guarded, peft, tmp_path):
    guarded.save_pretrained(tmp_path / "guarded")
    added_by_transformers(peft, guarded, None).save_pretrained(tmp_path / "adapter")
    written = {path.name for path in (tmp_path / "adapter").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= written
    assert not written & {"modeling_eco.py", "classifier-wizards"}
    assert guarded.name_or_path == str(tmp_path / "guarded")  # what a second adapter would name as its base


@route("a directory that holds a guarded checkpoint and an adapter")
@pytest.mark.parametrize("factory", [AutoModelForCausalLM, AutoModelForCausalLMWithECO])
def test_a_guarded_checkpoint_with_an_adapter_beside_it_is_guarded(
    guarded, prompts, peft, adapter_of_base, tmp_path, factory
):
    guarded.save_pretrained(tmp_path / "both")
    wrapped(peft, guarded, lora(peft, **EMBEDDING)).save_pretrained(tmp_path / "both")
    assert_guarded(factory.from_pretrained(tmp_path / "both"), adapter_of_base[1], guarded, prompts)


@route("an adapter trained on a guard not saved yet", "refused", note="save the guarded model, then train on it")
def test_an_adapter_of_a_guard_that_was_never_saved_does_not_find_the_unguarded_base(guarded, peft, tmp_path):
    wrapped(peft, guarded, lora(peft, **ATTENTION)).save_pretrained(tmp_path)
    for factory in (AutoModelForCausalLM, peft.AutoPeftModelForCausalLM):
        with pytest.raises(OSError, match="guarded, not saved yet"):
            factory.from_pretrained(tmp_path)


@route("peft: merge_and_unload().save_pretrained()")
def test_a_merged_model_is_saved_with_its_guard(guarded, base, prompts, peft, tmp_path):
    adapted, bare = (wrapped(peft, model, lora(peft, **EMBEDDING)) for model in (guarded, base))
    adapted.merge_and_unload().save_pretrained(tmp_path)
    assert_guarded(AutoModelForCausalLM.from_pretrained(tmp_path), bare.merge_and_unload(), guarded, prompts)
    with pytest.raises(Exception, match="hf-eco"):
        LlamaForCausalLM.from_pretrained(tmp_path)


# -- dtypes


def loaded(dtype):
    return lambda make: make(dtype=dtype)


CASTS = [
    case(loaded(torch.float16), name="from_pretrained(dtype=float16)"),
    case(loaded(torch.bfloat16), name="from_pretrained(dtype=bfloat16)"),
    case(lambda make: make().half(), name="model.half()"),
    case(lambda make: make().to(torch.bfloat16), name="model.to(bfloat16)"),
    case(lambda make: make().double(), name="model.double()"),
]


@pytest.mark.parametrize("cast", CASTS)
def test_a_model_in_another_dtype_is_guarded(base_dir, eco_config, guarded, prompts, cast):
    model = cast(lambda **how: AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=eco_config, **how))
    bare = cast(lambda **how: LlamaForCausalLM.from_pretrained(base_dir, **how))
    assert model.dtype == bare.dtype != torch.float32
    assert_guarded(model, bare, guarded, prompts)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@route("torch.autocast")
def test_a_model_under_autocast_is_guarded(guarded, base, prompts, dtype):
    with torch.autocast("cpu", dtype=dtype):
        assert guarded(**prompts[1]).logits.dtype == dtype
        assert_guarded(guarded, base, guarded, prompts)


# -- quantised


def bits_and_bytes(**options):
    pytest.importorskip("bitsandbytes", reason="needs bitsandbytes")
    return BitsAndBytesConfig(**options)


def torchao(**options):
    quantization = pytest.importorskip("torchao.quantization", reason="needs torchao")
    return TorchAoConfig(quantization.Int8WeightOnlyConfig(), **options)


def quanto(**options):
    pytest.importorskip("optimum.quanto", reason="needs optimum-quanto")
    return QuantoConfig(**options)


NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
SERIALIZABLE = [
    case(bits_and_bytes, {"load_in_8bit": True}, name="bitsandbytes 8 bit"),
    case(bits_and_bytes, {"load_in_4bit": True}, name="bitsandbytes 4 bit"),
    case(bits_and_bytes, {**NF4, "bnb_4bit_compute_dtype": torch.bfloat16}, name="bitsandbytes nf4, double"),
    case(torchao, {}, name="torchao int8 weight only"),
    case(torchao, {"include_input_output_embeddings": True}, name="torchao int8 with the embedding layer"),
]
QUANTIZED = [
    *SERIALIZABLE,
    case(quanto, {"weights": "int8"}, name="optimum-quanto int8"),
    case(quanto, {"weights": "int4"}, name="optimum-quanto int4"),
]


def quantized_bare(base_dir, prompts, quantization_config):
    bare = LlamaForCausalLM.from_pretrained(base_dir, quantization_config=quantization_config)
    try:
        with torch.no_grad():
            bare(**prompts[0])
    except RuntimeError as error:  # bitsandbytes' 4 bits want wider layers where a processor multiplies bfloat16
        pytest.skip(f"the bare model does not run on this processor: {error}")
    return bare


def quantized_weights(model) -> bool:
    projection = model.model.layers[0].self_attn.q_proj
    return not (type(projection) is torch.nn.Linear and type(projection.weight.data) is torch.Tensor)


@pytest.mark.parametrize("make, options", QUANTIZED)
def test_a_quantized_model_is_guarded(base_dir, eco_config, guarded, prompts, tmp_path, make, options):
    bare = quantized_bare(base_dir, prompts, make(**options))
    assert quantized_weights(bare)
    model = AutoModelForCausalLMWithECO.from_pretrained(
        base_dir, eco_config=eco_config, quantization_config=make(**options)
    )
    assert_guarded(model, bare, guarded, prompts)
    guarded.save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config=make(**options))
    assert isinstance(model, ECOMixin) and quantized_weights(model)
    assert_guarded(model, bare, guarded, prompts)


@pytest.mark.parametrize("make, options", SERIALIZABLE)
def test_a_quantized_model_is_saved_with_its_guard(base_dir, eco_config, guarded, prompts, tmp_path, make, options):
    bare = quantized_bare(base_dir, prompts, make(**options))
    model = AutoModelForCausalLMWithECO.from_pretrained(
        base_dir, eco_config=eco_config, quantization_config=make(**options)
    )
    model.save_pretrained(tmp_path)
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert quantized_weights(reloaded)
    assert_guarded(reloaded, bare, guarded, prompts)
    with pytest.raises(Exception, match="hf-eco"):
        LlamaForCausalLM.from_pretrained(tmp_path)


@route("torch.ao.quantization.quantize_dynamic")
@pytest.mark.filterwarnings("ignore")
def test_a_dynamically_quantized_model_is_guarded(guarded, base, prompts):
    model, bare = (torch.ao.quantization.quantize_dynamic(m, {torch.nn.Linear}) for m in (guarded, base))
    assert quantized_weights(model)
    assert_guarded(model, bare, guarded, prompts)


@route("a batch of flagged and clean prompts whose activations share a scale", "refused", note="one by one")
@pytest.mark.filterwarnings("ignore")
@torch.no_grad()
def test_a_clean_prompt_is_not_spoilt_by_the_scale_of_a_corrupted_one(guarded, base):
    rows = [guarded.eco_guard.reader.encode(text) for text in (FLAGGED, CLEAN)]
    columns = min(map(len, rows))
    both = torch.tensor([row[:columns] for row in rows])
    assert torch.equal(guarded(both).logits[1], base(both).logits[1])
    model, bare = (torch.ao.quantization.quantize_dynamic(m, {torch.nn.Linear}) for m in (guarded, base))
    with pytest.raises(GuardError, match="one by one"):
        model(both)
    with pytest.raises(GuardError, match="one by one"):
        model.generate(both, **GREEDY)
    for ids in (both[1:], both[1:].repeat(2, 1)):
        assert torch.equal(model(ids).logits, bare(ids).logits)
    assert not torch.equal(model(both[:1]).logits, bare(both[:1]).logits)


@pytest.mark.parametrize("backend", [case(b, name=f"a quantised cache, {b}") for b in ("quanto", "hqq")])
def test_a_quantized_cache_is_guarded(guarded, base, prompts, backend):
    pytest.importorskip({"quanto": "optimum.quanto", "hqq": "hqq"}[backend], reason=f"needs {backend}")
    flagged, clean = prompts
    cache = {"backend": backend, "nbits": 4, "q_group_size": 8, "residual_length": 4}
    options = {**GREEDY, "cache_implementation": "quantized", "cache_config": cache}
    embeddings = by_hand(guarded, base.get_input_embeddings()(flagged["input_ids"]), flagged["input_ids"])
    expected = base.generate(inputs_embeds=embeddings, attention_mask=flagged["attention_mask"], **options)
    assert torch.equal(guarded.generate(**flagged, **options)[:, flagged["input_ids"].shape[1] :], expected)
    assert torch.equal(guarded.generate(**clean, **options), base.generate(**clean, **options))


@pytest.mark.parametrize("make, options", [SERIALIZABLE[0], SERIALIZABLE[1]])
def test_an_adapter_on_a_quantized_guarded_model_is_guarded(
    base_dir, eco_config, guarded, prompts, peft, make, options
):
    bare = quantized_bare(base_dir, prompts, make(**options))
    model = AutoModelForCausalLMWithECO.from_pretrained(
        base_dir, eco_config=eco_config, quantization_config=make(**options)
    )
    adapted, plain = (
        wrapped(peft, peft.prepare_model_for_kbit_training(m), lora(peft, **ATTENTION)) for m in (model, bare)
    )
    assert_guarded(adapted, plain.get_base_model(), guarded, prompts)
