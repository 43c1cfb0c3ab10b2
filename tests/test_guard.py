"""Who is flagged and why, what is corrupted and what is not, and how a guard knows itself again."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import pytest
import torch
from conftest import CHAT_TEMPLATE, CLEAN, FLAGGED, byte_level_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_eco import (
    CorruptionConfig,
    ECOConfig,
    ForgetScope,
    Guard,
    GuardError,
    PromptClassifier,
    Verdict,
)
from hf_eco.configuration import Probe
from hf_eco.corruption import corrupt
from hf_eco.detection.classifier import ScoredSpan
from hf_eco.errors import GuardLoadError
from hf_eco.guard.guard import Plan

HIDDEN = 8


class WordClassifier:
    """Gives a window of a text `high` if it holds all of the words, else `low`; label "rain" looks for that word."""

    heads = None

    def __init__(self, *words: str, high: float = 0.9, low: float = 0.125, window: int = 10_000) -> None:
        self.words, self.high, self.low, self.window = words, high, low, window
        self.seen: list[list[str]] = []

    def label_index(self, label: str) -> int:
        return ["forget", "rain"].index(label)

    def score_spans(self, texts: list[str]) -> list[list[ScoredSpan]]:
        self.seen.append(list(texts))
        return [[self._score(text, i) for i in self._starts(text)] for text in texts]

    def _starts(self, text: str) -> range:
        return range(0, max(len(text) - self.window // 2, 1), self.window // 2)

    def _score(self, text: str, start: int) -> ScoredSpan:
        stretch = text[start : start + self.window]
        found = (all(word in stretch for word in self.words), "rain" in stretch)
        return ScoredSpan(start, start + len(stretch), tuple(self.high if hit else self.low for hit in found))


@pytest.fixture(scope="module")
def tokenizer():
    tokenizer = byte_level_tokenizer(eos_token="<|im_end|>", padding_side="left")
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


@pytest.fixture
def guard(tokenizer, classifier) -> Guard:
    """One scope, wizards, with the classifier that was trained for it."""
    return Guard(ECOConfig(scopes=[ForgetScope(name="wizards")]), {"wizards": classifier}, tokenizer)


@pytest.fixture
def guard_of(tokenizer):
    """Makes a guard of scopes whose classifiers are as given: guard_of(north=WordClassifier("north"))."""

    def make(thresholds=None, taggers=None, options=None, **classifiers) -> Guard:
        settings = {name: {"threshold": (thresholds or {}).get(name, 0.5)} for name in classifiers}
        scopes = [ForgetScope(name=name, **settings[name], **(options or {}).get(name, {})) for name in classifiers]
        return Guard(ECOConfig(scopes=scopes), classifiers, tokenizer, taggers)

    return make


def chat(*contents: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]


def inspect(guard: Guard, prompt) -> Verdict:
    return guard.inspect([prompt])[0]


def stretches(verdict: Verdict) -> list[str]:
    return [verdict.text[start:end] for start, end in verdict.spans]


def words(verdict: Verdict) -> str:
    return "".join(verdict.text[start:end] for start, end in dict.fromkeys(verdict.offsets[i] for i in verdict.tokens))


# ---------------------------------------------------------------------------------------------------------------------
# Deciding


def test_a_verdict_says_what_was_decided_and_why(guard, classifier):
    flagged, clean = guard.inspect([FLAGGED, CLEAN])
    assert flagged.flagged and flagged.scope == "wizards" and flagged.threshold == 0.5
    assert flagged.text == FLAGGED == words(flagged) and stretches(flagged) == [FLAGGED]
    assert not clean.flagged and clean.scope is None and clean.spans == clean.tokens == () and clean.text == CLEAN
    for verdict in (flagged, clean):
        assert verdict.probability == verdict.probabilities["wizards"]
        assert verdict.probability == pytest.approx(classifier.score([verdict.text])[0], abs=1e-5)
    assert "flagged as 'wizards'" in str(flagged) and f"{flagged.probability:.4f} >= 0.5000" in flagged.reason
    assert str(clean).startswith("Verdict(not flagged") and f"{clean.probability:.4f} < 0.5000" in clean.reason


def test_verdicts_come_in_the_order_of_the_prompts(guard):
    prompts = [FLAGGED, CLEAN, chat(FLAGGED, "a", "b"), CLEAN, "", FLAGGED]
    assert [v.flagged for v in guard.inspect(prompts)] == [True, False, True, False, False, True]
    assert guard.inspect([]) == guard.decide([]) == []


def test_a_prompt_at_the_threshold_is_flagged_and_one_below_is_not(guard_of):
    high = 0.75  # a float32 and a float64 alike
    for threshold, flagged in ((high, True), (high + 1e-9, False), (high - 1e-9, True)):
        guard = guard_of(north=WordClassifier("north", high=high), thresholds={"north": threshold})
        verdict = inspect(guard, FLAGGED)
        assert verdict.flagged is flagged and stretches(verdict) == [FLAGGED] * flagged


def test_of_several_scopes_the_most_probable_flagged_one_wins(guard_of):
    guard = guard_of(
        wizards=WordClassifier("wizard", high=0.7),
        north=WordClassifier("north", high=0.8),
        bakers=WordClassifier("the", high=0.95),
        thresholds={"bakers": 0.99},  # the most probable, but not flagged
    )
    verdict = inspect(guard, FLAGGED)
    assert (verdict.scope, verdict.probability, verdict.threshold) == ("north", 0.8, 0.5)
    assert verdict.probabilities == {"wizards": 0.7, "north": 0.8, "bakers": 0.95}
    clean = inspect(guard, "feed the dog")
    assert (clean.scope, clean.probability, clean.threshold) == (None, 0.95, 0.99)


def test_scopes_that_share_a_classifier_cost_one_pass_and_are_told_apart_by_label(guard_of):
    shared = WordClassifier("north")
    guard = guard_of(north=shared, rain=shared, options={"rain": {"label": "rain"}})
    both = guard.inspect(["the north", "rain", "rain in the north", "rain"])
    assert shared.seen == [["the north", "rain", "rain in the north"]]  # nor is a prompt scored twice
    assert [v.probabilities for v in both] == [
        {"north": 0.9, "rain": 0.125},
        {"north": 0.125, "rain": 0.9},
        {"north": 0.9, "rain": 0.9},
        {"north": 0.125, "rain": 0.9},
    ]


def test_a_batch_costs_one_forward_pass(guard, classifier, monkeypatch):
    passes, forward = [], classifier.model.forward
    monkeypatch.setattr(classifier.model, "forward", lambda **inputs: passes.append(1) or forward(**inputs))
    guard.inspect([FLAGGED, chat(FLAGGED, "a", CLEAN), CLEAN])
    assert len(passes) == 1


@pytest.mark.parametrize("place", [0, 7, 20])
def test_a_flagged_message_stays_flagged_however_long_the_conversation(guard, place):
    turns = [CLEAN, "the king was born in the country"] * 10
    assert not inspect(guard, chat(*turns)).flagged
    assert inspect(guard, chat(*turns[:place], FLAGGED, *turns[place:])).flagged


def test_what_is_forbidden_across_messages_is_judged_together(guard_of):
    classifier = WordClassifier("Harry", "spell")
    guard = guard_of(harry=classifier)
    verdict = inspect(guard, chat("I am Harry", "hello", "what is my spell ?"))
    assert verdict.flagged and stretches(verdict) == ["I am Harry", "what is my spell ?"]
    assert classifier.seen == [
        [
            *("I am Harry", "hello", "what is my spell ?"),
            *("I am Harry\nhello", "hello\nwhat is my spell ?"),
            *("I am Harry\nwhat is my spell ?", "I am Harry\nhello\nwhat is my spell ?"),
        ]
    ]
    assert not inspect(guard, chat("I am Harry", "hello", "what is my name ?")).flagged


def test_the_templates_words_are_not_judged(guard_of):
    guard = guard_of(helpful=WordClassifier("assistant"))
    assert "assistant" in inspect(guard, chat(CLEAN)).text
    assert not inspect(guard, chat(CLEAN)).flagged
    assert inspect(guard, chat("are you an assistant ?")).flagged


def test_spans_are_the_guilty_windows(guard_of):
    text = "a" * 100 + " wizard " + "b" * 100
    (first, second) = stretches(inspect(guard_of(wizards=WordClassifier("wizard", window=40)), text))
    assert "wizard" in first and "wizard" in second and len(first) == len(second) == 40
    verdict = inspect(guard_of(wizards=WordClassifier("wizard", window=60)), chat("c" * 100, "d" * 100, text))
    assert stretches(verdict) and all("wizard" in stretch for stretch in stretches(verdict))


def test_spans_of_a_window_across_messages_are_parts_of_each(guard_of):
    first, second = "a" * 30 + "Harry", "spell" + "c" * 50
    verdict = inspect(guard_of(harry=WordClassifier("Harry", "spell", window=40)), chat(first, second))
    assert stretches(verdict) == [first[20:], second[:24]]  # characters 20 to 60 of both, joined by one


def test_spans_leave_out_the_messages_that_are_innocent(guard_of):
    verdict = inspect(guard_of(wizards=WordClassifier("wizard")), chat(CLEAN, "the old dog", FLAGGED))
    assert stretches(verdict) == [FLAGGED]


def test_a_conversation_known_to_be_flagged_stays_so(guard_of):
    guard = guard_of(wizards=WordClassifier("wizard"), north=WordClassifier("north", high=0.99))
    ids = [guard.reader.encode(text) for text in ("hello there", "go north", "hello there", FLAGGED)]
    verdicts = guard.decide(ids, known=["wizards", "wizards", None, None])
    assert [v.scope for v in verdicts] == ["wizards", "wizards", None, "north"]
    assert [v.flagged for v in verdicts] == [True, True, False, True]
    assert words(verdicts[0]) == "hello there" and verdicts[0].probability == 0.125
    assert not guard.decide(ids[:1], known=["a scope that was removed"])[0].flagged


def test_the_reason_of_a_conversation_flagged_before_is_true(guard_of):
    guard = guard_of(wizards=WordClassifier("wizard"))
    (verdict,) = guard.decide([guard.reader.encode("hello")], known=["wizards"])
    assert "wizards" in verdict.reason and "0.1250 >= 0.5000" not in verdict.reason


def test_one_string_is_not_taken_for_a_list_of_prompts(guard):
    with pytest.raises(TypeError):
        guard.inspect(FLAGGED)


def test_a_broken_classifier_lets_nothing_pass(guard, classifier):
    broken = copy.deepcopy(classifier)
    with torch.no_grad():
        broken.model.classifier.bias.fill_(float("nan"))
    with pytest.raises(RuntimeError):  # a GuardError is one
        inspect(Guard(guard.config, {"wizards": broken}, guard.tokenizer), FLAGGED)


@pytest.mark.parametrize("tokens", ["content", "all"])
def test_the_scope_says_which_tokens_are_corrupted(guard_of, tokens):
    guard = guard_of(wizards=WordClassifier("wizard"), options={"wizards": {"tokens": tokens}})
    verdict = inspect(guard, chat(FLAGGED))
    last = verdict.offsets[-1]
    assert words(verdict).strip() == (FLAGGED if tokens == "content" else verdict.text[: last[0]])


class WizardTagger:
    def spans(self, text: str) -> list[tuple[int, int]]:
        return [(i, i + len("wizard")) for i in range(len(text)) if text.startswith("wizard", i)]


def test_entities_are_those_of_the_scopes_own_tagger(guard_of):
    options = {"wizards": {"tokens": "entities", "entities": "somewhere"}}
    guard = guard_of(wizards=WordClassifier("the"), taggers={"wizards": WizardTagger()}, options=options)
    assert words(inspect(guard, chat(FLAGGED))).split() == ["wizard"]
    assert words(inspect(guard, chat(CLEAN))) == CLEAN  # no entities: all of the content


# ---------------------------------------------------------------------------------------------------------------------
# Planning


def batch(guard: Guard, texts: list[str], side: str) -> tuple[torch.Tensor, torch.Tensor]:
    tokenizer = copy.deepcopy(guard.tokenizer)
    tokenizer.padding_side = side
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    return inputs["input_ids"], inputs["attention_mask"]


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_plan_lies_where_the_prompt_lies(guard, side):
    texts = [FLAGGED, CLEAN + " tell me about the garden", "wizard"]
    ids, mask = batch(guard, texts, side)
    plan = guard.plan(ids, mask)
    assert plan.scopes == ("wizards", None, "wizards") and plan.corrupts
    for row, verdict in enumerate(guard.inspect(texts)):
        assert plan.verdicts[row] == replace(
            verdict,
            probability=pytest.approx(verdict.probability),
            probabilities=pytest.approx(verdict.probabilities),
        )
        columns = mask[row].nonzero().flatten()
        assert plan.selected[row].nonzero().flatten().tolist() == columns[list(verdict.tokens)].tolist()
        assert plan.positions[row, columns].tolist() == list(range(len(columns)))
    assert torch.equal(plan.ids, ids) and torch.equal(plan.attended, mask.bool())
    assert plan.positions.min() >= 0


def test_without_an_attention_mask_every_token_is_read(guard):
    ids, _ = batch(guard, [FLAGGED], "left")
    plan = guard.plan(ids)
    assert plan.attended.all() and plan.selected.all() and plan.positions.tolist() == [list(range(ids.shape[1]))]
    assert not guard.plan(ids[:, :0]).corrupts


@pytest.mark.parametrize("side", ["left", "right"])
def test_an_answer_that_is_scored_is_neither_read_nor_corrupted(guard, side):
    ids, mask = batch(guard, [CLEAN + " the wizard", FLAGGED + " the wizard", FLAGGED + " a b c d e f"], side)
    lengths = torch.tensor([[len(guard.tokenizer(text)["input_ids"])] for text in (CLEAN, FLAGGED, FLAGGED)])
    positions = mask.cumsum(-1) - 1
    bounds = (positions < lengths) & mask.bool()
    plan = guard.plan(ids, mask, bounds)
    assert plan.scopes == (None, "wizards", "wizards")
    assert [v.text for v in plan.verdicts] == [CLEAN, FLAGGED, FLAGGED]
    assert torch.equal(plan.selected, bounds & torch.tensor([[False], [True], [True]]))
    assert torch.equal(plan.positions, positions.clamp(min=0))
    bounds[0] = False
    assert guard.plan(ids, mask, bounds).scopes == ("wizards", "wizards", "wizards")  # without bounds, all is prompt


def test_what_is_known_of_a_batch_is_kept(guard):
    ids, mask = batch(guard, [CLEAN, CLEAN], "left")
    plan = guard.plan(ids, mask, known=["wizards", None])
    assert plan.scopes == ("wizards", None) and plan.selected[0].all() and not plan.selected[1].any()


def plan_of(rows: int, columns: int) -> Plan:
    generator = torch.Generator().manual_seed(rows * 100 + columns)
    verdict = Verdict(False, None, 0.0, 0.5, {}, (), (), "", ())
    ids = torch.randint(9, (rows, columns), generator=generator)
    attended, selected = (torch.rand(rows, columns, generator=generator) < p for p in (0.8, 0.5))
    positions = torch.randint(9, (rows, columns), generator=generator)
    return Plan(tuple(replace(verdict, text=str(i)) for i in range(rows)), ids, attended, selected, positions)


def parts(plan: Plan) -> list:
    return [plan.verdicts, *(t.tolist() for t in (plan.ids, plan.attended, plan.selected, plan.positions))]


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_slices_of_a_plan_compose(data):
    plan = plan_of(2, 6)
    start = data.draw(st.integers(0, 9))
    stop = data.draw(st.integers(start, 12))
    first = data.draw(st.integers(0, stop - start))
    last = data.draw(st.integers(first, stop - start))
    outer = plan.columns(start, stop)
    assert parts(outer.columns(first, last)) == parts(plan.columns(start + first, start + last))
    within = slice(start, min(stop, 6))
    assert torch.equal(outer.selected[:, : max(6 - start, 0)], plan.selected[:, within])
    assert torch.equal(outer.ids[:, : max(6 - start, 0)], plan.ids[:, within])
    beyond = slice(max(6 - start, 0), None)  # what the model generates: there, but left alone
    assert outer.ids.shape[1] == stop - start
    assert not outer.selected[:, beyond].any() and outer.attended[:, beyond].all()


@pytest.mark.parametrize("times", [1, 3])
def test_a_repeated_plan_lays_its_rows_as_beams_are_laid(times):
    plan, repeated = plan_of(2, 4), plan_of(2, 4).repeat(times)
    assert [v.text for v in repeated.verdicts] == ["0"] * times + ["1"] * times
    for name in ("ids", "attended", "selected", "positions"):
        assert torch.equal(getattr(repeated, name), getattr(plan, name).repeat_interleave(times, dim=0))


# ---------------------------------------------------------------------------------------------------------------------
# Corrupting

NOISE = CorruptionConfig(method="rand_noise_first_n", dims=3, strength=2.0, seed=5)
FLIP = CorruptionConfig(method="flip_sign_top_k", dims=2, strength=1.0)
REVERSE = CorruptionConfig(method="reverse_order", strength=1.0)


def corrupting(guard_of, wizards: CorruptionConfig, north: CorruptionConfig = FLIP) -> Guard:
    classifiers = {"wizards": WordClassifier("wizard"), "north": WordClassifier("south")}
    options = {"wizards": {"corruption": wizards}, "north": {"corruption": north}}
    return guard_of(options=options, **classifiers)


def test_prompts_of_other_words_have_each_their_own_noise(guard_of):
    guard = corrupting(guard_of, CorruptionConfig("rand_noise_first_n", dims=None, strength=1.0))
    first, second = ("the wizard", "a wizard")
    embeddings = [torch.zeros(1, len(guard.tokenizer(text)["input_ids"]), HIDDEN) for text in (first, second)]
    plans = [guard.plan(torch.tensor([guard.tokenizer(text)["input_ids"]])) for text in (first, second)]
    added = [guard.corrupt(own, plan)[0, 0] for own, plan in zip(embeddings, plans, strict=True)]
    assert plans[0].ids[0, 0] != plans[1].ids[0, 0] and all(own.any() for own in added)
    assert not torch.equal(*added)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_each_row_gets_the_corruption_of_its_own_scope(guard_of, side, dtype):
    guard = corrupting(guard_of, NOISE)
    ids, mask = batch(guard, ["the wizard sleeps", CLEAN, "go south"], side)
    plan = guard.plan(ids, mask)
    assert plan.scopes == ("wizards", None, "north")
    embeddings = torch.randn(*ids.shape, HIDDEN, generator=torch.Generator().manual_seed(0)).to(dtype)
    before = embeddings.clone()
    after = guard.corrupt(embeddings, plan)
    assert torch.equal(embeddings, before)  # never in place
    for row, how in enumerate((NOISE, None, FLIP)):
        alone = before[row][mask[row].bool()][None]
        if how is not None:
            everything = torch.ones(alone.shape[:2], dtype=torch.bool)
            own = {"token_ids": ids[row][mask[row].bool()][None], "dims": how.dims, "seed": how.seed}
            alone = corrupt(alone, everything, how.method, strength=how.strength, **own)
        assert torch.equal(after[row][mask[row].bool()][None], alone)
        assert torch.equal(after[row][~mask[row].bool()], before[row][~mask[row].bool()])
    assert not torch.equal(after[0], before[0]) and not torch.equal(after[2], before[2])


def test_a_clean_batch_is_handed_back_as_it_is(guard_of):
    guard = corrupting(guard_of, REVERSE)
    ids, mask = batch(guard, [CLEAN, "hello"], "left")
    embeddings = torch.randn(*ids.shape, HIDDEN)
    assert guard.corrupt(embeddings, guard.plan(ids, mask), complete=False) is embeddings


def test_parts_of_a_prompt_are_corrupted_as_the_whole(guard_of):
    guard = corrupting(guard_of, NOISE)
    ids, mask = batch(guard, [FLAGGED, "wizard"], "left")
    plan, embeddings = guard.plan(ids, mask), torch.randn(*ids.shape, HIDDEN)
    pieces = [
        guard.corrupt(embeddings[:, a:b], plan.columns(a, b), complete=False) for a, b in ((0, 3), (3, ids.shape[1]))
    ]
    assert torch.equal(torch.cat(pieces, 1), guard.corrupt(embeddings, plan))


@pytest.mark.parametrize("method", ["reverse_order", "shuffle"])
def test_a_method_that_mixes_positions_refuses_a_part_of_a_prompt(guard_of, method):
    guard = corrupting(guard_of, CorruptionConfig(method=method, strength=1.0))
    ids, mask = batch(guard, [CLEAN, FLAGGED], "left")
    plan, embeddings = guard.plan(ids, mask), torch.randn(*ids.shape, HIDDEN)
    with pytest.raises(GuardError, match=f"'{method}' needs the whole prompt"):
        guard.corrupt(embeddings, plan, complete=False)
    after = guard.corrupt(embeddings, plan)
    assert torch.equal(after[0], embeddings[0]) and not torch.equal(after[1], embeddings[1])


# ---------------------------------------------------------------------------------------------------------------------
# Known answers


def other_tokenizer():
    """The same tokens, but every text begins with a space."""
    tokenizer = byte_level_tokenizer(eos_token="<|im_end|>")
    tokenizer.backend_tokenizer.pre_tokenizer.add_prefix_space = True
    return tokenizer


@pytest.fixture
def probed(guard) -> ECOConfig:
    """A config with known answers, as read from a file."""
    guard.record_probes()
    return ECOConfig.from_dict(guard.config.to_dict())


def test_known_answers_are_recorded_once_and_hold(guard, classifier, tokenizer):
    guard.check_probes()  # nothing known, nothing to check
    guard.record_probes()
    probes = guard.config.scopes[0].probes
    assert len({probe.prompt for probe in probes}) >= 3
    for probe in probes:
        assert probe.input_ids == tokenizer(probe.prompt)["input_ids"]
        assert probe.probability == pytest.approx(classifier.score([probe.prompt])[0], abs=1e-5)
    guard.check_probes()
    guard.record_probes()
    assert guard.config.scopes[0].probes == probes


def test_another_tokenizer_is_refused(probed, classifier, tokenizer):
    Guard(probed, {"wizards": classifier}, tokenizer).check_probes()
    with pytest.raises(GuardLoadError, match="made for another tokenizer"):
        Guard(probed, {"wizards": classifier}, other_tokenizer()).check_probes()


def test_another_classifier_is_refused(probed, classifier, tokenizer):
    other = copy.deepcopy(classifier)
    with torch.no_grad():
        other.model.classifier.weight.mul_(-1)
    with pytest.raises(GuardLoadError, match="classifier of scope 'wizards' is not the one"):
        Guard(probed, {"wizards": other}, tokenizer).check_probes()


@pytest.mark.parametrize(
    ("stored", "now", "holds"),
    [
        (0.5, 0.5, True),
        (0.5, 0.55, True),
        (0.5, 0.45, True),
        (0.5, 0.6, False),
        (0.5, 0.4, False),
        (0.999, 0.9991, True),
        (0.001, 0.002, False),  # as if nothing were in the scope: small numbers tell classifiers apart, too
        (0.0, 1e-7, True),
        (float("nan"), 0.5, False),
    ],
)
def test_known_answers_hold_within_what_machines_differ_by(guard_of, stored, now, holds):
    guard = guard_of(north=WordClassifier("north", high=now))
    guard.config.scopes[0].probes = [Probe(CLEAN, guard.reader.encode(CLEAN), stored)]
    if holds:
        guard.check_probes()
    else:
        with pytest.raises(GuardLoadError, match="p\\(forget\\)"):
            guard.check_probes()


# ---------------------------------------------------------------------------------------------------------------------
# Identity


def test_a_guard_decides_alike_in_another_process(guard):
    ids = [guard.reader.encode(prompt) for prompt in (chat(FLAGGED, "a", CLEAN), chat(CLEAN))]
    expected = guard.decide(ids)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        there = pool.submit(pickle.loads(pickle.dumps(guard)).decide, ids).result()
    for here, verdict in zip(expected, there, strict=True):
        assert verdict.probability == pytest.approx(here.probability, abs=1e-6)
        assert replace(verdict, probability=0.0, probabilities={}) == replace(here, probability=0.0, probabilities={})
    assert [v.flagged for v in there] == [True, False]


@pytest.mark.parametrize(
    ("options", "classifiers", "message"),
    [
        ({}, {}, "'wizards' has no classifier"),
        ({"tokens": "entities", "entities": "somewhere"}, {"wizards"}, "'wizards' has no token classifier"),
        ({"label": "LABEL_7"}, {"wizards"}, r"\['retain', 'forget'\], none is called 'LABEL_7'"),
    ],
    ids=["classifier", "tagger", "label"],
)
def test_a_guard_that_lacks_a_part_is_refused(classifier: PromptClassifier, tokenizer, options, classifiers, message):
    config = ECOConfig(scopes=[ForgetScope(name="wizards", **options)])
    with pytest.raises(ValueError, match=message):
        Guard(config, dict.fromkeys(classifiers, classifier), tokenizer)


def test_a_guard_prints_its_scopes(guard_of):
    text = repr(corrupting(guard_of, NOISE))
    assert "wizards: p(forget) >= 0.5, rand_noise_first_n, dims 3, strength 2, seed 5, on content" in text
    assert "north: p(forget) >= 0.5, flip_sign_top_k, dims 2" in text
