"""The report: one page that stands alone, shows what was measured, and says what was not."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import CLEAN, FLAGGED

from hf_eco.configuration import Calibration, CorruptionConfig, LearnedCorruption
from hf_eco.detection.log_odds import log_odds
from hf_eco.evaluation import ComparisonReport, ComparisonRow, Estimate, EvaluationReport, TaskResult
from hf_eco.report import Example, Piece, ask, write_report
from hf_eco.report.chart import WIDTH, Axis, Chart, powers, ticks
from hf_eco.report.examples import mark

pytest.importorskip("scipy")

VOID = {"meta", "br", "link", "img"}


class Page(HTMLParser):
    """A page read: what its tags are, whether they are closed, and its words."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(self.source)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words += data

    def has(self, words: str) -> bool:
        return words in " ".join(self.words.split())


def estimate(value: float) -> Estimate:
    return Estimate(value, value - 0.1, value + 0.1, 6)


def task(name: str, kind, probability: float, ratio: float) -> TaskResult:
    question = FLAGGED if kind == "forget" else CLEAN
    rows = [
        {"question": f"{question} {i}", "generated": f"{probability} {i}", "truth_ratio": ratio * (1 + i / 100)}
        for i in range(6)
    ]
    measures = {name: estimate(probability) for name in ("answer_probability", "rouge_l_recall", "truth_ratio")}
    return TaskResult(name, kind, measures, rows)


def row(label: str, probability: float, ratio: float, sets: int = 3) -> ComparisonRow:
    results = [task("tofu/forget05", "forget", probability, ratio)]
    results += [task(f"tofu/{name}", "retain", 0.5, 0.5) for name in ("retain", "real_authors", "world_facts")[:sets]]
    return ComparisonRow(label, EvaluationReport(label, "strict", results))


@pytest.fixture
def comparison() -> ComparisonReport:
    return ComparisonReport([row("original", 0.9, 0.2), row("retain", 0.1, 0.8), row("guarded", 0.1, 0.82)])


@pytest.fixture
def history(tmp_path) -> Path:
    said = {"scope": "wizards", "method": "rand_noise_first_n", "score": "answer_probability", "protocol": "strict"}
    said |= {"surrogate": "counterfactual", "surrogate_value": 0.31}
    tried = [{"strength": s, "dims": 8, "values": [1 / (1 + s), 0.9 / (1 + s)]} for s in (0.1, 1.0, 10.0)]
    (tmp_path / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in (said, *tried)))
    return tmp_path / "history.jsonl"


def test_a_page_stands_alone(calibrated, guarded, comparison, history, tmp_path):
    examples = ask(guarded, [FLAGGED], kind="forget", max_new_tokens=3)
    written = write_report(
        calibrated, tmp_path / "r.html", examples=examples, histories=[history], comparison=comparison
    )
    page = Page(written.path)
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert not any(name in ("src", "href") or name.startswith("on") for _, found in page.tags for name in found)
    assert not re.search(r"https?:|url\(|@import", page.source)
    assert "prefers-color-scheme: dark" in page.source and "width=device-width" in page.source
    drawn = [found for tag, found in page.tags if tag == "svg" and found.get("role") == "img"]
    assert len(drawn) == 3 and all(found["aria-label"] for found in drawn)


def test_what_was_not_measured_is_said_to_be_so(guarded, tmp_path):
    guarded.save_guard(tmp_path / "guard")
    written = write_report(tmp_path / "guard", tmp_path / "r.html")
    page = Page(written.path)
    assert len(written.not_measured) == 7 and all(page.has(line) for line in written.not_measured)
    assert not any(found.get("role") == "img" for _, found in page.tags)
    assert not re.search(r"\d %", page.words)
    assert page.words.count("not measured") >= 4


def test_rates_are_those_of_the_calibration_with_their_bounds(calibrated, guarded, tmp_path):
    c = guarded.config.eco.scopes[0].calibration
    page = Page(write_report(calibrated, tmp_path / "r.html").path)
    assert page.has(f"{100 * c.fnr:.1f} % at most {100 * c.fnr_bound:.1f} % at 95 % confidence, n = {c.n_forget}")
    assert page.has(f"{100 * c.fpr:.1f} % at most {100 * c.fpr_bound:.1f} % at 95 % confidence, n = {c.n_retain}")
    assert page.has(f"threshold in force, {c.threshold:.4g}")


def test_rates_of_another_threshold_than_the_one_in_force_are_not_stated(calibrated, guarded, tmp_path):
    scope = guarded.config.eco.scopes[0]
    bound = f"{100 * scope.calibration.fpr_bound:.1f} %"
    scope.threshold = scope.threshold / 2
    guarded.save_guard(calibrated)
    written = write_report(calibrated, tmp_path / "r.html")
    page = Page(written.path)
    assert any("error rates of scope wizards" in line for line in written.not_measured)
    assert not page.has(f"at most {bound}") and page.has("it is not the one that was calibrated")


def test_what_was_learnt_is_stated_for_the_corruption_in_force_alone(guarded, tmp_path):
    scope = guarded.config.eco.scopes[0]
    figures = {"value": 0.123, "standard_error": 0.01, "unguarded": 0.876, "surrogate_value": 0.111}
    scope.learned = LearnedCorruption(
        scope.corruption, ["strength"], "answer_probability", "strict", surrogate="counterfactual", surrogate_n=9,
        n_prompts=9, trials=4, prompts_sha256="", seed=0, **figures,
    )  # fmt: skip
    guarded.save_guard(tmp_path / "guard")
    assert Page(write_report(tmp_path / "guard", tmp_path / "r.html").path).has("0.123 instead of 0.876")
    scope.learned.corruption.strength += 1
    scope.learned = LearnedCorruption(
        **{**vars(scope.learned), "corruption": vars(scope.corruption) | {"strength": 1}}
    )
    guarded.save_guard(tmp_path / "guard")
    assert not Page(write_report(tmp_path / "guard", tmp_path / "r.html").path).has("0.123")


def test_corrupted_tokens_are_marked_and_answers_stand_side_by_side(guarded, tmp_path):
    guarded.save_guard(tmp_path / "guard")
    asked = [*ask(guarded, [FLAGGED], kind="forget", max_new_tokens=5)]
    asked += ask(guarded, [CLEAN], kind="retain", max_new_tokens=5)
    inside, outside = asked
    assert inside.right and outside.right and inside.before != inside.after and outside.before == outside.after
    assert "".join(piece.text for piece in inside.pieces) == FLAGGED
    verdict = guarded.inspect([{"role": "user", "content": FLAGGED}])
    marked = "".join(piece.text for piece in inside.pieces if piece.corrupted)
    assert (
        marked.strip() == FLAGGED == "".join(verdict.text[slice(*verdict.offsets[t])] for t in verdict.tokens).strip()
    )
    assert not any(piece.corrupted for piece in outside.pieces)
    page = Page(write_report(tmp_path / "guard", tmp_path / "r.html", examples=asked).path)
    assert page.source.count("<mark>") == 2  # the explanation's own, and the prompt's
    assert page.has(inside.before.split()[0]) and page.has("the same")


def test_a_prompt_that_the_template_changes_is_shown_as_the_model_reads_it(guarded):
    verdict = guarded.inspect(FLAGGED)
    assert "".join(piece.text for piece in mark(verdict, "something else")) == verdict.text


def test_misses_and_mistakes_are_called_so(guarded, tmp_path):
    guarded.save_guard(tmp_path / "guard")
    examples = [
        Example("forget", [Piece("missed", False)], False, None, 0.1, 0.5, "a", "a"),
        Example("retain", [Piece("taken", True)], True, "wizards", 0.9, 0.5, "a", "b"),
    ]
    page = Page(write_report(tmp_path / "guard", tmp_path / "r.html", examples=examples).path)
    assert page.has("missed, not flagged: p(forget) = 0.1000") and page.has("by mistake flagged as wizards")


def test_what_somebody_wrote_is_shown_and_not_run(guarded, tmp_path):
    guarded.save_guard(tmp_path / "guard")
    wild = "<script>alert('1')</script> & \"x\""
    examples = [Example("forget", [Piece(wild, True)], True, "wizards", 0.9, 0.5, wild, wild + "!")]
    page = Page(write_report(tmp_path / "guard", tmp_path / "r.html", examples=examples).path)
    assert page.has(wild) and not any(tag == "script" for tag, _ in page.tags)


def test_examples_come_from_the_comparison_where_none_are_given(calibrated, comparison, tmp_path):
    comparison.to_json(tmp_path / "comparison.json")
    written = write_report(calibrated, tmp_path / "r.html", comparison=tmp_path / "comparison.json")
    page = Page(written.path)
    assert page.has(f"{FLAGGED} 0") and page.has("0.9 0") and page.has("0.1 0")
    assert not any("examples" in line for line in written.not_measured)


def test_the_scatter_has_a_point_for_every_model(calibrated, comparison, tmp_path):
    page = Page(write_report(calibrated, tmp_path / "r.html", comparison=comparison).path)
    for label in ("original", "retain", "guarded"):
        own = next(found for found in comparison.rows if found.label == label)
        p = comparison.forget_quality(own)["tofu/forget05"].p_value
        assert page.has(f"{label}, strict: utility {own.report.model_utility:.4f}, p = {p:.3g}")


def test_no_scatter_where_utility_was_not_measured(calibrated, tmp_path):
    partial = ComparisonReport([row("original", 0.9, 0.2, sets=2), row("retain", 0.1, 0.8, sets=2)])
    written = write_report(calibrated, tmp_path / "r.html", comparison=partial)
    assert any("forget quality against model utility" in line for line in written.not_measured)
    page = Page(written.path)
    assert page.has("answer probability") and "Forget quality against model utility, tofu" not in page.source


def test_the_search_is_drawn_with_its_surrogate_and_the_strength_in_force(calibrated, history, tmp_path):
    page = Page(write_report(calibrated, tmp_path / "r.html", histories=[history]).path)
    assert page.has("surrogate: counterfactual, 0.31") and page.has("in force, strength 10")
    assert page.has("strength 1: 0.475 ± 0.025") and page.has("3 corruptions were tried, strict protocol.")


def test_a_strength_for_each_dimension_is_shown_by_its_ends_and_drawn_by_its_mean(guarded, history, tmp_path):
    guarded.config.eco.scopes[0].corruption = CorruptionConfig(dims=2, strength=[3.0, 4.0])
    guarded.save_guard(tmp_path / "guard")
    said, *_ = history.read_text().splitlines()
    tried = [{"strength": s, "dims": 2, "values": [0.5]} for s in ([1.0, 1.0], [3.0, 4.0])]
    history.write_text("".join(line + "\n" for line in (said, *map(json.dumps, tried))))
    page = Page(write_report(tmp_path / "guard", tmp_path / "r.html", histories=[history]).path)
    assert page.has("strength 3 to 4") and page.has("in force, strength 3.536")  # root mean square
    history.write_text(said + '\n{"strength": [], "dims": 0, "values": [0.5]}\n')
    with pytest.raises(ValueError, match="no history of a search"):
        write_report(tmp_path / "guard", tmp_path / "s.html", histories=[history])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("wizards", "witches"), "of scope 'witches'; the guard holds wizards"),
        (lambda text: "{}\n", "no history of a search"),
        (lambda text: "what?\n", "no history of a search"),
        (lambda text: text.split("\n")[0] + "\n", "tried nothing yet"),
    ],
)
def test_a_history_of_something_else_is_refused_and_nothing_written(calibrated, history, tmp_path, change, message):
    history.write_text(change(history.read_text()))
    with pytest.raises(ValueError, match=message):
        write_report(calibrated, tmp_path / "r.html", histories=[history])
    assert not (tmp_path / "r.html").exists()


def test_an_unfinished_line_of_a_history_is_left_out(calibrated, history, tmp_path):
    history.write_text(history.read_text() + '{"strength": 3')
    assert Page(write_report(calibrated, tmp_path / "r.html", histories=[history]).path).has(
        "3 corruptions were tried"
    )


def test_both_error_curves_pass_through_the_measured_rates(guarded, tmp_path):
    from hf_eco.report.detection import _flagged, _missed

    retain, forget = [-3.0, -2.0, -1.0, 2.0], [-1.0, 1.0, 2.0, 3.0]

    def at(points, x):
        return [y for left, y in points if left <= x][-1]

    for threshold in (-2.5, -1.0, 0.0, 2.0, 2.5):
        assert at(_missed(forget, -5, 5), threshold) == sum(s < threshold for s in forget) / 4
        assert at(_flagged(retain, -5, 5), threshold) == sum(s >= threshold for s in retain) / 4


def test_marks_lie_where_their_values_are_and_never_outside():
    chart = Chart(Axis("x", 1, 100, powers(1, 100), math.log10), Axis("y", 0, 1, ticks(0, 1)), "a < b")
    for x in (1, 10, 100, 1e9):
        chart.dot(x, 0.5, "c0", "here")
    places = [float(found) for found in re.findall(r'cx="([\d.]+)"', chart.svg())]
    assert places[1] == pytest.approx((places[0] + places[2]) / 2, abs=0.1)
    assert places[3] == places[2] < WIDTH and "a &lt; b" in chart.svg()


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.301, 0.304), (-5, 17), (1e-6, 2e-6), (0, 1234)])
def test_ticks_are_few_and_within_their_ends(low, high):
    found = [value for value, _ in ticks(low, high)]
    assert 2 <= len(found) <= 7 and low - 1e-12 <= found[0] and found[-1] <= high * (1 + 1e-9)


def test_one_score_and_scores_at_the_ends_are_drawn(guarded, tmp_path):
    scope = guarded.config.eco.scopes[0]
    rates = {"fpr": 0.0, "fpr_bound": 0.1, "fnr": 0.0, "fnr_bound": 0.1, "n_forget": 1, "n_retain": 1}
    ends = {"retain_scores": [log_odds(0.0)], "forget_scores": [log_odds(1.0)]}
    scope.calibration = Calibration(scope.threshold, max_fpr=0.1, confidence=0.95, **rates, **ends)
    guarded.save_guard(tmp_path / "guard")
    assert Page(write_report(tmp_path / "guard", tmp_path / "r.html").path).has("Drawn from 1 scores")
