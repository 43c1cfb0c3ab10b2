"""Many scopes on one encoder: each has a head of its own, and no head hears of the others."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import CLEAN, FLAGGED, FORGET, RETAIN, byte_level_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, LlamaForCausalLM, PreTrainedTokenizerFast

from hf_eco import AutoModelForCausalLMWithECO, ECOConfig, ForgetScope, Guard, PromptClassifier
from hf_eco.detection.heads import HeadShape, ScopeHead, ScopeHeads, TokenHead, pool
from hf_eco.detection.names import Lexicon
from hf_eco.errors import GuardError

SHAPE = HeadShape(layers=(0, 1), width=8, attention_heads=2, top=3)
HIDDEN = 16
NAME = "Hermia Dovetail"
LONG = "tell me about the rivers of the north " * 20
TEXTS = [*FORGET, *RETAIN, FLAGGED, CLEAN, LONG, f"{LONG}{FLAGGED}", f"where was {NAME} born ?", "🧙 né", ""]


def head(seed: int, names: Sequence[str] = (), floor: float = 0.0) -> ScopeHead:
    """Random, but of decided opinions."""
    torch.manual_seed(seed)
    network = TokenHead(SHAPE, HIDDEN)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return ScopeHead(network.eval().requires_grad_(False), Lexicon(names) if names else None, floor)


def classifier_with(
    heads: dict[str, ScopeHead], seed: int = 0, max_length: int = 32, batch_size: int = 32, **kwargs: Any
) -> PromptClassifier:
    tokenizer = byte_level_tokenizer(model_max_length=max_length)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=HIDDEN,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.2,
        **kwargs,
    )
    return PromptClassifier(BertModel(config), tokenizer, batch_size=batch_size, heads=ScopeHeads(SHAPE, heads))


def guard_of(
    classifiers: dict[str, PromptClassifier], tokenizer: PreTrainedTokenizerFast, **thresholds: float
) -> Guard:
    """A guard whose scopes are called like their classifiers' labels."""
    scopes = [
        ForgetScope(name=name, classifier=name, label=name, threshold=thresholds.get(name, 0.5))
        for name in classifiers
    ]
    return Guard(ECOConfig(scopes=scopes), classifiers, tokenizer)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by the number of windows of each pass through an encoder."""
    passes: list[int] = []
    forward = BertModel.forward

    def counted(self, input_ids, *args, **kwargs):
        passes.append(len(input_ids))
        return forward(self, input_ids, *args, **kwargs)

    monkeypatch.setattr(BertModel, "forward", counted)
    return passes


# --- A text's score


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(-9, 9), st.booleans()), min_size=1, max_size=8).filter(
        lambda r: any(c for _, c in r)
    ),
    st.integers(1, 5),
)
def test_a_score_is_the_mean_of_the_highest_tokens_that_count(row, top) -> None:
    logits, counted = (torch.tensor(values) for values in zip(*row, strict=True))
    (score,), (columns,) = pool(logits[None], counted[None], top)
    highest = sorted(logits[counted].tolist(), reverse=True)[:top]
    assert score.item() == pytest.approx(sum(highest) / len(highest), abs=1e-5)
    assert sorted(logits[columns][counted[columns]].tolist(), reverse=True) == highest


def test_rows_with_fewer_tokens_than_are_pooled_stand_for_themselves() -> None:
    logits = torch.tensor([[4.0, 2.0, 9.0, 9.0], [1.0, 2.0, 3.0, 4.0], [-5.0, 9.0, 9.0, 9.0]])
    counted = torch.tensor([[True, True, False, False], [True] * 4, [True, False, False, False]])
    assert pool(logits, counted, 4)[0].tolist() == [3.0, 2.5, -5.0]
    assert pool(logits, counted, 100)[0].tolist() == [3.0, 2.5, -5.0]


def test_a_token_that_is_not_a_number_is_seen() -> None:
    logits = torch.tensor([[9.0, 8.0, 7.0, float("nan")], [1.0, float("nan"), 2.0, 3.0]])
    scores, _ = pool(logits, torch.tensor([[True] * 4, [True, False, True, True]]), 2)
    assert scores[0].isnan()
    assert scores[1] == 2.5  # one that does not count is not


def test_padding_changes_no_token_of_a_head() -> None:
    network = head(0).head
    features = torch.randn(1, 5, len(SHAPE.layers) * HIDDEN)
    padded = torch.cat([features, torch.full((1, 3, features.shape[-1]), 99.0)], 1)
    alone = network(features, torch.ones(1, 5, dtype=torch.bool))
    beside = network(padded, torch.tensor([[True] * 5 + [False] * 3]))
    assert alone.shape == (1, 5)
    torch.testing.assert_close(beside[:, :5], alone)


# --- Scores


def test_a_head_scores_a_text_by_what_it_says_of_its_best_window() -> None:
    classifier = classifier_with({"forget": head(0)})
    (spans,) = classifier.score_spans([LONG + FLAGGED])
    windows = classifier.encode([LONG + FLAGGED])
    assert len(spans) == len(windows) > 5
    alone = [classifier.score([(LONG + FLAGGED)[w.start : w.end]])[0] for w in windows]
    assert classifier.score([LONG + FLAGGED])[0] == pytest.approx(max(alone), abs=1e-5)
    assert max(alone) - min(alone) > 0.01
    for span in spans:
        assert any(w.start <= span.start < span.end <= w.end for w in windows)


def test_each_label_has_scores_of_its_own() -> None:
    classifier = classifier_with({"kings": head(1), "Bakers": head(2), "cats": head(3)})
    assert classifier.labels == ["kings", "Bakers", "cats"]
    for seed, label in enumerate(("kings", "bakers", "CATS"), start=1):
        assert classifier.score(TEXTS, label=label) == classifier_with({"forget": head(seed)}).score(TEXTS)
    with pytest.raises(ValueError, match=r"\['kings', 'Bakers', 'cats'\].*'forget'"):
        classifier.score(TEXTS)


def test_scores_do_not_depend_on_the_other_texts() -> None:
    classifier = classifier_with({"forget": head(0)})
    together = classifier.score(TEXTS)
    assert together == pytest.approx([classifier.score([text])[0] for text in TEXTS], abs=1e-5)
    assert len({round(score, 3) for score in together}) > len(TEXTS) // 2
    assert together[-1] == 0.0  # the empty one


@pytest.mark.parametrize(
    "text", [f"where was {NAME} born ?", f"{LONG}{NAME} {LONG}", "H 3 r m 1 a  D 0 v e t a 1 l", "Dovetail, Hermia"]
)
def test_a_name_counts_for_its_scope_alone_wherever_it_stands(text: str) -> None:
    classifier = classifier_with({"people": head(1, [NAME]), "kings": head(2)})
    assert classifier.score([text], label="people")[0] > 0.99
    assert classifier.score([text], label="kings") == classifier_with({"forget": head(2)}).score([text])
    (spans,) = classifier.score_spans([text])
    assert any(span.probabilities[0] > 0.99 and "D" in text[span.start : span.end] for span in spans)


def test_broken_weights_are_an_error_that_names_the_scope() -> None:
    broken = head(0)
    for parameter in broken.head.parameters():
        parameter.fill_(float("nan"))
    with pytest.raises(GuardError, match="'kings' gave scores that are not finite"):
        classifier_with({"bakers": head(1), "kings": broken}).score(TEXTS, label="bakers")


def test_the_floor_is_that_of_the_scope(classifier: PromptClassifier) -> None:
    heads = classifier_with({"kings": head(1, floor=0.25), "bakers": head(2)})
    assert (heads.floor("Kings"), heads.floor("bakers")) == (0.25, 0.0)
    assert classifier.floor() == 0.0  # no heads, no floor
    with pytest.raises(ValueError, match="cats"):
        heads.floor("cats")


# --- On disk


@pytest.fixture
def saved(tmp_path: Path) -> tuple[PromptClassifier, Path]:
    classifier = classifier_with({"people": head(1, [NAME, "Osgood Farrow Jr."], 0.125), "kings": head(2)})
    classifier.save_pretrained(str(tmp_path / "clf"))
    return classifier, tmp_path / "clf"


def test_a_saved_classifier_gives_the_same_scores(saved, tmp_path: Path) -> None:
    classifier, directory = saved
    loaded = PromptClassifier.from_pretrained(str(directory))
    loaded.save_pretrained(str(tmp_path / "again"))
    again = PromptClassifier.from_pretrained(str(tmp_path / "again"))
    for other in (loaded, again):
        assert sorted(other.labels) == ["kings", "people"]
        assert (other.floor("people"), other.floor("kings")) == (0.125, 0.0)
        for label in other.labels:
            assert other.score(TEXTS, label=label) == classifier.score(TEXTS, label=label)
        assert other.score(["0sgood Farrow"], label="people")[0] > 0.99
    assert not list(tmp_path.rglob("*.bin"))


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))], ids=["deepcopy", "pickle"]
)
def test_a_copy_scores_alike_and_stands_alone(copied) -> None:
    original = classifier_with({"forget": head(1, [NAME])})
    expected = original.score(TEXTS)
    other = copied(original)
    for parameter in original.heads.heads["forget"].head.parameters():
        parameter.zero_()
    assert other.score(TEXTS) == expected != original.score(TEXTS)


def rewrite(directory: Path, **changes) -> None:
    config = json.loads((directory / "config.json").read_text())
    config["eco_heads"] |= changes
    (directory / "config.json").write_text(json.dumps(config))


def test_heads_of_a_newer_version_ask_for_an_upgrade(saved) -> None:
    rewrite(saved[1], version=2)
    with pytest.raises(ValueError, match=r"version 2.*pip install -U hf-eco"):
        PromptClassifier.from_pretrained(str(saved[1]))


@pytest.mark.parametrize(
    "damage",
    [
        lambda directory, weights: weights.pop(next(iter(weights))),
        lambda directory, weights: weights.update({"people/more": torch.ones(1)}),
        lambda directory, weights: weights.update({name: t[..., :1].contiguous() for name, t in weights.items()}),
        lambda directory, weights: weights.clear(),
        lambda directory, weights: rewrite(directory, shape={"layers": [0, 1], "width": 12}),
        lambda directory, weights: rewrite(directory, shape={"depth": 3}),
        lambda directory, weights: rewrite(directory, scopes={"people": {}}),
        lambda directory, weights: rewrite(directory, scopes=["people"]),
    ],
    ids=[
        "a weight gone",
        "a weight too many",
        "other sizes",
        "no weights",
        "other shape",
        "no shape",
        "no names",
        "list",
    ],
)
def test_damaged_heads_are_refused(damage, saved) -> None:
    _, directory = saved
    weights = load_file(directory / "heads.safetensors")
    damage(directory, weights)
    save_file(weights, directory / "heads.safetensors")
    with pytest.raises(ValueError, match=r"(?s)heads are damaged .*Download it again"):
        PromptClassifier.from_pretrained(str(directory))


@pytest.mark.parametrize("size", [0, 100, -100])
def test_a_heads_file_cut_short_is_refused(size: int, saved) -> None:
    file = saved[1] / "heads.safetensors"
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"(?s)heads are damaged .*Download it again"):
        PromptClassifier.from_pretrained(str(saved[1]))


def test_a_missing_heads_file_is_named(saved) -> None:
    (saved[1] / "heads.safetensors").unlink()
    with pytest.raises(OSError, match=r"heads\.safetensors"):
        PromptClassifier.from_pretrained(str(saved[1]))


# --- Many scopes, one pass


@pytest.fixture
def tokenizer(base_dir: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(base_dir)


@pytest.fixture
def loaded(tmp_path: Path) -> dict[str, PromptClassifier]:
    """Three scopes' classifiers, each from a directory of its own, on the same encoder."""
    classifiers = {}
    for seed, label in enumerate(("people", "kings", "bakers")):
        classifier_with({label: head(seed, [NAME] if label == "people" else [])}).save_pretrained(
            str(tmp_path / label)
        )
        classifiers[label] = PromptClassifier.from_pretrained(str(tmp_path / label))
    return classifiers


def probabilities(guard: Guard, scope: str) -> list[float]:
    return [verdict.probabilities[scope] for verdict in guard.inspect(TEXTS[:-1])]


@pytest.mark.parametrize(
    "scopes", [("people", "kings"), ("kings", "people"), ("people", "kings", "bakers"), ("bakers", "people")]
)
def test_other_scopes_change_no_bit_of_a_scope_and_cost_no_pass(scopes, loaded, tokenizer, passes) -> None:
    alone = probabilities(guard_of({"people": loaded["people"]}, tokenizer), "people")
    for_one = list(passes)
    passes.clear()
    beside = probabilities(guard_of({scope: loaded[scope] for scope in scopes}, tokenizer), "people")
    assert beside == alone
    assert passes == for_one != []


def test_scopes_that_share_an_encoder_are_told_apart(loaded, tokenizer) -> None:
    guard = guard_of(loaded, tokenizer)
    for label, classifier in loaded.items():
        expected = [classifier.score([text], label=label)[0] for text in FORGET]
        found = [verdict.probabilities[label] for verdict in guard.inspect(FORGET)]
        assert found == pytest.approx(expected, abs=1e-5)
    assert len({guard.inspect([FLAGGED])[0].probabilities[label] for label in loaded}) == 3


def test_scopes_of_one_classifier_cost_one_pass(tokenizer, passes) -> None:
    classifier = classifier_with({"people": head(1), "kings": head(2), "bakers": head(3)})
    guard = guard_of({label: classifier for label in classifier.labels}, tokenizer)
    verdicts = guard.inspect([FLAGGED])
    assert len(passes) == 1
    assert verdicts[0].probabilities == {
        label: classifier.score([FLAGGED], label=label)[0] for label in classifier.labels
    }


def test_scopes_with_the_same_label_keep_their_own_heads(tokenizer) -> None:
    classifiers = {name: classifier_with({"forget": head(seed)}) for seed, name in enumerate(("kings", "bakers"))}
    scopes = [ForgetScope(name=name, classifier=name) for name in classifiers]
    (verdict,) = Guard(ECOConfig(scopes=scopes), classifiers, tokenizer).inspect([FLAGGED])
    assert verdict.probabilities == {name: own.score([FLAGGED])[0] for name, own in classifiers.items()}


def test_labels_that_differ_in_case_keep_their_own_heads(tokenizer) -> None:
    classifiers = {label: classifier_with({label: head(seed)}) for seed, label in enumerate(("Jane", "jane"))}
    scopes = [ForgetScope(name=f"scope-{i}", label=label) for i, label in enumerate(classifiers)]
    named = {scope.name: classifiers[scope.label] for scope in scopes}
    (verdict,) = Guard(ECOConfig(scopes=scopes), named, tokenizer).inspect([FLAGGED])
    expected = [own.score([FLAGGED], label=label)[0] for label, own in classifiers.items()]
    assert list(verdict.probabilities.values()) == expected and len(set(expected)) == 2


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"max_length": 16}, {"layer_norm_eps": 1e-3}, {"batch_size": 64}],
    ids=["weights", "window", "config", "batch size"],
)
def test_different_encoders_each_have_a_pass(other, tokenizer, passes) -> None:
    classifiers = {
        "kings": classifier_with({"kings": head(1)}),
        "bakers": classifier_with({"bakers": head(2)}, **other),
    }
    expected = {label: own.score([LONG], label=label)[0] for label, own in classifiers.items()}
    passes.clear()
    (verdict,) = guard_of(classifiers, tokenizer).inspect([LONG])
    assert len(passes) == 2
    assert verdict.probabilities == pytest.approx(expected, abs=1e-5)


def test_a_guard_leaves_its_classifiers_as_they_were(loaded, tokenizer) -> None:
    guard_of(loaded, tokenizer).inspect(TEXTS[:-1])
    assert [classifier.labels for classifier in loaded.values()] == [["people"], ["kings"], ["bakers"]]


def test_a_head_decides_in_a_guard(tokenizer) -> None:
    classifier = classifier_with({"kings": head(1)})
    low, high = sorted([FLAGGED, CLEAN], key=lambda text: classifier.score([text], label="kings"))
    middle = sum(classifier.score([low, high], label="kings")) / 2
    guilty, innocent = guard_of({"kings": classifier}, tokenizer, kings=middle).inspect([high, low])
    assert (guilty.flagged, guilty.scope, innocent.flagged) == (True, "kings", False)
    assert guilty.spans and guilty.tokens and not innocent.tokens


def test_a_name_is_flagged_in_a_guard_and_its_span_named(tokenizer) -> None:
    guard = guard_of({"people": classifier_with({"people": head(1, [NAME])})}, tokenizer, people=0.99)
    name, nobody = guard.inspect([f"where was {NAME} born ?", "where was Hermia Nightingale born ?"])
    assert name.flagged and (10, 10 + len(NAME)) in name.spans
    assert not nobody.flagged


def test_a_scope_is_added_to_and_taken_from_a_model_without_touching_the_others(loaded, base_dir, passes) -> None:
    def scope(label: str) -> ForgetScope:
        return ForgetScope(name=label, classifier=loaded[label].model.name_or_path, label=label)

    model = AutoModelForCausalLMWithECO.from_pretrained(
        base_dir, eco_config=ECOConfig(scopes=[scope("people"), scope("kings")])
    )
    assert isinstance(model, LlamaForCausalLM)

    def verdicts() -> dict[str, list[float]]:
        passes.clear()
        found = model.inspect(TEXTS[:-1])
        return {name: [verdict.probabilities[name] for verdict in found] for name in found[0].probabilities}

    before = verdicts()
    for_two = list(passes)
    model.add_scope(scope("bakers"), classifier=loaded["bakers"])
    with_bakers = verdicts()
    assert passes == for_two
    assert {name: with_bakers[name] for name in before} == before and with_bakers.keys() - before == {"bakers"}
    model.remove_scope("people")
    assert verdicts() == {name: with_bakers[name] for name in ("kings", "bakers")}
    assert passes == for_two
