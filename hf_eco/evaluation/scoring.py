"""Scoring answers and generating them with one model, guarded or not."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any, get_args
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging

from ..errors import GuardError
from ..guard.guard import Guard
from ..guard.plan import ScoringProtocol
from ..guard.verdict import Verdict
from ..inference import is_enabled
from ..inference.fingerprint import Fingerprint, fingerprint, tokenizer_fingerprint
from .encoding import Encoder, Ids, Prompt, as_chat
from .metrics import kl_divergence
from .passes import Passes
from .result_cache import ResultCache, key_of
from .row_layout import Row

__all__ = ["Prompt", "Scorer", "ScoringProtocol", "as_chat", "judge"]

_PROMPTS_AT_ONCE = 64  # that the classifier is asked about between two steps of the progress bar
# Verdicts depend on no corruption, so the sweep of a strength asks the classifier once.
_VERDICTS: WeakKeyDictionary[Guard, tuple[Any, dict[Ids, Verdict]]] = WeakKeyDictionary()


class Scorer:
    """Scores answers and generates them: in batches of like lengths, and nothing twice.

    A result is remembered by all that determines it: the model's weights and config, the token ids, the settings, the
    tokenizer where it is a text, and for a flagged prompt what is corrupted and how. The guard leaves an unflagged
    prompt alone to the bit; so its result is computed without the guard, once for the model and all guarded variants
    of it that share the cache.

    Args:
        model: a causal language model, guarded or not, an adapter's wrapper included.
        tokenizer: the model's.
        protocol: how an answer to a flagged prompt is scored: "strict", its own tokens stay clean; "paper", those that
            the scope's `tokens` selects are corrupted too, as in published figures. Generating is the same in both.
        batch_size: rows of a forward pass.
        cache: directory (created if need be) in which results are kept, so that an interrupted run goes on where it
            was; or a [`ResultCache`][hf_eco.evaluation.ResultCache]. None: they last as long as the scorer.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        *,
        protocol: ScoringProtocol = "strict",
        batch_size: int = 16,
        cache: str | os.PathLike[str] | ResultCache | None = None,
    ) -> None:
        if protocol not in get_args(ScoringProtocol):
            raise ValueError(f"Unknown protocol {protocol!r}. Use 'strict' or 'paper'.")
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive, got batch_size={batch_size}.")
        self.model = model
        self.tokenizer = tokenizer
        self.protocol: ScoringProtocol = protocol
        self.batch_size = batch_size
        self.cache = ResultCache.open(cache)
        self.encoder = Encoder(tokenizer)
        ends = (self.encoder.end_of_turn, tokenizer.eos_token_id)
        self._passes = Passes(model, tokenizer, ends=ends, protocol=protocol, batch_size=batch_size)
        self._fingerprint = Fingerprint(model)

    # -- what is asked

    def losses(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> NDArray[np.float64]:
        """The mean over each answer's tokens of -log p(token | prompt and the answer before it): (n,), in nats.

        The answer in a chat ends with the token that ends a turn, which is scored too.

        Args:
            prompts: n prompts.
            answers: n texts.

        Raises:
            TypeError: a prompt or an answer is of the wrong kind.
            ValueError: there are not as many answers as prompts, one is blank, a row is longer than the model reads,
                or the model's losses are no numbers.
        """
        if len(prompts) != len(answers):
            raise ValueError(f"There are {len(answers)} answers to {len(prompts)} prompts. Give each prompt one.")
        pairs = zip(prompts, answers, strict=True)
        rows = self._rows(prompts, [self.encoder.encode_answer(prompt, answer) for prompt, answer in pairs])
        return np.array(self._remember("loss", rows, self._passes.losses, "Scoring answers"), dtype=np.float64)

    def generate(self, prompts: Sequence[Prompt], *, max_new_tokens: int = 128) -> list[str]:
        """The model's most likely answer to each prompt, token by token (greedy), without special tokens and the white
        space around it.

        Args:
            prompts: n prompts.
            max_new_tokens: where an answer is cut off at the latest.

        Raises:
            TypeError: a prompt is of the wrong kind.
            ValueError: `max_new_tokens` is not positive, or a row is longer than the model reads.
        """
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be positive, got {max_new_tokens}.")

        def run(batch: Sequence[Row]) -> list[str]:
            return self._passes.texts(batch, max_new_tokens)

        settings = {
            "max_new_tokens": max_new_tokens,
            "ends": self._passes.layout.stops,
            "tokenizer": tokenizer_fingerprint(self.tokenizer),
        }
        return self._remember("text", self._rows(prompts), run, "Generating answers", settings)

    def next_token_log_probabilities(self, prompts: Sequence[Prompt]) -> NDArray[np.float32]:
        """log p(token | prompt) of every token as the first of the answer: (n, vocabulary), in nats.

        Too much to be kept: it is computed anew each time. Use `token_log_probabilities` for some of the tokens.
        """
        rows = self._rows(prompts)
        if not rows:
            return np.empty((0, 0), np.float32)
        found: dict[Row, NDArray[np.float32]] = {}
        for batch, results in self._passes.run(list(dict.fromkeys(rows)), self._passes.next_token, "Reading prompts"):
            found.update((row, own.cpu().numpy()) for row, own in zip(batch, results, strict=True))
        return np.stack([found[row] for row in rows])

    def token_log_probabilities(
        self, prompts: Sequence[Prompt], tokens: Sequence[Sequence[int]]
    ) -> list[NDArray[np.float64]]:
        """log p(token | prompt) of some tokens as the first of the answer, e.g. of the letters A to D: in nats, n
        times (tokens of that prompt,).

        Args:
            prompts: n prompts.
            tokens: of each of them, the ids asked about.
        """
        rows = self._rows(prompts, [tuple(own) for own in tokens])

        def run(batch: Sequence[Row]) -> list[list[float]]:
            found = zip(batch, self._passes.next_token(batch), strict=True)
            return [own[list(row.answer)].tolist() for row, own in found]

        return [np.array(own, dtype=np.float64) for own in self._remember("tokens", rows, run, "Reading prompts")]

    def divergences(self, prompts: Sequence[Prompt], retain: Scorer) -> NDArray[np.float64]:
        """How far the model is from a retain model where an answer begins:
        [`kl_divergence`][hf_eco.evaluation.metrics.kl_divergence] of the distributions of its first token, over the
        tokens that the tokenizer has: (n,), in nats.

        Args:
            prompts: n prompts.
            retain: scores the model that never saw the forget set; its guard is off, if it has one.

        Raises:
            ValueError: the two models have not the same tokens, or one has no log-probabilities.
        """
        size = len(self.tokenizer)

        def run(batch: Sequence[Row]) -> list[float]:
            both = self._passes.next_token(batch), retain._passes.next_token_unguarded([row.answer for row in batch])
            # some models have logits beyond the tokenizer's tokens
            ours, theirs = ([own[:size].log_softmax(-1).cpu().numpy() for own in of_model] for of_model in both)
            return kl_divergence(np.stack(ours), np.stack(theirs)).tolist()

        # what is asked about a prompt is what the retain model makes of it
        rows = self._rows(prompts, retain.encode(prompts))
        settings = {"retain": str(retain._fingerprint), "tokens": size}
        return np.array(self._remember("divergence", rows, run, "Reading prompts", settings), dtype=np.float64)

    def flagged(self, prompts: Sequence[Prompt]) -> list[bool]:
        """Whether the guard flags each prompt; False for all of an unguarded model's."""
        return [verdict is not None for verdict in self._verdicts(self.encode(prompts))]

    @property
    def guarded(self) -> bool:
        """Whether the model has a guard."""
        return self._passes.guarded is not None

    # -- what a baseline changes

    def encode(self, prompts: Sequence[Prompt]) -> list[Ids]:
        """The ids that the model is given for each prompt."""
        return [self.encoder.encode_prompt(prompt) for prompt in prompts]

    def _verdicts(self, prompts: Sequence[Ids]) -> list[Verdict | None]:
        """The verdict on each prompt of which anything is corrupted, None on the others."""
        guarded = self._passes.guarded
        if guarded is None:
            return [None] * len(prompts)
        if not is_enabled(guarded):
            raise GuardError(
                "The guard is disabled here, so what were measured would not be the guarded model. Leave "
                "disable_guard(), or measure the base model, loaded without a guard."
            )
        guarded.eco_guard.to(self.model.device)
        return judge(guarded.eco_guard, prompts)

    # -- remembering

    def _rows(self, prompts: Sequence[Prompt], answers: Sequence[Ids] | None = None) -> list[Row]:
        encoded = self.encode(prompts)
        answers = [()] * len(encoded) if answers is None else answers
        return [Row(*row) for row in zip(encoded, answers, self._verdicts(encoded), strict=True)]

    def _remember(
        self,
        kind: str,
        rows: Sequence[Row],
        run: Callable[[Sequence[Row]], Sequence[Any]],
        title: str,
        settings: dict[str, Any] | None = None,
    ) -> list[Any]:
        """The results of `rows`, of which `run` computes those that are not known yet."""
        model = str(self._fingerprint)
        keys = [key_of(model, kind, settings, row.prompt, row.answer, self._corruption_of(kind, row)) for row in rows]
        missing = {row: key for row, key in zip(rows, keys, strict=True) if key not in self.cache}
        for batch, results in self._passes.run(list(missing), run, title):
            self.cache.update({missing[row]: result for row, result in zip(batch, results, strict=True)})
        return [self.cache[key] for key in keys]

    def _corruption_of(self, kind: str, row: Row) -> dict[str, Any] | None:
        """All of the guard that a flagged row's result depends on."""
        if row.verdict is None or row.verdict.corrupted_for is None or self._passes.guarded is None:
            return None
        guard = self._passes.guarded.eco_guard
        scope = guard.config.scope(row.verdict.corrupted_for)
        known = {"corruption": dataclasses.asdict(scope.corruption), "tokens": row.verdict.tokens}
        if kind == "loss" and self.protocol == "paper":  # the answer's tokens are selected as well
            tagger = guard.taggers.get(scope.name)
            known["answer"] = [scope.tokens, tagger and fingerprint(tagger.model)]
        return known


def judge(guard: Guard, prompts: Sequence[Ids]) -> list[Verdict | None]:
    """The guard's verdict on each prompt of which it corrupts anything, None on the others; equal prompts are judged
    once."""
    models = guard.classifiers, guard.taggers
    state: list[Any] = [guard.config.policy]
    state += [
        (s.name, s.names, s.hashed_names, s.threshold, s.label, s.tokens, *(m.get(s.name) for m in models))
        for s in guard.config.scopes
    ]
    if guard not in _VERDICTS or _VERDICTS[guard][0] != state:
        _VERDICTS[guard] = state, {}
    known = _VERDICTS[guard][1]
    missing = [ids for ids in dict.fromkeys(prompts) if ids not in known]
    with logging.tqdm(total=len(missing), desc="Judging prompts", dynamic_ncols=True, disable=not missing) as bar:
        for start in range(0, len(missing), _PROMPTS_AT_ONCE):
            chunk = missing[start : start + _PROMPTS_AT_ONCE]
            known.update(zip(chunk, guard.decide(chunk), strict=True))
            bar.update(len(chunk))
    return [verdict if (verdict := known[ids]).corrupted_for is not None else None for ids in prompts]
