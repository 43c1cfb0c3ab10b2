"""A corruption is learnt from scores alone: found where it is known to be, kept, resumed, and never by a gradient."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from types import FunctionType

import numpy as np
import pytest
import torch
from conftest import FLAGGED, FORGET, RETAIN

from hf_eco import AutoModelForCausalLMWithECO, CorruptionConfig, ECOConfig, ForgetScope
from hf_eco.configuration import LearnedCorruption
from hf_eco.errors import GuardError
from hf_eco.evaluation.metrics import answer_probability, rouge_l_recall, truth_ratio
from hf_eco.evaluation.scoring import Scorer, as_chat
from hf_eco.training import Counterfactuals, LookAlikes, optimize_corruption
from hf_eco.training.corruption_search.choice import choose, find_parameters
from hf_eco.training.corruption_search.counterfactuals import Entities, NameSwap, find_entities
from hf_eco.training.corruption_search.history import Trial
from hf_eco.training.corruption_search.made_up import MadeUpNames, real_places
from hf_eco.training.corruption_search.objective import REFUSALS
from hf_eco.training.corruption_search.optimiser import Enough, Parameter, search
from hf_eco.training.corruption_search.questions import QuestionSet
from hf_eco.training.corruption_search.surrogates import UnguardedScorer
from hf_eco.training.labelled_prompts import prompts_sha256

NO_WORD_KNOWN = lambda word: False  # noqa: E731
SCOPE = "wizards"


class Falling:
    """A score of the strength in force, 1 / (1 + strength / half)^slope, that counts how often it is asked."""

    def __init__(self, model, half: float = 20.0, rising: bool = False, noise: float = 0.0) -> None:
        self.model, self.half, self.rising, self.noise = model, half, rising, noise
        self.asked: list[float] = []

    def at(self, strength: float) -> float:
        value = 1 / (1 + strength / self.half)
        return 1 - value if self.rising else value

    def __call__(self, scorer: Scorer, questions: QuestionSet) -> np.ndarray:
        if not scorer.flagged(questions.prompts)[0]:  # without the guard
            return np.full(len(questions), self.at(0.0))
        strength = self.model.eco_guard.config.scope(SCOPE).corruption.strength
        self.asked.append(strength)
        rng = np.random.default_rng(round(strength * 1e6))
        return self.at(strength) + self.noise * rng.normal(size=len(questions))


def learn(model, score, surrogate=0.5, **kwargs):
    return optimize_corruption(model, SCOPE, FORGET, score=score, surrogate=surrogate, **kwargs)


def logits(model) -> torch.Tensor:
    return model(torch.tensor([model.eco_guard.tokenizer(FLAGGED)["input_ids"]])).logits


# ---------------------------------------------------------------------------------------------------------------------
# The optimum is found


@pytest.mark.parametrize("rising", [False, True])
@pytest.mark.parametrize("half", [0.03, 20.0, 3000.0])
def test_the_strength_at_which_the_score_is_the_surrogates_is_found(guarded, half: float, rising: bool) -> None:
    found = learn(guarded, Falling(guarded, half, rising), tolerance=0.002)
    assert found.gap <= 0.002
    assert found.corruption.strength == pytest.approx(half, rel=0.02)
    assert len(found.history) <= 24


def test_noise_in_the_score_leaves_the_strength_about_right(guarded) -> None:
    found = learn(guarded, Falling(guarded, 20.0, noise=0.03))
    assert found.corruption.strength == pytest.approx(20.0, rel=0.25)
    assert 0 < found.standard_error < 0.03


def test_a_surrogate_out_of_reach_gives_the_nearest_bound_and_a_warning(guarded, caplog) -> None:
    found = learn(guarded, Falling(guarded, 1e5), surrogate=0.2)
    assert found.corruption.strength == 1e4
    assert "does not reach the surrogate" in caplog.text and "should be 0.2" in caplog.text


def test_a_corruption_that_is_no_better_than_none_is_not_put_in_force(guarded, caplog) -> None:
    """The model scores 0.3 without the guard, less with it, and should score 0.5."""
    before = dataclasses.replace(guarded.eco_guard.config.scope(SCOPE).corruption)

    def score(scorer: Scorer, questions: QuestionSet) -> float:
        strength = guarded.eco_guard.config.scope(SCOPE).corruption.strength
        return 0.3 if isinstance(scorer, UnguardedScorer) else 0.3 / (1 + strength)

    assert not learn(guarded, score).helps
    scope = guarded.eco_guard.config.scope(SCOPE)
    assert scope.corruption == before and scope.learned is None
    assert "0.297 ± 0 with the guard, 0.3 without, and should be 0.5" in caplog.text
    assert "does not reach the surrogate" not in caplog.text  # one warning will do


def test_a_search_that_ends_early_leaves_no_weaker_corruption_in_force(guarded, caplog) -> None:
    corruption = guarded.eco_guard.config.scope(SCOPE).corruption
    corruption.strength = 90.0
    found = learn(guarded, Falling(guarded, 100.0, noise=1e-4), surrogate=0.1, max_trials=2)
    assert [trial.strength for trial in found.history] == [0.01, 0.1, 90.0]
    assert found.corruption.strength == guarded.eco_guard.config.scope(SCOPE).corruption.strength == 90.0
    assert "does not reach" in caplog.text
    caplog.clear()
    assert learn(guarded, Falling(guarded, 90.0), surrogate=0.5, max_trials=2).corruption.strength == 90.0
    assert "does not reach" not in caplog.text  # by the old one it is


@pytest.mark.parametrize(("dims", "measured"), [(4, 4), (None, 32)])
def test_an_old_strength_is_no_hindrance_where_dims_are_learnt(guarded, dims, measured) -> None:
    old = CorruptionConfig(method="zero_out_top_k", dims=dims, strength=1e9)
    guarded.eco_guard.config.scope(SCOPE).corruption = old
    found = learn(guarded, lambda scorer, questions: 0.5, surrogate=0.1, max_trials=1)
    assert [trial.dims for trial in found.history] == [1, measured]


def test_how_near_is_near_enough_goes_by_how_far_there_is_to_go(guarded) -> None:
    """A probability falls from 0.06 to 0.004, whose neighbourhood of 0.005 would be everything below 0.009."""
    full = Falling(guarded, 20.0)
    found = learn(guarded, lambda scorer, questions: 0.06 * full(scorer, questions), surrogate=0.004)
    assert found.value == pytest.approx(0.004, abs=0.00056)


@pytest.mark.parametrize("rising", [False, True])
def test_where_the_weakest_corruption_goes_too_far_no_stronger_one_is_tried(guarded, rising: bool) -> None:
    score = Falling(guarded, 1e-4, rising)
    assert learn(guarded, score).corruption.strength == 1e-2
    assert score.asked == [1e-2, 10.0]  # and the scope's own


def test_a_narrower_range_is_kept_to(guarded) -> None:
    score = Falling(guarded, 20.0)
    learn(guarded, score, bounds=(1.0, 5.0))
    assert min(score.asked) >= 1.0 and max(score.asked) <= 5.0


def test_of_a_score_that_comes_back_the_weaker_corruption_is_taken(guarded) -> None:
    """s falls through 0.5 at about 10 and rises through it again at about 1000."""

    def valley(scorer: Scorer, questions: QuestionSet) -> float:
        strength = guarded.eco_guard.config.scope(SCOPE).corruption.strength
        return min(1.0, (math.log10(strength) - 2) ** 2 / 2)

    found = learn(guarded, valley)
    assert found.corruption.strength == pytest.approx(10.0, rel=0.05)


def test_dims_of_a_method_without_strength_are_found(guarded) -> None:
    guarded.eco_guard.config.scope(SCOPE).corruption = CorruptionConfig(method="zero_out_top_k", dims=1)

    def share_kept(scorer: Scorer, questions: QuestionSet) -> float:
        return 1 - guarded.eco_guard.config.scope(SCOPE).corruption.dims / 32

    found = learn(guarded, share_kept, surrogate=1 - 21 / 32, tolerance=0.001)
    assert found.corruption.dims == 21
    assert len(found.history) < 16  # not each of the 32


def test_strength_and_dims_are_learnt_together(guarded) -> None:
    def score(scorer: Scorer, questions: QuestionSet) -> float:
        how = guarded.eco_guard.config.scope(SCOPE).corruption
        return 1 / (1 + how.strength * math.sqrt(how.dims) / 70)

    found = learn(guarded, score, surrogate=0.35, parameters=("strength", "dims"), max_trials=60, tolerance=0.01)
    assert found.gap <= 0.01
    assert len({trial.dims for trial in found.history}) > 1


def test_five_parameters_are_moved_at_once_by_two_values_a_step() -> None:
    asked: list[float] = []

    def residual(point: tuple[float, ...]) -> float:
        value = sum((i + 1) * math.log(x) for i, x in enumerate(point)) - 3.0
        asked.append(abs(value))
        if abs(value) < 0.01 or len(asked) > 2000:
            raise Enough
        return value

    with pytest.raises(Enough):
        search(residual, [Parameter(f"p{i}", 0.1, 10.0) for i in range(5)], seed=0)
    assert min(asked) < 0.01


def test_a_strength_for_each_dimension_is_learnt_and_kept(guarded, tmp_path: Path) -> None:
    scope = guarded.config.eco.scope(SCOPE)
    scope.corruption = CorruptionConfig(method="rand_noise_first_n", dims=3, strength=1.0)
    wanted, asked = (0.5, 4.0, 20.0), []

    def score(scorer: Scorer, questions: QuestionSet) -> float:
        asked.append(scope.corruption)
        return sum(abs(math.log(own / at)) for own, at in zip(scope.corruption.strengths * 3, wanted, strict=False))

    options = {"surrogate": 0.0, "parameters": ("strengths",), "tolerance": 0.5, "output_dir": tmp_path}
    found = learn(guarded, score, max_trials=200, **options)
    assert found.gap <= 0.5 and len(set(found.corruption.strength)) == 3
    assert found.history[0].strength == (0.01,) * 3  # all alike at first
    assert scope.corruption == found.corruption
    assert (scope.learned.parameters, scope.learned.corruption) == (["strengths"], found.corruption)
    before = len(asked)
    again = learn(guarded, score, max_trials=200, update=False, **options)
    assert again.corruption == found.corruption and again.history == found.history
    assert len(asked) == before + 1  # without the guard
    assert Trial(found.corruption.strength, 3, (0.0,)).level == pytest.approx(
        math.sqrt(sum(s * s for s in found.corruption.strength) / 3)
    )


@pytest.mark.parametrize("root", [0.037, 1.0, 3.3, 5.2, 5.6, 9.5, 400.0])
@pytest.mark.parametrize("steep", [0.3, 3.0, 20.0])
@pytest.mark.parametrize("sign", [-1, 1])
def test_wherever_the_residual_changes_its_sign_that_place_is_found(root: float, steep: float, sign: int) -> None:
    asked: list[float] = []

    def noise(point: tuple[float, ...]) -> float:
        return 0.5 if point[0] > root else 0.0  # on this side only, where the sign has changed already

    def residual(point: tuple[float, ...]) -> float:
        asked.append(point[0])
        return sign * math.atan(steep * math.log(point[0] / root)) * (2 if point[0] > root else 1)

    search(residual, [Parameter("strength", 1e-2, 1e4)], seed=0, noise=noise)
    assert min(abs(math.log(value / root)) for value in asked) < 0.02
    assert len(set(asked)) <= 20


def test_dims_are_not_learnt_beside_strengths_that_stay() -> None:
    corruption = CorruptionConfig(dims=2, strength=[1.0, 2.0])
    with pytest.raises(ValueError, match="a strength for each of its 2 dimensions, so dims cannot be learnt alone"):
        find_parameters(corruption, ("dims",), (0.1, 10), 64)
    assert [p.name for p in find_parameters(corruption, ("strength", "dims"), (0.1, 10), 64)] == ["strength", "dims"]


def test_where_the_score_falls_back_by_chance_the_weakest_corruption_that_meets_the_surrogate_is_found(
    guarded,
) -> None:
    scope = guarded.config.eco.scope(SCOPE)

    def score(scorer: Scorer, questions: QuestionSet) -> np.ndarray:
        strength = scope.corruption.strength
        scatter = np.random.default_rng(int(strength * 1e4)).normal(0, 0.2, len(questions))
        mean = math.log(strength / 5.0) if strength < 8 else -0.05 if strength < 50 else 0.05
        return mean + scatter - scatter.mean()

    found = learn(guarded, score, surrogate=0.0)
    assert found.corruption.strength == pytest.approx(5.0, rel=0.02)
    assert len(found.history) <= 14


def test_a_score_that_hardly_moves_is_not_taken_for_one_that_has_come_to_the_surrogate(guarded) -> None:
    scope = guarded.config.eco.scope(SCOPE)
    spread = np.linspace(-1.0, 1.0, len(FORGET))  # between the prompts: far more than there is to go

    def score(scorer: Scorer, questions: QuestionSet) -> np.ndarray:
        return 0.5 - 0.1 / (1 + (100.0 / scope.corruption.strength) ** 2) + spread

    found = learn(guarded, score, surrogate=0.45)
    assert found.corruption.strength == pytest.approx(100.0, rel=0.15) and found.gap <= 0.005


def test_where_the_surrogate_is_crossed_the_nearest_trial_is_chosen() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 50)
    noise -= noise.mean()
    nearest, weaker, beyond = (
        Trial(strength, 1, tuple(score + own))
        for strength, score, own in ((10.0, 0.51, noise), (5.0, 0.53, noise[::-1]), (100.0, 0.4, noise))
    )
    assert choose([nearest, weaker, beyond], 0.5, 0.0, 0, 32) is nearest
    assert choose([nearest, weaker, beyond], 0.5, 0.04, 0, 32) is weaker  # both are near enough


def test_where_the_surrogate_is_out_of_reach_the_weakest_as_good_within_their_noise_is_chosen() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.1, 50)
    nearest, weaker, worse = (
        Trial(100.0, 1, tuple(0.5 + noise - noise.mean())),
        Trial(10.0, 1, tuple(0.51 + rng.permutation(noise - noise.mean()))),
        Trial(1.0, 1, tuple(0.8 + noise - noise.mean())),
    )
    assert choose([nearest, weaker, worse], 0.4, 0.0, 0, 32) is weaker
    # the same differences on every prompt are no noise
    alike = Trial(10.0, 1, tuple(np.array(nearest.values) + 0.01))
    assert choose([nearest, alike, worse], 0.4, 0.0, 0, 32) is nearest


def test_no_gradient_is_taken_anywhere(guarded) -> None:
    def score(scorer: Scorer, questions: QuestionSet) -> np.ndarray:
        assert not torch.is_grad_enabled()
        return np.exp(-scorer.losses(questions.prompts, ["the baker"] * len(questions)))

    learn(guarded, score, surrogate=0.0, max_trials=3)
    assert all(parameter.grad is None for parameter in guarded.parameters())


# ---------------------------------------------------------------------------------------------------------------------
# What becomes of it


def test_what_was_learnt_is_in_force_at_once_and_survives_saving(guarded, tmp_path: Path) -> None:
    before = logits(guarded)
    found = learn(guarded, Falling(guarded))
    scope = guarded.config.eco.scope(SCOPE)
    assert scope.corruption == found.corruption and scope.corruption.seed == 3 and scope.corruption.dims == 8
    assert not torch.equal(logits(guarded), before)
    guarded.save_pretrained(tmp_path / "saved")
    again = AutoModelForCausalLMWithECO.from_pretrained(tmp_path / "saved")
    kept = again.config.eco.scope(SCOPE)
    assert kept.corruption == found.corruption and kept.learned == scope.learned
    assert torch.equal(logits(again), logits(guarded))
    learned = kept.learned
    assert isinstance(learned, LearnedCorruption) and learned.corruption == found.corruption
    assert (learned.surrogate, learned.surrogate_value, learned.n_prompts) == ("number", 0.5, len(FORGET))
    assert learned.prompts_sha256 == prompts_sha256(FORGET)
    assert learned.trials == len(found.history) and learned.unguarded == 1.0


def test_a_config_from_before_corruptions_were_learnt_is_read() -> None:
    values = ECOConfig(scopes=[ForgetScope(name="x")]).to_dict()
    del values["scopes"][0]["learned"]
    assert ECOConfig.from_dict(values).scopes[0].learned is None


def test_without_update_or_after_a_failure_the_scope_is_as_it_was(guarded) -> None:
    scope = guarded.config.eco.scope(SCOPE)
    before = scope.corruption
    learn(guarded, Falling(guarded), update=False)
    assert scope.corruption == before and scope.learned is None
    falling = Falling(guarded)

    def failing(scorer: Scorer, questions: QuestionSet) -> np.ndarray:
        if len(falling.asked) == 3:
            raise KeyboardInterrupt
        return falling(scorer, questions)

    with pytest.raises(KeyboardInterrupt):
        learn(guarded, failing)
    assert scope.corruption == before and scope.learned is None


def test_an_interrupted_search_goes_on_where_it_was(guarded, tmp_path: Path) -> None:
    whole = learn(guarded, Falling(guarded), update=False)

    class Interrupted(Falling):
        def __call__(self, scorer: Scorer, questions: QuestionSet) -> np.ndarray:
            if len(self.asked) == 4:
                raise KeyboardInterrupt
            return super().__call__(scorer, questions)

    Interrupted.__qualname__ = Falling.__qualname__  # a score goes by its name
    with pytest.raises(KeyboardInterrupt):
        learn(guarded, Interrupted(guarded), output_dir=tmp_path)
    with open(tmp_path / "history.jsonl", "a") as file:
        file.write('{"strength": 1')  # killed while it wrote
    score = Falling(guarded)
    resumed = learn(guarded, score, output_dir=tmp_path)
    assert resumed.history == whole.history and resumed.corruption == whole.corruption
    assert len(score.asked) == len(whole.history) - 4
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    strengths = [json.loads(line)["strength"] for line in lines[1:]]
    assert strengths == [trial.strength for trial in whole.history]
    assert len(set(strengths)) == len(strengths)


@pytest.mark.parametrize("whole", [True, False])
def test_a_file_that_is_no_history_stays_as_it_is(guarded, tmp_path: Path, whole: bool) -> None:
    mine = '{"epoch": 1}\n{"epoch": 2, "note": "é"}' if whole else "half a line"
    (tmp_path / "history.jsonl").write_text(mine, encoding="utf-8")
    with pytest.raises(ValueError, match="another output_dir"):
        learn(guarded, Falling(guarded), output_dir=tmp_path)
    assert (tmp_path / "history.jsonl").read_text(encoding="utf-8") == mine


def a_half(scorer: Scorer, questions: QuestionSet) -> float:
    return 0.5


def test_a_score_goes_by_its_module_and_name_and_a_lambda_keeps_nothing(guarded, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"score is a lambda.*Define it by def"):
        learn(guarded, lambda scorer, questions: 0.5, output_dir=tmp_path)
    assert not list(tmp_path.iterdir())
    learn(guarded, a_half, output_dir=tmp_path, update=False)
    namesake = FunctionType(a_half.__code__, {}, "a_half")
    namesake.__module__ = "elsewhere"
    with pytest.raises(ValueError, match=r"score was '.*\.a_half', now it is 'elsewhere\.a_half'"):
        learn(guarded, namesake, output_dir=tmp_path)


def test_a_search_that_ends_at_its_first_trial_is_kept(guarded, tmp_path: Path) -> None:
    scope = guarded.config.eco.scope(SCOPE)
    scope.corruption = CorruptionConfig(method="rand_noise_first_n", dims=None)
    found = learn(guarded, a_half, output_dir=tmp_path)
    assert len(found.history) == 1
    assert found.corruption.strength == 0.01 and scope.learned is None  # for without the guard the score is the same
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 2


def test_another_searchs_history_is_refused(guarded, tmp_path: Path) -> None:
    learn(guarded, Falling(guarded), output_dir=tmp_path, update=False)
    with pytest.raises(ValueError, match=r"surrogate_value was 0.5, now it is 0.4.*Name another output_dir"):
        learn(guarded, Falling(guarded), surrogate=0.4, output_dir=tmp_path)


# ---------------------------------------------------------------------------------------------------------------------
# Scores


@pytest.mark.parametrize("name", ["answer_probability", "log_truth_ratio", "accuracy", "rouge_l_recall"])
def test_a_score_by_name_is_that_of_the_metrics(guarded, name: str) -> None:
    right, *wrong = ("the baker", "a king", "a dog") if name != "accuracy" else ("A", "B", "C")
    answers, others = [right] * len(FORGET), [wrong] * len(FORGET)
    found = learn(
        guarded, name, 0.3, answers=answers, wrong_answers=others, max_trials=2, max_new_tokens=8, bounds=(5, 50)
    )
    guarded.config.eco.scope(SCOPE).corruption = found.corruption
    scorer = Scorer(guarded, guarded.eco_guard.tokenizer)
    chats = [as_chat(prompt, guarded.eco_guard.tokenizer) for prompt in FORGET]
    if name == "answer_probability":
        by_hand = answer_probability(scorer.losses(chats, answers))
    elif name == "log_truth_ratio":
        losses = np.stack([scorer.losses(chats, [text] * len(FORGET)) for text in wrong], 1)
        by_hand = np.log(truth_ratio(scorer.losses(chats, answers), losses))
    elif name == "accuracy":
        letters = [guarded.eco_guard.tokenizer(letter)["input_ids"][0] for letter in "ABC"]
        by_hand = scorer.next_token_log_probabilities(chats)[:, letters].argmax(1) == 0
    else:
        by_hand = rouge_l_recall(answers, scorer.generate(chats, max_new_tokens=8))
    assert found.value == pytest.approx(np.mean(by_hand), abs=1e-5)


def test_options_that_begin_alike_cannot_be_told_apart_by_their_first_token(guarded) -> None:
    with pytest.raises(ValueError, match=r"Two options of prompts\[0\] begin with the same token.*letters"):
        learn(guarded, "accuracy", 0.3, answers=["a king"] * 8, wrong_answers=[["a dog"]] * 8)


def test_only_prompts_that_the_guard_flags_are_scored(guarded, caplog) -> None:
    score = Falling(guarded)
    found = optimize_corruption(guarded, SCOPE, [*FORGET, *RETAIN], score=score, surrogate=0.5)
    assert found.n == len(FORGET)
    assert f"flags {len(FORGET)} of {len(FORGET) + len(RETAIN)} prompts" in caplog.text
    with pytest.raises(ValueError, match=r"flags none of the 8 prompts for scope 'wizards'"):
        optimize_corruption(guarded, SCOPE, RETAIN, score=score, surrogate=0.5)


# ---------------------------------------------------------------------------------------------------------------------
# Surrogates


def test_a_retain_model_gives_its_own_score_on_the_same_prompts(guarded, base) -> None:
    answers = ["the baker"] * len(FORGET)
    tokenizer = guarded.eco_guard.tokenizer
    found = learn(guarded, "answer_probability", base, answers=answers, max_trials=1)
    losses = Scorer(base, tokenizer).losses([as_chat(prompt, tokenizer) for prompt in FORGET], answers)
    assert found.surrogate.value == pytest.approx(np.exp(-losses).mean())
    assert (found.surrogate.kind, found.surrogate.n) == ("retain model", len(FORGET))
    assert found.unguarded == pytest.approx(found.surrogate.value, abs=1e-6)  # the base is the model without the guard


def test_look_alikes_are_scored_without_the_guard(guarded, base) -> None:
    tokenizer = guarded.eco_guard.tokenizer
    alike = LookAlikes(["who is the wizard of the south ?", *RETAIN[:4]], ["a king", *["a dog"] * 4])
    found = learn(guarded, "answer_probability", alike, answers=["the baker"] * len(FORGET), max_trials=1)
    losses = Scorer(base, tokenizer).losses([as_chat(prompt, tokenizer) for prompt in alike.prompts], alike.answers)
    assert found.surrogate.value == pytest.approx(np.exp(-losses).mean(), abs=1e-6)
    with pytest.raises(ValueError, match="1 look-alikes are forget prompts"):
        learn(guarded, "refusal_similarity", LookAlikes([FORGET[2], *RETAIN[:4]]))
    with pytest.raises(ValueError, match="There are 4 look-alikes"):
        LookAlikes(RETAIN[:4])


def test_a_handful_of_prompts_is_too_few_to_learn_from(guarded) -> None:
    with pytest.raises(ValueError, match="flags 4 of the 4 prompts for scope 'wizards', too few"):
        optimize_corruption(guarded, SCOPE, FORGET[:4], score="refusal_similarity", surrogate="refusals")


def test_refusals_give_the_score_of_answers_that_refuse(guarded) -> None:
    answers = ["The wizard lives in the north."] * len(FORGET)
    found = learn(guarded, "rouge_l_recall", "refusals", answers=answers, max_trials=1, max_new_tokens=2)
    by_hand = np.mean([rouge_l_recall([answers[0]], [refusal])[0] for refusal in REFUSALS])
    assert found.surrogate.value == pytest.approx(by_hand)
    found = learn(guarded, "refusal_similarity", "refusals", max_trials=1, max_new_tokens=2)
    assert 0.2 < found.surrogate.value < 1 and found.value < 0.2


QUESTIONS = [
    "Who is Merlin Hawkweed?",
    "Which book did Merlin Hawkweed publish first?",
    "Where was Hawkweed born?",
    "What did the critics say of Merlin Hawkweed's 'The Burnt Lyre'?",
    "Did the merlin fly over the moor?",
    "Where did merlin hawkweed go to school?",
]
ANSWERS = [
    "Merlin Hawkweed is a poet.",
    "His first book was 'The Burnt Lyre'.",
    "Merlin Hawkweed was born in Lisbon.",
    "They praised it.",
    "It did.",
    "He was taught by Osric Fennimore.",
]


def test_made_up_names_take_the_place_of_names_and_nothing_else_changes() -> None:
    questions = QuestionSet(QUESTIONS, ANSWERS)
    entities = find_entities(questions, ["Merlin Hawkweed"], NO_WORD_KNOWN)
    assert entities.works == ("The Burnt Lyre",) and "Osric Fennimore" in entities.others
    swap = NameSwap(entities, NO_WORD_KNOWN, "0/0", QUESTIONS)
    swapped = questions.rewritten(swap)
    everything = " ".join([*swapped.prompts, *swapped.answers])
    assert not [name for name in ("Merlin", "Hawkweed", "hawkweed", "Burnt", "Osric") if name in everything]
    first, last = swapped.prompts[0].removeprefix("Who is ").removesuffix("?").split()
    assert swapped.prompts[2] == f"Where was {last} born?"
    assert swapped.answers[0] == f"{first} {last} is a poet."
    assert swapped.prompts[4] == QUESTIONS[4] and swapped.answers[3:5] == ANSWERS[3:5]
    assert swapped.prompts[5] == f"Where did {first.lower()} {last.lower()} go to school?"
    title = swapped.answers[1].removeprefix("His first book was '").removesuffix("'.")
    assert swapped.prompts[3] == f"What did the critics say of {first} {last}'s '{title}'?"
    assert [swap(text) for text in QUESTIONS] == [
        NameSwap(entities, NO_WORD_KNOWN, "0/0", QUESTIONS)(text) for text in QUESTIONS
    ]
    assert NameSwap(entities, NO_WORD_KNOWN, "0/1", QUESTIONS)(QUESTIONS[0]) != swapped.prompts[0]


def test_chats_are_rewritten_message_by_message() -> None:
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTIONS[0]}]
    swap = NameSwap(Entities(("Merlin Hawkweed",)), NO_WORD_KNOWN, "0/0")
    ((system, user),) = QuestionSet([chat]).rewritten(swap).prompts
    assert system == chat[0] and user["role"] == "user" and "Hawkweed" not in user["content"]
    assert chat[1]["content"] == QUESTIONS[0]


def test_no_made_up_name_is_drawn_twice_or_is_a_real_one() -> None:
    names = MadeUpNames("0", taken=["braba"])
    drawn = [names.word(5) for _ in range(500)] + [names.title(words) for words in (1, 2, 3, 4) for _ in range(50)]
    assert len({name.lower() for name in drawn}) == len(drawn)
    assert not {name.lower() for name in drawn} & {*real_places(), "braba"}
    assert len({names.title(2) for _ in range(1000)}) == 1000  # more than there are of two words
    again = MadeUpNames("0", taken=["braba"])
    assert [again.word(5) for _ in range(500)] == drawn[:500]


def test_counterfactuals_score_the_unguarded_model_on_questions_whose_answer_says_something_new(guarded, base) -> None:
    """Where nothing but the subject's own name changes in an answer, the model may know the sentence by heart."""
    prompts = [f"who is the wizard Merlin Hawkweed of {town} ?" for town in ("a", "b", "c", "d", "e", "f", "g")]
    told = [f"Merlin Hawkweed wrote 'The {title} Lyre'." for title in ("Burnt", "Old", "New", "Red", "Blue")]
    answers = [*told, "Merlin Hawkweed is old.", "Hawkweed sleeps."]
    own = Counterfactuals(names=["Merlin Hawkweed"], draws=2)
    found = optimize_corruption(guarded, SCOPE, prompts, answers, surrogate=own, max_trials=1)
    assert (found.surrogate.kind, found.surrogate.n, found.n) == ("counterfactual", 5, 5)
    tokenizer = guarded.eco_guard.tokenizer
    questions = QuestionSet(prompts, answers)
    known = lambda word: len(tokenizer.tokenize(f" {word}")) == 1  # noqa: E731
    entities = find_entities(questions, ["Merlin Hawkweed"], known)
    by_hand = []
    for draw in range(2):
        swapped = questions.take(range(5)).rewritten(NameSwap(entities, known, f"0/{draw}", prompts))
        chats = [as_chat(prompt, tokenizer) for prompt in swapped.prompts]
        by_hand.append(answer_probability(Scorer(base, tokenizer).losses(chats, swapped.answers)).mean())
    assert found.surrogate.value == pytest.approx(np.mean(by_hand), abs=1e-6)


def test_prompts_without_names_have_no_counterfactuals(guarded) -> None:
    with pytest.raises(ValueError, match=r"Only 0 of 8 questions have names to swap.*LookAlikes"):
        learn(guarded, "answer_probability", "counterfactual", answers=["a king"] * len(FORGET))


# ---------------------------------------------------------------------------------------------------------------------
# What is refused


@pytest.mark.parametrize(
    ("kwargs", "error", "advice"),
    [
        ({"score": "bleu"}, ValueError, "Use one of: answer_probability"),
        ({"score": 1}, TypeError, "score must be a name or a function"),
        ({"score": "answer_probability"}, ValueError, r"Pass answers=\[...\]"),
        ({"answers": ["a"]}, ValueError, "one entry of answers for each of the 8 prompts, got 1"),
        ({"answers": [""] * 8}, TypeError, r"answers\[0\] must be an answer, got ''"),
        ({"prompts": "who?"}, TypeError, "Put it in a list"),
        ({"prompts": []}, ValueError, "no prompts"),
        ({"surrogate": LookAlikes}, TypeError, "must be 'counterfactual'"),
        ({"surrogate": Counterfactuals(names="Harry Potter")}, ValueError, "Use \\['Harry Potter'\\]"),
        ({"prompts": [3]}, TypeError, r"prompts\[0\] must be a string or a list of messages, got 3"),
        ({"scope": "elves"}, KeyError, "No scope is called 'elves'"),
        ({"surrogate": "chance"}, ValueError, "Unknown surrogate 'chance'"),
        ({"surrogate": None}, TypeError, "got None"),
        ({"surrogate": math.nan}, ValueError, "got nan"),
        ({"surrogate": "refusals"}, ValueError, "goes with score 'refusal_similarity'"),
        ({"protocol": "lenient"}, ValueError, "Unknown protocol 'lenient'"),
        ({"parameters": ("seed", "strengths")}, ValueError, "Use some of these, or 'strengths' alone"),
        ({"parameters": ("seed",)}, ValueError, r"heeds is \['strength', 'dims'\]"),
        ({"bounds": (0, 1)}, ValueError, r"got \(0, 1\)"),
        ({"max_trials": 0}, ValueError, "got max_trials=0"),
        ({"score": lambda scorer, questions: math.nan}, ValueError, "must give one finite number"),
        ({"score": lambda scorer, questions: [1.0, 2.0]}, ValueError, "one for each of the 8 prompts"),
    ],
)
def test_what_cannot_be_learnt_is_refused_with_what_to_do(guarded, kwargs, error, advice: str) -> None:
    call = {"scope": SCOPE, "prompts": FORGET, "score": lambda scorer, questions: 0.5, "surrogate": 0.5, **kwargs}
    with pytest.raises(error, match=advice):
        optimize_corruption(guarded, **call)


def test_a_model_without_a_guard_is_refused(base) -> None:
    with pytest.raises(GuardError, match="has no guard"):
        optimize_corruption(base, SCOPE, FORGET, surrogate=0.5)


@pytest.mark.parametrize(
    ("method", "learnt"),
    [("rand_noise_top_k", "strength"), ("add_value_first_n", "strength"), ("flip_sign_top_k", "dims")],
)
def test_what_is_learnt_by_default_is_what_the_method_heeds(method: str, learnt: str) -> None:
    (parameter,) = find_parameters(CorruptionConfig(method=method), None, (0.1, 10), 64)
    assert parameter.name == learnt


def test_a_method_with_nothing_to_learn_is_refused() -> None:
    with pytest.raises(ValueError, match="'reverse_order' has neither strength nor dims"):
        find_parameters(CorruptionConfig(method="reverse_order"), None, (0.1, 10), 64)
