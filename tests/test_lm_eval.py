"""lm-eval runs guarded models: contexts are judged and corrupted, continuations are what the protocol says."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("lm_eval", reason="needs lm-eval: pip install hf-eco[lm-eval]")

from conftest import CLEAN, FLAGGED, by_hand
from lm_eval import simple_evaluate
from lm_eval.api.registry import get_model
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

import hf_eco.serving.lm_eval  # noqa: F401  registers the model
from hf_eco import AutoModelForCausalLMWithECO

TASKS = Path(__file__).parent / "data" / "lm_eval"
QUESTIONS = [json.loads(line) for line in (TASKS / "questions.jsonl").read_text().splitlines()]


@pytest.fixture
def guarded_dir(guarded, tmp_path: Path) -> str:
    guarded.save_pretrained(tmp_path / "guarded")
    return str(tmp_path / "guarded")


def hf_eco_lm(model: Any, **arguments: Any) -> Any:
    return get_model("hf-eco")(pretrained=model, device="cpu", **arguments)


def hf_lm(model: Any, **arguments: Any) -> Any:
    return HFLM(pretrained=model, device="cpu", **arguments)


def requests(*arguments: tuple[Any, ...]) -> list[Any]:
    return [SimpleNamespace(args=each, task_name=None) for each in arguments]


def scores(lm: Any, *pairs: tuple[str, str]) -> list[float]:
    return [score for score, _ in lm.loglikelihood(requests(*pairs), disable_tqdm=True)]


def run(lm: Any, **options: Any) -> dict[str, Any]:
    manager = TaskManager(include_path=str(TASKS), include_defaults=False)
    return simple_evaluate(
        lm, tasks=["eco_choice", "eco_answer"], task_manager=manager, bootstrap_iters=0, log_samples=True, **options
    )


def answers(results: dict[str, Any], task: str, flagged: bool) -> list[Any]:
    """What the model said to each question that is or is not in the scope, in the order of the file."""
    samples = sorted(results["samples"][task], key=lambda sample: sample["doc_id"])
    return [sample["resps"] for sample in samples if sample["doc"]["flagged"] is flagged]


def scored_by_hand(model: Any, base: Any, prompt: str, answer: str, corrupt_prompt: bool) -> float:
    """log p(answer | prompt) from the base model alone, the prompt's embeddings corrupted or not."""
    tokenizer = model.eco_guard.tokenizer
    ids = torch.tensor([tokenizer(prompt + answer).input_ids])
    n = len(tokenizer(prompt).input_ids)
    embeddings = base.get_input_embeddings()(ids)
    if corrupt_prompt:
        embeddings = torch.cat([by_hand(model, embeddings[:, :n], ids[:, :n]), embeddings[:, n:]], dim=1)
    with torch.no_grad():
        logits = base(inputs_embeds=embeddings[:, :-1]).logits.log_softmax(-1)
    return float(logits[0, n - 1 :].gather(-1, ids[0, n:, None]).sum())


# -- whole runs of lm-eval


@pytest.mark.parametrize(("protocol", "batch_size"), [("strict", 8), ("paper", 8), ("strict", "auto")])
def test_lm_evals_own_run_differs_from_the_bare_models_in_flagged_rows_and_in_no_other(
    guarded_dir: str, base_dir: str, protocol: str, batch_size: int | str
) -> None:
    options = {"batch_size": batch_size, "max_batch_size": 8, "max_length": 64}
    bare = run(hf_lm(base_dir, **options))
    own = run(hf_eco_lm(guarded_dir, protocol=protocol, **options))
    for task in ("eco_choice", "eco_answer"):
        assert answers(own, task, flagged=False) == answers(bare, task, flagged=False)  # to the bit
        changed = zip(answers(own, task, flagged=True), answers(bare, task, flagged=True), strict=True)
        assert all(ours != theirs for ours, theirs in changed)


def test_in_a_chat_template_and_behind_examples_the_question_is_judged_where_it_stands(
    guarded_dir: str, base_dir: str
) -> None:
    options = {"apply_chat_template": True}
    bare, own = run(hf_lm(base_dir, batch_size=4), **options), run(hf_eco_lm(guarded_dir, batch_size=4), **options)
    for task in ("eco_choice", "eco_answer"):
        assert answers(own, task, flagged=False) == answers(bare, task, flagged=False)
        changed = zip(answers(own, task, flagged=True), answers(bare, task, flagged=True), strict=True)
        assert all(ours != theirs for ours, theirs in changed)
    lm, bare_lm = hf_eco_lm(guarded_dir), hf_lm(base_dir)
    behind = (f"{CLEAN}\na baker\n\n{FLAGGED}\n", "a king")
    assert scores(lm, behind) != scores(bare_lm, behind)


def test_the_command_knows_hf_eco_and_its_results_name_protocol_and_corruption(
    guarded_dir: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "hf_eco.serving.lm_eval", "run", "--model", "hf-eco"]
    command += ["--model_args", f"pretrained={guarded_dir},protocol=paper", "--device", "cpu", "--batch_size", "8"]
    command += ["--tasks", "eco_choice", "--include_path", str(TASKS), "--output_path", str(tmp_path / "results")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr
    (written,) = (tmp_path / "results").rglob("*.json")
    config = json.loads(written.read_text())["config"]
    assert config["model"] == "hf-eco"
    assert config["eco_protocol"] == "paper"
    assert config["eco_scopes"]["wizards"]["strength"] == 10.0
    count = sum(question["flagged"] for question in QUESTIONS)
    assert config["eco_flagged"] == {"eco_choice": {"flagged": count, "of": len(QUESTIONS)}}
    assert f"eco_choice: the guard flagged {count} of {len(QUESTIONS)} questions." in done.stderr


def test_the_results_say_how_many_questions_were_flagged_by_their_examples_too(guarded_dir: str) -> None:
    flagged = sum(question["flagged"] for question in QUESTIONS)
    for examples in (0, len(QUESTIONS) - 1):  # so many that one about the scope stands before each question
        results = run(hf_eco_lm(guarded_dir, batch_size=4, max_length=512), num_fewshot=examples)
        expected = {"flagged": len(QUESTIONS) if examples else flagged, "of": len(QUESTIONS)}
        assert results["config"]["eco_flagged"] == {"eco_choice": expected, "eco_answer": expected}


def test_a_text_that_is_scored_by_itself_is_counted_once_however_many_windows_it_has(guarded_dir: str) -> None:
    lm = hf_eco_lm(guarded_dir, batch_size=2, max_length=8)
    texts = [f"{CLEAN} {CLEAN} {CLEAN} {FLAGGED}", CLEAN]
    lm.loglikelihood_rolling(requests(*((text,) for text in texts)), disable_tqdm=True)
    assert lm.get_model_info()["eco_flagged"] == {"None": {"flagged": 1, "of": 2}}


# -- scoring continuations


def test_strict_scores_a_clean_answer_behind_a_corrupted_prompt(guarded, base) -> None:
    answer = " the king was born in the north"
    (score,) = scores(hf_eco_lm(guarded), (FLAGGED, answer))
    assert score == pytest.approx(scored_by_hand(guarded, base, FLAGGED, answer, corrupt_prompt=True), abs=1e-4)
    assert abs(score - scored_by_hand(guarded, base, FLAGGED, answer, corrupt_prompt=False)) > 0.1


@pytest.mark.parametrize("protocol", ["strict", "paper"])
def test_an_answer_is_never_judged(guarded, base, protocol: str) -> None:
    answer = " the wizard of the north, a wizard"
    assert guarded.inspect(CLEAN + answer).flagged
    lm = hf_eco_lm(guarded, protocol=protocol)
    assert scores(lm, (CLEAN, answer)) == scores(hf_lm(base, tokenizer=lm.tokenizer), (CLEAN, answer))


def test_paper_corrupts_the_answer_behind_a_flagged_prompt_alike_in_batches_and_alone(guarded) -> None:
    pairs = [
        (FLAGGED, " a king"),
        (FLAGGED, " the old dog was born in the country of the king"),
        (CLEAN, " hello you"),
    ]
    for selection in ("content", "all"):
        guarded.config.eco.scopes[0].tokens = selection
        strict, alone = hf_eco_lm(guarded), hf_eco_lm(guarded, protocol="paper")
        together = hf_eco_lm(guarded, protocol="paper", batch_size=3)
        assert scores(together, *pairs) == pytest.approx(scores(alone, *pairs), abs=1e-4)
        differences = [abs(a - b) for a, b in zip(scores(strict, *pairs), scores(alone, *pairs), strict=True)]
        # "all" is all but the last, and of " a king" lm-eval runs one token
        assert [difference > 1e-2 for difference in differences] == [selection == "content", True, False]


@pytest.mark.parametrize("protocol", ["strict", "paper"])
def test_the_same_text_cut_elsewhere_is_another_prompt(guarded, protocol: str) -> None:
    pad = guarded.eco_guard.tokenizer.pad_token_id
    assert pad == 0  # what lm-eval pads with
    words = guarded.eco_guard.tokenizer(FLAGGED + " and").input_ids
    rows = [
        (("a", "b"), words[:2], words[2:]),
        (("c", "d"), words[:-2], words[-2:]),
        (("e", "f"), words[:-2], [*words[-2:], pad, pad]),
        (("g", "h"), [*words[:-2], *words[-2:], pad], [5]),
        ((None), words[:-2], words[-2:]),
    ]
    together = hf_eco_lm(guarded, protocol=protocol, batch_size=8)._loglikelihood_tokens(rows, disable_tqdm=True)
    lm = hf_eco_lm(guarded, protocol=protocol)
    alone = [lm._loglikelihood_tokens([row], disable_tqdm=True)[0] for row in rows]
    assert [score for score, _ in together] == pytest.approx([score for score, _ in alone], abs=1e-4)
    assert len({round(score, 2) for score, _ in alone}) >= 4


def test_a_prompt_too_long_is_cut_and_its_answer_stays_an_answer(guarded, base) -> None:
    lm, bare = hf_eco_lm(guarded, max_length=40), hf_lm(base, max_length=40, tokenizer=guarded.eco_guard.tokenizer)
    answer = " the wizard of the north"
    long_clean, long_flagged = f"{CLEAN} " * 20 + CLEAN, f"{CLEAN} " * 20 + FLAGGED
    assert scores(lm, (long_clean, answer)) == scores(bare, (long_clean, answer))
    assert scores(lm, (long_flagged, answer)) != scores(bare, (long_flagged, answer))


def test_without_a_context_the_text_itself_is_the_prompt(guarded, base) -> None:
    bare = hf_lm(base, tokenizer=guarded.eco_guard.tokenizer, batch_size=3)
    texts = [f"{FLAGGED} tell me", f"{CLEAN} tell me", "hello"]
    for protocol in ("strict", "paper"):
        lm = hf_eco_lm(guarded, protocol=protocol, batch_size=3)
        for method, wrapped in (
            ("loglikelihood_rolling", [(t,) for t in texts]),
            ("loglikelihood", [("", t) for t in texts]),
        ):
            ours, theirs = (getattr(each, method)(requests(*wrapped)) for each in (lm, bare))
            assert [a == b for a, b in zip(ours, theirs, strict=True)] == [False, True, True]


# -- generating


def test_generate_until_is_the_models_own_generate(guarded) -> None:
    tokenizer = guarded.eco_guard.tokenizer
    prompts = [FLAGGED, CLEAN, "tell me about the old wizard of the rivers of the north", "hello"]
    asked = requests(*((prompt, {"until": [], "max_gen_toks": 12}) for prompt in prompts))
    for batch_size in (1, 4):
        said = hf_eco_lm(guarded, batch_size=batch_size).generate_until(asked, disable_tqdm=True)
        for prompt, text in zip(prompts, said, strict=True):
            ids = tokenizer(prompt, return_tensors="pt").input_ids
            own = guarded.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
            assert text == tokenizer.decode(own[0, ids.shape[1] :], skip_special_tokens=True)


# -- models


def test_a_base_model_with_a_guard_of_its_own_and_a_guard_alone_are_loaded(
    guarded, guarded_dir: str, base_dir: str, tmp_path: Path
) -> None:
    guarded.save_guard(tmp_path / "guard", base_model=base_dir)
    pair = (FLAGGED, " a king")
    expected = scores(hf_eco_lm(guarded_dir), pair)
    assert scores(hf_eco_lm(base_dir, eco_config=str(tmp_path / "guard")), pair) == expected
    assert scores(hf_eco_lm(str(tmp_path / "guard")), pair) == expected


def test_an_unguarded_model_is_refused(base_dir: str, base) -> None:
    with pytest.raises(ValueError, match="guard"):
        hf_eco_lm(base_dir)
    with pytest.raises(ValueError, match="has no guard"):
        hf_eco_lm(base, tokenizer=base_dir)


def test_an_unknown_protocol_is_refused(guarded_dir: str) -> None:
    with pytest.raises(ValueError, match="Unknown protocol 'lax'"):
        hf_eco_lm(guarded_dir, protocol="lax")


def test_lm_evals_own_hf_on_a_guarded_checkpoint_judges_question_and_answer_together(
    guarded_dir: str, base_dir: str
) -> None:
    lm, bare = hf_lm(guarded_dir), hf_lm(base_dir)
    assert isinstance(lm.model, type(AutoModelForCausalLMWithECO.from_pretrained(guarded_dir)))
    answer = " the wizard of the north, a wizard"
    assert scores(lm, (CLEAN, answer)) != scores(bare, (CLEAN, answer))
    assert scores(lm, (CLEAN, " a king")) == scores(bare, (CLEAN, " a king"))
    by_remote_code = hf_lm(guarded_dir, trust_remote_code=True)
    assert scores(by_remote_code, (CLEAN, answer)) == scores(lm, (CLEAN, answer))


def test_without_lm_eval_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "hf_eco.serving.lm_eval")
    monkeypatch.setitem(sys.modules, "lm_eval.models.huggingface", None)
    with pytest.raises(ImportError, match=re.escape("pip install hf-eco[lm-eval]")):
        importlib.import_module("hf_eco.serving.lm_eval")
