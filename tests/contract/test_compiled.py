"""torch.compile: the guard decides outside of the compiled code, and leaves no trace in compiled decode steps."""

from __future__ import annotations

import pytest
import torch
from conftest import CLEAN, FLAGGED, in_threads
from torch._dynamo.utils import counters
from transformers import CompileConfig, DynamicCache

from hf_eco import GuardError

GREEDY = {"do_sample": False, "max_new_tokens": 8}


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


@pytest.fixture(params=[FLAGGED, CLEAN], ids=["flagged", "clean"])
def ids(guarded, request):
    return guarded.eco_guard.tokenizer(request.param, return_tensors="pt")["input_ids"]


def compiled_decode(**options):
    """As generate compiles its decode steps by itself on a GPU, with a backend that needs no compiler of its own."""
    config = CompileConfig(backend="eager", mode=None, **options)
    config._compile_all_devices = True
    return {"cache_implementation": "static", "compile_config": config}


@pytest.mark.route("generate's own compiled decode (static cache)", "guarded")
def test_compiled_decode_steps_have_the_base_models_graph_and_no_break(guarded, base, ids):
    expected, graphs = guarded.generate(ids, **GREEDY), []
    for model in (guarded, base):
        torch._dynamo.reset()
        counters.clear()
        answer = model.generate(ids, **GREEDY, **compiled_decode())
        graphs.append((dict(counters["stats"]), dict(counters["graph_break"])))
        if model is guarded:
            assert torch.equal(answer, expected)
    assert graphs[0] == graphs[1] == ({"calls_captured": graphs[1][0]["calls_captured"], "unique_graphs": 1}, {})


def test_compiled_decode_is_one_graph(guarded, ids):
    assert torch.equal(
        guarded.generate(ids, **GREEDY, **compiled_decode(fullgraph=True)), guarded.generate(ids, **GREEDY)
    )


def test_prompts_prefilled_in_compiled_chunks_are_guarded(guarded, ids):
    answer = guarded.generate(ids, prefill_chunk_size=4, **GREEDY, **compiled_decode())
    assert torch.equal(answer, guarded.generate(ids, **GREEDY))


@pytest.mark.route("torch.compile(model), model.compile(), model.forward = torch.compile(model.forward)", "guarded")
@pytest.mark.parametrize("how", ["torch.compile", "compile()", "forward"])
@torch.no_grad()
def test_compiled_models_are_guarded(guarded, base, ids, how):
    logits, answer = guarded(ids).logits, guarded.generate(ids, **GREEDY)
    model = guarded
    if how == "torch.compile":
        model = torch.compile(guarded, backend="eager")
    elif how == "compile()":
        guarded.compile(backend="eager")
    else:
        guarded.forward = torch.compile(guarded.forward, backend="eager")
    other = guarded.eco_guard.tokenizer("does a wizard sleep ?", return_tensors="pt")["input_ids"]
    for _ in range(2):  # the second time by what was compiled the first
        assert torch.equal(model(ids).logits, logits)
        assert not torch.equal(model(other).logits, base(other).logits)
        assert torch.equal(model.generate(ids, **GREEDY), answer)


@torch.no_grad()
def test_a_cache_of_generate_is_no_way_past_the_guard_of_a_compiled_model(guarded, base):
    """What was compiled for a decode step is not used for a prompt, on the same cache or another."""
    tokenizer = guarded.eco_guard.tokenizer
    clean, flagged = (tokenizer(text, return_tensors="pt")["input_ids"] for text in (CLEAN, FLAGGED))
    guarded.forward = torch.compile(guarded.forward, backend="eager", dynamic=True)
    cache = DynamicCache(config=guarded.config)
    first = guarded.generate(clean, past_key_values=cache, **GREEDY)
    held = cache.get_seq_length()
    found = guarded(torch.cat([first[:, held:], flagged], 1), past_key_values=cache).logits
    expected = guarded(torch.cat([first, flagged], 1)).logits[:, held:]
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, base(torch.cat([first, flagged], 1)).logits[:, held:])
    with pytest.raises(GuardError, match="token by token"):
        other = DynamicCache(config=guarded.config)
        for token in flagged[0]:
            guarded(token[None, None], past_key_values=other)


def test_an_interrupted_generate_leaves_no_decode_step_behind(guarded, ids):
    cache = DynamicCache(config=guarded.config)

    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        guarded.generate(ids, past_key_values=cache, logits_processor=[interrupt], **GREEDY)
    assert not cache._eco_decoding.active


def test_threads_on_a_compiled_model_do_not_see_one_anothers_prompts(guarded, base):
    tokenizer = guarded.eco_guard.tokenizer
    prompts = [tokenizer(text, return_tensors="pt")["input_ids"] for text in (FLAGGED, CLEAN)]
    expected, wrong = [guarded.generate(ids, **GREEDY) for ids in prompts], []
    guarded.generate(prompts[0], **GREEDY, **compiled_decode())  # torch.compile itself is not for threads

    def work(i):
        for _ in range(3):
            if not torch.equal(guarded.generate(prompts[i], **GREEDY, **compiled_decode()), expected[i]):
                wrong.append(i)

    in_threads(lambda i: work(i % 2))
    assert not wrong


@pytest.mark.route("torch.export", "refused", note="it would hold one prompt's verdict for ever")
def test_an_export_is_refused(guarded, ids):
    with pytest.raises(Exception, match=r"not exported|one prompt's verdict|torch\.compiler\.disable"):
        torch.export.export(guarded, (ids,), {"use_cache": False})
