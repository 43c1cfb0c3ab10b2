"""A guarded model placed by accelerate, copied, taken apart, trained, and run by threads and processes: every way is
guarded, or refused."""

from __future__ import annotations

import copy
import functools
import gc
import io
import json
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from accelerate import cpu_offload, disk_offload, dispatch_model, infer_auto_device_map, init_empty_weights
from accelerate.hooks import ModelHook, add_hook_to_module, remove_hook_from_module
from conftest import CLEAN, FLAGGED, in_threads, lookup_by_hand
from marks import route
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForSequenceClassification,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LlamaModel,
    MistralForCausalLM,
    StoppingCriteria,
    Trainer,
    TrainingArguments,
)

import hf_eco
from hf_eco import (
    AutoModelForCausalLMWithECO,
    CorruptionConfig,
    ECOConfig,
    ForgetScope,
    GuardError,
)

GREEDY = {"do_sample": False, "max_new_tokens": 6}


def case(*values, name, verdict="guarded", marks=(), **note):
    return pytest.param(*values, id=name, marks=[route(name, verdict, **note), *marks])


def chats(tokenizer):
    options = {"add_generation_prompt": True, "return_dict": True, "return_tensors": "pt"}
    return [tokenizer.apply_chat_template([{"role": "user", "content": text}], **options) for text in (FLAGGED, CLEAN)]


@pytest.fixture
def prompts(guarded):
    """A flagged and a clean chat."""
    return chats(guarded.eco_guard.tokenizer)


@pytest.fixture
def guarded_dir(guarded, tmp_path) -> str:
    guarded.save_pretrained(tmp_path / "guarded")
    return str(tmp_path / "guarded")


@torch.no_grad()
def assert_guarded(model, base, guard_of, prompts, forward=None) -> None:
    """`model` answers a flagged prompt as `base` answers hand-corrupted embeddings, and a clean one as `base`."""
    flagged, clean = prompts
    forward = forward or model
    corrupted = {"inputs_embeds": lookup_by_hand(guard_of, base, flagged["input_ids"])}
    corrupted["attention_mask"] = flagged["attention_mask"]
    expected = base(**corrupted).logits
    assert torch.equal(forward(**flagged).logits, expected)
    assert not torch.allclose(expected, base(**flagged).logits)
    assert torch.equal(forward(**clean).logits, base(**clean).logits)
    answer = model.generate(**flagged, **GREEDY)[:, flagged["input_ids"].shape[1] :]
    assert torch.equal(answer, base.generate(**corrupted, **GREEDY))
    assert torch.equal(model.generate(**clean, **GREEDY), base.generate(**clean, **GREEDY))


@torch.no_grad()
def assert_decoder_guarded(decoder, base, guard_of, prompts) -> None:
    flagged, clean = prompts
    embeddings = lookup_by_hand(guard_of, base, flagged["input_ids"])
    expected = base.model(inputs_embeds=embeddings).last_hidden_state
    assert torch.equal(decoder(flagged["input_ids"]).last_hidden_state, expected)
    assert torch.equal(decoder(**clean).last_hidden_state, base.model(**clean).last_hidden_state)


# -- accelerate

PARTS = ("model.embed_tokens", "model.layers.0", "model.layers.1", "model.norm", "model.rotary_emb", "lm_head")
ON_CPU = dict.fromkeys(PARTS, "cpu")
PLACES = [
    case({"device_map": "auto"}, name="device_map='auto'"),
    case({"device_map": {"": "cpu"}}, name="device_map={'': 'cpu'}"),
    case({"device_map": ON_CPU}, name="a device_map by module"),
    case({"device_map": {**ON_CPU, "model.layers.0": "disk"}}, name="a decoder layer on disk"),
    case({"device_map": {**ON_CPU, "model.embed_tokens": "disk"}}, name="the embedding layer on disk"),
    case({"device_map": "auto", "max_memory": {"cpu": "60KB"}}, name="all weights on meta and disk"),
]


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("saved", [False, True], ids=["base and eco_config", "guarded checkpoint"])
def test_a_model_loaded_onto_a_device_map_is_guarded(
    base_dir, eco_config, guarded, guarded_dir, base, prompts, tmp_path, where, saved
):
    where = {**where, "offload_folder": str(tmp_path / "offload")}
    if saved:
        model = AutoModelForCausalLM.from_pretrained(guarded_dir, **where)
    else:
        model = AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=eco_config, **where)
    offloaded = "disk" in str(where["device_map"]) or "max_memory" in where
    assert offloaded == any(parameter.is_meta for parameter in model.parameters())
    assert_guarded(model, base, guarded, prompts)
    assert_guarded(copy.deepcopy(model), base, guarded, prompts)


DISPATCHES = [
    case(lambda m, folder: cpu_offload(m, execution_device="cpu"), name="accelerate.cpu_offload"),
    case(lambda m, folder: disk_offload(m, folder, execution_device="cpu"), name="accelerate.disk_offload"),
    case(
        lambda m, folder: dispatch_model(m, dict.fromkeys(PARTS, "disk"), main_device="cpu", offload_dir=folder),
        name="accelerate.dispatch_model to disk",
    ),
    case(
        lambda m, folder: dispatch_model(
            m,
            infer_auto_device_map(m, max_memory={"cpu": "150KB"}, no_split_module_classes=["LlamaDecoderLayer"]),
            main_device="cpu",
            offload_dir=folder,
        ),
        name="accelerate.infer_auto_device_map",
    ),
]


@pytest.mark.parametrize("dispatch", DISPATCHES)
def test_a_dispatched_model_is_guarded(guarded, base, prompts, tmp_path, dispatch):
    model = dispatch(guarded, str(tmp_path))
    assert any(parameter.is_meta for parameter in model.parameters())
    assert_guarded(model, base, guarded, prompts)


class Nothing(ModelHook):
    """An accelerate hook that does nothing but be there."""


@route("accelerate.hooks.add_hook_to_module, remove_hook_from_module(recurse=True)")
@pytest.mark.parametrize("ours_last", [False, True])
def test_accelerates_hooks_come_and_go_and_the_guard_stays(guarded, base, prompts, ours_last):
    for module in guarded.modules():
        add_hook_to_module(module, Nothing())
    if ours_last:
        for handle in guarded._eco._handles:
            handle.remove()
        guarded._eco._hooked = []
        guarded._eco.install()
    assert_guarded(guarded, base, guarded, prompts)
    remove_hook_from_module(guarded, recurse=True)
    assert not any(hasattr(module, "_hf_hook") for module in guarded.modules())
    assert_guarded(guarded, base, guarded, prompts)


@route("init_empty_weights, from_config", "refused", note="no guard until one is attached; use from_pretrained")
def test_an_empty_model_of_a_guarded_config_is_guarded_or_does_not_run(guarded, guarded_dir, base, prompts):
    with init_empty_weights():
        empty = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(guarded_dir))
    empty.load_state_dict(base.state_dict(), assign=True)
    for call in (lambda: empty(**prompts[1]), lambda: empty.generate(**prompts[1]), lambda: empty.model(**prompts[1])):
        with pytest.raises(GuardError, match="no guard attached"):
            call()
    empty.attach_guard(guarded.eco_guard)
    empty.model.rotary_emb = base.model.rotary_emb  # a buffer that is in no state dict
    empty.generation_config = base.generation_config
    assert_guarded(empty.eval(), base, guarded, prompts)


@route("a guarded model on the meta device")
def test_a_model_without_weights_gives_no_numbers(guarded, prompts):
    assert guarded.to("meta")(prompts[0]["input_ids"]).logits.is_meta


# -- copies and parts


def torch_saved(model):
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


def replicated(model):
    """A replica as nn.DataParallel makes them, on the CPU."""
    modules = list(model.modules())
    replicas = {module: module._replicate_for_data_parallel() for module in modules}
    for module, replica in replicas.items():
        replica._modules = {name: child and replicas[child] for name, child in module._modules.items()}
        replica._parameters, replica._buffers = dict(module._parameters), dict(module._buffers)
    return replicas[model]


COPIES = [
    case(copy.copy, name="copy.copy(model)"),
    case(copy.deepcopy, name="copy.deepcopy(model)"),
    case(lambda model: pickle.loads(pickle.dumps(model)), name="pickle"),
    case(torch_saved, name="torch.save(model), torch.load"),
    case(lambda model: model._replicate_for_data_parallel(), name="model._replicate_for_data_parallel()"),
    case(replicated, name="replicas of nn.DataParallel"),
    case(lambda model: nn.DataParallel(model).module, name="nn.DataParallel(model).module"),
    case(lambda model: model.share_memory(), name="model.share_memory()"),
]


@pytest.mark.parametrize("duplicate", COPIES)
def test_a_copy_generates_guarded_and_so_does_the_original(guarded, base, prompts, duplicate):
    second = duplicate(guarded)
    assert_guarded(second, base, guarded, prompts)
    assert_guarded(guarded, base, guarded, prompts)


@route("a replica of nn.DataParallel in its own thread")
def test_replicas_in_threads_are_guarded(guarded, base, prompts):
    pairs = [(replicated(guarded), prompt) for prompt in prompts]
    jobs = [lambda pair=pair: pair[0](**pair[1]).logits for pair in pairs]
    for found, prompt in zip(answers_in_threads(jobs), prompts, strict=True):
        assert all(torch.equal(logits, guarded(**prompt).logits) for logits in found)
    assert torch.equal(nn.DataParallel(guarded)(**prompts[0]).logits, guarded(**prompts[0]).logits)


@route("torch.load(weights_only=True) of a pickled model", "refused", note="use save_pretrained")
def test_a_pickled_model_is_not_loaded_as_weights(guarded):
    buffer = io.BytesIO()
    torch.save(guarded, buffer)
    buffer.seek(0)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(buffer)


PIECES = [
    case(lambda guarded: guarded.model, name="guarded.model, its language model deleted"),
    case(lambda guarded: copy.deepcopy(guarded.model), name="copy.deepcopy(guarded.model)"),
    case(lambda guarded: torch_saved(guarded.model), name="torch.save(guarded.model)"),
    case(lambda guarded: guarded.get_decoder(), name="guarded.get_decoder()"),
    case(lambda guarded: copy.copy(guarded.model), name="copy.copy(guarded.model)"),
]


@pytest.mark.parametrize("take", PIECES)
def test_a_decoder_taken_out_stays_guarded(base_dir, eco_config, guarded, base, prompts, take):
    whole = AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=eco_config)
    decoder = take(whole)
    del whole
    gc.collect()
    assert_decoder_guarded(decoder, base, guarded, prompts)


@route("a guarded decoder put into an unguarded model")
def test_a_guarded_decoder_put_into_an_unguarded_model_brings_the_guard(guarded, base, prompts):
    host = copy.deepcopy(base)
    host.model = guarded.model
    assert_guarded(host, base, guarded, prompts)


@route("an unguarded decoder put into a guarded model")
def test_a_decoder_put_into_a_guarded_model_is_guarded(guarded, base, prompts):
    guarded.model = copy.deepcopy(base.model)
    assert_guarded(guarded, base, guarded, prompts)


class Wrapper(nn.Module):
    """Hands everything on to the module inside, as wrappers do."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *args, **kwargs):
        return self.module(*args, **kwargs)

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("module"), name)


@pytest.mark.parametrize(
    "name", [case(n, name=f"a wrapper around {n}") for n in ("model", "model.embed_tokens", "model.layers")]
)
def test_a_part_wrapped_in_another_module_stays_guarded(guarded, base, prompts, name):
    if name == "model.layers":
        guarded.model.layers = nn.ModuleList([Wrapper(layer) for layer in guarded.model.layers])
    else:
        guarded.set_submodule(name, Wrapper(guarded.get_submodule(name)))
    assert_guarded(guarded, base, guarded, prompts)


def test_a_wrapped_decoder_takes_ids_by_position(guarded, base, prompts):
    guarded.model = Wrapper(guarded.model)
    assert_guarded(guarded, base, guarded, prompts)
    assert_decoder_guarded(guarded.model, base, guarded, prompts)


@route("guarded.forward(ids)")
def test_forward_called_directly_is_guarded(guarded, base, prompts):
    assert_guarded(guarded, base, guarded, prompts, forward=guarded.forward)


past = functools.partial(case, verdict="refused", note="call the model with input_ids")
BYPASSES = [
    past(lambda model, ids: model.model.forward(ids), name="guarded.model.forward(ids)"),
    past(lambda model, ids: model.get_input_embeddings()(ids), name="guarded.get_input_embeddings()(ids)"),
    past(
        lambda model, ids: copy.deepcopy(model.get_input_embeddings())(ids), name="a deep copy of the embedding layer"
    ),
    past(
        lambda model, ids: model(inputs_embeds=nn.functional.embedding(ids, model.get_input_embeddings().weight)),
        name="embeddings looked up in the weights, given as inputs_embeds",
    ),
    past(
        lambda model, ids: model(inputs_embeds=model.get_input_embeddings().forward(ids)),
        name="embeddings of embed_tokens.forward(ids), given as inputs_embeds",
    ),
]


@pytest.mark.parametrize("call", BYPASSES)
def test_what_goes_past_the_hooks_is_refused(guarded, base, prompts, call):
    with pytest.raises(GuardError):
        call(guarded, prompts[0]["input_ids"])
    assert_guarded(guarded, base, guarded, prompts)  # nothing is left behind


@route("an embedding layer shared with an unguarded model", "refused", note="load another copy of the base")
def test_an_embedding_layer_shared_with_an_unguarded_model_is_refused(guarded, base, prompts):
    base.set_input_embeddings(guarded.get_input_embeddings())
    with pytest.raises(GuardError):
        base(**prompts[1])


LOADERS = [
    case(loader, name=name, verdict="refused", note="use AutoModelForCausalLM or AutoModelForCausalLMWithECO")
    for name, loader in {
        "LlamaModel.from_pretrained(guarded)": LlamaModel.from_pretrained,
        "LlamaForCausalLM.from_pretrained(guarded)": LlamaForCausalLM.from_pretrained,
        "LlamaForSequenceClassification.from_pretrained(guarded)": LlamaForSequenceClassification.from_pretrained,
        "MistralForCausalLM.from_pretrained(guarded)": MistralForCausalLM.from_pretrained,
        "AutoModel.from_pretrained(guarded)": AutoModel.from_pretrained,
        "AutoModelForSequenceClassification.from_pretrained(guarded)": (
            AutoModelForSequenceClassification.from_pretrained
        ),
        "AutoModelForImageTextToText.from_pretrained(guarded)": AutoModelForImageTextToText.from_pretrained,
    }.items()
]


@pytest.mark.parametrize("load", LOADERS)
def test_another_class_does_not_load_a_guarded_checkpoint(guarded_dir, load):
    with pytest.raises(Exception, match=r"hf-eco|LlamaConfigWithECO"):  # strict configs have an error of their own
        load(guarded_dir)


BUILDERS = {
    "LlamaForCausalLM(guarded.config)": lambda config, weights, path: LlamaForCausalLM(config),
    "LlamaModel(guarded.config)": lambda config, weights, path: LlamaModel(config),
    "LlamaForCausalLM._from_config(guarded.config)": lambda config, weights, path: LlamaForCausalLM._from_config(
        config
    ),
    "LlamaForCausalLM.from_pretrained(base, config=guarded.config)": (
        lambda config, weights, path: LlamaForCausalLM.from_pretrained(path, config=config)
    ),
    "LlamaForCausalLM.from_pretrained(None, config=guarded.config, state_dict=...)": (
        lambda config, weights, path: LlamaForCausalLM.from_pretrained(None, config=config, state_dict=weights)
    ),
}


@route("AutoModelForCausalLM.from_pretrained(guarded, config=the base's)")
def test_the_auto_class_guards_whatever_config_it_is_handed(guarded, base_dir, tmp_path):
    guarded.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(base_dir)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, config=config)
    flagged, clean = chats(guarded.eco_guard.tokenizer)
    for ids in (flagged["input_ids"], clean["input_ids"]):
        assert torch.equal(loaded(ids).logits, guarded(ids).logits)


@pytest.mark.parametrize(
    "build",
    [case(b, name=n, verdict="refused", note="use the base model's own config") for n, b in BUILDERS.items()],
)
def test_a_native_class_is_not_built_from_a_guarded_config(guarded, base_dir, build):
    with pytest.raises(GuardError, match="class without the guard"):
        build(guarded.config, guarded.state_dict(), base_dir)


@pytest.mark.parametrize(
    "build",
    [
        case(build, name=name, verdict="refused", note="no guard until one is attached")
        for name, build in {
            "AutoModelForCausalLM.from_config(guarded.config)": AutoModelForCausalLM.from_config,
            "type(guarded)(guarded.config)": None,
        }.items()
    ],
)
def test_a_guarded_class_built_from_a_config_does_not_run_without_a_guard(guarded, prompts, build):
    model = type(guarded)(guarded.config) if build is None else build(guarded.config)
    model.load_state_dict(guarded.state_dict())
    for prompt in prompts:
        for call in (model, model.model, model.generate, model.forward):
            with pytest.raises(GuardError, match="no guard attached"):
                call(**prompt)


# -- modes and transforms


@route("model.train()")
def test_a_model_in_training_mode_is_guarded(guarded, base, prompts):
    assert_guarded(guarded.train(), base.train(), guarded, prompts)


@route("torch.inference_mode")
def test_a_model_in_inference_mode_is_guarded(guarded, base, prompts):
    with torch.inference_mode():
        assert_guarded(guarded, base, guarded, prompts)


@route("backward, gradient checkpointing")
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_those_of_the_corrupted_prompt(guarded, base, prompts, checkpointing):
    ids = prompts[0]["input_ids"]
    expected = base.train()(inputs_embeds=lookup_by_hand(guarded, base, ids), labels=ids).loss
    expected.backward()
    guarded.train()
    if checkpointing:
        guarded.gradient_checkpointing_enable()
    loss = guarded(ids, labels=ids).loss
    loss.backward()
    assert torch.equal(loss, expected)
    for (name, one), other in zip(guarded.named_parameters(), base.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, msg=name)


@torch.no_grad()
@route("torch.func.functional_call, vmap over parameters")
def test_a_functional_call_with_other_weights_is_guarded(guarded, base, prompts):
    scaled = {name: parameter * 1.1 for name, parameter in base.named_parameters()}
    for name, parameter in base.named_parameters():
        parameter.copy_(scaled[name])
    call = functools.partial(torch.func.functional_call, guarded, scaled, ())
    flagged, clean = prompts
    expected = base(inputs_embeds=lookup_by_hand(guarded, base, flagged["input_ids"])).logits
    assert torch.equal(call(dict(flagged)).logits, expected)
    assert torch.equal(call(dict(clean)).logits, base(**clean).logits)
    stacked = {name: torch.stack([value, value]) for name, value in scaled.items()}
    ids = {"input_ids": flagged["input_ids"], "use_cache": False}
    rows = torch.vmap(lambda weights: torch.func.functional_call(guarded, weights, (), ids).logits)(stacked)
    torch.testing.assert_close(rows[1], expected)


@route("vmap over prompts", "refused", note="pass a batch")
def test_prompts_hidden_in_a_vmap_are_refused(guarded, prompts):
    rows = prompts[0]["input_ids"].repeat(2, 1)
    with pytest.raises(RuntimeError):
        torch.vmap(lambda ids: guarded(ids[None], use_cache=False).logits)(rows)


@route("torch.fx.symbolic_trace", "refused", note="guarded models are not exported")
def test_a_symbolic_trace_is_refused(guarded):
    with pytest.raises((GuardError, ValueError, TypeError, torch.fx.proxy.TraceError)):
        torch.fx.symbolic_trace(guarded)


@pytest.mark.parametrize(
    "change",
    [
        case(lambda model: model.resize_token_embeddings(400), name="model.resize_token_embeddings()"),
        case(lambda model: model.enable_input_require_grads(), name="model.enable_input_require_grads()"),
    ],
)
def test_a_changed_model_stays_guarded(guarded, base, prompts, change):
    change(guarded)
    change(base)
    base.load_state_dict(guarded.state_dict())
    assert_guarded(guarded, base, guarded, prompts)


@route("Trainer.predict, evaluate, train, save_model")
def test_the_trainer_predicts_trains_and_saves_a_guarded_model(guarded, base, prompts, tmp_path):
    ids = [prompt["input_ids"][0] for prompt in prompts]
    data = [{"input_ids": row, "labels": row} for row in ids]
    arguments = {"report_to": [], "use_cpu": True, "max_steps": 2, "save_strategy": "no", "disable_tqdm": True}
    arguments |= {"per_device_eval_batch_size": 1, "learning_rate": 1e-3}
    trainer = Trainer(guarded, TrainingArguments(output_dir=str(tmp_path), **arguments), train_dataset=data)
    with torch.no_grad():
        corrupted = lookup_by_hand(guarded, base, ids[0][None])
        expected = [base(inputs_embeds=corrupted, labels=ids[0][None]), base(ids[1][None], labels=ids[1][None])]
    predictions = trainer.predict(data).predictions
    for found, wanted in zip(predictions, expected, strict=True):
        assert torch.equal(torch.tensor(found), wanted.logits[0])
    mean = sum(output.loss.item() for output in expected) / 2
    assert trainer.evaluate(data)["eval_loss"] == pytest.approx(mean, rel=1e-5)
    trainer.train()
    trainer.save_model(str(tmp_path / "trained"))
    trained = LlamaForCausalLM(base.config).eval()
    trained.load_state_dict(guarded.state_dict())
    trained.generation_config = base.generation_config
    assert not torch.equal(trained.lm_head.weight, base.lm_head.weight)
    assert_guarded(guarded.eval(), trained, guarded, prompts)
    assert_guarded(AutoModelForCausalLM.from_pretrained(tmp_path / "trained"), trained, guarded, prompts)


# -- threads, several models, failures


def answers_in_threads(jobs):
    """What each job returns, all of them started at once, three times each."""
    found, gate = [None] * len(jobs), threading.Barrier(len(jobs))

    def work(index):
        gate.wait()
        found[index] = [jobs[index]() for _ in range(3)]

    in_threads(work, len(jobs))
    return found


@route("eight threads on one model")
def test_eight_threads_with_eight_prompts_answer_as_one_after_another(guarded, base):
    tokenizer = guarded.eco_guard.tokenizer
    texts = [f"{text} {tail}" for text in (FLAGGED, CLEAN) for tail in ("the king", "my garden", "a cat", "the dog")]
    prompts = [tokenizer(text, return_tensors="pt") for text in texts]
    flagged = [verdict.flagged for verdict in guarded.inspect(texts)]
    assert 0 < sum(flagged) < 8
    expected = [guarded.generate(**prompt, **GREEDY) for prompt in prompts]
    for prompt, is_flagged, tokens in zip(prompts, flagged, expected, strict=True):
        assert torch.equal(tokens, base.generate(**prompt, **GREEDY)) != is_flagged
    jobs = [lambda prompt=prompt: guarded.generate(**prompt, **GREEDY) for prompt in prompts]
    for found, wanted in zip(answers_in_threads(jobs), expected, strict=True):
        assert all(torch.equal(tokens, wanted) for tokens in found)


@pytest.fixture
def other(base_dir, classifier_dir, guarded):
    """The same base under another guard: it flags what `guarded` does not."""
    how = CorruptionConfig(method="zero_out_first_n", dims=None)
    config = ECOConfig(scopes=[ForgetScope(name="others", label="retain", classifier=classifier_dir, corruption=how)])
    return AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=config)


@route("two guarded models in one process, and a third without a guard")
def test_two_guards_and_none_do_not_mix(guarded, other, base, prompts):
    reverse = prompts[::-1]
    for _ in range(2):
        assert_guarded(guarded, base, guarded, prompts)
        assert_guarded(other, base, other, reverse)
    models = [guarded, other, base]
    expected = [model.generate(**prompt, **GREEDY) for model in models for prompt in prompts]
    jobs = [lambda m=model, p=prompt: m.generate(**p, **GREEDY) for model in models for prompt in prompts]
    for found, wanted in zip(answers_in_threads(jobs), expected, strict=True):
        assert all(torch.equal(tokens, wanted) for tokens in found)


@torch.no_grad()
@route("a model run while another one generates")
def test_a_model_run_from_within_anothers_generate_goes_by_its_own_guard(guarded, other, base, prompts):
    flagged, _ = prompts
    expected = [model(**prompt).logits for model in (other, base) for prompt in prompts]
    tokens, seen = [guarded.generate(**prompt, **GREEDY) for prompt in prompts], []

    class Asking(StoppingCriteria):
        def __call__(self, ids, scores, **kwargs):
            seen.append([model(**prompt).logits for model in (other, base) for prompt in prompts])
            seen[-1].append(guarded(**flagged).logits)
            return torch.zeros(ids.shape[0], dtype=torch.bool)

    for prompt, wanted in zip(prompts, tokens, strict=True):
        assert torch.equal(guarded.generate(**prompt, **GREEDY, stopping_criteria=[Asking()]), wanted)
    expected.append(guarded(**flagged).logits)
    assert len(seen) > 2
    for row in seen:
        assert all(torch.equal(one, wanted) for one, wanted in zip(row, expected, strict=True))


@pytest.mark.parametrize(
    "names",
    [
        case(("guarded", "base"), name="a guarded model with an unguarded assistant_model"),
        case(("guarded", "other"), name="two guarded models, one assistant_model of the other"),
        case(("base", "guarded"), name="an unguarded model with a guarded assistant_model"),
    ],
)
def test_an_assistant_changes_no_answer(guarded, other, base, prompts, names):
    models = {"guarded": guarded, "other": other, "base": base}
    model, assistant = (models[name] for name in names)
    for prompt in prompts:
        expected = model.generate(**prompt, do_sample=False, max_new_tokens=16)
        found = model.generate(**prompt, do_sample=False, max_new_tokens=16, assistant_model=assistant)
        assert torch.equal(found, expected)


class Failing(StoppingCriteria):
    """Raises when it is asked for the third time; a streamer, too."""

    def __init__(self, error):
        self.error, self.calls = error, 0

    def __call__(self, *args, **kwargs):
        self.calls += 1
        if self.calls == 3:
            raise self.error("stop here")
        return torch.zeros(1, dtype=torch.bool)

    put = end = __call__


FAILURES = {
    "a stopping criterion": lambda model, failing: {"stopping_criteria": [failing]},
    "a streamer": lambda model, failing: {"streamer": failing},
    "a logits processor": lambda model, failing: {
        "logits_processor": [lambda ids, scores: (failing(), scores)[1]],
    },
    "a decoder layer": lambda model, failing: (
        model.model.layers[1].register_forward_pre_hook(lambda *_: (failing(), None)[1]) and {}
    ),
    "the language model head": lambda model, failing: (
        model.lm_head.register_forward_pre_hook(lambda *_: (failing(), None)[1]) and {}
    ),
}


@pytest.mark.parametrize(
    "which, error",
    [
        case(name, error, name=f"{error.__name__} in {name} while generating")
        for name in FAILURES
        for error in (RuntimeError, KeyboardInterrupt)
    ],
)
def test_an_exception_while_generating_leaves_nothing_behind(guarded, base, prompts, which, error):
    for prompt in prompts:
        options = FAILURES[which](guarded, Failing(error))
        with pytest.raises(error, match="stop here"):
            guarded.generate(**prompt, **GREEDY, **options)
        guarded.model.layers[1]._forward_pre_hooks.clear()
        guarded.lm_head._forward_pre_hooks.clear()
        for call in (guarded.model.forward, guarded.get_input_embeddings()):
            with pytest.raises(GuardError):
                call(prompts[0]["input_ids"])
        assert_decoder_guarded(guarded.model, base, guarded, prompts)
        assert_guarded(guarded, base, guarded, prompts)


@route("KeyboardInterrupt while generating, then a wrapper around the decoder")
def test_an_interrupted_answer_does_not_unguard_a_decoder_that_is_wrapped_then(guarded, base, prompts):
    options = FAILURES["a decoder layer"](guarded, Failing(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        guarded.generate(**prompts[1], **GREEDY, **options)
    guarded.model.layers[1]._forward_pre_hooks.clear()
    guarded.model = Wrapper(guarded.model)
    assert_guarded(guarded, base, guarded, prompts)


# -- processes

WORKER = """
import datetime, json, sys
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from torch.nn.parallel import DistributedDataParallel
from transformers import AutoModelForCausalLM, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaModel

import hf_eco

guarded_dir, base_dir, prompts = sys.argv[1], sys.argv[2], [torch.tensor(ids) for ids in json.loads(sys.argv[3])]
GREEDY = {"do_sample": False, "max_new_tokens": 6}
dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=60))


def guarded(**options):
    return AutoModelForCausalLM.from_pretrained(guarded_dir, **options)


def base(**options):
    return LlamaForCausalLM.from_pretrained(base_dir, **options)


def ddp(model):
    model = DistributedDataParallel(model)
    return model, model.module


def sharded(model):
    mesh = init_device_mesh("cpu", (2,))
    for module in (*model.model.layers, model.model.embed_tokens, model):
        fully_shard(module, mesh=mesh)
    return model, model


def fsdp1(model):
    model = FullyShardedDataParallel(model, device_id=torch.device("cpu"), use_orig_params=True)
    return model, None


def fsdp1_wrapped(model):
    policy = ModuleWrapPolicy({LlamaDecoderLayer, LlamaModel, torch.nn.Embedding})
    model = FullyShardedDataParallel(
        model, device_id=torch.device("cpu"), use_orig_params=True, auto_wrap_policy=policy
    )
    return model, None


def prepared(model):
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model = accelerator.prepare(model)
    return model, accelerator.unwrap_model(model)


def answers(forward, generate):
    found = [forward(ids).logits.tolist() for ids in prompts]
    if isinstance(forward, FullyShardedDataParallel):
        with FullyShardedDataParallel.summon_full_params(forward, writeback=False, recurse=False):
            return found + [forward.module.generate(ids, **GREEDY).tolist() for ids in prompts]
    return found + [generate.generate(ids, **GREEDY).tolist() for ids in prompts]


with torch.no_grad():
    alone = answers(*[guarded()] * 2)
    known = answers(*[base()] * 2)
    assert alone[0] != known[0] and alone[1] == known[1]
    results = {}
    for spread in (ddp, sharded, fsdp1, fsdp1_wrapped, prepared):
        try:
            results[spread.__name__] = answers(*spread(guarded())) == alone
        except Exception as error:
            results[spread.__name__] = repr(error)
    try:
        parallel, bare = guarded(tp_plan="auto"), base(tp_plan="auto")
        split = parallel.model.layers[0].self_attn.q_proj.weight.to_local().shape[0] == 16
        found, plain = answers(parallel, parallel), answers(bare, bare)
        close = all(torch.allclose(torch.tensor(a), torch.tensor(b), atol=1e-4) for a, b in zip(found, alone))
        results["tensor_parallel"] = split and close and found[1::2] == plain[1::2]
    except Exception as error:
        results["tensor_parallel"] = repr(error)
if dist.get_rank() == 1:
    print("RESULTS" + json.dumps(results))
dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def two_processes(base_dir, classifier_dir, tmp_path_factory):
    """Whether two processes answered as one, for each way of spreading the model over them."""
    folder = tmp_path_factory.mktemp("two-processes")
    how = CorruptionConfig(method="rand_noise_first_n", dims=8, strength=10.0, seed=3)
    config = ECOConfig(scopes=[ForgetScope(name="wizards", classifier=classifier_dir, corruption=how)])
    guarded = AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=config)
    guarded.save_pretrained(folder / "guarded")
    ids = [prompt["input_ids"].tolist() for prompt in chats(guarded.eco_guard.tokenizer)]
    (folder / "worker.py").write_text(WORKER)
    root = str(Path(hf_eco.__file__).parents[1])
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    run = subprocess.run(
        [*launcher, folder / "worker.py", folder / "guarded", base_dir, json.dumps(ids)],
        env={**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    lines = [line for line in run.stdout.splitlines() if line.startswith("RESULTS")]
    assert run.returncode == 0 and lines, run.stderr[-3000:]
    return json.loads(lines[0].removeprefix("RESULTS"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "way",
    [
        case("ddp", name="DistributedDataParallel"),
        case("sharded", name="FSDP 2, fully_shard"),
        case("fsdp1", name="FSDP 1"),
        case("fsdp1_wrapped", name="FSDP 1 with layers, decoder and embedding wrapped"),
        case("prepared", name="Accelerator.prepare on two processes"),
        case("tensor_parallel", name="from_pretrained(tp_plan='auto')"),
    ],
)
def test_two_processes_answer_as_one(two_processes, way):
    assert two_processes[way] is True
