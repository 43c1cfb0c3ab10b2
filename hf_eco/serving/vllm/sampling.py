"""Every sampling parameter of vLLM, and what the guard does about it. What a parameter can have a model say is a part
of the conversation, and no answer of the model's own: it is judged while it is generated.

As `inference/generate_options.py` does for transformers' `generate`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from ...inference.answer_watch import why_refused
from ...inference.generate_options import FEW_BANS

# Parameters that may dictate an answer: what they do, and at which values.
DICTATING: dict[str, Callable[[Any], bool]] = {
    "structured_outputs": lambda value: value is not None,
    "allowed_token_ids": lambda value: value is not None,
    "trace_decode_token_ids": bool,
    # to have a model say a word, raise it, or ban whatever it would rather say
    "logit_bias": lambda value: bool(value) and (max(value.values()) > 0 or len(value) > FEW_BANS),
    "bad_words": lambda value: bool(value) and len(value) > FEW_BANS,
    "stop_token_ids": lambda value: bool(value) and len(value) > FEW_BANS,  # with min_tokens they are banned
    # these have the words of the prompt, or of the answer, come again
    "repetition_penalty": lambda value: not value >= 1,
    "presence_penalty": lambda value: not value >= 0,
    "frequency_penalty": lambda value: not value >= 0,
}
# Parameters that choose among what the model says, say where it stops, or what is returned.
HARMLESS = (
    *("n", "temperature", "top_p", "top_k", "min_p", "seed", "stop", "ignore_eos", "max_tokens", "min_tokens"),
    *("logprobs", "prompt_logprobs", "prompt_logprob_token_ids", "prompt_logprob_start", "logprob_token_ids"),
    *("flat_logprobs", "detokenize", "skip_special_tokens", "spaces_between_special_tokens"),
    *("include_stop_str_in_output", "output_kind", "stream_interval", "skip_clone", "output_text_buffer_length"),
    *("skip_reading_prefix_cache", "routed_experts_prompt_start", "repetition_detection"),
    "thinking_token_budget",  # ends what a model thinks by the words that its operator has set
    "watermarking",  # by a key of the operator's
    "extra_args",  # what processors of the operator's read
)


def check_known(params: Any) -> None:
    """Raises ValueError if a request has a parameter that hf-eco does not know, and that is set.

    Args:
        params: vLLM's `SamplingParams`.
    """
    kind: Any = type(params)
    for name, default in _unknown(kind).items():
        if getattr(params, name) != default:
            raise ValueError(
                f"hf-eco does not know the sampling parameter {name!r}, which may put words into the model's mouth. "
                "Leave it out, or pip install -U hf-eco."
            )


@cache
def _unknown(kind: Any) -> dict[str, Any]:
    """The parameters that hf-eco does not know, and their defaults."""
    default = kind()
    names = [name for name in kind.__struct_fields__ if not name.startswith("_")]
    return {name: getattr(default, name) for name in names if name not in HARMLESS and name not in DICTATING}


def dictating(params: Any) -> tuple[str, ...]:
    """The parameters of a request, `SamplingParams`, that may put words into the model's mouth."""
    return tuple(name for name, applies in DICTATING.items() if applies(getattr(params, name, None)))


class AnswerWatch:
    """Judges what is generated for one request.

    Args:
        judge: gives the scope of an answer to the prompt, or None; see `Guard.judge_answers`.
        how: the parameters that may dictate it.
        begun: tokens of the answer that stand in the request's prompt already, as beam search has it.
        every: tokens between two judgements; 1 where they are shown as they come.
    """

    def __init__(
        self, judge: Callable[[Sequence[int]], str | None], how: Sequence[str], begun: Sequence[int], every: int
    ) -> None:
        self._judge = judge
        self._how = " and ".join(how)
        self._answer = list(begun)
        self._judged = len(self._answer)
        self._every = every

    def refusal(self, tokens: Sequence[int], ended: bool) -> str | None:
        """Why an answer is not given any further, if it is not.

        Args:
            tokens: those that were generated now.
            ended: whether they are its last.
        """
        self._answer += tokens
        if len(self._answer) == self._judged or (len(self._answer) < self._judged + self._every and not ended):
            return None
        self._judged = len(self._answer)
        scope = self._judge(self._answer)
        if scope is None:
            return None
        return f"This model is guarded by hf-eco. {why_refused(scope, self._how)}"
