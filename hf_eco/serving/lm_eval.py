"""Guarded models in EleutherAI's lm-evaluation-harness, as its model `hf-eco`.

lm-eval has no discovery of plugins. Importing this module makes `hf-eco` known to it, and `main` is lm-eval's own
command with that done: `python -m hf_eco.serving.lm_eval --model hf-eco --model_args pretrained=guarded ...`.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Hashable, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor

from ..auto import AutoModelForCausalLMWithECO
from ..evaluation.scoring import judge
from ..guard.plan import ScoringProtocol
from ..inference import is_enabled
from ..io.optional import import_extra

logger = logging.getLogger("lm_eval.models.hf_eco")  # lm-eval shows what is logged below its own name
lm_eval_utils: Any = import_extra("lm_eval.utils", extra="lm-eval")
HFLM: Any = import_extra("lm_eval.models.huggingface", extra="lm-eval").HFLM

# ((context, continuation), its token ids, theirs), as lm-eval hands them on; no strings where a text has no context
_Request = tuple[tuple[str, str] | None, list[int], list[int]]


class GuardedLM(HFLM):
    """lm-eval's Hugging Face model (`HFLM`), guarded.

    - `loglikelihood`: the context is the prompt, judged and if need be corrupted; the continuation is the answer. The
      verdict is about the prompt as the model reads it, few-shot examples and chat template included, and cut off on
      the left where it is too long.
    - `loglikelihood_rolling`, and `loglikelihood` with an empty context: there is no question, so the text itself is
      the prompt, whatever the protocol; each window of a long text is judged by itself.
    - `generate_until`: the model's own `generate`.

    How many questions of each task were flagged is logged, and saved with the results (`eco_flagged`): an example
    about the scope before a question flags that question, too.
    """

    AUTO_MODEL_CLASS = AutoModelForCausalLMWithECO

    def __init__(self, pretrained: Any, protocol: ScoringProtocol = "strict", **kwargs: Any) -> None:
        """Loads a guarded model for lm-eval.

        Args:
            pretrained: a guarded checkpoint, a guard-only repository, a base model with `eco_config` among `kwargs`,
                or a guarded model itself.
            protocol: "strict" leaves the continuation as it is; "paper" corrupts its selected tokens too, in the rows
                whose context is flagged, which is what published figures of ECO prompts are measured with. (lm-eval
                does not run a continuation's last token: where a scope selects all tokens but the last, it is the
                last but one that is spared.)
            kwargs: as for `HFLM`; what it does not know is for `from_pretrained`, such as `eco_config`.

        Raises:
            ValueError: the model has no guard, or the protocol is unknown.
        """
        if protocol not in get_args(ScoringProtocol):
            raise ValueError(f"Unknown protocol {protocol!r}. Use 'strict' or 'paper'.")
        if not isinstance(pretrained, str) and hasattr(pretrained, "eco_guard"):
            # a model that was guarded just now has no directory yet; a copy, as lm-eval sets padding to its liking
            kwargs.setdefault("tokenizer", copy.deepcopy(pretrained.eco_guard.tokenizer))
        super().__init__(pretrained, **kwargs)
        if not hasattr(self.model, "eco_guard"):  # a model at hand, or one that GPTQ's own loader has made
            raise ValueError(
                f"{type(self.model).__name__} has no guard. Pass a guarded checkpoint, or use lm-eval's --model hf."
            )
        self.protocol: ScoringProtocol = protocol
        self._bounds: dict[tuple[int, ...], _Bounds] | None = None  # of the rows being scored, by `_key`
        self._contexts: tuple[str, ...] = ()  # of the batch being generated behind
        self._flagged: dict[Hashable, bool] = {}  # whether what lm-eval asked for was, by its strings or ids
        self.flagged: dict[str, dict[Any, bool]] = {}  # by task: by the question's number

    def get_model_info(self) -> dict[str, Any]:
        """As for any model, with the protocol and what each scope does; they are saved with the results."""
        scopes = {
            scope.name: {"threshold": scope.threshold, "tokens": scope.tokens, **asdict(scope.corruption)}
            for scope in self.model.eco_guard.config.scopes
        }
        flagged = {task: {"flagged": sum(own.values()), "of": len(own)} for task, own in self.flagged.items()}
        about = {"eco_protocol": self.protocol, "eco_scopes": scopes, "eco_flagged": flagged}
        return {**super().get_model_info(), **about}

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """As for any model."""
        scored = super().loglikelihood(requests, disable_tqdm=disable_tqdm)
        self._count(requests, [self._flagged[request.args] for request in requests])
        return scored

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """As for any model."""
        scored = super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)
        self._count(requests, [self._is_window_flagged(*request.args) for request in requests])
        return scored

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """As for any model."""
        answers = super().generate_until(requests, disable_tqdm=disable_tqdm)
        self._count(requests, [self._flagged[request.args[0]] for request in requests])
        return answers

    def tok_batch_encode(self, strings: Sequence[str], *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """As for any model."""
        self._contexts = tuple(strings)
        return super().tok_batch_encode(strings, *args, **kwargs)

    def _model_generate(self, context: Tensor, *args: Any, attention_mask: Tensor, **kwargs: Any) -> Tensor:
        prompts = [row[mask.bool()].tolist() for row, mask in zip(context, attention_mask, strict=True)]
        self._flagged.update(zip(self._contexts, self._judge(prompts), strict=True))
        return super()._model_generate(context, *args, attention_mask=attention_mask, **kwargs)

    def _judge(self, prompts: Sequence[Sequence[int]]) -> list[bool]:
        """Whether the guard flags each prompt."""
        if not is_enabled(self.model):
            return [False] * len(prompts)
        self.model.eco_guard.to(self.device)
        return [verdict is not None for verdict in judge(self.model.eco_guard, [tuple(own) for own in prompts])]

    def _count(self, requests: Sequence[Any], flagged: Sequence[bool]) -> None:
        """Notes which questions were flagged, and logs how many. A question may be asked several times, once for each
        of its options."""
        found: dict[str, dict[Any, bool]] = {}
        for number, (request, own) in enumerate(zip(requests, flagged, strict=True)):
            questions, key = found.setdefault(str(request.task_name), {}), getattr(request, "doc_id", number)
            questions[key] = questions.get(key, False) or own
        for task, questions in found.items():
            self.flagged.setdefault(task, {}).update(questions)
            logger.info(f"{task}: the guard flagged {sum(questions.values())} of {len(questions)} questions.")

    def _is_window_flagged(self, text: str) -> bool:
        """Whether one of the windows is in which lm-eval reads a text."""
        windows = lm_eval_utils.get_rolling_token_windows(
            token_list=self.tok_encode(text),
            prefix_token=self.prefix_token_id,
            max_seq_len=self.max_length,
            context_len=1,
        )
        rows = [context + ids for context, ids in map(lm_eval_utils.make_disjoint_window, windows)]
        return any(self._flagged[tuple(row)] for row in rows)

    def _loglikelihood_tokens(
        self, requests: Sequence[_Request], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        rows = [_row_of(request, self.max_length) for request in requests]
        judged = self._judge([row[: bounds.prompt] for row, bounds in rows])
        self._flagged.update(zip(map(_asked, requests), judged, strict=True))
        results: dict[int, tuple[float, bool]] = {}
        for members, bounds in _rounds(requests, self.max_length):
            self._bounds = bounds
            try:
                # A round after the first holds a row or two, too few for lm-eval to look for a batch size with.
                scored = super()._loglikelihood_tokens(
                    [requests[i] for i in members], disable_tqdm, override_bs=1 if results else override_bs
                )
            finally:
                self._bounds = None
            results.update(zip(members, scored, strict=True))
        return [results[i] for i in range(len(requests))]

    def _detect_batch_size(self, requests: Sequence[_Request] | None = None, pos: int = 0) -> int:
        bounds, self._bounds = self._bounds, None  # it runs rows that it makes up
        try:
            return super()._detect_batch_size(requests, pos)
        finally:
            self._bounds = bounds

    def _model_call(self, inps: Tensor, attn_mask: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        if self._bounds is None:
            return super()._model_call(inps, attn_mask, labels)
        bounds = [self._bounds[_key(row)] for row in inps.tolist()]
        mask = None  # as HFLM runs them, so that rows which are not flagged are its own to the bit
        if self.protocol == "paper":  # padding is not to be read as a part of the answer
            lengths = torch.tensor([bound.row for bound in bounds], device=inps.device)
            mask = (torch.arange(inps.shape[1], device=inps.device) < lengths.unsqueeze(-1)).long()
        autocast = {"dtype": self.mixed_precision_dtype, "enabled": self.mixed_precision_dtype is not None}
        with (
            torch.no_grad(),
            torch.autocast(self.device.type, **autocast),
            self.model.prompt_lengths([bound.prompt for bound in bounds], protocol=self.protocol),
        ):
            return self.model(inps, attention_mask=mask).logits


class _Bounds(NamedTuple):
    """How many tokens of a row are no padding, and how many of those, at its beginning, are the prompt."""

    row: int
    prompt: int


_Round = tuple[list[int], dict[tuple[int, ...], _Bounds]]


def _rounds(requests: Sequence[_Request], max_length: int) -> list[_Round]:
    """Requests in rounds, in each of which the ids of a row tell its bounds: indices of the requests, and the bounds
    by `_key`.

    lm-eval runs rows of the same ids once, wherever the continuation begins; for a guard it makes a difference. Nearly
    always one round holds them all.
    """
    rounds: list[_Round] = []
    for i, (row, bounds) in enumerate(_row_of(request, max_length) for request in requests):
        for members, known in rounds:
            if known.setdefault(_key(row), bounds) == bounds:
                members.append(i)
                break
        else:
            rounds.append(([i], {_key(row): bounds}))
    return rounds


def _row_of(request: _Request, max_length: int) -> tuple[list[int], _Bounds]:
    """The ids that lm-eval runs for a request, and the row's bounds."""
    texts, context, continuation = request
    row = (context + continuation)[-(max_length + 1) : -1]
    has_context = texts is not None and texts[0] != ""
    return row, _Bounds(len(row), len(row) - (len(continuation) - 1) if has_context else len(row))


def _asked(request: _Request) -> Hashable:
    """What tells a request from others: its strings, or the ids of a window of a text."""
    texts, context, continuation = request
    return tuple(context + continuation) if texts is None else texts


def _key(row: list[int]) -> tuple[int, ...]:
    """A row's ids without the zeros at its end: lm-eval fills rows up with zeros on the right."""
    end = len(row)
    while end and row[end - 1] == 0:
        end -= 1
    return tuple(row[:end])


def main() -> None:
    """lm-eval's own command line, with the model `hf-eco` registered."""
    import_extra("lm_eval.__main__", extra="lm-eval").cli_evaluate()


# By its path, not as a class: run with -m, this module is loaded twice, and a second class would be refused.
import_extra("lm_eval.api.registry", extra="lm-eval").model_registry.register(
    "hf-eco", target="hf_eco.serving.lm_eval:GuardedLM"
)

if __name__ == "__main__":
    main()
