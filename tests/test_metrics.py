"""What the metrics promise: the formulas, worked out by hand; the benchmark's published numbers; no NaN, ever."""

from __future__ import annotations

import gzip
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CLEAN, FLAGGED, FORGET, RETAIN
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, BertConfig, BertModel

from hf_eco.detection.windows import WindowedModel
from hf_eco.evaluation import compare_linear_probes, metrics
from hf_eco.evaluation.estimates import mean_of
from hf_eco.evaluation.metrics import (
    answer_probability,
    average_similarity_gap,
    bert_score,
    bleu,
    corpus_bleu,
    exact_match,
    forget_quality,
    kl_divergence,
    letter_accuracy,
    linear_probe,
    meteor,
    model_utility,
    normalized_probability,
    option_accuracy,
    perplexity,
    rouge,
    rouge_l_recall,
    truth_ratio,
    truth_ratio_score,
    unique_token_ratio,
)
from hf_eco.evaluation.tasks.text_metrics import measure_texts

NAN, INF = float("nan"), float("inf")
losses = arrays.arrays(np.float64, 7, elements=st.floats(0, 1e6))
ratios = arrays.arrays(np.float64, st.integers(1, 30), elements=st.floats(1e-3, 1e3))

# ---------------------------------------------------------------------------------------------------------------------
# TOFU: the published numbers

SETS = {
    "Retain": "eval_log.json",
    "Forget": "eval_log_forget.json",
    "Real Authors": "eval_real_author_wo_options.json",
    "Real World": "eval_real_world_wo_options.json",
}
DATA = os.environ.get("HF_ECO_DATA")
published = pytest.mark.skipif(
    not DATA,
    reason="HF_ECO_DATA names no directory with tofu_official_numbers.json.gz and tofu_official_expected.json",
)


@pytest.fixture(scope="module")
def official() -> tuple[dict[str, Any], dict[str, Any]]:
    """Per-question losses and recalls of each model and set, and the aggregates to be found."""
    assert DATA
    with gzip.open(Path(DATA) / "tofu_official_numbers.json.gz", "rt", encoding="utf-8") as file:
        numbers = {name: model["agg"] for name, model in json.load(file)["models"].items()}
    return numbers, json.loads((Path(DATA) / "tofu_official_expected.json").read_text(encoding="utf-8"))


def aggregates(sets: dict[str, dict[str, list[Any]]]) -> dict[str, float]:
    """The thirteen numbers of a model, by their published names."""
    found: dict[str, float] = {}
    for name, file in SETS.items():
        rows = sets[file]
        if name in ("Retain", "Forget"):
            probability = answer_probability(rows["avg_gt_loss"])
        else:
            probability = normalized_probability(rows["avg_gt_loss"], rows["average_perturb_loss"])
        found[f"Prob. {name}"] = float(probability.mean())
        found[f"ROUGE {name}"] = float(np.mean(rows["rougeL_recall"]))
        kind = "forget" if name == "Forget" else "retain"
        found[f"Truth Ratio {name}"] = truth_ratio_score(of(rows), kind)
    found["Model Utility"] = model_utility([value for name, value in found.items() if "Forget" not in name])
    return found


def of(rows: dict[str, list[Any]]) -> Any:
    return truth_ratio(rows["avg_paraphrased_loss"], rows["average_perturb_loss"])


@published
def test_every_published_aggregate_of_tofu_is_reproduced(official, record_property):
    numbers, expected = official
    assert len(numbers) == len(expected["expected"]) == 16
    largest = 0.0
    for model, sets in numbers.items():
        found = aggregates(sets)
        assert found.keys() == expected["expected"][model].keys()
        for name, value in expected["expected"][model].items():
            largest = max(largest, abs(found[name] - value))
            assert found[name] == pytest.approx(value, rel=0, abs=1e-9), (model, name)
    record_property("largest_deviation", largest)
    print(f"largest deviation of an aggregate: {largest:.3g}")


@published
def test_every_published_forget_quality_of_tofu_is_reproduced(official):
    numbers, expected = official
    largest = {"statistic": 0.0, "p": 0.0, "p, relative": 0.0}

    def compare(ratios: Any, retain_ratios: Any, statistic: float, p_value: float) -> None:
        found = forget_quality(ratios, retain_ratios)
        assert found.statistic == pytest.approx(statistic, rel=0, abs=1e-9)
        assert found.p_value == pytest.approx(p_value, rel=1e-9, abs=0)
        largest["statistic"] = max(largest["statistic"], abs(found.statistic - statistic))
        largest["p"] = max(largest["p"], abs(found.p_value - p_value))
        largest["p, relative"] = max(largest["p, relative"], abs(found.p_value / p_value - 1))

    for entry in expected["forget_quality"]:
        unlearn, retain = (of(numbers[entry[name]][SETS["Forget"]]) for name in ("unlearn", "retain"))
        assert (len(unlearn), len(retain)) == (entry["n_unlearn"], entry["n_retain"])
        compare(unlearn, retain, entry["as_published"]["statistic"], entry["as_published"]["pvalue"])
        if common := entry.get("common_questions_only"):
            rows, retain_rows = slice(*common["unlearn_rows"]), slice(*common["retain_rows"])
            compare(unlearn[rows], retain[retain_rows], common["statistic"], common["pvalue"])
    for entry in expected["forget_quality_retain_vs_retain"]:
        unlearn, retain = (of(numbers[entry[name]][SETS["Forget"]]) for name in ("unlearn", "retain"))
        assert len(unlearn) == len(retain) == entry["n"]
        compare(unlearn, retain, entry["statistic"], entry["pvalue"])
    print(f"largest deviations of a forget quality: {largest}")


# ---------------------------------------------------------------------------------------------------------------------
# TOFU: by hand


def test_the_probability_of_an_answer_is_e_to_the_minus_loss():
    assert answer_probability([0, math.log(2), math.log(10)]) == pytest.approx([1, 0.5, 0.1])
    assert float(answer_probability(math.log(4))) == pytest.approx(0.25)
    assert answer_probability(torch.tensor([math.log(4)], dtype=torch.bfloat16)) == pytest.approx(0.25, rel=0.01)


def test_the_normalized_probability_is_the_right_answers_share():
    loss, options = -np.log([0.5, 0.2]), -np.log([[0.25, 0.25], [0.3, 0.3]])
    assert normalized_probability(loss, options) == pytest.approx([0.5, 0.25])
    assert float(normalized_probability(loss[0], options[0])) == pytest.approx(0.5)
    assert normalized_probability([5000], [[5000, 5000, 5000]]) == pytest.approx([0.25])  # every p is 0 as a float
    assert normalized_probability([0], [[1e6]]) == pytest.approx([1])


def test_the_truth_ratio_is_low_where_the_truth_is_known():
    assert truth_ratio([1.0, 3.0], [[2.0, 4.0], [1.0, 1.0]]) == pytest.approx([math.exp(-2), math.exp(2)])
    assert float(truth_ratio(1.0, [2.0, 4.0])) == pytest.approx(math.exp(-2))


def test_the_score_of_the_truth_ratio_depends_on_the_kind_of_set():
    assert truth_ratio_score([0.5, 4.0, 1.0], "forget") == pytest.approx((0.5 + 0.25 + 1) / 3)
    assert truth_ratio_score([0.5, 4.0, 0.0], "retain") == pytest.approx((0.5 + 0 + 1) / 3)
    with pytest.raises(ValueError, match="'forget' or 'retain'"):
        truth_ratio_score([1.0], "world")  # type: ignore[arg-type]


def test_forget_quality_is_the_kolmogorov_smirnov_test():
    apart = forget_quality([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    assert apart.statistic == 1.0
    assert apart.p_value == pytest.approx(2 / math.comb(6, 3))  # of all orders of the six, two are as far apart
    same = forget_quality([1.0, 2.0, 3.0], [3.0, 1.0, 2.0])
    assert same == (0.0, 1.0)
    uneven = forget_quality([1.0, 2.0], [1.5, 3.0, 4.0])
    assert uneven.statistic == pytest.approx(2 / 3)


def test_model_utility_is_the_harmonic_mean_of_nine():
    assert model_utility([0.5] * 9) == pytest.approx(0.5)
    assert model_utility([1, 1, 1, 1, 1, 1, 0.5, 0.5, 0.25]) == pytest.approx(9 / (6 + 2 + 2 + 4))
    assert model_utility([0, *[1] * 8]) == 0
    with pytest.raises(ValueError, match="nine"):
        model_utility([0.5] * 8)
    with pytest.raises(ValueError, match="from 0 to 1"):
        model_utility([50.0] * 9)


@given(losses, losses, losses)
def test_whatever_the_losses_nothing_overflows(right, one, other):
    wrong = np.stack([one, other], axis=-1)
    share, ratio = normalized_probability(right, wrong), truth_ratio(right, wrong)
    assert ((share >= 0) & (share <= 1)).all()
    assert np.isfinite(ratio).all() and np.isfinite(1 / ratio).all()
    assert 0 <= truth_ratio_score(ratio, "forget") <= 1
    assert 0 <= truth_ratio_score(ratio, "retain") <= 1
    assert 0 <= forget_quality(ratio, 1 / ratio).p_value <= 1


@given(ratios, ratios)
def test_a_ratio_and_its_reciprocal_forget_alike(one, other):
    assert truth_ratio_score(one, "forget") == pytest.approx(truth_ratio_score(1 / one, "forget"))
    upright, inverted = forget_quality(one, other), forget_quality(other, one)
    assert upright == pytest.approx(inverted)
    # 1 / r may round two neighbours to one value, which would be another sample
    if len(set((1 / np.concatenate([one, other])).tolist())) == len({*one.tolist(), *other.tolist()}):
        assert forget_quality(1 / one, 1 / other) == pytest.approx(upright)


@given(arrays.arrays(np.float64, 9, elements=st.floats(0, 1)))
def test_model_utility_lies_between_its_least_and_greatest(values):
    assert values.min() * (1 - 1e-9) <= model_utility(values) <= values.max() * (1 + 1e-9)


# ---------------------------------------------------------------------------------------------------------------------
# Texts


def test_rouge_l_recall_is_the_share_of_the_answer_in_order():
    pytest.importorskip("rouge_score")
    answers = ["The old wizard was born in the north.", "He lives in Paris", "green"]
    generated = ["The wizard was born in a city of the north, they say.", "Paris in he lives", ""]
    assert rouge_l_recall(answers, generated) == pytest.approx([7 / 8, 0.5, 0])
    assert rouge_l_recall(["running dogs"], ["the dog runs"]) == pytest.approx([0.5])  # stemmed, but in another order


def test_rouge_counts_words_and_pairs_of_words():
    pytest.importorskip("rouge_score")
    references, generated = ["a b c d"], ["a b d c x"]
    words, pairs = rouge(references, generated, "rouge1"), rouge(references, generated, "rouge2")
    assert (words.precision[0], words.recall[0], words.f1[0]) == pytest.approx((4 / 5, 1, 8 / 9))
    assert (pairs.precision[0], pairs.recall[0], pairs.f1[0]) == pytest.approx((1 / 4, 1 / 3, 2 / 7))
    with pytest.raises(ValueError, match="rouge2"):
        rouge(references, generated, "rouge3")  # type: ignore[arg-type]


def test_bleu_is_sacrebleus_from_0_to_1():
    pytest.importorskip("sacrebleu")
    references = ["The cat sat on the mat today.", "one two three four five"]
    generated = ["The cat sat on the mat today.", "one two three four six seven"]
    # orders 1 to 4: 4/6, 3/5, 2/4, 1/3; no brevity penalty
    expected = [1.0, (4 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25]
    assert bleu(references, generated) == pytest.approx(expected)
    # the set's counts are added up: 8 + 4 of 8 + 6 words, and so on
    together = (12 / 14 * 10 / 12 * 8 / 10 * 6 / 8) ** 0.25
    assert corpus_bleu(references, generated) == pytest.approx(together)
    assert bleu(["a dog"], [""]) == [0]


def test_meteor_aligns_equal_words_and_stems_without_a_download():
    pytest.importorskip("nltk")
    # all three words, in one piece: no more than the penalty of one chunk in three
    assert meteor(["the dog barks"], ["The dogs barked"]) == pytest.approx([1 - 0.5 / 27])
    precision, recall = 1 / 2, 1 / 4
    expected = precision * recall / (0.9 * precision + 0.1 * recall) * (1 - 0.5)
    assert meteor(["a big red house"], ["house here"]) == pytest.approx([expected])
    assert meteor(["car", "car"], ["automobile", ""]) == pytest.approx([0, 0])  # no synonyms; nothing said


def test_exact_match_overlooks_case_punctuation_and_articles():
    references = ["The Eiffel Tower", "42", "an owl", "theory"]
    assert exact_match(references, ["eiffel  tower.", "forty-two", "Owl!", "ory"]).tolist() == [
        True,
        False,
        True,
        False,
    ]


def test_the_average_similarity_gap_is_the_mean_distance_of_the_means():
    unlearned = {"rouge": [0.2, 0.4], "bleu": [0.1, 0.1, 0.1]}
    retain = {"rouge": [0.5], "bleu": [0.0]}
    assert average_similarity_gap(unlearned, retain) == pytest.approx((0.2 + 0.1) / 2)
    assert average_similarity_gap(retain, retain) == 0
    with pytest.raises(ValueError, match="same similarities"):
        average_similarity_gap(unlearned, {"rouge": [0.5]})


def test_the_unique_token_ratio_is_low_where_a_text_repeats_itself(base_dir):
    texts = ["The end, the end, the end", "all different words", ""]
    assert unique_token_ratio(texts) == pytest.approx([3 / 8, 1, 0])
    tokenizer = AutoTokenizer.from_pretrained(base_dir)
    ids = tokenizer(texts[0], add_special_tokens=False)["input_ids"]
    assert unique_token_ratio(texts, tokenizer)[0] == pytest.approx(len(set(ids)) / len(ids))


# ---------------------------------------------------------------------------------------------------------------------
# BERTScore


@pytest.fixture(scope="module")
def encoder(classifier_dir: str) -> WindowedModel:
    """A tiny random encoder that sees 32 tokens at once, a special one at either end among them."""
    tokenizer = AutoTokenizer.from_pretrained(classifier_dir)
    ends = [(token, tokenizer.convert_tokens_to_ids(token)) for token in ("<|im_start|>", "<|im_end|>")]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(f"{ends[0][0]} $A {ends[1][0]}", None, ends)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
    )
    return WindowedModel(BertModel(config), tokenizer, batch_size=3)


def by_equation_1(encoder: WindowedModel, reference: str, generated: str, layer: int) -> tuple[float, float, float]:
    vectors = []
    for text in (reference, generated):
        inputs = encoder.tokenizer(text, return_tensors="pt")
        states = encoder.model(**inputs, output_hidden_states=True).hidden_states[layer][0, 1:-1]  # no special tokens
        vectors.append([vector / vector.norm() for vector in states])
    ours, theirs = vectors
    recall = sum(max(float(x @ y) for y in theirs) for x in ours) / len(ours)
    precision = sum(max(float(x @ y) for x in ours) for y in theirs) / len(theirs)
    return precision, recall, 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("layer", [-1, 0])
def test_bert_score_is_equation_1_of_its_paper_without_special_tokens(encoder, layer):
    references, generated = FORGET[:4], RETAIN[:4]
    scores = bert_score(references, generated, encoder, layer=layer)
    for i in range(4):
        expected = by_equation_1(encoder, references[i], generated[i], layer)
        assert (scores.precision[i], scores.recall[i], scores.f1[i]) == pytest.approx(expected, abs=1e-5)


def test_bert_score_of_a_text_with_itself_is_1_and_with_nothing_0(encoder):
    same, nothing = bert_score([FLAGGED, FLAGGED], [FLAGGED, ""], encoder).f1
    assert same == pytest.approx(1, abs=1e-6)
    assert nothing == 0


def test_bert_score_cuts_a_text_at_the_encoders_length(encoder):
    long = " ".join(FORGET)
    cut = long[: encoder.encode([long])[0].end]
    assert cut != long
    assert bert_score([long], [cut], encoder).f1[0] == pytest.approx(1, abs=1e-6)


def test_bert_score_takes_a_directory(encoder, tmp_path):
    encoder.save_pretrained(str(tmp_path))
    by_path, loaded = (bert_score([CLEAN], [FLAGGED], given) for given in (str(tmp_path), encoder))
    assert by_path.f1 == pytest.approx(loaded.f1, abs=1e-6)


def test_a_layer_that_the_encoder_has_not_is_refused(encoder):
    with pytest.raises(ValueError, match="0 to 2, got layer=3"):
        bert_score([CLEAN], [CLEAN], encoder, layer=3)


# ---------------------------------------------------------------------------------------------------------------------
# Perplexity


def summed_loss(model: Any, ids: list[int], scored: int) -> float:
    """Of the last `scored` of the ids, one row alone."""
    log_probs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return -sum(float(log_probs[i - 1, ids[i]]) for i in range(len(ids) - scored, len(ids)))


@torch.inference_mode()
def test_perplexity_weighs_every_token_alike_in_batches_of_any_size(base, tokenizer):
    texts = [*FORGET, "wizard", ""]
    encoded = [tokenizer(text)["input_ids"] for text in texts]
    total = sum(summed_loss(base, ids, len(ids) - 1) for ids in encoded if len(ids) > 1)
    expected = math.exp(total / sum(len(ids) - 1 for ids in encoded if len(ids) > 1))
    for batch_size in (1, 3, 100):
        assert perplexity(texts, base, tokenizer, batch_size=batch_size) == pytest.approx(expected, rel=1e-4)


@torch.inference_mode()
def test_perplexity_of_a_long_text_scores_every_token_once_in_overlapping_windows(base, tokenizer):
    text = " ".join(FORGET)
    ids = tokenizer(text)["input_ids"][:21]
    text = tokenizer.decode(ids)
    assert tokenizer(text)["input_ids"] == ids
    # windows of 8 end after 8, 12, 16, 20 and 21 tokens; but for the first, the last 4, 4, 4 and 1 of them are scored
    total = summed_loss(base, ids[:8], 7) + summed_loss(base, ids[13:], 1)
    total += sum(summed_loss(base, ids[end - 8 : end], 4) for end in (12, 16, 20))
    assert perplexity([text], base, tokenizer, max_length=8) == pytest.approx(math.exp(total / 20), rel=1e-4)


@pytest.mark.parametrize("max_length", [2, 3, 8, 512, 10_000])
def test_perplexity_of_a_model_that_knows_nothing_is_its_vocabulary(base, tokenizer, max_length):
    torch.nn.init.zeros_(base.lm_head.weight)
    texts = [*FORGET, " ".join(FORGET * 4)]
    assert perplexity(texts, base, tokenizer, max_length=max_length) == pytest.approx(len(tokenizer), rel=1e-4)


def test_perplexity_refuses_what_it_cannot_score(base, tokenizer):
    with pytest.raises(ValueError, match="two tokens"):
        perplexity([""], base, tokenizer)
    with pytest.raises(ValueError, match="max_length"):
        perplexity([CLEAN], base, tokenizer, max_length=1)
    torch.nn.init.constant_(base.lm_head.weight, NAN)
    with pytest.raises(ValueError, match="broken"):
        perplexity([CLEAN], base, tokenizer)


# ---------------------------------------------------------------------------------------------------------------------
# Multiple choice


def test_accuracy_by_letter_counts_the_likeliest_letter():
    logits = [[1.0, 3.0, 2.0, 0.0], [5.0, 1.0], [0.0, 1.0, 2.0]]
    assert letter_accuracy(logits, [1, 0, 0]) == pytest.approx(2 / 3)
    assert letter_accuracy(np.array(logits[0])[None], [1]) == 1


@pytest.mark.parametrize("answer", range(4))
def test_a_model_that_finds_all_options_alike_is_as_good_as_chance(answer):
    assert letter_accuracy([[0.0] * 4], [answer]) == 0.25
    assert option_accuracy([[-3.0] * 4], [answer]) == 0.25


def test_accuracy_by_probability_can_leave_the_length_out():
    log_probs, lengths = [[-4.0, -6.0], [-1.0, -9.0]], [[1, 3], [1, 3]]
    assert option_accuracy(log_probs, [1, 0]) == 0.5
    assert option_accuracy(log_probs, [1, 0], lengths) == 1


def test_choices_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"answers\[0\] must be one of 0 to 1, got 2"):
        letter_accuracy([[0.0, 1.0]], [2])
    with pytest.raises(ValueError, match="two options"):
        letter_accuracy([[0.0]], [0])
    with pytest.raises(ValueError, match="as many answers"):
        letter_accuracy([[0.0, 1.0]], [0, 1])
    with pytest.raises(ValueError, match=r"lengths\[0\] must be 2 positive"):
        option_accuracy([[0.0, -1.0]], [0], [[1, 0]])


# ---------------------------------------------------------------------------------------------------------------------
# Distributions


def test_two_models_are_probed_on_the_same_questions_and_folds():
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 200)
    blind = rng.normal(size=(200, 6))
    knowing = np.concatenate([blind, np.eye(4)[labels]], axis=1)
    found = compare_linear_probes(blind, knowing, labels, seed=3)
    assert found.model.accuracy == linear_probe(blind, labels, seed=3).accuracy
    assert found.other.accuracy == 1
    assert found.gap.value == pytest.approx(found.model.accuracy - 1)
    assert found.gap.low < found.gap.value < found.gap.high < -0.5
    same = compare_linear_probes(knowing, knowing, labels).gap
    assert (same.low, same.value, same.high) == (0, 0, 0)


def test_the_divergence_is_the_retain_models_from_ours():
    p, q = np.array([[0.5, 0.25, 0.25]]), np.array([[0.25, 0.75, 0.0]])
    with np.errstate(divide="ignore"):
        log_p, log_q = np.log(p), np.log(q)
    expected = 0.25 * math.log(0.5) + 0.75 * math.log(3)
    assert kl_divergence(log_p, log_q) == pytest.approx([expected])
    assert kl_divergence(log_q, log_p).tolist() == [INF]  # ours excludes what the retain model does not


@given(arrays.arrays(np.float64, (2, 3, 5), elements=st.floats(-300, 300)))
def test_no_divergence_is_negative_and_that_of_a_model_from_itself_is_0(logits):
    ours, theirs = torch.tensor(logits).log_softmax(-1)
    assert (kl_divergence(ours, theirs) >= 0).all()
    assert kl_divergence(ours, ours).tolist() == [0, 0, 0]


def test_logits_are_not_taken_for_log_probabilities():
    good = np.log(np.full((2, 4), 0.25))
    with pytest.raises(ValueError, match="log_softmax"):
        kl_divergence(good, np.zeros((2, 4)))
    with pytest.raises(ValueError, match="same shape"):
        kl_divergence(good, good[:1])


def test_a_linear_probe_finds_what_is_linearly_there_and_nothing_else():
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 200)
    noise = rng.normal(size=(200, 8))
    told = np.concatenate([noise, 1000 + np.eye(4)[labels]], axis=1)
    assert linear_probe(told, labels).accuracy == 1
    blind = linear_probe(noise, labels)
    assert blind.fold_accuracies.shape == (5,)
    assert blind.accuracy == pytest.approx(0.25, abs=0.1)
    assert blind.majority == max(np.bincount(labels)) / 200
    assert blind.hits.mean() == pytest.approx(blind.accuracy)  # folds of one size
    assert linear_probe(noise, labels, seed=0).accuracy == blind.accuracy
    with pytest.raises(ValueError, match="occur"):
        linear_probe(noise[:6], [0, 0, 0, 0, 0, 1])
    with pytest.raises(ValueError, match="labels"):
        linear_probe(noise, labels[:5])


# ---------------------------------------------------------------------------------------------------------------------
# Bad input, everywhere

OF_NUMBERS: dict[str, Callable[[Any], Any]] = {
    "answer_probability": answer_probability,
    "normalized_probability": lambda x: normalized_probability(x, np.ones((2, 3))),
    "normalized_probability, options": lambda x: normalized_probability([1.0, 1.0], [x, x]),
    "truth_ratio": lambda x: truth_ratio(x, np.ones((2, 3))),
    "truth_ratio, perturbed": lambda x: truth_ratio([1.0, 1.0], [x, x]),
    "truth_ratio_score": lambda x: truth_ratio_score(x, "forget"),
    "forget_quality": lambda x: forget_quality(x, [1.0]),
    "forget_quality, retain": lambda x: forget_quality([1.0], x),
    "model_utility": lambda x: model_utility([*x, *[0.5] * 7]),
    "average_similarity_gap": lambda x: average_similarity_gap({"a": x}, {"a": [1.0]}),
    "letter_accuracy": lambda x: letter_accuracy([x], [0]),
    "option_accuracy": lambda x: option_accuracy([x], [0]),
    "kl_divergence": lambda x: kl_divergence([x], [[0.0]]),
    "linear_probe": lambda x: linear_probe([x] * 10, [0, 1] * 5),
}


@pytest.mark.parametrize("name", OF_NUMBERS)
@pytest.mark.parametrize("numbers", [[NAN, 0.5], [INF, 0.5], [], ["many", 0.5]], ids=["nan", "inf", "none", "words"])
def test_what_is_no_number_is_refused(name, numbers):
    with pytest.raises(ValueError):
        OF_NUMBERS[name](numbers)


@pytest.mark.parametrize("name", [name for name in OF_NUMBERS if "probability" in name or "truth_ratio" in name])
def test_log_probabilities_are_not_taken_for_losses(name):
    with pytest.raises(ValueError, match="-"):
        OF_NUMBERS[name]([-2.0, -3.0])


def test_shapes_that_do_not_match_are_named():
    with pytest.raises(ValueError, match=r"option_losses must have the shape \(n, k\).*got \(3, 2\) and \(2,\)"):
        normalized_probability([1.0, 1.0], np.ones((3, 2)))
    with pytest.raises(ValueError, match="rows of one length"):
        truth_ratio([1.0, 1.0], [[1.0, 2.0], [1.0]])
    with pytest.raises(ValueError, match=r"shape \(n,\), got \(2, 1\)"):
        forget_quality([[1.0], [1.0]], [1.0])


@pytest.mark.parametrize("value", [10**400, float("nan"), float("inf"), None, "many"])
def test_what_is_no_number_to_count_with_is_refused_and_never_becomes_nan(value) -> None:
    for measure in (
        lambda: mean_of([0.5, value]),
        lambda: answer_probability([value]),
        lambda: normalized_probability([1.0], [[value, 1.0]]),
        lambda: truth_ratio([value], [[1.0]]),
        lambda: truth_ratio_score([value], "forget"),
        lambda: forget_quality([value], [1.0]),
        lambda: model_utility([value] * 9),
        lambda: average_similarity_gap({"a": [value]}, {"a": [1.0]}),
        lambda: kl_divergence([[value, 0.0]], [[np.log(0.5)] * 2]),
        lambda: letter_accuracy([[value, 1.0]], [0]),
        lambda: option_accuracy([[value, 1.0]], [0], [[1, 1]]),
        lambda: linear_probe([[value]] * 10, [0, 1] * 5),
        lambda: measure_texts({"mine": lambda *_: [value]}, ["a"], ["a"]),
    ):
        with pytest.raises(ValueError):
            measure()


def test_means_that_no_number_holds_are_refused() -> None:
    for values in ([1.7e308] * 3, [-1.7e308, -1.7e308, 1.7e308]):
        with pytest.raises(ValueError, match="too large to be added"):
            mean_of(values)
    with pytest.raises(ValueError, match="too large to be added"):
        average_similarity_gap({"a": [1.7e308]}, {"a": [-1.7e308]})
    for nothing in ([], np.empty((0, 3))):
        with pytest.raises(ValueError, match="is empty"):
            mean_of(nothing)


OF_PAIRS = {
    **{function.__name__: function for function in (rouge, rouge_l_recall, bleu, corpus_bleu, meteor, exact_match)},
    "bert_score": lambda references, generated: bert_score(references, generated, "nowhere"),
}


@pytest.mark.parametrize("name", OF_PAIRS)
def test_texts_that_do_not_pair_are_refused(name):
    measure = OF_PAIRS[name]
    broken = [
        ([], []),
        (["a"], ["a", "b"]),
        ([" "], ["a"]),
        (["\u200b\n"], ["a"]),
        (["a"], ["\ud800"]),
        (["\udc00"], ["a"]),
    ]
    for references, generated in broken:
        with pytest.raises(ValueError):
            measure(references, generated)
    for references, generated in (("a", "a"), (["a"], "a"), ([None], ["a"]), (["a"], [1])):
        with pytest.raises(TypeError, match="string"):
            measure(references, generated)


def test_importing_the_metrics_imports_none_of_the_extras():
    heavy = "{'rouge_score', 'nltk', 'sacrebleu', 'scipy', 'sklearn'}"
    before = "import sys, hf_eco.modeling; before = set(sys.modules)"
    code = f"{before}; import hf_eco.evaluation.metrics; print(*{heavy} & (set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(ImportError, match=r"sacrebleu .*pip install hf-eco\[eval\]"):
        metrics.bleu(["a"], ["a"])
