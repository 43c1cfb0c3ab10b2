"""A guarded model is its base model with a guard: same class and weights, and wherever it goes the guard goes."""

from __future__ import annotations

import copy
import io
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import CLEAN, FLAGGED
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from hf_eco import (
    AutoModelForCausalLMWithECO,
    CorruptionConfig,
    ECOConfig,
    ECOMixin,
    ForgetScope,
    GuardError,
    Verdict,
)
from hf_eco.modeling import guarded_config_class

CHAT = [{"role": "user", "content": FLAGGED}]
# Flags what the wizards scope does not: the classifier's other label.
OTHERS = ForgetScope(name="others", label="retain", corruption=CorruptionConfig(method="zero_out_first_n", dims=None))


@pytest.fixture(scope="module")
def tokenizer(base_dir):
    return AutoTokenizer.from_pretrained(base_dir)


@pytest.fixture(scope="module")
def prompts(tokenizer):
    """A flagged and a clean prompt, as ids."""
    return [tokenizer(text, return_tensors="pt")["input_ids"] for text in (FLAGGED, CLEAN)]


@torch.no_grad()
def logits(model, prompts) -> list[torch.Tensor]:
    return [model(ids).logits for ids in prompts]


def assert_alike(found, expected) -> None:
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def assert_guarded(model, base, prompts) -> None:
    """A flagged prompt is corrupted, a clean one has the base's logits to the bit."""
    (flagged, clean), (known, same) = logits(model, prompts), logits(base, prompts)
    assert torch.equal(clean, same) and not torch.allclose(flagged, known)


@torch.no_grad()
def corrupted(model, base, ids, **arguments) -> list[list[int]]:
    """The columns of each row whose embeddings differ from the base's, when `model` runs `ids`."""
    seen = []
    handle = model.get_input_embeddings().register_forward_hook(lambda module, args, output: seen.append(output))
    model(ids, **arguments)
    handle.remove()
    changed = (seen[0] != base.get_input_embeddings()(ids)).any(-1)
    return [row.nonzero().squeeze(-1).tolist() for row in changed]


# -- what stays the base model's own


def test_a_guarded_llama_is_a_llama(guarded, base):
    assert isinstance(guarded, LlamaForCausalLM) and isinstance(guarded, ECOMixin)
    assert type(guarded).__name__ == "LlamaForCausalLM"
    assert isinstance(guarded.config, LlamaConfig) and guarded.config.model_type == "llama"
    own, bases = guarded.config.to_dict(), base.config.to_dict()
    name = own["_name_or_path"]
    refused = ("_name_or_path", "architectures", "id2label")  # see test_serialised_configs.py
    assert [own.pop(key) == bases.pop(key) for key in refused] == [False] * 3 and own == bases
    assert not os.path.exists(name)  # an adapter that names it does not find the unguarded base
    assert "eco" not in guarded.config.to_diff_dict()


def test_the_weights_are_the_base_models(guarded, base):
    own, native = guarded.state_dict(), base.state_dict()
    assert list(own) == list(native)
    assert all(torch.equal(own[name], native[name]) for name in native)
    assert [name for name, _ in guarded.named_parameters()] == [name for name, _ in base.named_parameters()]
    assert [name for name, _ in guarded.named_modules()] == [name for name, _ in base.named_modules()]


def test_training_a_guarded_model_leaves_its_classifier_alone(guarded, prompts):
    classifier = guarded.eco_guard.classifiers["wizards"].model
    before = copy.deepcopy(classifier.state_dict())
    guarded.train()
    guarded.get_input_embeddings().weight.data.add_(1.0)
    guarded(prompts[1], labels=prompts[1]).loss.backward()
    torch.optim.SGD(guarded.parameters(), lr=0.1).step()
    assert not classifier.training and all(torch.equal(before[k], v) for k, v in classifier.state_dict().items())
    assert guarded.inspect(FLAGGED).flagged


def test_the_users_config_is_not_changed(base_dir, eco_config, guarded, classifier):
    before, scope = copy.deepcopy(eco_config), copy.deepcopy(OTHERS)
    guarded.add_scope(scope, classifier=classifier)
    assert eco_config == before and scope == OTHERS


# -- configs


def test_a_config_saved_alone_keeps_the_guard(guarded, tmp_path):
    guarded.config.save_pretrained(tmp_path)
    with pytest.raises(Exception, match="pip install hf-eco"):
        LlamaConfig.from_pretrained(tmp_path)
    for config in (AutoConfig.from_pretrained(tmp_path), type(guarded.config).from_pretrained(tmp_path)):
        assert type(config) is type(guarded.config) and config.eco == guarded.config.eco
        assert config.to_dict() == guarded.config.to_dict() | {"_name_or_path": config.name_or_path}
    for config in (copy.deepcopy(guarded.config), pickle.loads(pickle.dumps(guarded.config))):
        assert type(config) is type(guarded.config) and config.eco == guarded.config.eco


def test_a_config_without_a_guard_is_not_saved(tmp_path):
    config = guarded_config_class(LlamaConfig)()
    with pytest.raises(GuardError, match="no guard"):
        config.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())


# -- copies


def in_memory(model):
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model)), in_memory],
    ids=["deepcopy", "pickle", "torch.save"],
)
def test_a_copy_is_guarded_and_independent(guarded, base, prompts, classifier, duplicate):
    guarded.add_scope(OTHERS, classifier=classifier)
    expected = logits(guarded, prompts)
    clone = duplicate(guarded)
    assert type(clone) is type(guarded)
    assert_alike(logits(clone, prompts), expected)
    with guarded.disable_guard():
        assert_alike(logits(clone, prompts), expected)
    clone.remove_scope("others")
    assert_guarded(clone, base, prompts)
    assert_alike(logits(guarded, prompts), expected)
    assert [scope.name for scope in guarded.config.eco.scopes] == ["wizards", "others"]
    clone.get_input_embeddings().weight.data.zero_()
    assert_alike(logits(guarded, prompts), expected)


def test_a_pickled_model_is_guarded_in_another_process(guarded, prompts, tmp_path):
    with open(tmp_path / "model.pickle", "wb") as file:
        pickle.dump((guarded, prompts), file)
    script = (
        "import pickle, torch\n"
        "model, prompts = pickle.load(open('model.pickle', 'rb'))\n"
        "with torch.no_grad():\n"
        "    torch.save([model(ids).logits for ids in prompts], 'logits.pt')\n"
    )
    command = [sys.executable, "-c", script]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for found, expected in zip(torch.load(tmp_path / "logits.pt"), logits(guarded, prompts), strict=True):
        torch.testing.assert_close(found, expected)


# -- classes of the user's own


class MyConfig(LlamaConfig):
    model_type = "my-llama"


class MyLlama(LlamaForCausalLM):
    config_class = MyConfig

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.logits = -output.logits
        return output


class Mine(ECOMixin, MyLlama):
    pass


class Plain(LlamaForCausalLM):
    pass


class GuardedPlain(ECOMixin, Plain):
    pass


def test_a_class_of_ones_own_is_guarded_saved_and_reloaded(base, base_dir, eco_config, prompts, tokenizer, tmp_path):
    (tmp_path / "base").mkdir()
    tokenizer.save_pretrained(tmp_path / "base")
    MyLlama(MyConfig(**{k: v for k, v in base.config.to_dict().items() if k != "model_type"})).save_pretrained(
        tmp_path / "base"
    )
    unguarded = MyLlama.from_pretrained(tmp_path / "base")
    model = Mine.from_pretrained(tmp_path / "base", eco_config=eco_config)
    assert_guarded(model, unguarded, prompts)
    model.save_pretrained(tmp_path / "whole")
    model.save_guard(tmp_path / "guard")
    for directory in ("whole", "guard"):
        assert_alike(logits(Mine.from_pretrained(tmp_path / directory), prompts), logits(model, prompts))


def test_what_a_class_of_ones_own_saved_the_factory_loads(base, base_dir, eco_config, prompts, tmp_path):
    model = GuardedPlain.from_pretrained(base_dir, eco_config=eco_config)
    assert isinstance(model, Plain)
    assert_guarded(model, base, prompts)
    model.save_pretrained(tmp_path)
    for loader in (GuardedPlain, AutoModelForCausalLMWithECO, AutoModelForCausalLM):
        assert_alike(logits(loader.from_pretrained(tmp_path), prompts), logits(model, prompts))


@pytest.mark.parametrize("bases", [(ECOMixin,), (ECOMixin, torch.nn.Linear)], ids=["nothing", "no-model"])
def test_the_mixin_needs_a_model(bases):
    with pytest.raises(TypeError, match=r"class Wrong\(ECOMixin, SomeForCausalLM\)"):
        type("Wrong", bases, {})


def test_the_factory_is_no_model():
    with pytest.raises(OSError, match="from_pretrained"):
        AutoModelForCausalLMWithECO()


# -- scopes


def test_scopes_come_and_go_without_reloading_the_model(guarded, base, prompts, classifier):
    before, layers = guarded.inspect([FLAGGED, CLEAN]), guarded.model
    expected = logits(guarded, prompts)
    guarded.add_scope(OTHERS, classifier=classifier)
    verdicts = guarded.inspect([FLAGGED, CLEAN])
    assert [verdict.scope for verdict in verdicts] == ["wizards", "others"]
    assert [v.probabilities["wizards"] for v in verdicts] == [v.probability for v in before]
    changed, base_logits = logits(guarded, prompts), logits(base, prompts)
    assert torch.equal(changed[0], expected[0]) and not torch.allclose(changed[1], base_logits[1])
    guarded.remove_scope("others")
    assert guarded.inspect([FLAGGED, CLEAN]) == before
    assert_alike(logits(guarded, prompts), expected)
    assert guarded.model is layers


def test_the_scope_that_came_first_can_go_too(guarded, prompts, classifier, tmp_path):
    guarded.add_scope(OTHERS, classifier=guarded.eco_guard.classifiers["wizards"])  # in whose folder it would be saved
    guarded.remove_scope("wizards")
    assert [verdict.scope for verdict in guarded.inspect([FLAGGED, CLEAN])] == [None, "others"]
    guarded.save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.glob("classifier-*")] == ["classifier-others"]
    assert_alike(logits(AutoModelForCausalLMWithECO.from_pretrained(tmp_path), prompts), logits(guarded, prompts))


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "their-own"])
def test_scopes_that_share_a_classifier_share_it_on_disk_and_after_loading(
    guarded, classifier, prompts, tmp_path, shared
):
    own = guarded.eco_guard.classifiers["wizards"]
    guarded.add_scope(OTHERS, classifier=own if shared else classifier)
    guarded.save_pretrained(tmp_path)
    folders = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert folders == ({"classifier-wizards"} if shared else {"classifier-wizards", "classifier-others"})
    reloaded = AutoModelForCausalLMWithECO.from_pretrained(tmp_path)
    classifiers = reloaded.eco_guard.classifiers
    assert (classifiers["wizards"] is classifiers["others"]) == shared
    assert_alike(logits(reloaded, prompts), logits(guarded, prompts))


def test_scopes_that_name_the_same_classifier_load_it_once(base_dir, eco_config, classifier_dir):
    other = copy.deepcopy(OTHERS)
    other.classifier = classifier_dir
    eco_config = ECOConfig(scopes=[*eco_config.scopes, other])
    classifiers = AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=eco_config).eco_guard.classifiers
    assert classifiers["wizards"] is classifiers["others"]


def test_a_classifier_at_hand_is_not_loaded(base_dir, eco_config, classifier, prompts, guarded):
    eco_config.scopes[0].classifier = None
    options = {"eco_config": eco_config, "classifiers": {"wizards": classifier}}
    model = AutoModelForCausalLMWithECO.from_pretrained(base_dir, **options)
    assert model.eco_guard.classifiers["wizards"] is classifier
    assert_alike(logits(model, prompts), logits(guarded, prompts))


def scope(**fields) -> ForgetScope:
    return ForgetScope(**{"name": "more", **fields})


@pytest.mark.parametrize(
    "refused, message",
    [
        (scope(name="wizards"), "wizards"),
        (scope(corruption=CorruptionConfig(dims=33)), "have 32"),
        (scope(label="dangerous"), "ForgetScope\\(label="),
        (scope(label="LABEL_1"), "'retain', 'forget'"),
    ],
    ids=["duplicate name", "too many dims", "unknown label", "generic label"],
)
def test_a_scope_that_cannot_work_is_refused_and_changes_nothing(
    guarded, base_dir, eco_config, classifier, prompts, refused, message
):
    before, expected = copy.deepcopy(guarded.config.eco), logits(guarded, prompts)
    with pytest.raises(ValueError, match=message):
        guarded.add_scope(refused, classifier=classifier)
    assert guarded.config.eco == before
    assert_alike(logits(guarded, prompts), expected)
    if refused.name != "wizards":
        options = {"eco_config": ECOConfig(scopes=[refused]), "classifiers": {"more": classifier}}
        with pytest.raises(ValueError, match=message):
            AutoModelForCausalLMWithECO.from_pretrained(base_dir, **options)


def test_a_scope_without_any_classifier_is_refused(guarded):
    with pytest.raises(ValueError, match="classifier"):
        guarded.add_scope(scope())


def test_the_last_scope_and_unknown_ones_are_not_removed(guarded, base, prompts):
    with pytest.raises(ValueError, match="last scope"):
        guarded.remove_scope("wizards")
    with pytest.raises(KeyError, match="witches"):
        guarded.remove_scope("witches")
    assert_guarded(guarded, base, prompts)


# -- inspect


def about(verdict: Verdict) -> Verdict:
    """`verdict`, but for the last bits of its probabilities, which go by what else is in the batch."""
    return replace(
        verdict,
        probability=pytest.approx(verdict.probability, rel=1e-4),
        probabilities=pytest.approx(verdict.probabilities, rel=1e-4),
    )


def test_inspect_takes_strings_chats_and_lists_of_both(guarded):
    alone = [guarded.inspect(prompt) for prompt in (FLAGGED, CHAT, CLEAN)]
    assert all(isinstance(verdict, Verdict) for verdict in alone)
    assert [verdict.flagged for verdict in alone] == [True, True, False]
    assert guarded.inspect([FLAGGED, CHAT, CLEAN]) == [about(verdict) for verdict in alone]
    assert guarded.inspect([CHAT, CHAT]) == [about(alone[1])] * 2
    assert guarded.inspect([]) == []
    for wrong in (3, [3], [["who"]]):
        with pytest.raises(TypeError):
            guarded.inspect(wrong)


@pytest.mark.parametrize("selection", ["content", "all"])
@pytest.mark.parametrize("prompt", [FLAGGED, CHAT], ids=["string", "chat"])
def test_a_verdict_says_which_tokens_are_corrupted(base_dir, base, eco_config, tokenizer, prompt, selection):
    eco_config.scopes[0].tokens = selection
    guarded = AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=eco_config)
    verdict = guarded.inspect(prompt)
    text = (
        prompt
        if prompt is FLAGGED
        else tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
    )
    ids = tokenizer(text)["input_ids"]
    assert verdict.text == text and verdict.scope == "wizards" and verdict.threshold == 0.5
    assert [verdict.text[start:end] for start, end in verdict.offsets] == [tokenizer.decode([i]) for i in ids]
    assert [verdict.text[start:end] for start, end in verdict.spans] == [FLAGGED]
    assert list(verdict.tokens) == corrupted(guarded, base, torch.tensor([ids]))[0]
    if selection == "all":
        assert list(verdict.tokens) == list(range(len(ids) - 1))
    else:
        assert "".join(verdict.text[slice(*verdict.offsets[i])] for i in verdict.tokens).strip() == FLAGGED


def test_a_clean_verdict_names_nothing(guarded, base, prompts):
    verdict = guarded.inspect(CLEAN)
    assert (verdict.flagged, verdict.scope, verdict.spans, verdict.tokens) == (False, None, (), ())
    assert verdict.probability == verdict.probabilities["wizards"] < verdict.threshold
    assert corrupted(guarded, base, prompts[1]) == [[]]


# -- what is refused


def test_a_model_without_a_guard_does_nothing(guarded, prompts, tmp_path):
    bare = AutoModelForCausalLM.from_config(guarded.config)
    assert isinstance(bare, ECOMixin)
    for call in (
        lambda: bare(prompts[1]),
        lambda: bare.model(prompts[1]),
        lambda: bare.generate(prompts[1], max_new_tokens=1),
        lambda: bare.inspect(CLEAN),
        lambda: bare.eco_guard,
        lambda: bare.save_pretrained(tmp_path / "whole"),
        lambda: bare.save_guard(tmp_path / "guard"),
        lambda: bare.push_to_hub("me/guarded"),
        lambda: bare.remove_scope("wizards"),
    ):
        with pytest.raises(GuardError, match="no guard attached"):
            call()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name, reads_ids, refused",
    [
        ("embed_tokens_per_layer", False, "embed_tokens_per_layer"),
        ("bigrams", True, "another way"),
        ("roles", False, None),
    ],
    ids=["by-name", "by-behaviour", "neither"],
)
def test_a_second_way_of_token_ids_into_the_model_is_refused(
    base_dir, base, eco_config, prompts, name, reads_ids, refused
):
    class TwoEmbeddings(LlamaForCausalLM):
        def __init__(self, config):
            super().__init__(config)
            self.model.add_module(name, torch.nn.Embedding(config.vocab_size, config.vocab_size))

        def forward(self, input_ids, **kwargs):
            output = super().forward(input_ids, **kwargs)
            if reads_ids:
                output.logits = output.logits + self.model.get_submodule(name)(input_ids)
            return output

    class Guarded(ECOMixin, TwoEmbeddings):
        pass

    if refused:
        with pytest.raises(GuardError, match=refused):
            Guarded.from_pretrained(base_dir, eco_config=eco_config)
    else:
        assert_guarded(Guarded.from_pretrained(base_dir, eco_config=eco_config), base, prompts)


def test_a_gpt2_with_its_position_embeddings_is_guarded(tokenizer, eco_config, prompts, tmp_path):
    torch.manual_seed(0)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "initializer_range": 0.2}
    tokens = {"vocab_size": len(tokenizer), "eos_token_id": 2, "bos_token_id": 2, "pad_token_id": 0}
    GPT2LMHeadModel(GPT2Config(**sizes, **tokens)).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    base = GPT2LMHeadModel.from_pretrained(tmp_path / "base")
    guarded = AutoModelForCausalLMWithECO.from_pretrained(tmp_path / "base", eco_config=eco_config)
    assert isinstance(guarded, GPT2LMHeadModel)
    assert_guarded(guarded, base, prompts)
    guarded.save_pretrained(tmp_path / "guarded")
    assert_alike(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "guarded"), prompts), logits(guarded, prompts))


# -- scoring


@pytest.fixture
def scored(tokenizer, prompts):
    """(ids, mask, labels, prompt lengths) of a flagged and a clean row, each with an answer, left-padded."""
    answers = [tokenizer(text)["input_ids"] for text in (" the old king", " the wizard")]
    rows = [ids[0].tolist() + answer for ids, answer in zip(prompts, answers, strict=True)]
    batch = tokenizer.pad({"input_ids": rows}, return_tensors="pt")
    labels = batch["input_ids"].clone()
    for row, answer in zip(labels, answers, strict=True):
        row[: -len(answer)] = -100
    return batch["input_ids"], batch["attention_mask"], labels, [ids.shape[1] for ids in prompts]


def test_labels_bound_each_rows_prompt(guarded, base, tokenizer, scored):
    ids, mask, labels, lengths = scored
    padding = [(row == 0).sum().item() for row in mask]
    prompt = list(range(padding[0], padding[0] + lengths[0]))
    assert corrupted(guarded, base, ids, attention_mask=mask, labels=labels) == [prompt, []]
    outputs = [model(ids, attention_mask=mask, labels=labels) for model in (guarded, base)]
    assert torch.equal(outputs[0].logits[1], outputs[1].logits[1])
    assert not torch.allclose(outputs[0].loss, outputs[1].loss)
    with guarded.prompt_lengths(lengths):
        assert corrupted(guarded, base, ids, attention_mask=mask) == [prompt, []]
    with guarded.prompt_lengths(torch.tensor(lengths)):
        assert_alike([guarded(ids, attention_mask=mask).logits], [outputs[0].logits])


def test_a_row_whose_labels_bound_nothing_is_all_prompt(guarded, base, scored):
    ids, mask, labels, _ = scored
    labels[0] = ids[0]  # trained on as a whole
    everything = mask[0].nonzero().squeeze(-1).tolist()
    assert corrupted(guarded, base, ids, attention_mask=mask, labels=labels) == [everything, []]


def test_the_paper_protocol_corrupts_the_answer_of_a_flagged_row_too(guarded, base, scored):
    ids, mask, _, lengths = scored  # the clean row's answer names the wizard, and is not judged
    everything = mask[0].nonzero().squeeze(-1).tolist()
    with guarded.prompt_lengths(lengths, protocol="paper"):
        assert corrupted(guarded, base, ids, attention_mask=mask) == [everything, []]
    with guarded.prompt_lengths(lengths, protocol="strict"):
        assert len(corrupted(guarded, base, ids, attention_mask=mask)[0]) == lengths[0]


def test_the_paper_protocol_needs_prompt_and_answer_in_one_pass(guarded, prompts):
    ids = prompts[0]
    with guarded.prompt_lengths([ids.shape[1]], protocol="paper"):
        cache = guarded(ids[:, :-2], use_cache=True).past_key_values
        with pytest.raises(GuardError, match="Pass them without a cache"):
            guarded(ids[:, -2:], past_key_values=cache)


def test_an_unknown_protocol_is_refused(guarded):
    with pytest.raises(ValueError, match="Unknown protocol 'loose'"), guarded.prompt_lengths([3], protocol="loose"):
        pass


@pytest.mark.parametrize("lengths", [[3], [3, 3, 3]], ids=str)
def test_prompt_lengths_of_another_batch_are_refused(guarded, scored, lengths):
    ids, mask, _, _ = scored
    with guarded.prompt_lengths(lengths), pytest.raises(ValueError, match=f"{len(lengths)} rows, the batch has 2"):
        guarded(ids, attention_mask=mask)
    guarded(ids, attention_mask=mask)  # nothing is left behind


# -- adapters


@pytest.fixture
def adapted(guarded):
    """The guarded model under a fresh LoRA, which is the identity until it is trained."""
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    options = {"task_type": "CAUSAL_LM", "target_modules": ["q_proj", "v_proj"], "r": 2}
    return peft.get_peft_model(guarded, peft.LoraConfig(**options))


def train(adapter) -> None:
    """Makes the adapter differ from the identity."""
    for name, parameter in adapter.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)


def test_an_adapted_model_stays_guarded(guarded, base, prompts, adapted):
    assert_guarded(adapted, base, prompts)
    with adapted.disable_adapter():
        assert_guarded(adapted, base, prompts)
    assert_guarded(adapted.merge_and_unload(), base, prompts)


def test_a_trained_adapter_changes_the_answers_and_not_the_guard(guarded, base, prompts, adapted, tmp_path):
    train(adapted)
    with adapted.get_base_model().disable_guard():
        unguarded = logits(adapted, prompts)
    found = logits(adapted, prompts)
    assert torch.equal(found[1], unguarded[1]) and not torch.allclose(found[0], unguarded[0])
    assert not torch.allclose(found[1], logits(base, prompts)[1])
    merged = adapted.merge_and_unload()
    merged.save_pretrained(tmp_path)
    for one, other in zip(logits(AutoModelForCausalLM.from_pretrained(tmp_path), prompts), found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("save", ["save_pretrained", "save_guard"])
def test_an_adapter_names_the_guarded_checkpoint_it_was_trained_on(guarded, prompts, tmp_path, save):
    peft = pytest.importorskip("peft")
    getattr(guarded, save)(tmp_path / "guarded")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "guarded")
    adapter = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], r=2))
    train(adapter)
    adapter.save_pretrained(tmp_path / "adapter")
    reloaded = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter")
    assert isinstance(reloaded.get_base_model(), ECOMixin)
    assert_alike(logits(reloaded, prompts), logits(adapter, prompts))


TINY = {"vocab_size": 420, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "pad_token_id": 0}
SIZES = {
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32, "max_position_embeddings": 128},
    "bloom": {},
    "gpt_neox": {"intermediate_size": 64},
    "qwen2": {"intermediate_size": 64, "num_key_value_heads": 2},
    "mixtral": {"intermediate_size": 64, "num_key_value_heads": 2, "num_local_experts": 2},
    "gemma2": {"intermediate_size": 64, "num_key_value_heads": 2, "head_dim": 8},
    "falcon": {},
    "bart": {"d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 64},
}


def saved(model_type: str, directory: Path, tokenizer, **sizes) -> str:
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **{**TINY, **sizes}, bos_token_id=1, eos_token_id=2)
    AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return str(directory)


@pytest.mark.parametrize("model_type", SIZES)
def test_other_architectures_are_guarded(model_type, guarded, eco_config, tmp_path):
    """Among them those whose language model calls an inner decoder past the base model."""
    tokenizer = guarded.eco_guard.tokenizer
    path = saved(model_type, tmp_path / "base", tokenizer, **SIZES[model_type])
    model = AutoModelForCausalLMWithECO.from_pretrained(path, eco_config=eco_config).eval()
    base = AutoModelForCausalLM.from_pretrained(path).eval()
    for text, same in ((FLAGGED, False), (CLEAN, True)):
        inputs = {"input_ids": tokenizer(text, return_tensors="pt")["input_ids"]}
        assert torch.equal(model(**inputs).logits, base(**inputs).logits) is same
        answers = [
            m.generate(**inputs, do_sample=False, max_new_tokens=4, output_logits=True, return_dict_in_generate=True)
            for m in (model, base)
        ]
        assert torch.equal(answers[0].logits[0], answers[1].logits[0]) is same


def test_a_scope_removed_while_it_is_generated_for_is_still_corrupted(guarded, base, eco_config):
    tokenizer = guarded.eco_guard.tokenizer
    ids = tokenizer(FLAGGED, return_tensors="pt")["input_ids"]
    options = {"do_sample": False, "max_new_tokens": 4, "use_cache": False}
    expected = guarded.generate(ids, **options)
    guarded.add_scope(
        replace(guarded.config.eco.scopes[0], name="other", probes=[]), guarded.eco_guard.classifiers["wizards"]
    )

    def remove(ids, scores):
        if "wizards" in guarded.eco_guard.classifiers:
            guarded.remove_scope("wizards")
        return scores

    assert torch.equal(guarded.generate(ids, logits_processor=[remove], **options), expected)


@pytest.mark.parametrize("save", ["save_pretrained", "save_guard"])
def test_an_empty_name_does_not_stand_for_the_working_directory(guarded, tmp_path, monkeypatch, save):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="name is empty"):
        getattr(guarded, save)("")
    assert not list(tmp_path.iterdir())
