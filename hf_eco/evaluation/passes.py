"""Forward passes: batches of like lengths through one model, with its guard or without; prompts are shared."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import Cache, GenerationConfig, PreTrainedTokenizerBase
from transformers.utils import logging

from ..corruption import mixes_positions
from ..guard.plan import Plan, ScoringProtocol, count_positions
from ..inference import following
from ..inference.caches import cache_argument
from ..modeling import ECOMixin, without_wrapper
from .encoding import Ids
from .prompt_sharing import prompt_cache, shares_prompts
from .row_layout import Row, RowLayout

_Result = TypeVar("_Result")


class Passes:
    """Runs rows through a model.

    Args:
        model: a causal language model, guarded or not, an adapter's wrapper included.
        tokenizer: the model's.
        ends: tokens at which a generated answer ends, besides the model's own.
        protocol: which of an answer's tokens are corrupted in flagged rows.
        batch_size: rows of a forward pass.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        *,
        ends: Sequence[int | None],
        protocol: ScoringProtocol,
        batch_size: int,
    ) -> None:
        self.model = model
        self.inner = without_wrapper(model)
        self.tokenizer = tokenizer
        self.layout = RowLayout(self.inner, tokenizer, ends)
        self.protocol: ScoringProtocol = protocol
        self.batch_size = batch_size

    @property
    def guarded(self) -> ECOMixin | None:
        """The model, if it is guarded."""
        return self.inner if isinstance(self.inner, ECOMixin) else None

    def run(
        self, rows: Sequence[Row], what: Callable[[Sequence[Row]], Sequence[_Result]], title: str
    ) -> Iterator[tuple[list[Row], Sequence[_Result]]]:
        """Batches of `rows` with the results of `what`, under a progress bar.

        Flagged rows come first and by themselves, the others run unguarded; each from the longest to the shortest, so
        that what does not fit into memory is known at once. The rows of one prompt stay together, as far as they fit
        into a batch.
        """
        bar = logging.tqdm(total=len(rows), desc=title, dynamic_ncols=True, disable=not rows)
        with self._evaluating(), bar:
            for batch in self._batches(rows):
                with self._guard(batch):
                    results = what(batch)
                yield batch, results
                bar.update(len(batch))

    def losses(self, batch: Sequence[Row]) -> list[float]:
        """Mean loss of each row's answer, in nats. A prompt of several rows is run once, where the model allows it.

        Raises:
            ValueError: a loss is no number, or a row is longer than the model reads.
        """
        predicting = self._behind_shared_prompts(batch) if self._shares(batch) else self._with_prompts(batch)
        losses = []
        for row, own in zip(batch, predicting, strict=True):
            losses.append(cross_entropy(own.float(), torch.tensor(row.answer, device=own.device)).item())
        if not all(map(math.isfinite, losses)):
            raise ValueError(
                f"{type(self.inner).__name__} gives losses that are no numbers: {losses}. Its weights are broken, or "
                "the corruption is too strong for its dtype; use a lower strength, or bfloat16 or float32."
            )
        return losses

    def next_token(self, batch: Sequence[Row]) -> list[Tensor]:
        """For each row (vocabulary,) float32, the log-probabilities of what follows the prompt."""
        logits, first = self._logits([Row(row.prompt, verdict=row.verdict) for row in batch])
        return [
            own[len(row.prompt) - 1 - first].float().log_softmax(-1) for row, own in zip(batch, logits, strict=True)
        ]

    def next_token_unguarded(self, prompts: Sequence[Ids]) -> list[Tensor]:
        """As `next_token`, of a batch of prompts by itself, as if there were no guard."""
        batch = [Row(prompt) for prompt in prompts]
        with self._evaluating(), self._guard(batch):
            return self.next_token(batch)

    def texts(self, batch: Sequence[Row], max_new_tokens: int) -> list[str]:
        """The greedy continuation of each row's prompt, without special tokens and the white space around it."""
        ids, mask = self.layout.padded([row.prompt for row in batch], side="left", room=max_new_tokens)
        how = GenerationConfig(
            max_new_tokens=max_new_tokens,
            do_sample=False,
            num_beams=1,
            eos_token_id=self.layout.stops or None,
            pad_token_id=self.layout.padding,
        )
        with self._greedy():
            generated = self.model.generate(input_ids=ids, attention_mask=mask, generation_config=how)
        texts = self.tokenizer.batch_decode(generated[:, ids.shape[1] :], skip_special_tokens=True)
        return [text.strip() for text in texts]

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Inside, the model is in evaluation mode; afterwards each of its modules in the mode it was in."""
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training

    @contextmanager
    def _greedy(self) -> Iterator[None]:
        """Inside, nothing of the model's generation config (penalties, suppressed tokens ...) fills what a call leaves
        open."""
        own = self.inner.generation_config
        self.inner.generation_config = GenerationConfig(bos_token_id=own.bos_token_id)
        try:
            yield
        finally:
            self.inner.generation_config = own

    def _batches(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        groups: dict[tuple[bool, Ids], list[Row]] = {}
        for row in sorted(rows, key=lambda row: (row.verdict is None, -len(row), -len(row.prompt))):
            groups.setdefault((row.verdict is None, row.prompt), []).append(row)
        batch: list[Row] = []
        for (clean, _), group in groups.items():
            if batch and (len(batch) + len(group) > self.batch_size or (batch[0].verdict is None) != clean):
                yield batch
                batch = []
            batch = batch + group
            while len(batch) > self.batch_size:
                yield batch[: self.batch_size]
                batch = batch[self.batch_size :]
        if batch:
            yield batch

    @contextmanager
    def _guard(self, batch: Sequence[Row]) -> Iterator[None]:
        """The guard is on for a batch of flagged rows alone."""
        unguarded = self.guarded.disable_guard() if self.guarded and batch[0].verdict is None else nullcontext()
        with unguarded, torch.no_grad():
            yield

    @contextmanager
    def _planned(self, batch: Sequence[Row], ids: Tensor, mask: Tensor) -> Iterator[None]:
        """Inside, a flagged batch, laid out as `ids` and `mask`, (rows, columns), is corrupted as its verdicts say; it
        was judged before."""
        verdicts = [row.verdict for row in batch if row.verdict is not None]
        if self.guarded is None or len(verdicts) < len(batch):
            yield
            return
        guard = self.guarded.eco_guard
        rows = [
            guard.plan_row(verdict, row.prompt, row.answer, self.protocol)
            for row, verdict in zip(batch, verdicts, strict=True)
        ]
        with following(self.guarded, Plan.laid_out(rows, ids, mask)):
            yield

    # -- the logits that predict answers, for each row (tokens of the answer, vocabulary)

    def _with_prompts(self, batch: Sequence[Row]) -> list[Tensor]:
        """In one pass of whole rows."""
        logits, first = self._logits(batch)
        return [
            own[len(row.prompt) - 1 - first : len(row) - 1 - first] for row, own in zip(batch, logits, strict=True)
        ]

    def _shares(self, batch: Sequence[Row]) -> bool:
        """True if `_behind_shared_prompts` saves something and gives what `_with_prompts` does."""
        nothing_saved = len({row.prompt for row in batch}) == len(batch)
        if nothing_saved or (self._corrupts_answers(batch) and self._mixes_positions):
            return False
        columns = max(len(row.prompt) for row in batch) + max(len(row.answer) for row in batch)
        return columns <= self.layout.limit and shares_prompts(self.model, self.inner)

    def _behind_shared_prompts(self, batch: Sequence[Row]) -> list[Tensor]:
        """In a pass of the distinct prompts, and one of the answers behind their cache.

        Prompts are padded on the left and answers on the right: nothing lies between them, and the last column of a
        prompt predicts the first token of each of its answers. Nothing is asked of the answers' last token.
        """
        prompts = list({row.prompt: Row(row.prompt, verdict=row.verdict) for row in batch}.values())
        place = {row.prompt: number for number, row in enumerate(prompts)}
        owner = torch.tensor([place[row.prompt] for row in batch])
        ids, mask = self.layout.padded([row.prompt for row in prompts], side="left")
        cache = prompt_cache(self.inner)
        with self._planned(prompts, ids, mask):
            opening = self._run(ids, mask, cache, keep=1)[:, -1:][owner]
        answers = [row.answer[:-1] for row in batch]
        if not any(answers):
            return list(opening)
        cache.batch_select_indices(owner)
        own_ids, own_mask = self.layout.padded(answers, side="right")
        whole = torch.cat([ids[owner], own_ids], dim=1), torch.cat([mask[owner], own_mask], dim=1)
        with self._planned(batch, *whole):
            logits = self._run(own_ids, whole[1], cache, keep=own_ids.shape[1])
        rest = [own[: len(answer)] for own, answer in zip(logits, answers, strict=True)]
        return [torch.cat(parts) for parts in zip(opening, rest, strict=True)]

    def _corrupts_answers(self, batch: Sequence[Row]) -> bool:
        return self.protocol == "paper" and batch[0].verdict is not None

    @property
    def _mixes_positions(self) -> bool:
        """True if a scope corrupts an answer's tokens together with those of its prompt."""
        scopes = self.guarded.eco_guard.config.scopes if self.guarded else []
        return any(mixes_positions(scope.corruption.method) for scope in scopes)

    def _run(self, ids: Tensor, mask: Tensor, cache: Cache, keep: int) -> Tensor:
        """(rows, at least the last `keep` columns, vocabulary), of ids (rows, columns) behind what `cache` holds; the
        mask spans both."""
        cached = {str(cache_argument(type(self.inner))): cache, "use_cache": True}
        positions = count_positions(mask)[:, -ids.shape[1] :]
        inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
        return self.model(**inputs, **cached, **self._keeping(keep)).logits

    def _logits(self, batch: Sequence[Row]) -> tuple[Tensor, int]:
        """(rows, columns, vocabulary), from the column before the first answer on, and which one that is."""
        ids, mask = self.layout.padded([row.prompt + row.answer for row in batch], side="right")
        first = min(len(row.prompt) for row in batch) - 1
        keep = self._keeping(ids.shape[1] - first)
        with self._planned(batch, ids, mask):
            logits = self.model(input_ids=ids, attention_mask=mask, use_cache=False, **keep).logits
        return logits, first if keep else 0

    def _keeping(self, columns: int) -> dict[str, Any]:
        """Has a model that can do so compute the logits of the last columns alone; all may not fit into memory."""
        can = "logits_to_keep" in inspect.signature(self.inner.forward).parameters
        return {"logits_to_keep": columns} if can else {}
