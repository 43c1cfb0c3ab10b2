"""The corrupted positions and values are a function of prompt and config, however the model is called."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from conftest import CLEAN, FLAGGED
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from torch.nn.functional import pad
from transformers import ContinuousBatchingConfig, DynamicCache, GenerationConfig, LlamaForCausalLM, StaticCache

import hf_eco.corruption
from hf_eco import (
    AutoModelForCausalLMWithECO,
    CorruptionConfig,
    ECOConfig,
    ForgetScope,
    Guard,
    GuardError,
)
from hf_eco.corruption import corrupt, corruption_methods, mixes_positions
from hf_eco.detection.classifier import ScoredSpan
from hf_eco.guard.plan import Plan
from hf_eco.guard.verdict import Verdict
from hf_eco.inference.caches import find_cache, returned_cache
from hf_eco.inference.continuous_batching import requests_in_batch
from hf_eco.inference.packed_rows import Segments, find_segments

METHODS = [name for name in corruption_methods() if hasattr(hf_eco.corruption, name)]  # not those of other tests
WORDS = ["wizard", "the wizard of the north", "rivers", "hush", "who is", "tell me about", "the", "king", "old", "?"]
WORDS += ["naïve", "魔法", "<|im_end|>", "\n"]


def examples(count: int, **options):
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    return settings(
        max_examples=count, deadline=None, derandomize=True, database=None, suppress_health_check=checks, **options
    )


class Rivers:
    """Flags what mentions rivers until somebody says hush, so that a flagged text may become a clean one."""

    heads = None

    def label_index(self, label="forget"):
        return 0

    def to(self, device):
        pass

    def score_spans(self, texts):
        return [[ScoredSpan(0, len(t), (0.97 if "rivers" in t and "hush" not in t else 0.03,))] for t in texts]


@pytest.fixture(scope="module")
def model(base_dir, classifier_dir, classifier):
    config = ECOConfig(scopes=[ForgetScope(name="wizards", classifier=classifier_dir)])
    return AutoModelForCausalLMWithECO.from_pretrained(
        base_dir, eco_config=config, classifiers={"wizards": classifier}
    )


@pytest.fixture(scope="module")
def bare(base_dir):
    return LlamaForCausalLM.from_pretrained(base_dir)


def scopes(mixing: bool):
    methods = [name for name in METHODS if mixing or not mixes_positions(name)]
    corruptions = st.builds(
        CorruptionConfig,
        method=st.sampled_from(methods),
        dims=st.none() | st.integers(1, 32),
        strength=st.floats(0, 100, width=32),
        seed=st.integers(0, 2**63 - 1),
    )
    return st.tuples(*[st.tuples(corruptions, st.sampled_from(["content", "all"]))] * 2)


def attach(model, drawn) -> None:
    """Two scopes: wizards, known by the trained classifier, and rivers."""
    own = [
        ForgetScope(name=name, classifier=name, corruption=corruption, tokens=tokens)
        for name, (corruption, tokens) in zip(("wizards", "rivers"), drawn, strict=True)
    ]
    old = model.eco_guard
    classifiers = {"wizards": old.classifiers["wizards"], "rivers": Rivers()}
    model.attach_guard(Guard(ECOConfig(scopes=own), classifiers, old.tokenizer))


TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)
CHATS = st.lists(TEXTS, min_size=1, max_size=4).map(
    lambda turns: [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(turns)]
)
BATCHES = st.lists(TEXTS | CHATS, min_size=1, max_size=5)
PADDINGS = st.lists(st.booleans(), min_size=5, max_size=5)  # on the left?


def encode(model, prompts):
    return [model.eco_guard.reader.encode(prompt) for prompt in prompts]


def padded(rows, left, columns=0):
    """(ids, mask), each row padded on the side that `left` says."""
    longest = max(columns, *map(len, rows))
    sides = [
        (longest - len(row), 0) if side else (0, longest - len(row)) for row, side in zip(rows, left, strict=False)
    ]
    ids, ones = [torch.tensor(row, dtype=torch.long) for row in rows], [torch.ones(len(row)).long() for row in rows]
    return tuple(torch.stack([pad(r, side) for r, side in zip(part, sides, strict=True)]) for part in (ids, ones))


class Unchangeable(Exception):
    """A prompt of one token has no order to change."""


def by_hand(model, ids, known=None):
    """(scope, embeddings) of one prompt alone, a list of ids, corrupted from the config."""
    guard, ids = model.eco_guard, torch.tensor([ids])
    plan = guard.plan(ids, known=[known])
    embeddings = torch.nn.functional.embedding(ids, model.get_input_embeddings().weight)
    (scope,) = plan.scopes
    if scope is not None:
        how = guard.config.scope(scope).corruption
        if mixes_positions(how.method) and plan.selected.sum() < 2:
            raise Unchangeable
        options = {"dims": how.dims, "strength": how.strength, "seed": how.seed}
        embeddings = corrupt(embeddings, plan.selected, how.method, token_ids=ids, **options)
    return scope, embeddings[0]


class Watch:
    """What the decoder has been given for each column, the last time that the column was run; noted on the cache."""

    def __init__(self, model):
        decoder, embedding = model.model, model.get_input_embeddings()
        self.handles = [
            decoder.register_forward_pre_hook(self._before, with_kwargs=True),
            embedding.register_forward_hook(self._look),
            decoder.register_forward_hook(self._after, with_kwargs=True),
        ]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for handle in self.handles:
            handle.remove()

    def _before(self, module, args, kwargs):
        cache = find_cache(kwargs)
        self.past = 0 if cache is None else int(cache.get_seq_length())

    def _look(self, module, args, output):
        self.now = output.detach().clone()

    def _after(self, module, args, kwargs, output):
        cache, self.seen = returned_cache(output), self.now
        if self.past:
            before = cache.seen[:, : self.past]
            before = before.repeat_interleave(self.now.shape[0] // before.shape[0], dim=0)
            self.seen = torch.cat([before, self.now], 1)
        if cache is not None:
            cache.seen = self.seen


def check(model, seen, ids, mask, known=None, judged=None):
    """Every row of `seen` is its prompt's embeddings by hand, its first `judged` columns being prompt."""
    times, left = divmod(seen.shape[0], ids.shape[0])
    assert not left
    judged = ids.shape[1] if judged is None else judged
    found = []
    for row in range(ids.shape[0]):
        columns = mask[row, : min(seen.shape[1], ids.shape[1])].bool().nonzero().squeeze(-1)
        prompt = mask[row, :judged].bool()
        scope, expected = by_hand(model, ids[row, :judged][prompt].tolist(), known and known[row])
        rest = ids[row, columns[columns >= judged]]
        bare = torch.nn.functional.embedding(rest, model.get_input_embeddings().weight)
        expected = torch.cat([expected[: (columns < judged).sum()], bare])
        for copied in range(times):
            assert torch.equal(seen[row * times + copied, columns], expected), (row, scope)
        found.append(scope)
    return found


def new_cache(model, static=False):
    return StaticCache(config=model.config, max_cache_len=512) if static else DynamicCache(config=model.config)


GREEDY = {"do_sample": False, "max_new_tokens": 3}
PIECES = ("prefill_chunk_size", "pieces", "cache, then whole ids", "cache, then new ids", "generate, then whole ids")


def run_whole(model, route, ids, mask, data):
    call = {"input_ids": ids, "attention_mask": mask}
    if route == "forward":
        model(**call, use_cache=data.draw(st.booleans()))
    elif route == "decoder":
        model.model(**call)
    elif route == "beams":
        model.generate(**call, **GREEDY, num_beams=data.draw(st.integers(2, 3)), use_cache=data.draw(st.booleans()))
    elif route == "several sequences":
        torch.manual_seed(0)
        model.generate(**call, do_sample=True, num_return_sequences=2, max_new_tokens=2)
    else:
        options = {
            "generate": {},
            "use_cache=False": {"use_cache": False},
            "static": {"cache_implementation": "static"},
        }
        model.generate(**call, **GREEDY, **options[route])


@pytest.mark.parametrize(
    "route",
    [
        pytest.param(route, marks=pytest.mark.route(name, "guarded"))
        for route, name in {
            "forward": "forward pass, with and without a cache",
            "decoder": "the decoder called directly (model.model)",
            "generate": "generate, batched, padded on either side",
            "use_cache=False": "generate(use_cache=False)",
            "static": 'generate(cache_implementation="static")',
            "beams": "beam search",
            "several sequences": "sampling, several sequences per prompt",
        }.items()
    ],
)
def test_each_row_is_corrupted_as_its_prompt_alone(model, route):
    @examples(24 if route in ("forward", "generate") else 12)
    @given(st.data(), scopes(mixing=True), BATCHES, PADDINGS)
    def run(data, drawn, prompts, left):
        attach(model, drawn)
        ids, mask = padded(encode(model, prompts), left)
        with Watch(model) as watch, torch.no_grad():
            try:
                run_whole(model, route, ids, mask, data)
                check(model, watch.seen, ids, mask)
            except GuardError as error:
                assert "no order to change" in str(error)
                with pytest.raises(Unchangeable):
                    for row in encode(model, prompts):
                        by_hand(model, row)

    run()


def cut(data, mask, count):
    """Columns at which to cut: every row has something in front of the first, every piece has two columns at least."""
    first = max(int(mask.argmax(1).max()) + 1, 2)
    cuts = [0]
    for _ in range(count):
        low = max(first, cuts[-1] + 2)
        if low <= mask.shape[1] - 2:
            cuts.append(data.draw(st.integers(low, mask.shape[1] - 2)))
    return [*cuts, mask.shape[1]]


@torch.no_grad()
def run_pieces(model, route, ids, mask, data):
    """Runs the batch in pieces; the columns at which the conversation was judged."""
    if route == "prefill_chunk_size":
        size = data.draw(st.integers(1, ids.shape[1]))
        model.generate(ids, attention_mask=mask, prefill_chunk_size=size, **GREEDY)
        return [ids.shape[1]]
    cache = new_cache(model, data.draw(st.booleans()))
    cuts = cut(data, mask, 3 if route == "pieces" else 1)
    stop = cuts[-2] if route != "pieces" else cuts[-1]
    for a, b in pairwise(cuts):
        if b <= stop:
            if route.startswith("generate"):
                model.generate(ids[:, a:b], attention_mask=mask[:, :b], past_key_values=cache, max_new_tokens=1)
            else:
                model(ids[:, a:b], attention_mask=mask[:, :b], past_key_values=cache)
    if route != "pieces":
        fed = ids[:, stop:] if route == "cache, then new ids" else ids
        model.generate(fed, attention_mask=mask, past_key_values=cache, **GREEDY)
    return cuts[1:]


@pytest.mark.parametrize(
    "route",
    [
        pytest.param(route, marks=pytest.mark.route(name, "guarded"))
        for route, name in zip(
            PIECES,
            (
                "generate(prefill_chunk_size=...)",
                "forward in pieces behind a cache",
                "a cache filled by forward, given to generate with the whole ids",
                "a cache filled by forward, given to generate with the new ids",
                "a cache filled by generate, given to generate again",
            ),
            strict=True,
        )
    ],
)
def test_each_row_is_corrupted_alike_in_pieces_of_any_size(model, route):
    """What was flagged in an earlier piece stays so; beyond that, as the whole prompt alone."""

    @examples(25)
    @given(st.data(), scopes(mixing=True), BATCHES, PADDINGS)
    def run(data, drawn, prompts, left):
        attach(model, drawn)
        ids, mask = padded(encode(model, prompts), left)
        with Watch(model) as watch:
            try:
                stops = run_pieces(model, route, ids, mask, data)
            except GuardError as error:
                assert any(mixes_positions(scope.corruption.method) for scope in model.eco_guard.config.scopes)
                assert "no order to change" in str(error) or "whole prompt in one forward pass" in str(error)
                return
        known = [None] * ids.shape[0]
        for stop in stops[:-1]:
            known = model.eco_guard.plan(ids[:, :stop], mask[:, :stop], known=known).scopes
        check(model, watch.seen, ids, mask, known)

    run()


@pytest.mark.route("labels and prompt_lengths, that bound the prompt", "guarded")
def test_bounds_leave_the_answer_bare_and_the_prompt_as_alone(model):
    @examples(25)
    @given(st.data(), scopes(mixing=True), BATCHES, PADDINGS)
    def run(data, drawn, prompts, left):
        attach(model, drawn)
        # more than special tokens and a row's first, which are -100 for other reasons too
        prompts = [f"tell me about {prompt}" if isinstance(prompt, str) else prompt for prompt in prompts]
        prompts, answers = (
            encode(model, texts) for texts in (prompts, data.draw(st.lists(TEXTS, min_size=5, max_size=5)))
        )
        rows = [a + b for a, b in zip(prompts, answers, strict=False)]
        ids, mask = padded(rows, left)
        is_answer = padded([[0] * len(a) + [1] * len(b) for a, b in zip(prompts, answers, strict=False)], left)[0]
        labels = ids.masked_fill(~is_answer.bool(), -100)
        with Watch(model) as watch, torch.no_grad():
            try:
                if data.draw(st.booleans()):
                    model(ids, attention_mask=mask, labels=labels)
                else:
                    with model.prompt_lengths([len(prompt) for prompt in prompts]):
                        model(ids, attention_mask=mask)
                for row, prompt in enumerate(prompts):
                    own, length = mask[row].bool(), len(prompt)
                    found = watch.seen[row : row + 1, own]
                    check(model, found, ids[row : row + 1, own], mask[row : row + 1, own], judged=length)
            except GuardError as error:
                assert "no order to change" in str(error)

    run()


@pytest.mark.route("prompt_lengths around forward passes in pieces behind a cache", "guarded")
def test_bounds_hold_for_the_whole_conversation_behind_a_cache(model):
    @examples(25)
    @given(st.data(), scopes(mixing=False), BATCHES, PADDINGS)
    def run(data, drawn, prompts, left):
        attach(model, drawn)
        prompts, answers = (
            encode(model, texts) for texts in (prompts, data.draw(st.lists(TEXTS, min_size=5, max_size=5)))
        )
        ids, mask = padded([a + b for a, b in zip(prompts, answers, strict=False)], left)
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        prompt = mask.bool() & (mask.cumsum(1) <= lengths.unsqueeze(1))
        known, cache = [None] * len(prompts), new_cache(model)
        with Watch(model), torch.no_grad(), model.prompt_lengths(lengths.tolist()):
            for a, b in pairwise(cut(data, mask, 3)):
                model(ids[:, a:b], attention_mask=mask[:, :b], past_key_values=cache)
                if prompt[:, a:b].any():
                    known = model.eco_guard.plan(ids[:, :b], mask[:, :b], prompt[:, :b], known=known).scopes
                if prompt[:, :b].sum() == prompt.sum():
                    last = known
        for row, length in enumerate(lengths.tolist()):
            own = mask[row].bool()
            found, one = cache.seen[row : row + 1, own], ids[row : row + 1, own]
            check(model, found, one, torch.ones_like(one), [last[row]], judged=length)

    run()


@pytest.mark.route("packed rows (position_ids that start again)", "guarded")
def test_packed_sequences_are_corrupted_as_alone(model):
    @examples(25)
    @given(st.data(), scopes(mixing=True), BATCHES)
    def run(data, drawn, prompts):
        attach(model, drawn)
        sequences = encode(model, prompts)
        row = torch.tensor([[token for sequence in sequences for token in sequence]])
        ends = torch.tensor([len(s) for s in sequences]).cumsum(0)
        positions = torch.cat([torch.arange(len(s)) for s in sequences])[None]
        how = {
            "position_ids": {},
            "cu_seq_lens_q": {"cu_seq_lens_q": pad(ends, (1, 0))},
            "seq_idx": {"seq_idx": torch.bucketize(torch.arange(row.shape[1]), ends, right=True)[None]},
        }[data.draw(st.sampled_from(["position_ids", "cu_seq_lens_q", "seq_idx"]))]
        with Watch(model) as watch, torch.no_grad():
            try:
                model.model(row, position_ids=positions, use_cache=False, **how)
            except GuardError as error:
                if "no order to change" not in str(error):  # together they fall in a scope that none falls in alone
                    assert "one prompt per row" in str(error) and len(sequences) > 1
                    assert any(by_hand_scopes(model, row)) and not all(by_hand_scopes(model, *sequences))
                return
        start = 0
        for sequence in sequences:
            own = torch.tensor([sequence])
            check(model, watch.seen[:, start : start + len(sequence)], own, torch.ones_like(own))
            start += len(sequence)

    run()


def by_hand_scopes(model, *sequences):
    rows = [row.flatten().tolist() if isinstance(row, torch.Tensor) else row for row in sequences]
    return [verdict.scope for verdict in model.eco_guard.decide(rows)]


@pytest.mark.route("continuous batching (generate_batch)", "guarded")
def test_requests_are_corrupted_as_alone_however_they_share_batches(model):
    @examples(8)
    @given(scopes(mixing=False), BATCHES, st.sampled_from([8, 24, 512]), st.sampled_from([10, 64]))
    def run(drawn, prompts, batch_tokens, blocks):
        attach(model, drawn)
        rows, seen, order = encode(model, prompts), {}, []

        def before(module, args, kwargs):
            requests, segments, past = requests_in_batch(kwargs["cache"])
            order[:] = zip(requests, segments.spans, past, strict=True)

        def look(module, args, output):
            for request, (_, start, stop), past in order:
                prompt = request.initial_tokens[: request._true_initial_tokens or None]
                columns = seen.setdefault(tuple(prompt), torch.full((len(prompt) + 64, 32), torch.nan))
                columns[past : past + stop - start] = output[0, start:stop]

        handles = [model.model.register_forward_pre_hook(before, with_kwargs=True)]
        handles.append(model.get_input_embeddings().register_forward_hook(look))
        try:
            config = ContinuousBatchingConfig(block_size=16, num_blocks=blocks, max_batch_tokens=batch_tokens)
            how = GenerationConfig(do_sample=False, max_new_tokens=2, eos_token_id=2, pad_token_id=0)
            outputs = model.generate_batch(rows, generation_config=how, continuous_batching_config=config)
        finally:
            for handle in handles:
                handle.remove()
        assert not [output.error for output in outputs.values() if output.error]
        for row in rows:
            assert torch.equal(seen[tuple(row)][: len(row)], by_hand(model, row)[1])

    run()


def test_a_row_more_changes_no_other_rows_verdict(model):
    @examples(40)
    @given(scopes(mixing=True), BATCHES, TEXTS | CHATS, st.integers(0, 5), PADDINGS)
    def run(drawn, prompts, other, place, left):
        attach(model, drawn)
        rows = encode(model, prompts)
        place = min(place, len(rows))
        more = [*rows[:place], *encode(model, [other]), *rows[place:]]
        few, many = (model.eco_guard.plan(*padded(batch, left + left)) for batch in (rows, more))
        for i in range(len(rows)):
            one, two = few.row(i), many.row(i + (i >= place))
            assert one.scopes == two.scopes and one.verdicts[0].tokens == two.verdicts[0].tokens
            assert one.verdicts[0].spans == two.verdicts[0].spans
            for name in ("ids", "attended", "selected", "positions"):
                assert torch.equal(getattr(one, name), getattr(two, name))
            assert one.verdicts[0].probabilities == pytest.approx(two.verdicts[0].probabilities, abs=1e-5)

    run()


# -- conversations: any sequence of calls on one cache and its copies


class Branch:
    """A conversation and its cache."""

    def __init__(self, rows, cache):
        self.ids, self.mask = torch.zeros(rows, 0, dtype=torch.long), torch.zeros(rows, 0, dtype=torch.long)
        self.cache, self.known, self.judged = cache, [None] * rows, 0

    @property
    def cached(self):
        return int(self.cache.get_seq_length())


class Conversation(RuleBasedStateMachine):
    """Calls that follow one another on a cache. Rows may have nothing to say in a turn, and padding on either side."""

    def __init__(self, model):
        super().__init__()
        self.model, self.watch = model, Watch(model)

    def teardown(self):
        self.watch.__exit__()

    @initialize(drawn=scopes(mixing=False), rows=st.integers(1, 3), static=st.booleans())
    def begin(self, drawn, rows, static):
        attach(self.model, drawn)
        self.rows, self.static = rows, static
        self.branches = [Branch(rows, new_cache(self.model, static))]

    def branch(self, data):
        return data.draw(st.sampled_from(self.branches), label="branch")

    def say(self, branch, data):
        """Appends a turn to the conversation; at least two columns are uncached afterwards."""
        texts = data.draw(st.lists(st.just("") | TEXTS, min_size=self.rows, max_size=self.rows))
        if not branch.ids.shape[1]:
            texts = [text or "hello" for text in texts]
        wrap = data.draw(st.booleans())
        texts = [f"<|im_start|>user\n{t}<|im_end|>\n<|im_start|>assistant\n" if wrap and t else t for t in texts]
        tokenizer = self.model.eco_guard.tokenizer
        rows = [tokenizer(text)["input_ids"] if text else [] for text in texts]
        ids, mask = padded(rows, data.draw(PADDINGS), 2)
        branch.ids, branch.mask = torch.cat([branch.ids, ids], 1), torch.cat([branch.mask, mask], 1)

    def judge(self, branch):
        known = self.model.eco_guard.plan(branch.ids, branch.mask, known=branch.known).scopes
        branch.judged, branch.known = branch.ids.shape[1], list(known)

    def check(self, branch):
        assert check(self.model, branch.cache.seen, branch.ids, branch.mask, branch.known, branch.judged)

    @torch.no_grad()
    def forward(self, branch, ids):
        mask = None if branch.mask.all() else branch.mask
        return self.model(ids, attention_mask=mask, past_key_values=branch.cache)

    @precondition(lambda self: all(b.ids.shape[1] < 160 for b in self.branches))
    @rule(data=st.data())
    def forward_turn(self, data):
        branch = self.branch(data)
        start = branch.cached
        self.say(branch, data)
        self.judge(branch)
        self.forward(branch, branch.ids[:, start:])
        self.check(branch)

    @precondition(lambda self: all(b.ids.shape[1] < 160 for b in self.branches))
    @rule(data=st.data(), whole=st.booleans(), tokens=st.integers(1, 3))
    def generate_turn(self, data, whole, tokens):
        branch = self.branch(data)
        start = branch.cached
        self.say(branch, data)
        self.judge(branch)
        fed = branch.ids if whole else branch.ids[:, start:]
        options = {"do_sample": False, "max_new_tokens": tokens}
        out = self.model.generate(fed, attention_mask=branch.mask, past_key_values=branch.cache, **options)
        answer = out[:, fed.shape[1] :]
        branch.ids = torch.cat([branch.ids, answer], 1)
        branch.mask = torch.cat([branch.mask, torch.ones_like(answer)], 1)
        self.check(branch)

    @precondition(lambda self: all(b.ids.shape[1] < 160 for b in self.branches))
    @rule(data=st.data(), token=st.integers(3, 300))
    def decode_one(self, data, token):
        """One token, taken for a generated one: refused where the conversation turns with it."""
        branch = self.branch(data)
        if not branch.cached:
            return
        before = branch.ids, branch.mask
        if branch.cached == branch.ids.shape[1]:
            branch.ids, branch.mask = pad(branch.ids, (0, 1), value=token), pad(branch.mask, (0, 1), value=1)
        known = list(self.model.eco_guard.plan(branch.ids, branch.mask, known=branch.known).scopes)
        if not all(branch.known) and known != branch.known:
            with pytest.raises(GuardError, match="token by token"):
                self.forward(branch, branch.ids[:, -1:])
            branch.ids, branch.mask = before
        else:
            try:
                self.forward(branch, branch.ids[:, -1:])
            except GuardError as error:  # what was fed behind a flagged row is a question by itself
                assert "token by token" in str(error) and any(branch.known)
                tails = [row[k:].tolist() for row in branch.ids for k in range(branch.judged, len(row))]
                assert any(verdict.flagged for verdict in self.model.eco_guard.decide(tails))
                branch.ids, branch.mask = before
        self.check(branch)

    @precondition(lambda self: all(b.ids.shape[1] < 160 for b in self.branches))
    @rule(data=st.data())
    def answer(self, data):
        """What prompt_lengths names an answer, several tokens at a time."""
        branch = self.branch(data)
        if not branch.cached:
            return
        start = branch.cached
        self.say(branch, data)
        with self.model.prompt_lengths(branch.mask[:, : branch.judged].sum(1).tolist()):
            self.forward(branch, branch.ids[:, start:])
        self.check(branch)

    @precondition(lambda self: len(self.branches) < 3)
    @rule(data=st.data())
    def fork(self, data):
        self.branches.append(copy.deepcopy(self.branch(data)))

    @precondition(lambda self: not self.static)
    @rule(data=st.data())
    def crop(self, data):
        """The user takes back what was said last. (Where it was flagged: see below.)"""
        branch = self.branch(data)
        if any(branch.known) or branch.cached < 3:
            return
        first = int(branch.mask.argmax(1).max()) + 1
        if first >= branch.cached:
            return
        kept = data.draw(st.integers(first, branch.cached - 1))
        branch.cache.crop(kept - branch.cached)
        branch.ids, branch.mask = branch.ids[:, :kept], branch.mask[:, :kept]
        branch.judged = min(branch.judged, kept)

    @rule(data=st.data(), beams=st.integers(1, 2))
    def answer_without_the_cache(self, data, beams):
        """What happens on a cache is nobody else's business."""
        branch = self.branch(data)
        if branch.ids.shape[1]:
            options = {"max_new_tokens": 1, "do_sample": False, "num_beams": beams}
            self.model.generate(branch.ids, attention_mask=branch.mask, **options)
            check(self.model, self.watch.seen, branch.ids, branch.mask)


@pytest.mark.route(
    "any sequence of forward and generate calls on a cache, its copies and what is left after a crop", "guarded"
)
def test_a_conversation_is_corrupted_alike_whatever_calls_it_is_made_of(model):
    run_state_machine_as_test(lambda: Conversation(model), settings=examples(120, stateful_step_count=12))


# -- what a user does to the rows of a cache


def filled(model, *texts):
    """A cache of a padded batch."""
    ids, mask = padded(encode(model, texts), [True] * 5)
    cache = new_cache(model)
    with torch.no_grad():
        model(ids, attention_mask=mask, past_key_values=cache)
    return cache, ids, mask


NEW = " and what does the old dog eat ?"


@pytest.mark.route("a cache whose rows the user has rearranged", "refused", note="nobody knows any more what it holds")
@pytest.mark.parametrize("fed", ["several tokens", "one token", "generate"])
@pytest.mark.parametrize("rows", [[1, 0], [0, 0], [1, 1]], ids=str)
@pytest.mark.parametrize("operation", ["reorder_cache", "batch_select_indices", "crop, then reorder_cache"])
def test_rearranged_rows_are_refused_or_guarded_as_the_conversations_they_hold(model, operation, rows, fed):
    attach(model, [(CorruptionConfig(dims=8), "content")] * 2)
    cache, ids, mask = filled(model, FLAGGED, CLEAN)
    if "crop" in operation:
        cache.crop(-1)
        ids, mask = ids[:, :-1], mask[:, :-1]
    getattr(cache, operation.removeprefix("crop, then "))(torch.tensor(rows))
    new = torch.tensor(encode(model, [NEW])).repeat(2, 1)[:, : 1 if fed == "one token" else None]
    ids, mask = torch.cat([ids[rows], new], 1), pad(mask[rows], (0, new.shape[1]), value=1)
    with Watch(model) as watch, torch.no_grad():
        cache.seen = torch.full((2, cache.get_seq_length(), 32), torch.nan)
        try:
            if fed == "generate":
                model.generate(new, attention_mask=mask, past_key_values=cache, **GREEDY)
            else:
                model(new, attention_mask=mask, past_key_values=cache)
        except GuardError:
            return
    assert cache._eco_state.plan.scopes == tuple(by_hand_scopes(model, *(ids[r][mask[r] > 0] for r in (0, 1))))
    assert watch.now.shape[0] == 2


@pytest.mark.parametrize("rows", [[1], [0, 0, 1, 1]], ids=["fewer", "more"])
def test_new_ids_for_other_rows_than_the_cache_was_filled_with_are_refused(model, rows):
    attach(model, [(CorruptionConfig(dims=8), "content")] * 2)
    cache, _, mask = filled(model, FLAGGED, CLEAN)
    cache.batch_select_indices(torch.tensor(rows))
    new = torch.tensor(encode(model, [NEW])).repeat(len(rows), 1)
    with pytest.raises(GuardError, match="rows"):
        model.generate(
            new, attention_mask=pad(mask[rows], (0, new.shape[1]), value=1), past_key_values=cache, **GREEDY
        )


@pytest.mark.route("beams on a cache whose rows were repeated for them", "guarded")
@pytest.mark.parametrize(
    ("first", "new"),
    [
        (CLEAN, NEW),
        (FLAGGED, NEW),
        pytest.param(
            CLEAN,
            " does a wizard sleep ?",
        ),
    ],
)
def test_beams_behind_a_cache_are_those_of_the_whole_prompt(model, first, new):
    attach(model, [(CorruptionConfig(dims=8), "content")] * 2)
    cache, ids, _ = filled(model, first)
    cache.batch_repeat_interleave(2)
    ids = torch.cat([ids, torch.tensor(encode(model, [new]))], 1)
    with Watch(model) as watch:
        cache.seen = torch.full((2, cache.get_seq_length(), 32), torch.nan)
        found = model.generate(ids, past_key_values=cache, num_beams=2, **GREEDY)
        assert torch.equal(found, model.generate(ids, num_beams=2, **GREEDY))
        check(model, watch.seen, ids, torch.ones_like(ids))


@pytest.mark.route("a cache cropped to a common prefix (cache.crop) and continued", "guarded")
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (CLEAN, FLAGGED),
        (FLAGGED, FLAGGED),
        (CLEAN, CLEAN),
        pytest.param(
            FLAGGED,
            CLEAN,
        ),
    ],
)
@pytest.mark.parametrize("fed", ["forward", "generate"])
@torch.no_grad()
def test_what_was_cropped_off_a_cache_has_no_say_any_more(model, first, second, fed):
    attach(model, [(CorruptionConfig(dims=8), "all")] * 2)
    prefix, first, second = (
        torch.tensor([row])
        for row in encode(model, ["<|im_start|>system\nyou are the old king<|im_end|>\n", first, second])
    )
    cache, ids = new_cache(model), torch.cat([prefix, second], 1)
    with Watch(model):
        model(torch.cat([prefix, first], 1), past_key_values=cache)
        cache.crop(-first.shape[1])
        if fed == "forward":
            model(second, past_key_values=cache)
        else:
            model.generate(ids, past_key_values=cache, **GREEDY)
        check(model, cache.seen, ids, torch.ones_like(ids))


@pytest.mark.parametrize("turning", [0, 1], ids=["the padded row", "the row beside it"])
@torch.no_grad()
def test_a_row_that_turns_moves_no_row_to_other_positions(model, bare, turning):
    attach(
        model, [(CorruptionConfig(method="add_value_first_n", dims=1, strength=0), "content")] * 2
    )  # turns, no more
    first, mask = padded(encode(model, ["hello", "tell me about the king of the north"]), [True] * 2)
    turns = [" does a wizard ?" if row == turning else " the dog and the king of" for row in (0, 1)]
    second, own_mask = padded(encode(model, turns), [True] * 2)
    whole, logits = torch.cat([mask, own_mask], 1), []
    for one in (model, bare):
        cache = new_cache(one)
        one(first, attention_mask=mask, past_key_values=cache)
        logits.append(one(second, attention_mask=whole, past_key_values=cache).logits)
    assert model.eco_guard.plan(torch.cat([first, second], 1), whole).scopes[turning] == "wizards"
    torch.testing.assert_close(*logits)


@torch.no_grad()
def test_prompt_lengths_behind_a_padded_cache_do_not_count_padding(model):
    attach(model, [(CorruptionConfig(dims=8), "content")] * 2)
    cache, _, mask = filled(model, FLAGGED, "hello")
    new = torch.tensor(encode(model, [" tell me about the wizard of the north"])).repeat(2, 1)
    with model.prompt_lengths((mask.sum(1) + new.shape[1]).tolist()):
        model(new, past_key_values=cache)
    assert cache._eco_state.plan.scopes == ("wizards", "wizards")


@torch.no_grad()
def test_a_copied_cache_knows_its_guard_and_is_not_filled_anew(model):
    attach(model, [(CorruptionConfig(dims=8), "content")] * 2)
    cache, _, _ = filled(model, FLAGGED)
    other, lookups = copy.deepcopy(cache), []
    assert other._eco_state.guard is cache._eco_state.guard
    handle = model.get_input_embeddings().register_forward_hook(lambda *_: lookups.append(1))
    try:
        model(torch.tensor(encode(model, [NEW])), past_key_values=other)
    finally:
        handle.remove()
    assert len(lookups) == 1


@torch.no_grad()
def test_a_corruption_changed_between_two_calls_holds_for_all_of_the_conversation(model):
    attach(model, [(CorruptionConfig(dims=8), "content")] * 2)
    with Watch(model):
        ids = torch.tensor(encode(model, [FLAGGED + NEW]))
        cache = new_cache(model)
        model(ids[:, :-4], past_key_values=cache)
        model.eco_guard.config.scope("wizards").corruption.strength = 1.0
        model(ids[:, -4:], past_key_values=cache)
        check(model, cache.seen, ids, torch.ones_like(ids))


@torch.no_grad()
def test_padding_that_is_masked_only_later_moves_no_noise(model):
    attach(model, [(CorruptionConfig(dims=8), "content")] * 2)
    ids, mask = padded(encode(model, [FLAGGED + NEW]), [True], 24)
    with Watch(model):
        cache = new_cache(model)
        model(ids[:, :-4], past_key_values=cache)
        model.generate(ids, attention_mask=mask, past_key_values=cache, **GREEDY)
        check(model, cache.seen, ids, mask)


# -- the pure parts

VERDICTS = [Verdict(False, None, p / 8, 0.5, {}, (), (), "", ()) for p in range(8)]
SIZES = st.integers(1, 6)


@st.composite
def plans(draw):
    rows, columns = draw(SIZES), draw(SIZES)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    ids, attended, selected = (
        torch.randint(3, 400, (rows, columns), generator=generator),
        *(torch.randint(0, 2, (2, rows, columns), generator=generator).bool()),
    )
    attended[:, draw(st.integers(0, columns - 1))] = True
    positions = (attended.long().cumsum(-1) - 1).clamp(min=0)
    return Plan(tuple(VERDICTS[:rows]), ids, attended, selected & attended, positions)


TENSORS = ("ids", "attended", "selected", "positions")


def same(one, other):
    equal = all(torch.equal(getattr(one, name), getattr(other, name)) for name in TENSORS)
    return equal and one.verdicts == other.verdicts


@examples(200)
@given(plans(), st.lists(st.integers(0, 9), min_size=4, max_size=4).map(sorted), SIZES, SIZES)
def test_columns_of_columns_and_repeats_of_repeats_are_columns_and_repeats(plan, edges, times, again):
    a, b, c, d = edges
    assert same(plan.columns(a, d).columns(b - a, c - a), plan.columns(b, c))
    parts = [plan.columns(*edge) for edge in ((0, a), (a, b), (b, d))]
    for name in TENSORS:
        assert torch.equal(torch.cat([getattr(part, name) for part in parts], 1), getattr(plan.columns(0, d), name))
    beyond = plan.columns(plan.ids.shape[1], plan.ids.shape[1] + d)
    assert beyond.attended.all() and not beyond.corrupts and beyond.ids.shape[1] == d
    assert same(plan.repeat(times).columns(b, c), plan.columns(b, c).repeat(times))
    assert same(plan.repeat(times).repeat(again), plan.repeat(times * again))
    for row in range(plan.ids.shape[0] * times):
        assert same(plan.repeat(times).row(row), plan.row(row // times))


@examples(100)
@given(st.lists(plans(), min_size=1, max_size=4))
def test_rows_of_stacked_plans_are_those_of_the_plans(given_plans):
    rows = [plan.row(i) for plan in given_plans for i in range(plan.ids.shape[0])]
    for stacked in (Plan.stack(rows), Plan.stack(given_plans)):
        assert all(same(stacked.row(i), row) for i, row in enumerate(rows))


@st.composite
def packings(draw):
    """(segment lengths of each row, all of the same sum)."""
    columns = draw(st.integers(1, 12))
    rows = []
    for _ in range(draw(st.integers(1, 3))):
        edges = sorted(draw(st.sets(st.integers(1, columns - 1)))) if columns > 1 else []
        rows.append([b - a for a, b in pairwise([0, *edges, columns])])
    return rows


def spans_of(rows):
    return [(r, sum(row[:i]), sum(row[: i + 1])) for r, row in enumerate(rows) for i in range(len(row))]


@examples(100)
@given(packings())
def test_packing_what_was_unpacked_gives_it_back(rows):
    segments, packed = Segments(spans_of(rows)), torch.rand(len(rows), sum(rows[0]), 2)
    unpacked = segments.unpack(packed, fill=7)
    assert torch.equal(segments.pack(unpacked, torch.zeros_like(packed)), packed)
    assert torch.equal(segments.unpack(segments.pack(unpacked, packed), fill=7), unpacked)
    assert segments.attended.sum(1).tolist() == [length for row in rows for length in row]
    assert (unpacked[~segments.attended] == 7).all()


@examples(150)
@given(packings(), st.sampled_from(["position_ids", "seq_idx", "cu_seq_lens_q"]), st.integers(0, 3))
def test_segments_are_found_where_positions_or_indices_say(rows, how, offset):
    ids = torch.zeros(len(rows), sum(rows[0]))
    if how == "cu_seq_lens_q":
        rows, ids = rows[:1], ids[:1]
        call = {how: torch.tensor([0, *rows[0]]).cumsum(0)}
    elif how == "seq_idx":
        call = {how: torch.stack([torch.repeat_interleave(torch.tensor(row)) for row in rows])}
    else:
        call = {how: torch.stack([torch.cat([torch.arange(n) for n in row]) + offset for row in rows])}
    found = find_segments({"input_ids": ids, **call})
    expected = None if all(len(row) == 1 for row in rows) else spans_of(rows)
    assert (found and found.spans) == expected
    if how == "position_ids":
        assert find_segments({"input_ids": ids, "attention_mask": torch.ones_like(ids), **call}) is None


@examples(100)
@given(st.lists(st.lists(st.integers(0, 5), min_size=5, max_size=5), min_size=1, max_size=3))
def test_any_positions_are_cut_where_one_does_not_follow_the_one_before(positions):
    naive = []
    for row, values in enumerate(positions):
        edges = [i for i in range(1, 5) if values[i] != values[i - 1] + 1]
        naive += [(row, a, b) for a, b in pairwise([0, *edges, 5])]
    ids = torch.tensor(positions)
    if any(positions[row][start] != positions[row][0] for row, start, _ in naive):
        with pytest.raises(GuardError, match="another order"):
            find_segments({"input_ids": ids, "position_ids": ids})
        return
    found = find_segments({"input_ids": ids, "position_ids": ids})
    assert (found and found.spans) == (naive if len(naive) > len(positions) else None)


def test_a_verdict_does_not_depend_on_padding(model):
    @examples(40)
    @given(scopes(mixing=True), TEXTS | CHATS, st.integers(0, 9), st.integers(0, 9))
    def run(drawn, prompt, before, after):
        attach(model, drawn)
        ids = torch.tensor(encode(model, [prompt]))
        sides = (before, after)
        alone = model.eco_guard.plan(ids)
        plan = model.eco_guard.plan(pad(ids, sides), pad(torch.ones_like(ids), sides))
        assert plan.verdicts == alone.verdicts and same(plan.row(0), alone.row(0))
        assert torch.equal(plan.selected, pad(alone.selected, sides))

    run()
