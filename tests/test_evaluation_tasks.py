"""Tasks: their arithmetic against the metrics, and what they read."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from conftest import CLEAN, FLAGGED
from tofu_data import OPTIONS, ROWS

from hf_eco.evaluation import (
    ChoiceData,
    ContinuationTask,
    MultipleChoiceTask,
    PromptsTask,
    Scorer,
    TofuTask,
    as_chat,
)
from hf_eco.evaluation.estimates import share_of
from hf_eco.evaluation.metrics import exact_match, meteor, perplexity, rouge, rouge_l_recall
from hf_eco.evaluation.task_rows import read_rows
from hf_eco.evaluation.tasks.base import fluency_of
from hf_eco.evaluation.tasks.choice_data import KNOWN, read_choice
from hf_eco.io.prompt_files import read_prompts

pytest.importorskip("rouge_score")
pytest.importorskip("scipy")


def one_by_one(scorer: Scorer, question: str, answers: list[str]) -> np.ndarray:
    return np.array([scorer.losses([as_chat(question, scorer.tokenizer)], [answer])[0] for answer in answers])


def test_tofu_scores_paraphrased_answers_against_perturbed_ones(guarded, tokenizer, tofu) -> None:
    task, scorer = TofuTask("forget05", tofu, max_new_tokens=6), Scorer(guarded, tokenizer)
    result = task.run(scorer)
    assert (task.name, task.kind) == ("tofu/forget05", "forget")
    ratios = []
    for row, given in zip(result.rows, ROWS, strict=True):
        answers = [given["answer"], given["paraphrased_answer"], *given["perturbed_answer"]]
        plain, paraphrased, *perturbed = one_by_one(scorer, given["question"], answers)
        assert row["answer_probability"] == pytest.approx(np.exp(-plain), rel=1e-4)
        assert row["truth_ratio"] == pytest.approx(np.exp(paraphrased - np.mean(perturbed)), rel=1e-4)
        ratios.append(row["truth_ratio"])
    both_ways = np.minimum(ratios, 1 / np.array(ratios))
    assert result.measures["truth_ratio"].value == pytest.approx(both_ways.mean())
    recalls = rouge_l_recall([row["answer"] for row in ROWS], result.column("generated"))
    assert result.measures["rouge_l_recall"].value == pytest.approx(recalls.mean())
    assert result.measures["flagged"].value == 0.5


def test_tofus_real_authors_are_a_choice_between_options(base, tokenizer, tofu) -> None:
    task, scorer = TofuTask("real_authors", tofu, max_new_tokens=6), Scorer(base, tokenizer)
    result = task.run(scorer)
    assert task.kind == "retain"
    for row, given in zip(result.rows, OPTIONS, strict=True):
        losses = one_by_one(scorer, given["question"], [given["answer"], *given["perturbed_answer"]])
        p = np.exp(-losses)
        assert row["answer_probability"] == pytest.approx(p[0] / p.sum(), rel=1e-4)
        assert row["truth_ratio"] == pytest.approx(np.exp(losses[0] - losses[1:].mean()), rel=1e-4)
    score = np.maximum(0, 1 - np.array(result.column("truth_ratio"))).mean()
    assert result.measures["truth_ratio"].value == pytest.approx(score)


def test_a_split_without_wrong_answers_has_no_truth_ratio(base, tokenizer, tofu) -> None:
    result = TofuTask("retain95", tofu, max_new_tokens=4).run(Scorer(base, tokenizer))
    assert "truth_ratio" not in result.measures
    assert set(result.measures) >= {"answer_probability", "rouge_l_recall", "flagged", "unique_token_ratio"}


def test_tofu_reads_a_file_and_a_limit_and_says_what_is_missing(tofu, tmp_path) -> None:
    assert len(TofuTask("forget05", tofu / "forget05_perturbed.jsonl", limit=3).rows) == 3
    with pytest.raises(FileNotFoundError, match=r"forget01\.jsonl"):
        TofuTask("forget01", tofu)
    (tmp_path / "forget05.jsonl").write_text('{"question": "who ?"}\n')
    with pytest.raises(ValueError, match="row 0: there is no column 'answer'"):
        TofuTask("forget05", tmp_path)
    for refused in (
        lambda: TofuTask("forget05", tofu, limit=0),
        lambda: PromptsTask(["a", "b"], limit=-1),
        lambda: ContinuationTask(["a", "b"], limit=-1),
    ):
        with pytest.raises(ValueError, match="limit must be positive"):
            refused()


def test_tofus_files_are_read_as_they_are_published_and_as_lists(tofu, tmp_path) -> None:
    text = (tofu / "forget05_perturbed.jsonl").read_text()
    (tmp_path / "forget05_perturbed.json").write_text(text)
    (tmp_path / "a_list.json").write_text(json.dumps([json.loads(line) for line in text.splitlines()]))
    rows = TofuTask("forget05", tofu).rows
    assert TofuTask("forget05", tmp_path).rows == TofuTask("forget05", tmp_path / "a_list.json").rows == rows
    (tmp_path / "broken.json").write_text("[{]")
    with pytest.raises(ValueError, match=r"broken\.json': not JSON"):
        TofuTask("forget05", tmp_path / "broken.json")


def test_a_set_of_ones_own_says_whether_it_is_to_be_forgotten(tofu, caplog) -> None:
    with pytest.raises(ValueError, match=r"'curie' is no split of TOFU.*kind='forget'"):
        TofuTask("curie", tofu / "forget05.jsonl")
    assert TofuTask("curie", tofu / "forget05.jsonl", kind="forget").kind == "forget"
    assert "no column 'perturbed_answer', so there will be no truth ratio" in caplog.text


def test_any_character_but_a_line_end_may_stand_in_a_csv(tmp_path) -> None:
    (tmp_path / "a.csv").write_text('question,answer\none\u2028two,b\n"three\nfour",d\x85\n', encoding="utf-8")
    rows = read_rows(tmp_path / "a.csv")
    assert rows == [{"question": "one\u2028two", "answer": "b"}, {"question": "three\nfour", "answer": "d\x85"}]


@pytest.mark.parametrize("read", [read_rows, read_prompts])
@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", b'{"prompt": "a"}\n\n{"prompt": ', r"a\.jsonl', line 3: not JSON"),
        ("a.jsonl", b'{"prompt": "a"}\n[1]\n', r"a\.jsonl', line 2: expected an object"),
        ("a.csv", b"prompt,kind\na,b\nWho, then, is it?,b\n", r"a\.csv', line 3: .* more values .* Quote"),
        ("a.csv", b"prompt\n" + b"x" * 140_000, r"a\.csv', line 2: not CSV"),
        ("a.csv", b"prompt\n\xff\n", r"a\.csv' is not a text file \(byte 7"),
        ("a.jsonl", b"\n", r"a\.jsonl' holds no"),
        ("a.md", b"text", r"a\.md' is of no known kind"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(tmp_path, read, name: str, text: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(text)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / name)


@pytest.mark.parametrize("extra", ["train", "eval"])
def test_without_the_library_a_data_set_says_which_extra_brings_it(monkeypatch, extra: str) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=rf"pip install hf-eco\[{extra}\]"):
        read_rows("me/questions") if extra == "eval" else read_prompts("me/questions")


def test_further_measures_of_the_answers_are_those_of_the_functions_given(base, tokenizer, tofu) -> None:
    pytest.importorskip("nltk")
    metrics = {"meteor": meteor, "exact_match": exact_match, "rouge_1": lambda *texts: rouge(*texts, "rouge1").f1}
    result = TofuTask("forget05", tofu, max_new_tokens=6, text_metrics=metrics).run(Scorer(base, tokenizer))
    texts = result.column("answer"), result.column("generated")
    for name, metric in metrics.items():
        assert result.column(name) == metric(*texts).tolist()
        assert result.measures[name].value == pytest.approx(metric(*texts).mean())
    assert result.measures["exact_match"] == share_of(exact_match(*texts).tolist())  # an exact interval
    passage = "the king was born in the garden of the wizard of the north and the dog"
    pytest.importorskip("sacrebleu")
    options = {"prompt_tokens": 8, "continuation_tokens": 5}
    result = ContinuationTask([passage], **options, text_metrics=metrics).run(Scorer(base, tokenizer))
    assert result.rows[0]["meteor"] == meteor([result.rows[0]["answer"]], [result.rows[0]["generated"]])[0]


def test_text_metrics_that_cannot_be_reported_are_refused(base, tokenizer, tofu) -> None:
    with pytest.raises(ValueError, match="reports 'rouge_l_recall' of its own"):
        TofuTask("forget05", tofu, text_metrics={"rouge_l_recall": meteor})
    with pytest.raises(TypeError, match=r"text_metrics\['meteor'\] must be a function"):
        ContinuationTask(["a"], text_metrics={"meteor": "meteor"})  # type: ignore[dict-item]
    whole = TofuTask("forget05", tofu, max_new_tokens=2, text_metrics={"rouge_1": rouge})
    with pytest.raises(ValueError, match=r"'rouge_1'\] must give 8 values, .* got the shape \(3, 8\)"):
        whole.run(Scorer(base, tokenizer))


def test_multiple_choice_takes_the_likeliest_letter_and_the_likeliest_option(base, tokenizer, tmp_path) -> None:
    rows = [
        {"question": "does a cat sleep ?", "choices": ["the king", "a dog in the garden", "hello"], "answer": n % 3}
        for n in range(3)
    ]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    scorer = Scorer(base, tokenizer)
    result = MultipleChoiceTask(tmp_path / "mine.jsonl").run(scorer)
    text = "does a cat sleep ?\nA. the king\nB. a dog in the garden\nC. hello\n"
    text += "Answer with the letter of the right option."
    letters = [tokenizer(letter)["input_ids"][0] for letter in "ABC"]
    best = scorer.next_token_log_probabilities([as_chat(text, tokenizer)])[0, letters].argmax()
    assert [row["letter_correct"] for row in result.rows] == [float(n == best) for n in range(3)]
    losses = one_by_one(scorer, "does a cat sleep ?", rows[0]["choices"])
    assert [row["option_correct"] for row in result.rows] == [float(n == losses.argmin()) for n in range(3)]
    assert result.measures["letter_accuracy"].value == pytest.approx(1 / 3)
    assert result.measures["chance"].value == pytest.approx(1 / 3)


def test_letters_that_share_their_first_token_are_refused(base, tokenizer, tmp_path, monkeypatch) -> None:
    (tmp_path / "mine.jsonl").write_text(json.dumps({"question": "q", "choices": ["a", "b"], "answer": 0}) + "\n")
    scorer = Scorer(base, tokenizer)
    monkeypatch.setattr(scorer.encoder, "encode_answer", lambda prompt, letter: (7, ord(letter)))
    with pytest.raises(ValueError, match=r"A, B the first tokens \[7, 7\]"):
        MultipleChoiceTask(tmp_path / "mine.jsonl").run(scorer)


@pytest.mark.parametrize(
    ("name", "row", "answer"),
    [
        ("wmdp-bio", {"question": "q", "choices": ["a", "b"], "answer": 1}, 1),
        ("arc-easy", {"question": "q", "choices": {"text": ["a", "b"], "label": ["1", "2"]}, "answerKey": "2"}, 1),
        ("winogrande", {"sentence": "_ is", "option1": "a", "option2": "b", "answer": "1"}, 0),
        ("truthfulqa", {"question": "q", "mc1_targets": {"choices": ["a", "b", "c"], "labels": [0, 0, 1]}}, 2),
        ("boolq", {"passage": "p", "question": "q", "answer": True}, 1),
        ("hellaswag", {"ctx": "q", "endings": ["a", "b"], "label": "1"}, 1),
        (
            "socialiqa",
            {"context": "c", "question": "q", "answerA": "a", "answerB": "b", "answerC": "c", "label": "3"},
            2,
        ),
    ],
)
def test_well_known_data_sets_are_read_by_their_own_columns(name: str, row: dict, answer: int) -> None:
    read = read_choice(KNOWN[name], row, "row 0")
    assert read.answer == answer
    assert len(read.options) >= 2


def test_a_letter_may_be_the_answer_and_a_wrong_one_is_named() -> None:
    data = ChoiceData("mine", choices=("x", "y"), answer="key")
    assert read_choice(data, {"question": "q", "x": "1", "y": "2", "key": "b"}, "row 0").answer == 1
    with pytest.raises(ValueError, match="row 7: the right answer 'C' is none of the 2 options"):
        read_choice(data, {"question": "q", "x": "1", "y": "2", "key": "C"}, "row 7")
    with pytest.raises(ValueError, match="no column 'y'"):
        read_choice(data, {"question": "q", "x": "1", "key": "C"}, "row 7")


def test_a_recited_passage_is_recognised(base, tokenizer) -> None:
    scorer = Scorer(base, tokenizer)
    start = str(tokenizer.decode(tokenizer("the king was born in the garden of")["input_ids"][:8]))
    recited = scorer.generate([start], max_new_tokens=5)[0]
    pytest.importorskip("sacrebleu")
    other = "the wizard of the north does sleep for breakfast"
    task = ContinuationTask([start + recited, other], prompt_tokens=8, continuation_tokens=5)
    result = task.run(scorer)
    for row in result.rows:
        ours, theirs = (tokenizer(row[key])["input_ids"] for key in ("answer", "generated"))
        same = [a == b for a, b in zip(ours, theirs, strict=False)]
        assert row["exact_prefix"] == (same.index(False) if False in same else len(same))
        assert row["rouge_l_recall"] == rouge_l_recall([row["answer"]], [row["generated"]])[0]
    assert result.kind == "forget"
    with pytest.raises(ValueError, match="nothing follows its first 512"):
        ContinuationTask(["hello"], prompt_tokens=512).run(scorer)


def test_a_passage_recited_to_its_end_is_recited_whatever_comes_behind(base, tokenizer, monkeypatch) -> None:
    pytest.importorskip("sacrebleu")
    passage = "the king was born in the garden of the wizard of the north and the dog"
    scorer = Scorer(base, tokenizer)
    task = ContinuationTask([passage], prompt_tokens=8, continuation_tokens=64)
    rest = tokenizer.decode(tokenizer(passage)["input_ids"][8:]).strip()
    monkeypatch.setattr(scorer, "generate", lambda *_, **__: [rest + " does sleep for breakfast" * 5])
    (row,) = task.run(scorer).rows
    assert (row["generated"], row["bleu"], row["rouge_l_recall"]) == (rest, pytest.approx(1), 1)


def test_perplexity_is_of_the_unguarded_reference_and_of_answers_with_words(guarded, base, tokenizer) -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")  # changes nothing yet
    wrapped = peft.get_peft_model(guarded, config)
    texts, scorer = [FLAGGED, "", CLEAN], Scorer(base, tokenizer)
    measured = fluency_of(texts, scorer, (wrapped, tokenizer), 0)["perplexity"]
    assert measured.value == pytest.approx(perplexity([FLAGGED, CLEAN], base, tokenizer))
    assert measured.n == 2


def test_prompts_say_how_many_are_flagged_and_how_fluent_the_answers_are(guarded, base, tokenizer) -> None:
    task = PromptsTask([FLAGGED, CLEAN, "hello", "does a cat sleep ?"], max_new_tokens=6)
    result = task.run(Scorer(guarded, tokenizer), reference=(base, tokenizer))
    flagged = result.measures["flagged"]
    assert (flagged.value, flagged.n) == (0.25, 4)
    assert flagged.low == pytest.approx(1 - 0.975 ** (1 / 4), rel=1e-6)  # P(at least one of four) = 0.025
    assert result.measures["perplexity"].value >= 1
    assert 0 < result.measures["unique_token_ratio"].value <= 1
    assert [row["flagged"] for row in result.rows] == [True, False, False, False]
