"""Reports, comparisons and baselines: what they say, what they cost, their way to disk."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CLEAN, FLAGGED

from hf_eco import CorruptionConfig, GuardError
from hf_eco.evaluation import (
    ComparisonReport,
    EvaluationReport,
    PromptingBaseline,
    PromptsTask,
    RefusalBaseline,
    Scorer,
    TaskResult,
    TofuTask,
    as_chat,
    compare,
    evaluate,
    sweep_dims,
    sweep_strength,
)
from hf_eco.evaluation.estimates import mean_of, share_of
from hf_eco.evaluation.metrics import forget_quality, kl_divergence, model_utility

pytest.importorskip("rouge_score")
pytest.importorskip("scipy")


@pytest.fixture
def tasks(tofu: Path) -> list:
    return [TofuTask(split, tofu, max_new_tokens=6) for split in ("forget05", "retain", "real_authors", "world_facts")]


def test_intervals_hold_the_mean_and_narrow_with_the_rows() -> None:
    rng = np.random.default_rng(0)
    few, many = mean_of(rng.random(20)), mean_of(rng.random(2000))
    assert few.low < few.value < few.high
    assert many.high - many.low < (few.high - few.low) / 5
    assert many.high - many.low == pytest.approx(2 * 1.96 * np.sqrt(1 / 12 / 2000), rel=0.15)
    assert mean_of([0.2, 0.4], seed=1) == mean_of([0.2, 0.4], seed=1)
    assert share_of([False] * 10).low == 0


def test_a_report_comes_back_from_disk_as_it_was(guarded, tokenizer, tasks, tmp_path) -> None:
    report = evaluate(guarded, tokenizer, tasks, "paper", name="mine")
    report.to_json(tmp_path / "report.json")
    assert EvaluationReport.from_json(tmp_path / "report.json") == report
    assert "| tofu/forget05 | forget | truth_ratio |" in report.to_markdown()
    assert report["tofu/retain"].kind == "retain"
    with pytest.raises(KeyError, match="no task 'nonsense'"):
        report["nonsense"]
    with pytest.raises(ValueError, match=r"report\.json' is no comparison of models.*Take what compare\(\)"):
        ComparisonReport.from_json(tmp_path / "report.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ValueError, match=r"list\.json' is no comparison of models \(.*\)\. Take what"):
        ComparisonReport.from_json(tmp_path / "list.json")
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(ValueError, match=r"other\.json' is no report"):
        EvaluationReport.from_json(tmp_path / "other.json")


def test_model_utility_is_of_the_nine_values_of_three_retain_sets(base, tokenizer, tasks) -> None:
    report = evaluate(base, tokenizer, tasks)
    nine = [
        report[f"tofu/{split}"].measures[name].value
        for split in ("retain", "real_authors", "world_facts")
        for name in ("answer_probability", "rouge_l_recall", "truth_ratio")
    ]
    assert report.model_utility == pytest.approx(model_utility(nine))
    assert evaluate(base, tokenizer, tasks[:2]).model_utility is None


def test_every_table_says_how_many_rows_were_flagged(guarded, base, tokenizer, tasks, tmp_path) -> None:
    comparison = compare({"original": base, "eco": guarded}, tokenizer, tasks[:2], protocols=["strict"])
    of_eco = comparison.row("eco", "strict").report
    count = sum(of_eco["tofu/forget05"].column("flagged"))
    assert 0 < count == of_eco["tofu/forget05"].flagged
    assert f"Rows flagged, tofu/forget05: {count} of 8\n" in of_eco.to_markdown()
    forget, _ = comparison.task_tables()
    assert [line.flagged for line in forget.lines] == ["0 of 8", f"{count} of 8"]
    assert "| rows flagged |" in (text := comparison.to_markdown()) and f"| {count} of 8 |" in text
    assert TaskResult("own", "retain", {}, [{"question": "?"}]).flagged_in_words == "not said"


@pytest.mark.parametrize("text", ["who is \ud800 ?", "\udfff"])
def test_half_a_character_is_no_prompt_and_no_answer(base, tokenizer, text: str) -> None:
    scorer = Scorer(base, tokenizer)
    for asked in (
        lambda: scorer.generate([text]),
        lambda: scorer.generate([[{"role": "user", "content": text}]]),
        lambda: scorer.losses([CLEAN], [text]),
    ):
        with pytest.raises(ValueError, match="holds half a character"):
            asked()
    with pytest.raises(ValueError, match="is blank"):
        scorer.losses([CLEAN], ["\u200b\n"])


def test_tasks_of_one_name_are_refused(base, tokenizer, tasks) -> None:
    with pytest.raises(ValueError, match="names of their own"):
        evaluate(base, tokenizer, [tasks[0], tasks[0]])


def test_a_comparison_tests_truth_ratios_against_the_retain_model(guarded, base, tokenizer, tasks, tmp_path) -> None:
    models = {"original": base, "retain": base, "eco": guarded}
    comparison = compare(models, tokenizer, tasks, cache_dir=tmp_path / "cache")
    row = comparison.row("eco", "strict")
    ratios = [
        comparison.row(label, "strict").report["tofu/forget05"].column("truth_ratio") for label in ("eco", "retain")
    ]
    assert comparison.forget_quality(row) == {"tofu/forget05": forget_quality(*ratios)}
    assert comparison.forget_quality(comparison.row("original", "paper"))["tofu/forget05"].p_value == 1
    utility = comparison.relative_utility(row)
    original = comparison.row("original", "strict").report.model_utility
    assert utility is None if not original else utility == pytest.approx(row.report.model_utility / original)
    text = comparison.to_markdown()
    assert "forget quality p, tofu/forget05" in text
    assert "| eco | paper |" in text
    comparison.to_json(tmp_path / "comparison.json")
    assert ComparisonReport.from_json(tmp_path / "comparison.json") == comparison
    with pytest.raises(KeyError, match="has not been measured"):
        comparison.row("eco", "loose")  # type: ignore[arg-type]


def test_a_comparison_repeated_runs_no_model(guarded, base, tokenizer, tasks, tmp_path) -> None:
    models = {"original": base, "retain": base, "eco": guarded, "told": PromptingBaseline(base, guarded.eco_guard)}
    first = compare(models, tokenizer, tasks, cache_dir=tmp_path)

    def refuse(*_: object) -> None:
        raise AssertionError("the model was run again")

    for model in (base, guarded):
        model.model.register_forward_pre_hook(refuse)
    assert compare(models, tokenizer, tasks, cache_dir=tmp_path) == first


def test_the_prompting_baseline_says_its_text_before_flagged_prompts_alone(guarded, base, tokenizer) -> None:
    questions = [as_chat(question, tokenizer) for question in (FLAGGED, CLEAN)]
    baseline = PromptingBaseline(guarded, guarded.eco_guard, text="tell me about {scope}")
    scorer, plain = baseline.scorer(tokenizer), Scorer(base, tokenizer)
    told = [{"role": "system", "content": "tell me about wizards"}, *questions[0]]
    assert scorer.flagged(questions) == [True, False]
    answers = ["a dog", "a cat"]
    np.testing.assert_allclose(
        scorer.losses(questions, answers), plain.losses([told, questions[1]], answers), rtol=1e-6
    )
    texts = plain.generate([told, questions[1]], max_new_tokens=6)
    assert scorer.generate(questions, max_new_tokens=6) == texts
    assert scorer.flagged([FLAGGED]) == [True]
    first = scorer.losses([FLAGGED], ["a dog"])[0]
    assert first == pytest.approx(plain.losses([f"tell me about wizards\n\n{FLAGGED}"], ["a dog"])[0], rel=1e-6)


def test_the_refusal_baseline_refuses_flagged_prompts_and_scores_behind_the_refusal(guarded, base, tokenizer) -> None:
    questions = [as_chat(question, tokenizer) for question in (FLAGGED, CLEAN)]
    scorer, plain = RefusalBaseline(guarded, guarded.eco_guard, ["hello"]).scorer(tokenizer), Scorer(base, tokenizer)
    texts = scorer.generate(questions, max_new_tokens=6)
    assert texts == ["hello", plain.generate(questions[1:], max_new_tokens=6)[0]]
    losses = scorer.losses(questions, ["a dog", "a dog"])
    assert losses[1] == pytest.approx(plain.losses(questions[1:], ["a dog"])[0], rel=1e-6)
    opened = tokenizer.apply_chat_template(questions[0], add_generation_prompt=True, tokenize=False) + "hello\n"
    closed = plain.losses([opened], ["a dog<|im_end|>"])[0]
    assert losses[0] == pytest.approx(closed, rel=1e-6)
    varied = RefusalBaseline(base, guarded.eco_guard).scorer(tokenizer)
    many = [as_chat(f"{FLAGGED} {n}", tokenizer) for n in range(12)]
    refusals = varied.generate(many)
    assert refusals == varied.generate(many)
    assert len(set(refusals)) > 1
    with pytest.raises(ValueError, match="a list of refusals"):
        RefusalBaseline(base, guarded.eco_guard, "no")


@pytest.mark.parametrize("baseline", [PromptingBaseline, RefusalBaseline])
def test_a_baseline_takes_a_guard_and_nothing_else(baseline, guarded, base) -> None:
    with pytest.raises(TypeError, match=r"must be a Guard, got .*Pass guarded\.eco_guard"):
        baseline(base, guarded)


def test_a_sweep_measures_each_strength_and_leaves_the_guard_as_it_was(guarded, base, tokenizer, tasks) -> None:
    before = guarded.config.eco.to_dict()
    sweep = sweep_strength(guarded, tokenizer, tasks[:1], [0.0, 30.0], others={"retain": base}, protocols=["strict"])
    assert guarded.config.eco.to_dict() == before
    assert [row.strength for row in sweep.rows] == [None, 0.0, 30.0]
    losses = [row.report["tofu/forget05"].column("losses") for row in sweep.rows]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    assert not np.allclose(losses[1][0], losses[2][0])
    assert losses[1][1] == losses[2][1]  # not flagged
    with pytest.raises(ValueError, match="Pass some values of strength"):
        sweep_strength(guarded, tokenizer, tasks[:1], [])
    with pytest.raises(ValueError, match="strength=-1"):
        sweep_strength(guarded, tokenizer, tasks[:1], [1.0, -1.0])
    with pytest.raises(GuardError, match="has no guard"):
        sweep_strength(base, tokenizer, tasks[:1], [1.0])
    assert guarded.config.eco.to_dict() == before


def test_a_method_without_a_strength_is_swept_over_its_dims(guarded, base, tokenizer, tasks, tmp_path) -> None:
    scope = guarded.config.eco.scopes[0]
    scope.corruption = CorruptionConfig(method="zero_out_top_k", dims=3)
    with pytest.raises(ValueError, match=r"'zero_out_top_k', to which its strength makes no .* Use sweep_dims\(\)"):
        sweep_strength(guarded, tokenizer, tasks[:1], [1.0, 2.0])
    with pytest.raises(ValueError, match=r"have 32 dimensions, got dims=\[1, 33\]"):
        sweep_dims(guarded, tokenizer, tasks[:1], [1, 33])
    options = {"others": {"retain": base}, "protocols": ["strict"]}
    sweep = sweep_dims(guarded, tokenizer, tasks[:1], [1, 16], **options)
    assert scope.corruption == CorruptionConfig(method="zero_out_top_k", dims=3)
    assert [(row.label, row.dims, row.strength) for row in sweep.rows[1:]] == [
        ("dims 1", 1, None),
        ("dims 16", 16, None),
    ]
    few, many = (row.report["tofu/forget05"].column("losses") for row in sweep.rows[1:])
    assert not np.allclose(few[0], many[0])
    assert few[1] == many[1]  # not flagged
    assert all("retain_kl" in row.report["tofu/forget05"].measures for row in sweep.rows)
    sweep.to_json(tmp_path / "sweep.json")
    assert ComparisonReport.from_json(tmp_path / "sweep.json") == sweep
    scope.corruption = CorruptionConfig(method="reverse_order")
    with pytest.raises(ValueError, match="Compare it with another method"):
        sweep_dims(guarded, tokenizer, tasks[:1], [1])


def test_with_a_retain_model_the_distance_from_its_next_token_is_measured(guarded, base, tokenizer, tasks) -> None:
    retain = copy.deepcopy(base)
    with torch.no_grad():
        retain.lm_head.weight.mul_(1.5)
    models = {"eco": guarded, "retain": retain}
    comparison = compare(models, tokenizer, [*tasks[:2], PromptsTask([FLAGGED, CLEAN], kind="forget")])
    strict, paper = (comparison.row("eco", protocol).report for protocol in ("strict", "paper"))
    for name, questions in {
        "tofu/forget05": strict["tofu/forget05"].column("question"),
        "prompts/forget": [FLAGGED, CLEAN],
    }.items():
        chats = [as_chat(question, tokenizer) for question in questions]
        log_p, log_q = (Scorer(m, tokenizer).next_token_log_probabilities(chats) for m in (guarded, retain))
        expected = kl_divergence(log_p, log_q)
        np.testing.assert_allclose(strict[name].column("retain_kl"), expected, rtol=1e-3, atol=1e-6)
        assert strict[name].measures["retain_kl"].value == pytest.approx(expected.mean(), rel=1e-3)
        assert paper[name].column("retain_kl") == strict[name].column("retain_kl")
    assert comparison.row("retain", "strict").report["tofu/forget05"].measures["retain_kl"].value == 0
    assert "retain_kl" not in strict["tofu/retain"].measures
    assert "retain_kl" not in compare({"eco": guarded}, tokenizer, tasks[:1]).rows[0].report.results[0].measures


def test_logits_beyond_the_tokenizers_tokens_make_no_distance(base, tokenizer) -> None:
    wider = copy.deepcopy(base)
    wider.resize_token_embeddings(len(tokenizer) + 8)
    chats = [as_chat(FLAGGED, tokenizer), as_chat(CLEAN, tokenizer)]
    np.testing.assert_allclose(Scorer(base, tokenizer).divergences(chats, Scorer(wider, tokenizer)), 0, atol=1e-6)
    wider.resize_token_embeddings(len(tokenizer) - 8)
    with pytest.raises(ValueError, match="same shape"):
        Scorer(base, tokenizer).divergences(["hello"], Scorer(wider, tokenizer))


def test_a_comparison_names_its_tables_without_testing_anything(guarded, base, tokenizer, tasks, monkeypatch) -> None:
    alone = compare({"eco": guarded}, tokenizer, tasks[:2], protocols=["strict"])
    assert alone.quality_tasks == []
    beside = compare({"retain": base}, tokenizer, tasks[:1], protocols=["paper"])
    other = ComparisonReport([*alone.rows, *beside.rows])
    assert other.quality_tasks == ["tofu/forget05"]
    assert [own.forget_quality.keys() for own in other.summary()] == [set(), {"tofu/forget05"}]  # not across protocols
    monkeypatch.delattr("hf_eco.evaluation.comparison_report.forget_quality")
    forget, retain = other.task_tables()
    assert (forget.name, forget.kind, retain.name, retain.kind) == (
        *("tofu/forget05", "forget"),
        *("tofu/retain", "retain"),
    )
    at = forget.measures.index("retain_kl")
    assert [(line.label, line.protocol, line.n) for line in forget.lines] == [
        ("eco", "strict", 8),
        ("retain", "paper", 8),
    ]
    assert (forget.lines[0].values[at], forget.lines[1].values[at].value) == (None, 0)  # that one had no retain model
