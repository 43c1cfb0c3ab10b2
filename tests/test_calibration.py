"""What a calibration promises: bounds that hold as often as they say, a band of uncertain prompts, and a check of both
on new prompts. (The choice of the threshold itself: test_training.py.)"""

from __future__ import annotations

import functools
import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import pytest
from conftest import CLEAN, FLAGGED, FORGET, RETAIN
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from hf_eco import Calibration, ECOConfig, ForgetScope, Guard, PromptClassifier
from hf_eco.checkpoint.model_card import model_card
from hf_eco.checkpoint.writing import rewrite_eco
from hf_eco.training import calibrate_threshold, calibration, check_calibration
from hf_eco.training.bounds import allowed_errors, clopper_pearson_upper
from hf_eco.training.calibration import MAX_STORED_SCORES


class Scores:
    """Stands in for a PromptClassifier: prompt number i of a list has score number i. `floor` is what near misses
    taught it in training."""

    def __init__(
        self,
        forget: Sequence[float] = (),
        retain: Sequence[float] = (),
        near: Sequence[float] = (),
        floor: float = 0.0,
    ) -> None:
        scores = {"forget": forget, "retain": retain, "near": near}
        self.prompts = {kind: [f"{kind} {i}" for i in range(len(own))] for kind, own in scores.items()}
        self.lowest = floor
        self.scores = {
            p: score for kind, own in scores.items() for p, score in zip(self.prompts[kind], own, strict=True)
        }

    def score(self, texts: Sequence[str], *, label: str = "forget") -> list[float]:
        return [self.scores[text] for text in texts]

    def floor(self, label: str = "forget") -> float:
        return self.lowest

    def calibrate(self, **kwargs: Any) -> Calibration:
        given: dict[str, Any] = {"near": self.prompts["near"], **kwargs}
        return calibrate_threshold(self, self.prompts["forget"], self.prompts["retain"], **given)  # type: ignore[arg-type]


def check(calibration: Calibration, retain: Sequence[float], forget: Sequence[float] = (), **kwargs: Any) -> Any:
    new = Scores(retain=retain, forget=forget)
    return check_calibration(calibration, new, new.prompts["retain"], new.prompts["forget"], **kwargs)  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------------------------
# The bounds hold as often as they say

REPETITIONS = 2000


def logistic(rng: random.Random, middle: float) -> float:
    u = rng.random()
    return 1 / (1 + math.exp(-(middle + math.log(u / (1 - u)))))


def logistic_below(threshold: float, middle: float) -> float:
    """The probability that `logistic` is below `threshold`."""
    if threshold >= 1:
        return 1.0
    return 1 / (1 + math.exp(middle - math.log(threshold / (1 - threshold))))


def steps(rng: random.Random, middle: float) -> float:
    """One of six scores, neither 0 nor 1: most are tied."""
    return (1 + round(5 * logistic(rng, middle))) / 7


def steps_below(threshold: float, middle: float) -> float:
    """The probability that `steps` is below `threshold`."""
    below = [i for i in range(6) if (1 + i) / 7 < threshold]
    return logistic_below((below[-1] + 0.5) / 5, middle) if below else 0.0  # the steps end halfway


@pytest.mark.parametrize(
    ("draw", "below", "middles", "n_forget", "n_retain", "n_near", "floor"),
    [
        (logistic, logistic_below, (-2.0, 2.0), 40, 100, 0, 0.0),
        (logistic, logistic_below, (-9.0, 9.0), 300, 300, 0, 0.0),  # a wide gap: the threshold's place in it is free
        (logistic, logistic_below, (0.0, 1.0), 12, 15, 0, 0.0),
        (steps, steps_below, (-1.0, 1.0), 40, 100, 0, 0.0),
        (steps, steps_below, (-0.5, 0.5), 10, 10, 0, 0.0),
        (logistic, logistic_below, (-2.0, 2.0), 40, 100, 0, 0.9),  # now and then above the retain prompts
        (steps, steps_below, (-1.0, 1.0), 40, 100, 0, 5 / 7),
        (logistic, logistic_below, (-2.0, 2.0), 40, 100, 20, 0.0),
        (logistic, logistic_below, (0.0, 1.0), 12, 15, 5, 0.8),
    ],
    ids=[
        *("scores that overlap", "scores far apart", "few prompts", "ties", "ties among few"),
        *("a floor", "a floor and ties", "near misses", "near misses, a floor and few prompts"),
    ],
)
def test_no_bound_is_exceeded_more_often_than_it_says(
    draw: Callable[..., float],
    below: Callable[..., float],
    middles: tuple[float, float],
    n_forget: int,
    n_retain: int,
    n_near: int,
    floor: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the scores come from is known, so the true rates at any threshold are."""
    monkeypatch.setattr(calibration, "clopper_pearson_upper", functools.cache(clopper_pearson_upper))
    confidence, rng = 0.9, random.Random(n_forget)
    max_fnr = clopper_pearson_upper(1, n_forget, confidence)
    max_fpr = clopper_pearson_upper(1, n_retain, confidence)
    exceeded = dict.fromkeys(("fpr", "fnr", "abstain_fnr"), 0)
    bands = 0
    for _ in range(REPETITIONS):
        retain = [draw(rng, middles[0]) for _ in range(n_retain)]
        forget = [draw(rng, middles[1]) for _ in range(n_forget)]
        near = [draw(rng, 0.0) for _ in range(n_near)]
        scores = Scores(forget, retain, near, floor)
        c = scores.calibrate(max_fpr=max_fpr, max_fnr=max_fnr, confidence=confidence)
        assert c.threshold > max([floor, *near])
        assert c.abstain_threshold is not None and c.abstain_fnr_bound is not None
        assert c.fpr_bound <= max_fpr and c.abstain_fnr_bound <= max_fnr
        exceeded["fpr"] += 1 - below(c.threshold, middles[0]) > c.fpr_bound
        exceeded["fnr"] += below(c.threshold, middles[1]) > c.fnr_bound
        exceeded["abstain_fnr"] += below(c.abstain_threshold, middles[1]) > c.abstain_fnr_bound
        bands += c.abstain_threshold < c.threshold
    for bound, times in exceeded.items():
        # as the simulation errs, too: no more than would happen in one of 10,000 if the promise were just kept
        assert binomtest(times, REPETITIONS, 1 - confidence, alternative="greater").pvalue > 1e-4, (bound, times)
    if draw is logistic and bands == REPETITIONS:  # without ties the bound of the band is exact, not merely safe
        assert binomtest(exceeded["abstain_fnr"], REPETITIONS, 1 - confidence).pvalue > 1e-4


def test_the_bound_of_misses_holds_though_the_threshold_is_moved_up_to_the_next_forget_score() -> None:
    """The worst case: a gap's middle in log-odds lies close below its upper end in rank, whatever the gap."""
    rng, confidence, n = random.Random(1), 0.9, 60
    floor = clopper_pearson_upper(2, n, confidence) - 1e-3  # rank of the highest retain score among forget prompts

    def score(rank: float) -> float:
        return 0.5 + 1e-15 * math.exp(128 * rank) if rank < 0.25 else 0.9

    exceeded = 0
    for _ in range(REPETITIONS):
        c = Scores(forget=[score(rng.random()) for _ in range(n)], retain=[score(floor)] * 30).calibrate(
            max_fpr=0.2, confidence=confidence
        )
        exceeded += math.log((c.threshold - 0.5) * 1e15) / 128 > c.fnr_bound
    assert binomtest(exceeded, REPETITIONS, 1 - confidence, alternative="greater").pvalue > 1e-4


# ---------------------------------------------------------------------------------------------------------------------
# The band of uncertain prompts

TIED = st.integers(1, 20).map(lambda i: i / 21)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(TIED, min_size=10, max_size=40), st.lists(TIED, min_size=5, max_size=40), st.sampled_from([0.3, 0.5, 0.7])
)
def test_the_band_is_the_narrowest_that_keeps_the_promise(
    forget: list[float], retain: list[float], max_fnr: float
) -> None:
    c = Scores(forget=forget, retain=retain).calibrate(max_fpr=0.6, max_fnr=max_fnr)
    plain = Scores(forget=forget, retain=retain).calibrate(max_fpr=0.6)
    assert (c.threshold, c.fpr_bound, c.fnr_bound) == (plain.threshold, plain.fpr_bound, plain.fnr_bound)

    def bound(threshold: float) -> float:
        return clopper_pearson_upper(sum(score < threshold for score in forget), len(forget), 0.95)

    assert c.abstain_threshold == min(c.threshold, max(score for score in forget if bound(score) <= max_fnr))
    assert c.abstain_fnr == sum(score < c.abstain_threshold for score in forget) / len(forget)
    assert c.abstain_fnr <= c.abstain_fnr_bound <= max_fnr
    assert c.abstain_retain == sum(c.abstain_threshold <= score < c.threshold for score in retain) / len(retain)
    scope = ForgetScope("x", threshold=c.threshold, abstain_threshold=c.abstain_threshold, calibration=c)
    assert ECOConfig.from_dict(json.loads(json.dumps(ECOConfig([scope]).to_dict()))).scopes == (scope,)


def test_without_max_fnr_there_is_no_band() -> None:
    c = Scores(forget=[0.9], retain=[0.1] * 299).calibrate()
    assert (c.abstain_threshold, c.max_fnr, c.abstain_fnr, c.abstain_fnr_bound, c.abstain_retain) == (None,) * 5


def test_a_threshold_that_misses_few_enough_serves_both() -> None:
    c = Scores(forget=[0.9] * 59, retain=[0.1] * 299).calibrate(max_fnr=0.05)
    assert c.abstain_threshold == c.threshold and c.abstain_retain == 0.0


def test_too_few_forget_prompts_for_max_fnr_are_refused_with_how_many_it_takes() -> None:
    with pytest.raises(ValueError, match=r"58 forget prompts cannot show .*max_fnr=0\.05 .*that takes 59\."):
        Scores(forget=[0.9] * 58, retain=[0.1] * 299).calibrate(max_fnr=0.05)
    with pytest.raises(ValueError, match=r"forget prompts score 0\.0, so no abstain_threshold"):
        Scores(forget=[0.0] + [0.9] * 58, retain=[0.1] * 299).calibrate(max_fnr=0.05)


@pytest.mark.parametrize("value", [0.0, -0.1, 0.6, float("nan"), "0.4", True])
def test_an_abstain_threshold_lies_below_the_threshold(value: Any) -> None:
    with pytest.raises(ValueError, match="abstain_threshold"):
        ForgetScope("x", threshold=0.5, abstain_threshold=value)


def test_an_uncertain_prompt_is_told_apart_and_not_corrupted(classifier: PromptClassifier, guarded: Any) -> None:
    tokenizer = guarded.eco_guard.tokenizer
    plain = guarded.eco_guard.inspect([CLEAN])[0]
    p = plain.probability
    scope = ForgetScope("wizards", threshold=0.5, abstain_threshold=p / 2)
    guard = Guard(ECOConfig([scope]), {"wizards": classifier}, tokenizer)
    flagged, uncertain = guard.inspect([FLAGGED, CLEAN])
    assert flagged.flagged and not flagged.uncertain
    assert (
        uncertain == replace(plain, uncertain=True, uncertain_scope="wizards")
        and not uncertain.flagged
        and not uncertain.tokens
    )
    assert "not flagged but uncertain" in str(uncertain) and "uncertain" not in str(flagged)
    assert f"uncertain from {p / 2:g}" in repr(guard) and "uncertain" not in repr(guarded.eco_guard)
    scope.abstain_threshold = p  # the lower end belongs to the band
    assert guard.inspect([CLEAN])[0].uncertain
    scope.abstain_threshold = math.nextafter(p, 1)
    assert not guard.inspect([CLEAN])[0].uncertain


def test_of_several_scopes_a_verdict_names_the_threshold_of_the_uncertain_one(
    classifier: PromptClassifier, guarded: Any
) -> None:
    p = guarded.eco_guard.inspect([CLEAN])[0].probability
    scopes = [ForgetScope("sure", threshold=0.9), ForgetScope("wizards", threshold=0.5, abstain_threshold=p)]
    guard = Guard(ECOConfig(scopes), dict.fromkeys(("sure", "wizards"), classifier), guarded.eco_guard.tokenizer)
    verdict = guard.inspect([CLEAN])[0]
    assert verdict.uncertain and verdict.threshold == 0.5 and verdict.scope is None
    assert verdict.uncertain_scope == "wizards"


# ---------------------------------------------------------------------------------------------------------------------
# Near misses


def test_near_misses_raise_the_threshold_within_the_gap() -> None:
    scores = {"forget": [0.999] * 50, "retain": [0.001] * 299}
    free = Scores(**scores).calibrate()
    near = [0.6] * 98 + [0.9] * 2
    held = Scores(**scores, near=near).calibrate()
    assert free.threshold < 0.6 < held.threshold < 0.9 and held.fpr == free.fpr == 0.0
    assert (held.near_fpr, held.n_near, held.max_near_fpr) == (0.02, 100, 0.02)
    stricter = Scores(**scores, near=near).calibrate(max_near_fpr=0.01)
    assert 0.9 < stricter.threshold < 0.999 and stricter.near_fpr == 0.0
    assert (free.near_fpr, free.n_near, free.max_near_fpr) == (None, 0, None)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(TIED, min_size=1, max_size=20),
    st.lists(TIED, min_size=5, max_size=40),
    st.lists(TIED, min_size=1, max_size=40),
    st.sampled_from([0.02, 0.29, 0.5]),
)
def test_near_misses_never_lower_the_threshold(
    forget: list[float], retain: list[float], near: list[float], max_near_fpr: float
) -> None:
    free = Scores(forget=forget, retain=retain).calibrate(max_fpr=0.6)
    held = Scores(forget=forget, retain=retain, near=near).calibrate(max_fpr=0.6, max_near_fpr=max_near_fpr)
    assert held.near_fpr == sum(score >= held.threshold for score in near) / len(near) <= max_near_fpr
    assert held.fpr <= free.fpr and held.fnr >= free.fnr and held.fpr_bound == free.fpr_bound


def test_the_threshold_stands_right_above_the_floor_that_near_misses_taught_the_classifier() -> None:
    def threshold(retain: float = 0.001, **given: Any) -> float:
        return Scores(forget=[0.5, 0.999], retain=[0.001] * 298 + [retain], **given).calibrate().threshold

    assert threshold(floor=0.6) == math.nextafter(0.6, 1.0)
    assert threshold(retain=0.8, floor=0.6) == math.nextafter(0.8, 1.0)
    assert threshold(near=[0.7]) == math.nextafter(0.7, 1.0)
    assert threshold(near=[0.7], floor=0.6) == math.nextafter(0.7, 1.0)
    assert threshold(near=[0.7], floor=0.9) == math.nextafter(0.9, 1.0)
    c = Scores(forget=[0.5, 0.999], retain=[0.001] * 299, floor=0.6).calibrate()
    assert (c.fnr, c.near_fpr, c.n_near) == (0.5, None, 0)


def test_near_misses_that_cannot_be_told_from_the_scope_are_refused() -> None:
    with pytest.raises(ValueError, match=r"2 of the 100 near misses score 1\.0"):
        Scores(forget=[1.0], retain=[0.1] * 299, near=[1.0] * 3 + [0.1] * 97).calibrate()
    scores = Scores(forget=[0.9], retain=[0.1] * 299)
    with pytest.raises(ValueError, match="1 forget prompts are among the near misses, the first is 'forget 0'"):
        scores.calibrate(near=["Forget  0"])
    with pytest.raises(TypeError, match="near must be a list of prompts"):
        scores.calibrate(near="forget 1")


# ---------------------------------------------------------------------------------------------------------------------
# What is stored


def test_the_scores_are_stored_as_log_odds_and_not_more_than_a_config_can_hold() -> None:
    few = Scores(forget=[1.0, 0.5], retain=[0.25] * 298 + [0.0]).calibrate()
    assert few.forget_scores == [0.0, pytest.approx(17.3, abs=0.1)]
    assert few.retain_scores == [pytest.approx(-17.3, abs=0.1)] + [pytest.approx(-math.log(3), abs=1e-3)] * 298
    many = Scores(forget=[0.999], retain=[i / 4000 for i in range(1, 3501)]).calibrate(max_fpr=0.2)
    assert len(many.retain_scores) == MAX_STORED_SCORES and many.retain_scores == sorted(many.retain_scores)
    assert many.retain_scores[0] == pytest.approx(math.log(1 / 3999), abs=1e-3)
    assert many.retain_scores[-1] == pytest.approx(math.log(7), abs=1e-3)


def test_saturated_scores_keep_their_differences() -> None:
    low, high = 1 - 2**-20, 1 - 2**-23
    c = Scores(forget=[high], retain=[low] * 299).calibrate()
    assert low < c.threshold < high
    scope = ForgetScope("x", threshold=c.threshold, calibration=c)
    assert ECOConfig.from_dict(json.loads(json.dumps(ECOConfig([scope]).to_dict()))).scopes[0].threshold == c.threshold


OLD_FIELDS = ("threshold", "fpr", "fpr_bound", "fnr", "fnr_bound", "n_forget", "n_retain", "max_fpr", "confidence")


def test_a_calibration_written_before_there_were_bands_still_loads(caplog: pytest.LogCaptureFixture) -> None:
    c = Scores(forget=[0.9], retain=[0.1] * 299).calibrate()
    old = ECOConfig([ForgetScope("x", threshold=c.threshold, calibration=c)]).to_dict()
    del old["scopes"][0]["abstain_threshold"]
    old["scopes"][0]["calibration"] = {name: asdict(c)[name] for name in OLD_FIELDS}
    read = ECOConfig.from_dict(old).scopes[0]
    assert read.abstain_threshold is None and read.calibration is not None and not caplog.text
    assert read.calibration == replace(c, retain_scores=[], forget_scores=[])
    result = check(read.calibration, [0.1] * 100)
    assert result.tenable and not result.shifted and result.retain_shift is None
    assert any("not known" in line for line in result.lines)


def test_the_model_card_tells_what_uncertain_means_and_what_was_measured() -> None:
    rng = random.Random(0)
    forget, retain, near = ([logistic(rng, m) for _ in range(n)] for m, n in ((3.0, 200), (-6.0, 400), (-3.0, 50)))
    c = Scores(forget=forget, retain=retain, near=near).calibrate(max_fnr=0.1)
    assert c.abstain_threshold is not None and c.abstain_threshold < c.threshold
    scope = ForgetScope("x", threshold=c.threshold, abstain_threshold=c.abstain_threshold, calibration=c)
    card = str(model_card(ECOConfig([scope, ForgetScope("y")])))
    measured = next(line for line in card.splitlines() if line.startswith("- `x`"))
    for part in (
        "400 prompts outside the scope and 200 in it",
        "clopper-pearson, each at 95% confidence",
        f"50 near misses, outside the scope but like it, {c.near_fpr:.3f} are flagged",
        f"from {c.abstain_threshold:.4f} up to the threshold is *uncertain*: it is not corrupted",
        f"{c.abstain_fnr:.3f} (≤ {c.abstain_fnr_bound:.3f} at 95%, n = 200)",
    ):
        assert part in measured
    assert "- `y`: given; its error rates were not measured." in card


# ---------------------------------------------------------------------------------------------------------------------
# New prompts


@pytest.fixture(scope="module")
def stored() -> Calibration:
    rng = random.Random(5)
    forget, retain = ([logistic(rng, m) for _ in range(n)] for m, n in ((5.0, 300), (-5.0, 1500)))
    return Scores(forget=forget, retain=retain).calibrate(max_fnr=0.03)


def test_new_prompts_from_where_the_old_ones_came_leave_the_calibration_alone(stored: Calibration) -> None:
    rng = random.Random(6)
    result = check(stored, [logistic(rng, -5) for _ in range(800)], [logistic(rng, 5) for _ in range(200)])
    assert result.tenable and not result.shifted
    assert result.fpr.n == 800 and result.fnr.n == 200 and result.abstain_fnr.n == 200
    assert result.fpr.interval[0] <= result.fpr.rate <= result.fpr.interval[1]
    assert (result.fpr.bound, result.fnr.bound) == (stored.fpr_bound, stored.fnr_bound)
    assert len(result.lines) == 5 and all("not refuted" in line for line in result.lines[:3])


def test_false_alarms_are_as_rare_as_stated(stored: Calibration) -> None:
    rng = random.Random(7)
    alarms = [check(stored, [logistic(rng, -5) for _ in range(150)], significance=0.1) for _ in range(200)]
    assert binomtest(sum(a.shifted for a in alarms), 200, 0.1, alternative="greater").pvalue > 1e-3
    assert binomtest(sum(not a.tenable for a in alarms), 200, 0.1, alternative="greater").pvalue > 1e-3


def test_a_refuted_bound_is_untenable(stored: Calibration) -> None:
    result = check(stored, [0.01] * 90 + [0.999] * 10)
    assert not result.tenable and result.fpr.errors == 10 and result.fpr.p_value < 0.01
    assert "is refuted" in result.lines[0] and result.fnr is None
    missed = check(stored, [0.01] * 100, [0.02] * 30)
    assert not missed.tenable and missed.fpr.p_value >= 0.01 > max(missed.fnr.p_value, missed.abstain_fnr.p_value)


def test_a_shift_alone_does_not_refute_a_bound(stored: Calibration) -> None:
    rng = random.Random(8)
    result = check(stored, [logistic(rng, -9) for _ in range(300)])  # still less like the scope than before
    assert result.shifted and result.tenable and result.fpr.errors == 0
    assert any("do not score like" in line for line in result.lines)
    lenient = check(stored, [logistic(rng, -9) for _ in range(5)], significance=1e-9)
    assert not lenient.shifted


def test_a_check_needs_retain_prompts_and_a_significance(stored: Calibration) -> None:
    with pytest.raises(ValueError, match="no retain prompts"):
        check(stored, [])
    with pytest.raises(ValueError, match="significance must lie between 0 and 1"):
        check(stored, [0.1], significance=0)


def test_few_prompts_are_allowed_no_errors() -> None:
    assert allowed_errors(59, 0.05, 0.95, "forget") == 0 and allowed_errors(93, 0.05, 0.95, "forget") == 1


# ---------------------------------------------------------------------------------------------------------------------
# Into a checkpoint


def test_a_new_calibration_goes_into_the_checkpoint_and_leaves_the_rest(guarded: Any, tmp_path: Any) -> None:
    guarded.save_guard(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    eco = guarded.config.eco
    scope = eco.scopes[0]
    new = calibrate_threshold(guarded.eco_guard.classifiers["wizards"], FORGET, RETAIN, max_fpr=0.5, max_fnr=0.5)
    scope.threshold, scope.abstain_threshold, scope.calibration = new.threshold, new.abstain_threshold, new
    rewrite_eco(tmp_path, eco)
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after.keys() == before.keys()
    assert {path.name for path in after if after[path] != before[path]} == {"config.json", "README.md"}
    old, written = (json.loads(files[tmp_path / "config.json"]) for files in (before, after))
    assert written["eco"] == json.loads(json.dumps(eco.to_dict()))
    assert {**old, "eco": 0} == {**written, "eco": 0}
    (tmp_path / "README.md").write_text("mine")
    rewrite_eco(tmp_path, eco)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_only_a_guard_of_this_machine_is_rewritten(guarded: Any, base_dir: str) -> None:
    with pytest.raises(ValueError, match="carries no guard"):
        rewrite_eco(base_dir, guarded.config.eco)
    with pytest.raises(NotADirectoryError, match="Download the guard first"):
        rewrite_eco("me/guard", guarded.config.eco)
