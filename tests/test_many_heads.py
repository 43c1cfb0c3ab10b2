"""Many heads on one encoder: computed in few large products, with the verdicts of each by itself."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_scope_heads import HIDDEN, NAME, SHAPE, classifier_with, head

from hf_eco import PromptClassifier
from hf_eco.detection.heads import CLEARLY_NOT, HeadShape, ScopeHead, ScopeHeads, TokenHead, pool
from hf_eco.detection.names import Lexicon, Lexicons
from hf_eco.detection.packed_heads import HeadInputs, PackedHead

REAL = HeadShape(layers=(0, 4, 6))  # as training makes them, on an encoder of 384


def of_real_size(seed: int) -> ScopeHead:
    torch.manual_seed(seed)
    network = TokenHead(REAL, 384)
    for parameter in network.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
    return ScopeHead(network.eval().requires_grad_(False))


@pytest.fixture(scope="module")
def heads() -> dict[str, ScopeHead]:
    return {f"scope-{seed}": of_real_size(seed) for seed in range(9)}


def a_batch(batch: int, sequence: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of texts of several lengths, and which tokens are read."""
    torch.manual_seed(sequence)
    lengths = torch.tensor([max(1, sequence - 2 * row) for row in range(batch)])
    features = torch.randn(batch, sequence, 3 * 384) * 3 + 0.5
    return features, torch.arange(sequence) < lengths[:, None]


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize(("batch", "sequence"), [(1, 1), (1, 50), (4, 20)])
def test_a_packed_head_says_what_the_head_says(batch: int, sequence: int, members: int) -> None:
    torch.manual_seed(members)
    shape = HeadShape(layers=(0, 4, 6), members=members)
    network = TokenHead(shape, 384).eval().requires_grad_(False)
    for parameter in network.parameters():  # scales and shifts that are not 1 and 0
        parameter.add_(torch.randn_like(parameter), alpha=0.1)
    features, mask = a_batch(batch, sequence)
    packed, inputs = PackedHead(network), HeadInputs.of(features, mask)
    first = packed.first(inputs)
    for found, expected in (
        (first, network.each(features, mask)[0]),
        (packed.all(inputs, first), network(features, mask)),
    ):
        torch.testing.assert_close(found[mask], expected[mask], rtol=1e-5, atol=1e-5)


def test_the_other_members_are_asked_unless_the_first_speaks_clearly_against_a_text() -> None:
    features, mask = a_batch(2, 20)
    shape = HeadShape(layers=(0, 4, 6), members=2)
    torch.manual_seed(0)
    network = TokenHead(shape, 384).eval().requires_grad_(False)
    for member in network.members:  # says its bias of every text
        member.output[1].weight.zero_()
    for above, weight in ((-0.1, 0.0), (0.0, 0.0), (0.5, 0.5), (1.0, 1.0), (3.0, 1.0)):
        first = CLEARLY_NOT + above
        expected = (1 - weight) * first + weight * (first + 6.0) / 2
        for member, said in zip(network.members, (first, 6.0), strict=True):
            member.output[1].bias.fill_(said)
        scores, _ = ScopeHeads(shape, {"a": ScopeHead(network)}).scores(features, mask, mask)
        torch.testing.assert_close(scores, torch.full((1, 2), expected))


@pytest.mark.parametrize(("batch", "sequence"), [(1, 3), (1, 5), (1, 52), (2, 8), (5, 33)])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_other_heads_change_no_bit_of_a_score(batch: int, sequence: int, threads: int, heads) -> None:
    features, mask = a_batch(batch, sequence)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        scores, columns = ScopeHeads(REAL, heads).scores(features, mask, mask)
        for number, (label, own) in enumerate(heads.items()):
            alone, its_columns = ScopeHeads(REAL, {label: own}).scores(features, mask, mask)
            assert torch.equal(scores[number], alone[0])
            assert torch.equal(columns[number], its_columns[0])
    finally:
        torch.set_num_threads(before)
    expected = pool(next(iter(heads.values())).head(features, mask), mask, REAL.top)[0]
    torch.testing.assert_close(scores[0], expected, rtol=1e-4, atol=1e-4)


def test_weights_that_change_in_place_are_noticed() -> None:
    classifier = classifier_with({"forget": head(1)})
    before = classifier.score(["where do rivers rise ?"])
    for parameter in classifier.heads.heads["forget"].head.parameters():
        parameter.zero_()
    assert classifier.score(["where do rivers rise ?"]) == [0.5] != before


def test_heads_loaded_in_inference_mode_score_alike(tmp_path) -> None:
    classifier_with({"forget": head(1)}).save_pretrained(str(tmp_path))
    with torch.inference_mode():
        inside = PromptClassifier.from_pretrained(str(tmp_path))
    outside = PromptClassifier.from_pretrained(str(tmp_path))
    assert inside.score(["where do rivers rise ?"]) == outside.score(["where do rivers rise ?"])


def test_a_stretch_tells_of_one_label() -> None:
    classifier = classifier_with({"kings": head(1), "people": head(2, [NAME]), "cats": head(3)})
    (spans,) = classifier.score_spans([f"where was {NAME} born ?"])
    for span in spans:
        ((number, probability),) = span.above_zero()
        assert list(span.probabilities) == [probability if i == number else 0.0 for i in range(3)]
        assert span.probabilities[-3:] == tuple(span.probabilities)
        with pytest.raises(IndexError):
            span.probabilities[3]
    assert {number for span in spans for number, _ in span.above_zero()} == {0, 1, 2}


# --- Names of many heads

OWN = [
    ["Hermia Dovetail", "Osgood Farrow Jr."],
    [],
    ["Quentin", "Maeve O'Trelawn"],
    ["Ian Trelawn", "Hermia Dovetail"],
    ["The Office", "Ana Perry", "Jean van-der-Berg"],
]
WORDS = ["Hermia", "Dovetail", "Farrow", "O'Trelawn", "Trelawn", "Perry", "Quentin", "van-der-Berg", "Berg", "Jr."]
WORDS += [
    "who",
    "is",
    "Mr",
    "Hermai",
    "dovetail",
    "The",
    "Office",
    "the",
    "_Perry",
    "x*Perry",
    "Perry's",
    "H.",
    "K",
    "’",
    "\n",
    "-",
]


@settings(deadline=None, max_examples=150)
@given(st.lists(st.sampled_from(WORDS), max_size=9), st.sampled_from([" ", " ", "", ", "]))
def test_all_lexicons_as_one_find_what_each_finds(words: list[str], between: str) -> None:
    text = between.join(words)
    lexicons = [Lexicon(names) if names else None for names in OWN]
    found = ALL.find(text)
    for number, lexicon in enumerate(lexicons):
        own = [mention for n, mention in found if n == number]
        alone = lexicon.find(text) if lexicon is not None else []
        assert sorted(own, key=repr) == sorted(alone, key=repr)
    named = {n for n, lexicon in enumerate(lexicons) if lexicon is not None and lexicon.find_last_names(text)}
    assert ALL.with_last_names(text) == named


ALL = Lexicons([Lexicon(names) if names else None for names in OWN])


def test_lexicons_that_share_an_index_each_know_their_own() -> None:
    more = Lexicons([Lexicon(["Ana Perry"]), Lexicon(["Cosima Feldspar"])], ALL)
    text = "Did Cosima Feldspar meet Hermia Dovetail ?"
    assert [number for number, _ in more.find(text)] == [1]
    assert sorted(number for number, _ in ALL.find(text)) == [0, 3]
    assert more.with_last_names("Did Feldspar meet Dovetail ?") == {1}


def test_a_name_counts_for_each_head_that_has_it_and_its_last_name_too() -> None:
    classifier = classifier_with({"a": head(1, [NAME]), "b": head(2), "c": head(3, [NAME, "Osgood Farrow"])})
    bare = classifier_with({"a": head(1), "b": head(2), "c": head(3)})
    for label, weight in (("a", 2.5), ("b", 0.0), ("c", 2.5)):
        scores = [torch.tensor(c.score(["did Dovetail sing ?"], label=label)).logit() for c in (bare, classifier)]
        torch.testing.assert_close(scores[1] - scores[0], torch.tensor([weight]), rtol=0, atol=1e-3)
        named = classifier.score([f"did {NAME} sing ?"], label=label)[0]
        assert named > 0.99 if label != "b" else named == bare.score([f"did {NAME} sing ?"], label="b")[0]


def test_the_shapes_are_those_that_are_promised() -> None:
    features = torch.randn(2, 7, len(SHAPE.layers) * HIDDEN)
    mask = torch.ones(2, 7, dtype=torch.bool)
    scores, columns = ScopeHeads(SHAPE, {"a": head(1), "b": head(2), "c": head(3)}).scores(features, mask, mask)
    assert (scores.shape, columns.shape) == ((3, 2), (3, 2, SHAPE.top))
