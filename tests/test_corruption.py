"""What a corruption does to a prompt's embeddings, and everything it leaves alone."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from hf_eco import corruption
from hf_eco.corruption import (
    corrupt,
    corruption_methods,
    mixes_positions,
    register_corruption,
    standard_normal,
)

HIDDEN = 16
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
ARGUMENTS = {"strength": 3.0, "seed": 7}


# What the methods promise, restated: which dimensions of a token change, then their new values. `sorted` is stable: of
# equal values the lower dimension comes first.
def first(token: list[float], dims: int) -> list[int]:
    return list(range(dims))


def largest_magnitudes(token: list[float], dims: int) -> list[int]:
    return sorted(range(HIDDEN), key=lambda dim: -abs(token[dim]))[:dims]


def largest_values(token: list[float], dims: int) -> list[int]:
    return sorted(range(HIDDEN), key=lambda dim: -token[dim])[:dims]


def smallest_values(token: list[float], dims: int) -> list[int]:
    return sorted(range(HIDDEN), key=lambda dim: token[dim])[:dims]


def add_noise(token: Tensor, noise: Tensor, strength: float) -> Tensor:
    return token + strength * noise


def set_noise(token: Tensor, noise: Tensor, strength: float) -> Tensor:
    return strength * noise


def zero(token: Tensor, noise: Tensor, strength: float) -> Tensor:
    return 0 * token


def flip_sign(token: Tensor, noise: Tensor, strength: float) -> Tensor:
    return -token


def add(token: Tensor, noise: Tensor, strength: float) -> Tensor:
    return token + strength


def subtract(token: Tensor, noise: Tensor, strength: float) -> Tensor:
    return token - strength


PROMISES = {
    "rand_noise_first_n": (first, add_noise),
    "rand_noise_top_k": (largest_magnitudes, add_noise),
    "set_rand_noise_first_n": (first, set_noise),
    "zero_out_first_n": (first, zero),
    "zero_out_top_k": (largest_magnitudes, zero),
    "flip_sign_first_n": (first, flip_sign),
    "flip_sign_top_k": (largest_magnitudes, flip_sign),
    "add_value_first_n": (first, add),
    "sub_value_first_n": (first, subtract),
    "sub_value_top_k": (largest_values, subtract),
    "add_value_least_k": (smallest_values, add),
}
MIXING = ["reverse_order", "shuffle"]
METHODS = [*PROMISES, "rand_noise_rand_n", *MIXING]


def random_embeddings(rows: int, columns: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, HIDDEN, generator=torch.Generator().manual_seed(seed)).to(dtype)


# Three prompts of six tokens: two with some tokens selected, one with none
MASK = torch.tensor([[0, 1, 1, 0, 1, 1], [1, 1, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0]], dtype=torch.bool)
POSITIONS = torch.arange(6).expand(3, 6)
TOKEN_IDS = torch.tensor([[5, 0, 49151, 5, 2**31, 1], [7, 7, 7, 7, 7, 7], [1, 2, 3, 4, 5, 6]])


def bits(values: Tensor) -> Tensor:
    """The bytes of `values`: unlike ==, they tell 0.0 from -0.0 and find NaN equal to itself."""
    return values.contiguous().view(torch.uint8)


# ---------------------------------------------------------------------------------------------------------------------
# Noise


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
    ids=["zeros", "ones", "pi"],
)
def test_the_random_bits_are_those_of_philox_4x32_10(counter: str, key: str, words: str) -> None:
    """The known answers published with Random123, the authors' own implementation."""
    c, k = ([int(word, 16) for word in text.split()] for text in (counter, key))
    bits = corruption._philox([torch.tensor(word) for word in c], (k[0], k[1]))
    assert [f"{word.item():08x}" for word in bits] == words.split()


@settings(deadline=None, derandomize=True)
@given(
    tokens=st.lists(st.tuples(st.integers(0, 2**62), st.integers(0, 2**32 - 1)), min_size=1, max_size=8),
    dims=st.integers(1, 9),
    more=st.integers(0, 9),
    seed=st.integers(0, 2**63 - 1),
)
def test_noise_is_a_function_of_seed_position_token_and_dimension(
    tokens: list[tuple[int, int]], dims: int, more: int, seed: int
) -> None:
    positions, token_ids = (torch.tensor([column]) for column in zip(*tokens, strict=True))
    together = standard_normal(positions, dims, seed, token_ids)
    assert together.shape == (1, len(tokens), dims) and together.dtype == torch.float32
    for index, (position, token_id) in enumerate(tokens):
        alone = standard_normal(torch.tensor(position), dims + more, seed, torch.tensor(token_id))
        assert torch.equal(together[0, index], alone[:dims])


def test_noise_is_standard_normal() -> None:
    noise = standard_normal(torch.arange(1000), 400, seed=0)
    assert stats.kstest(noise.flatten().numpy(), "norm").pvalue > 0.01
    assert all(stats.kstest(noise[:, dim].numpy(), "norm").pvalue > 0.001 for dim in range(8))
    assert all(stats.kstest(noise[position].numpy(), "norm").pvalue > 0.001 for position in range(8))


@pytest.mark.parametrize(
    ("position", "token_id", "dim", "seed"),
    [
        *[(1, 0, 0, 0), (2**32, 0, 0, 0), (0, 1, 0, 0), (0, 2**31, 0, 0), (0, 0, 1, 0), (0, 0, 2, 0), (0, 0, 4, 0)],
        *[(0, 0, 0, 1), (0, 0, 0, 2**32)],
    ],
)
def test_noise_is_independent_across_positions_tokens_dimensions_and_seeds(
    position: int, token_id: int, dim: int, seed: int
) -> None:
    positions, dims = torch.arange(500), 200
    here = standard_normal(positions, dims, seed=3)
    there = standard_normal(positions + position, dims + dim, 3 + seed, torch.full_like(positions, token_id))[:, dim:]
    for measure in (torch.Tensor.clone, torch.abs):  # dependent noise may still be uncorrelated; its size then tells
        a, b = measure(here).flatten(), measure(there).flatten()
        assert stats.pearsonr(a.numpy(), b.numpy()).pvalue > 0.001


@pytest.mark.parametrize("word", [0, 0xFFFFFFFF])
def test_noise_is_finite_and_not_zero_whatever_the_random_bits(word: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Box-Muller takes a logarithm; infinity times zero would be NaN."""
    monkeypatch.setattr(corruption, "_philox", lambda counter, key: [torch.full_like(c, word) for c in counter])
    noise = standard_normal(torch.arange(3), 4, seed=0)
    assert noise.isfinite().all() and noise.all()


def test_noise_stays_what_it_was_when_a_guard_was_saved() -> None:
    """A strength is learnt under one noise: these values may change only together with the format's version."""
    for seed, position, token_id, values in [
        (0, 0, 0, [0.99113768, -0.92466259, -0.61760896, -0.4820686, -0.15363823, 0.1808259]),
        (7, 3, 0, [0.72888398, 0.71782035, -1.54324603, -1.11799848, -0.99894613, 0.25733912]),
        (2**40 + 7, 2**33 + 5, 0, [-1.72784257, 2.72390223, 0.33692291, 0.62465048, -1.34372401, 0.99149913]),
        (7, 3, 49151, [-0.0322957, 0.36661422, 0.23300962, 0.76313025, -0.51526159, 0.31376082]),
    ]:
        noise = standard_normal(torch.tensor(position), 6, seed, torch.tensor(token_id))
        torch.testing.assert_close(noise, torch.tensor(values))
    zeros, every = torch.zeros(1, 1, HIDDEN), torch.ones(1, 1, dtype=torch.bool)
    chosen = corrupt(zeros, every, "rand_noise_rand_n", dims=4, seed=7).nonzero()[:, -1]
    assert chosen.tolist() == [0, 4, 7, 13]
    tokens = torch.arange(6.0).view(1, 6, 1)
    assert corrupt(tokens, tokens.squeeze(-1) >= 0, "shuffle", seed=7).flatten().tolist() == [4, 0, 2, 1, 3, 5]


@pytest.mark.parametrize("method", METHODS)
def test_torchs_own_random_state_is_neither_used_nor_changed(method: str) -> None:
    embeddings, results = random_embeddings(3, 6), []
    for state in (1, 2):
        torch.manual_seed(state)
        before = torch.get_rng_state()
        results.append(corrupt(embeddings, MASK, method, **ARGUMENTS))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*results)


# ---------------------------------------------------------------------------------------------------------------------
# What changes


def test_the_methods_are_those_described_here() -> None:
    """Their names are written into the config.json of saved guards."""
    assert corruption_methods() == sorted(METHODS)
    assert [method for method in METHODS if mixes_positions(method)] == MIXING


@pytest.mark.parametrize("dims", [1, 5, None])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("method", PROMISES)
def test_the_promised_dimensions_change_as_promised(method: str, dtype: torch.dtype, dims: int | None) -> None:
    embeddings, (choose, change) = random_embeddings(3, 6, dtype), PROMISES[method]
    noise = standard_normal(POSITIONS, HIDDEN, ARGUMENTS["seed"], TOKEN_IDS).double()
    if method == "set_rand_noise_first_n":  # of the token nothing is left
        noise = standard_normal(POSITIONS, HIDDEN, ARGUMENTS["seed"]).double()
    expected, changed = embeddings.double().clone(), torch.zeros(embeddings.shape, dtype=torch.bool)
    for row, column in MASK.nonzero().tolist():
        token = embeddings[row, column].double()
        chosen = choose(token.tolist(), dims or HIDDEN)
        expected[row, column, chosen] = change(token, noise[row, column], ARGUMENTS["strength"])[chosen]
        changed[row, column, chosen] = True
    result = corrupt(embeddings, MASK, method, token_ids=TOKEN_IDS, dims=dims, **ARGUMENTS)
    tolerance = 0.0 if change in (zero, flip_sign) else 2 * max(torch.finfo(d).eps for d in (dtype, torch.float32))
    torch.testing.assert_close(result.double(), expected, rtol=tolerance, atol=tolerance)
    assert torch.equal(result[~changed], embeddings[~changed])


@pytest.mark.parametrize("dims", [1, 5, HIDDEN])
def test_rand_noise_rand_n_adds_noise_to_random_dimensions_that_all_tokens_share(dims: int) -> None:
    embeddings = random_embeddings(3, 6)
    noise = 3.0 * standard_normal(POSITIONS, HIDDEN, 7, TOKEN_IDS)
    changed = corrupt(embeddings, MASK, "rand_noise_rand_n", token_ids=TOKEN_IDS, dims=dims, **ARGUMENTS)
    change = changed - embeddings
    chosen = (change != 0)[MASK].any(0)
    assert chosen.sum() == dims
    torch.testing.assert_close(change, noise * chosen * MASK.unsqueeze(-1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "method", ["rand_noise_first_n", "set_rand_noise_first_n", "add_value_first_n", "sub_value_first_n"]
)
def test_each_dimension_may_have_a_strength_of_its_own(method: str, dtype: torch.dtype) -> None:
    embeddings, mask = random_embeddings(2, 5, dtype), torch.tensor([[True, False, True, True, False]] * 2)
    strengths = [0.5, 2.0, 0.0, 8.0]
    changed = corrupt(embeddings, mask, method, dims=4, strength=strengths, seed=3)
    for i, strength in enumerate(strengths):
        alone = corrupt(embeddings, mask, method, dims=4, strength=strength, seed=3)
        torch.testing.assert_close(changed[..., i], alone[..., i], rtol=0, atol=0)
    torch.testing.assert_close(changed[..., 4:], embeddings[..., 4:], rtol=0, atol=0)
    torch.testing.assert_close(changed[~mask], embeddings[~mask], rtol=0, atol=0)


def test_strengths_that_do_not_fit_are_refused() -> None:
    embeddings, mask = random_embeddings(1, 2), torch.ones(1, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"'rand_noise_top_k' takes one strength, got a list. Only add_value_first_n"):
        corrupt(embeddings, mask, "rand_noise_top_k", dims=2, strength=[1.0, 2.0])
    with pytest.raises(ValueError, match="There are 2 strengths for 3 dimensions"):
        corrupt(embeddings, mask, "rand_noise_first_n", dims=3, strength=[1.0, 2.0])
    with pytest.raises(ValueError, match="strength must be finite"):
        corrupt(embeddings, mask, "rand_noise_first_n", dims=2, strength=[1.0, float("nan")])


def test_rand_noise_rand_n_chooses_every_dimension_equally_often() -> None:
    zeros, every = torch.zeros(1, 1, HIDDEN), torch.ones(1, 1, dtype=torch.bool)
    counts = sum((corrupt(zeros, every, "rand_noise_rand_n", dims=4, seed=s) != 0).flatten().int() for s in range(400))
    assert stats.chisquare(counts.numpy()).pvalue > 0.01


@pytest.mark.parametrize(
    ("method", "taken"),
    [
        ("rand_noise_top_k", [1.0, -1.0, 1.0, -1.0]),
        ("zero_out_top_k", [1.0, -1.0, 1.0, -1.0]),
        ("flip_sign_top_k", [1.0, -1.0, 1.0, -1.0]),
        ("sub_value_top_k", [1.0, 1.0, 1.0, 1.0]),
        ("add_value_least_k", [-1.0, -1.0, -1.0, -1.0]),
    ],
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_of_equal_values_the_lower_dimensions_are_chosen(method: str, taken: list[float], dtype: torch.dtype) -> None:
    """Ties are the rule in bfloat16; which dimensions change must not depend on the sorting of a device."""
    token = torch.tensor([0.0] * (HIDDEN - 4) + taken, dtype=dtype).view(1, 1, HIDDEN)
    result = corrupt(token, torch.ones(1, 1, dtype=torch.bool), method, dims=3, **ARGUMENTS)
    assert (result != token).nonzero()[:, -1].tolist() == [HIDDEN - 4, HIDDEN - 3, HIDDEN - 2]


def test_reverse_order_reverses_the_selected_tokens() -> None:
    tokens = torch.arange(18.0).view(3, 6, 1)
    assert corrupt(tokens, MASK, "reverse_order").squeeze(-1).tolist() == [
        [0, 5, 4, 3, 2, 1],
        [11, 7, 8, 9, 10, 6],
        [12, 13, 14, 15, 16, 17],
    ]


def test_shuffle_puts_the_selected_tokens_into_an_order_drawn_by_the_seed() -> None:
    tokens, mask = torch.arange(5.0).view(1, 5, 1), torch.tensor([[True, False, True, True, False]])
    orders = Counter(tuple(corrupt(tokens, mask, "shuffle", seed=s).flatten().tolist()) for s in range(600))
    assert set(orders) == {(a, 1.0, b, c, 4.0) for a, b, c in permutations([0.0, 2.0, 3.0])}
    assert stats.chisquare(list(orders.values())).pvalue > 0.01


@pytest.mark.parametrize("method", METHODS)
def test_dims_none_means_all_dimensions(method: str) -> None:
    embeddings = random_embeddings(3, 6)
    result = corrupt(embeddings, MASK, method, dims=None, **ARGUMENTS)
    assert torch.equal(result, corrupt(embeddings, MASK, method, dims=HIDDEN, **ARGUMENTS))
    assert (result != embeddings)[MASK].any(0).all()


# ---------------------------------------------------------------------------------------------------------------------
# What does not change


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_unselected_tokens_and_the_input_are_left_bit_identical(method: str, dtype: torch.dtype) -> None:
    embeddings = random_embeddings(3, 6, dtype)
    embeddings[~MASK] = torch.tensor([float("nan"), float("inf"), -0.0, 1e-7] * (HIDDEN // 4), dtype=dtype)
    before, mask = embeddings.clone(), MASK.clone()
    result = corrupt(embeddings, mask, method, dims=4, **ARGUMENTS)
    assert result.dtype == dtype
    assert torch.equal(bits(result[~MASK]), bits(before[~MASK]))
    assert torch.equal(bits(embeddings), bits(before)) and torch.equal(mask, MASK)
    assert not torch.equal(bits(result[MASK]), bits(before[MASK]))


@pytest.mark.parametrize("method", METHODS)
def test_the_result_is_a_new_tensor_even_if_nothing_is_selected(method: str) -> None:
    embeddings = random_embeddings(3, 6)
    result = corrupt(embeddings, torch.zeros_like(MASK), method, **ARGUMENTS)
    assert torch.equal(result, embeddings)
    result.zero_()
    assert torch.equal(embeddings, random_embeddings(3, 6))


@pytest.mark.parametrize(
    ("row", "rows", "left", "right"),
    [(0, 1, 0, 0), (1, 3, 0, 0), (0, 1, 3, 0), (0, 1, 0, 3), (2, 3, 2, 1)],
    ids=["alone", "in a batch", "padded left", "padded right", "padded in a batch"],
)
@pytest.mark.parametrize("method", METHODS)
def test_a_prompt_is_corrupted_alike_wherever_it_stands(
    method: str, row: int, rows: int, left: int, right: int
) -> None:
    prompt, mask = random_embeddings(1, 6), MASK[:1]
    batch = random_embeddings(rows, left + 6 + right, seed=1)
    batch_mask = torch.rand(batch.shape[:2], generator=torch.Generator().manual_seed(1)) < 0.5
    positions, token_ids = torch.arange(batch.shape[1]).repeat(rows, 1), torch.arange(batch.shape[1]).repeat(rows, 1)
    place = (slice(row, row + 1), slice(left, left + 6))
    batch_mask[row] = False  # padding is never selected; its positions may be anything
    batch[place], batch_mask[place], positions[row], positions[place] = prompt, mask, 1, torch.arange(6)
    token_ids[place] = TOKEN_IDS[:1]
    result = corrupt(batch, batch_mask, method, positions=positions, token_ids=token_ids, dims=5, **ARGUMENTS)
    assert torch.equal(result[place], corrupt(prompt, mask, method, token_ids=TOKEN_IDS[:1], dims=5, **ARGUMENTS))


@pytest.mark.parametrize("method", METHODS)
def test_a_prompt_may_be_corrupted_in_parts_unless_the_method_mixes_positions(method: str) -> None:
    embeddings = random_embeddings(3, 6)
    parts = [
        corrupt(embeddings[:, part], MASK[:, part], method, positions=POSITIONS[:, part], dims=5, **ARGUMENTS)
        for part in (slice(0, 3), slice(3, 6))
    ]
    whole = corrupt(embeddings, MASK, method, dims=5, **ARGUMENTS)
    assert torch.equal(torch.cat(parts, dim=1), whole) is not mixes_positions(method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "view", [lambda t: t.mT, lambda t: t[:, ::2], lambda t: t[:1].expand(3, -1, -1)], ids=["mT", "slice", "expand"]
)
def test_the_memory_layout_of_the_embeddings_does_not_matter(method: str, view) -> None:
    embeddings = view(torch.randn(3, 12, 12, generator=torch.Generator().manual_seed(0)))
    mask = torch.rand(embeddings.shape[1], 3, generator=torch.Generator().manual_seed(1)).T < 0.7
    before = embeddings.clone()
    result = corrupt(embeddings, mask, method, dims=5, **ARGUMENTS)
    assert torch.equal(result, corrupt(before.contiguous(), mask.contiguous(), method, dims=5, **ARGUMENTS))
    assert torch.equal(embeddings, before)


@pytest.mark.parametrize("method", METHODS)
def test_gradients_flow_unchanged_through_unselected_tokens(method: str) -> None:
    embeddings, upstream = random_embeddings(3, 6).requires_grad_(), random_embeddings(3, 6, seed=1)
    (gradient,) = torch.autograd.grad(corrupt(embeddings, MASK, method, dims=5, **ARGUMENTS), embeddings, upstream)
    assert torch.equal(gradient[~MASK], upstream[~MASK])
    assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_a_huge_strength_stays_finite(method: str, dtype: torch.dtype) -> None:
    """1e6 is beyond float16, 1e39 beyond float32 and bfloat16; one infinite embedding makes every logit NaN."""
    embeddings = random_embeddings(3, 6, dtype)
    for strength in (1e6, 1e39, 1e300):
        assert corrupt(embeddings, MASK, method, dims=5, strength=strength).isfinite().all()


# ---------------------------------------------------------------------------------------------------------------------
# Arguments and the registry


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"dims": 0}, r"1\.\.16.*dims=0\. Use dims=None"),
        ({"dims": -1}, r"1\.\.16.*dims=-1\. Use dims=None"),
        ({"dims": HIDDEN + 1}, r"1\.\.16.*dims=17\. Use dims=None"),
        ({"mask": MASK.int()}, r"mask must be bool.*torch\.int32"),
        ({"mask": MASK[:, :5]}, r"mask must be .*\(3, 6\), got \(3, 5\)"),
        ({"mask": MASK.unsqueeze(-1)}, r"mask must be .*\(3, 6\), got \(3, 6, 1\)"),
        ({"token_ids": POSITIONS.float()}, r"token_ids must be integers of shape \(3, 6\), got .*float32"),
        ({"token_ids": POSITIONS[:1]}, r"token_ids must be integers of shape \(3, 6\), got \(1, 6\)"),
        ({"positions": POSITIONS[:1]}, r"positions must be integers of shape \(3, 6\), got \(1, 6\)"),
        ({"method": "rand_noise"}, r"Unknown corruption method 'rand_noise'\. Use one of: .*rand_noise_first_n"),
        ({"embeddings": torch.ones(3, 6, HIDDEN, dtype=torch.long)}, r"embeddings must be .*floats.*torch\.int64"),
        ({"embeddings": torch.ones(6, HIDDEN)}, r"embeddings must be \(batch, sequence, hidden\).*\(6, 16\)"),
    ],
)
def test_a_wrong_argument_is_refused_by_name_and_value(wrong: dict, message: str) -> None:
    arguments = {"embeddings": random_embeddings(3, 6), "mask": MASK, "method": "rand_noise_first_n"}
    with pytest.raises(ValueError, match=message):
        corrupt(**{**arguments, **wrong})


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(corruption, "_METHODS", dict(corruption._METHODS))


@pytest.mark.parametrize("mixes", [False, True])
def test_a_function_of_ones_own_is_registered_by_name(registry: None, mixes: bool) -> None:
    @register_corruption("scale", mixes_positions=mixes)
    def scale(embeddings: Tensor, mask: Tensor, **arguments) -> Tensor:
        received.update(arguments)
        return torch.where(mask.unsqueeze(-1), arguments["strength"] * embeddings, embeddings)

    received: dict = {}
    embeddings = random_embeddings(3, 6)
    assert torch.equal(corrupt(embeddings, MASK, "scale", strength=2.0, seed=5)[MASK], 2 * embeddings[MASK])
    assert torch.equal(received.pop("positions"), POSITIONS)
    assert torch.equal(received.pop("token_ids"), torch.zeros_like(POSITIONS))
    assert received == {"dims": HIDDEN, "strength": 2.0, "seed": 5}
    assert "scale" in corruption_methods() and mixes_positions("scale") is mixes


def test_a_function_that_does_not_take_tokens_is_not_given_any(registry: None) -> None:
    @register_corruption("halve")
    def halve(embeddings: Tensor, mask: Tensor, *, positions, dims, strength, seed) -> Tensor:
        return torch.where(mask.unsqueeze(-1), embeddings / 2, embeddings)

    embeddings = random_embeddings(3, 6)
    assert torch.equal(corrupt(embeddings, MASK, "halve", token_ids=TOKEN_IDS)[MASK], embeddings[MASK] / 2)


def test_a_function_that_is_registered_anew_is_called_as_it_is_now(registry: None) -> None:
    def cell(version: int) -> None:
        if version == 1:

            @register_corruption("own", mixes_positions=True, takes_strengths=True)
            def own(embeddings: Tensor, mask: Tensor, *, token_ids, **_) -> Tensor:
                return embeddings

        else:

            @register_corruption("own")
            def own(embeddings: Tensor, mask: Tensor, *, positions, dims, strength, seed) -> Tensor:
                return torch.where(mask.unsqueeze(-1), -embeddings, embeddings)

    cell(1)
    cell(2)
    embeddings = random_embeddings(3, 6)
    assert torch.equal(corrupt(embeddings, MASK, "own", token_ids=TOKEN_IDS)[MASK], -embeddings[MASK])
    assert not mixes_positions("own")
    with pytest.raises(ValueError, match=r"'own' takes one strength"):
        corrupt(embeddings, MASK, "own", dims=2, strength=[1.0, 2.0])


def test_only_added_noise_depends_on_the_token() -> None:
    embeddings = random_embeddings(3, 6)

    def heeds(method: str) -> bool:
        one, other = (corrupt(embeddings, MASK, method, token_ids=ids) for ids in (TOKEN_IDS, TOKEN_IDS + 1))
        return not torch.equal(one, other)

    assert {method for method in METHODS if heeds(method)} == {
        *("rand_noise_first_n", "rand_noise_rand_n", "rand_noise_top_k"),
    }


def test_a_name_belongs_to_one_function(registry: None) -> None:
    with pytest.raises(ValueError, match=r"'zero_out_first_n' exists already\. Choose another name"):
        register_corruption("zero_out_first_n", mixes_positions=True)(lambda embeddings, mask, **_: embeddings)
    assert corrupt(random_embeddings(3, 6), MASK, "zero_out_first_n")[MASK].eq(0).all()
    assert not mixes_positions("zero_out_first_n")
    register_corruption("zero_out_first_n")(corruption.zero_out_first_n)  # the same function again is no clash
