"""Every causal language model of transformers is guarded like any other, or refused before it says a word."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from architectures import (
    DOCUMENT,
    DRAFTERS,
    MODEL_TYPES,
    NOT_BUILDABLE,
    REFUSED,
    TRANSFORMERS,
    VARIANTS,
    VOCAB,
    WITHOUT_CACHE,
    build,
    render,
    routes_tokens,
    tiny_config,
)
from conftest import CHAT_TEMPLATE, CLEAN, FLAGGED, byte_level_tokenizer
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from hf_eco import (
    AutoModelForCausalLMWithECO,
    CorruptionConfig,
    ECOConfig,
    ECOMixin,
    ForgetScope,
    GuardError,
)
from hf_eco.corruption import corrupt

CORRUPTION = CorruptionConfig(method="rand_noise_first_n", dims=8, strength=10.0, seed=3)
NEW = 8
NAMES = [*MODEL_TYPES, *(name for name in VARIANTS if name.partition("/")[0] in MODEL_TYPES)]
GUARDED = [name for name in NAMES if name not in REFUSED | NOT_BUILDABLE]


@pytest.fixture(scope="module")
def tokenizer():
    tokenizer = byte_level_tokenizer(eos_token="<|im_end|>", padding_side="left")
    tokenizer.chat_template = CHAT_TEMPLATE
    assert len(tokenizer) < VOCAB - 16
    return tokenizer


@pytest.fixture(scope="module")
def prompts(tokenizer) -> SimpleNamespace:
    """A flagged chat, a clean one that is longer, and the two as a batch padded on the left."""
    chats = [[{"role": "user", "content": text}] for text in (FLAGGED, CLEAN + " tell me about the garden")]
    options = {"add_generation_prompt": True, "return_dict": True, "return_tensors": "pt", "padding": True}
    inputs = [tokenizer.apply_chat_template(chat, **options) for chat in (chats[0], chats[1], chats)]
    flagged, clean, both = ({name: x[name] for name in ("input_ids", "attention_mask")} for x in inputs)
    return SimpleNamespace(flagged=flagged, clean=clean, both=both)


def save_base(model_type: str, directory: Path, tokenizer) -> str:
    config = tiny_config(model_type)
    build(config).save_pretrained(directory)
    config.save_pretrained(directory)  # of a model with eyes and ears only the language model was built
    tokenizer.save_pretrained(directory)
    return str(directory)


def guard(directory: str, classifier, classifier_dir: str):
    scope = ForgetScope(name="wizards", classifier=classifier_dir, corruption=CORRUPTION)
    eco_config = ECOConfig(scopes=[scope])
    return AutoModelForCausalLMWithECO.from_pretrained(
        directory, eco_config=eco_config, classifiers={"wizards": classifier}
    )


@pytest.fixture(scope="module", params=GUARDED)
def case(request, tmp_path_factory, tokenizer, classifier, classifier_dir) -> Iterator[SimpleNamespace]:
    """A tiny random model of one type: unguarded, guarded, and where it lies."""
    directory = save_base(request.param, tmp_path_factory.mktemp("base"), tokenizer)
    bare = AutoModelForCausalLM.from_pretrained(directory).eval()
    guarded = guard(directory, classifier, classifier_dir)
    yield SimpleNamespace(model_type=request.param, bare=bare, guarded=guarded, directory=directory)
    del bare, guarded
    gc.collect()


def answers(model: PreTrainedModel, inputs: dict[str, Tensor], **options) -> Tensor:
    torch.manual_seed(0)  # reformer hashes at random
    options = {"do_sample": False, "max_new_tokens": NEW, "min_new_tokens": NEW, "pad_token_id": 0} | options
    options |= {"use_cache": False} if model.config.model_type in WITHOUT_CACHE else {}
    return model.generate(**inputs, **options)


@torch.no_grad()
def logits(model: PreTrainedModel, **inputs) -> Tensor:
    torch.manual_seed(0)
    return model(**inputs).logits


@contextmanager
def corrupted_by_hand(case, inputs: dict[str, Tensor]) -> Iterator[PreTrainedModel]:
    """The bare model, with a hook that corrupts what its embedding layer gives for the prompts' flagged tokens."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    own = [row[m.bool()].tolist() for row, m in zip(ids, mask, strict=True)]
    verdicts = case.guarded.eco_guard.decide(own)
    assert any(verdict.flagged for verdict in verdicts)

    def hook(_module, _args, output: Tensor) -> Tensor | None:
        if output.shape[1] < ids.shape[1]:
            return None  # a decode step
        output = output.clone()
        for row in range(output.shape[0]):
            index = row * len(own) // output.shape[0]
            start, stop = ids.shape[1] - len(own[index]), ids.shape[1]
            selected = torch.zeros(1, stop - start, dtype=torch.bool)
            selected[0, list(verdicts[index].tokens)] = True
            how = {"dims": CORRUPTION.dims, "strength": CORRUPTION.strength, "seed": CORRUPTION.seed}
            output[row : row + 1, start:stop] = corrupt(
                output[row : row + 1, start:stop],
                selected,
                CORRUPTION.method,
                token_ids=torch.tensor([own[index]], device=output.device),
                **how,
            )
        return output

    handle = case.bare.get_input_embeddings().register_forward_hook(hook)
    try:
        yield case.bare
    finally:
        handle.remove()


def test_a_guarded_model_is_of_its_native_class(case):
    assert isinstance(case.guarded, type(case.bare)) and isinstance(case.guarded, ECOMixin)
    assert case.guarded.state_dict().keys() == case.bare.state_dict().keys()


@pytest.mark.route("any architecture: a clean prompt", "guarded")
def test_a_clean_prompt_is_answered_to_the_bit_as_by_the_bare_model(case, prompts):
    assert torch.equal(logits(case.guarded, **prompts.clean), logits(case.bare, **prompts.clean))
    assert torch.equal(answers(case.guarded, prompts.clean), answers(case.bare, prompts.clean))


@pytest.mark.skipif(transformers.__version__ != TRANSFORMERS, reason="other versions leave the cache out")
@pytest.mark.parametrize("model_type", WITHOUT_CACHE)
def test_what_is_guarded_without_a_cache_alone_refuses_to_generate_with_one(
    model_type, tmp_path, tokenizer, classifier, classifier_dir, prompts
):
    model = guard(save_base(model_type, tmp_path, tokenizer), classifier, classifier_dir)
    with pytest.raises(GuardError, match="without the cache"):
        model.generate(**prompts.flagged, do_sample=False, max_new_tokens=NEW, pad_token_id=0)


@pytest.mark.skipif("exaone" not in MODEL_TYPES, reason="this transformers has no Exaone")
def test_a_model_type_that_borrows_a_class_takes_options_of_its_config(
    tmp_path, tokenizer, classifier, classifier_dir
):
    directory = save_base("exaone", tmp_path / "base", tokenizer)
    guard(directory, classifier, classifier_dir).save_pretrained(tmp_path / "guarded")
    model = AutoModelForCausalLMWithECO.from_pretrained(tmp_path / "guarded", use_cache=False, dtype=torch.bfloat16)
    assert model.config.model_type == "exaone" and model.config.use_cache is False and model.dtype == torch.bfloat16


@pytest.mark.route("any architecture: a flagged prompt, forward and generate", "guarded")
def test_a_flagged_prompt_is_answered_as_from_embeddings_corrupted_by_hand(case, prompts):
    plain = logits(case.bare, **prompts.flagged)
    with corrupted_by_hand(case, prompts.flagged) as bare:
        expected = logits(bare, **prompts.flagged), answers(bare, prompts.flagged)
    assert not torch.allclose(expected[0], plain, atol=1e-4), "the corruption says nothing to this model"
    assert torch.equal(logits(case.guarded, **prompts.flagged), expected[0])
    assert torch.equal(answers(case.guarded, prompts.flagged), expected[1])


@pytest.mark.route("any architecture: generate without a cache", "guarded")
def test_a_flagged_prompt_is_answered_alike_without_a_cache(case, prompts):
    with corrupted_by_hand(case, prompts.flagged) as bare:
        expected = answers(bare, prompts.flagged, use_cache=False)
    assert torch.equal(answers(case.guarded, prompts.flagged, use_cache=False), expected)


@pytest.mark.route("any architecture: a mixed, padded batch", "guarded")
def test_in_a_mixed_batch_only_the_flagged_row_is_corrupted(case, prompts):
    with corrupted_by_hand(case, prompts.both) as bare:
        expected = answers(bare, prompts.both)
    assert torch.equal(answers(case.guarded, prompts.both), expected)


@pytest.mark.route(
    "any architecture: a clean prompt beside a flagged one", "guarded", note="to the bit, or to rounding"
)
def test_a_clean_row_beside_a_flagged_one_is_the_bare_models(case, prompts):
    found, bare = (logits(model, **prompts.both)[1] for model in (case.guarded, case.bare))
    if routes_tokens(tiny_config(case.model_type)):  # experts take the rows' tokens together
        torch.testing.assert_close(found, bare, rtol=1e-3, atol=1e-3)
    else:
        assert torch.equal(found, bare)


@pytest.mark.route("any architecture: beam search", "guarded")
def test_beams_of_a_mixed_batch_stay_corrupted(case, prompts):
    try:
        answers(case.bare, prompts.both, num_beams=2)
    except (ValueError, RuntimeError, NotImplementedError, AttributeError, TypeError) as error:
        pytest.skip(f"the bare model has no beams: {error}")
    with corrupted_by_hand(case, prompts.both) as bare:
        expected = answers(bare, prompts.both, num_beams=2)
    assert torch.equal(answers(case.guarded, prompts.both, num_beams=2), expected)


def test_token_ids_reach_the_logits_through_the_embedding_layer_alone(case, prompts):
    ids = prompts.flagged["input_ids"]
    with torch.no_grad():
        fixed = case.bare.get_input_embeddings()(ids)
    handle = case.bare.get_input_embeddings().register_forward_hook(lambda *_: fixed.clone())
    try:
        first, second = (logits(case.bare, input_ids=x) for x in (ids, (ids + 7) % 300 + 10))
    finally:
        handle.remove()
    assert torch.equal(first, second), "a flagged prompt passes in part by another way than its embeddings"


@pytest.mark.route("any architecture: saved and loaded again", "guarded")
def test_saved_and_reloaded_it_answers_to_the_bit_and_native_classes_refuse_it(case, prompts, tmp_path):
    case.guarded.save_pretrained(tmp_path)
    again = AutoModelForCausalLMWithECO.from_pretrained(tmp_path)
    for inputs in (prompts.flagged, prompts.clean):
        assert torch.equal(logits(again, **inputs), logits(case.guarded, **inputs))
    native = type(case.bare)
    for plain in (native, native.config_class, type(tiny_config(case.model_type))):
        with pytest.raises(Exception, match=re.compile("hf.eco", re.IGNORECASE)):
            plain.from_pretrained(tmp_path)


@pytest.mark.route("token_type_ids that are looked up as tokens", "refused", note="pass input_ids alone")
def test_a_prompt_does_not_pass_as_token_types(case, prompts):
    ids = prompts.flagged["input_ids"]
    inputs = {"input_ids": torch.full_like(ids, 100), "token_type_ids": ids}
    looked_up = []
    handle = case.bare.get_input_embeddings().register_forward_hook(lambda *_: looked_up.append(True))
    try:
        logits(case.bare, **inputs)
    except (IndexError, TypeError, ValueError, RuntimeError):
        pytest.skip("its token types are no tokens")
    finally:
        handle.remove()
    if len(looked_up) == 1:
        pytest.skip("its token types are no tokens")
    with pytest.raises(GuardError):
        logits(case.guarded, **inputs)


@pytest.mark.parametrize("name", ["input_shape_ids", "input_pronunciation_ids"])
@pytest.mark.parametrize("case", ["roc_bert"], indirect=True)
@pytest.mark.route("input_shape_ids, input_pronunciation_ids (RoCBert)", "refused", note="pass input_ids alone")
def test_shapes_and_sounds_of_tokens_are_refused(case, prompts, name):
    with pytest.raises(GuardError):
        logits(case.guarded, **prompts.flagged, **{name: prompts.flagged["input_ids"] % 100})


@pytest.mark.parametrize("model_type", [name for name in NAMES if name in REFUSED])
@pytest.mark.route("an architecture the guard cannot follow", "refused", note="see the table of architectures")
def test_what_cannot_be_guarded_is_refused_before_it_runs(model_type, tmp_path, tokenizer, classifier, classifier_dir):
    if model_type in DRAFTERS and transformers.__version__ != TRANSFORMERS:
        pytest.skip("other versions do not build it")
    directory = save_base(model_type, tmp_path, tokenizer)
    why = "could not be tried out" if model_type in DRAFTERS else "This architecture is not guarded"
    with pytest.raises(GuardError, match=why):
        guard(directory, classifier, classifier_dir)


@pytest.mark.skipif(transformers.__version__ != TRANSFORMERS, reason=f"the table is for transformers {TRANSFORMERS}")
@pytest.mark.parametrize("model_type", [name for name in NAMES if name in NOT_BUILDABLE])
def test_what_the_table_calls_not_buildable_cannot_be_built(model_type):
    reason = NOT_BUILDABLE[model_type].partition(":")[0]
    try:
        build(tiny_config(model_type))
    except Exception as error:
        assert type(error).__name__ == reason
    else:
        assert reason == "ImportError", "it can be built now: try it"
        pytest.skip("the missing package is installed here")


@pytest.mark.skipif(transformers.__version__ != TRANSFORMERS, reason=f"the table is for transformers {TRANSFORMERS}")
def test_the_table_of_architectures_is_what_these_tests_expect():
    assert DOCUMENT.read_text(encoding="utf-8") == render(), "python tests/contract/architectures.py writes it anew"
