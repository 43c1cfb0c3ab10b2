"""What the front end of a server does with a request for a guarded model, before its prefix-cache key exists."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from ...checkpoint.loading import read_guard
from ...errors import GuardError
from ...guard.audit import JsonLinesLog
from ...guard.guard import Guard, check_order
from ...guard.reach import check_dims_fit
from ...inference.answer_watch import EVERY
from .attestation import KEY, attestation
from .checkpoint import ServedGuard, ServingOptions
from .judge import Judge
from .metrics import Metrics
from .parts import features_of, parts_of
from .sampling import AnswerWatch, check_known, dictating


class BeamPrompt(dict[str, Any]):
    """A prompt that beam search runs: the user's tokens, and behind them what a beam has generated.

    It is a type and not a key of the prompt, which whoever sends a prompt could send as well.

    Attributes:
        given: how many of the tokens are the user's.
    """

    def __init__(self, prompt: dict[str, Any], given: int) -> None:
        super().__init__(prompt)
        self.given = given


class FrontEnd:
    """Judges the requests of a server. Whatever cannot be judged is refused.

    Args:
        served: the guard.
        options: what the server was told.
        model_name: as clients know the model.
        size: of the model's embeddings.

    Raises:
        OSError: the guard, or the one that is to be followed, cannot be trusted.
        ValueError: its corruption cannot be computed.
    """

    def __init__(self, served: ServedGuard, options: ServingOptions, model_name: str, size: int) -> None:
        self.checkpoint = served.fingerprint
        self.metrics = Metrics(model_name)
        guard = read_guard(served.repository, **served.download)
        if options.audit_log is not None:
            guard.log = JsonLinesLog(options.audit_log)
        self.judge = Judge(guard, self.metrics.took, lambda guard: check_corruption(guard, served.methods, size))
        if options.follow is not None:
            self.judge.follow(options.follow, options.every)

    async def prepare(self, prompt: Any) -> None:
        """Waits for the verdict on a prompt that is about to be asked for, so that the event loop does not. What is
        wrong with the prompt is said when it is asked for."""
        if isinstance(prompt, AsyncGenerator):
            raise self.refusal("It reads prompts whole: streamed prompts cannot be judged.")
        if isinstance(prompt, dict) and prompt.get("type") == "token":
            ids = _prompt_of(prompt["prompt_token_ids"], prompt)
            await asyncio.gather(asyncio.wrap_future(self.judge.submit(ids)), return_exceptions=True)

    def guard_request(self, request: Any, prompt: Any) -> Any:
        """Judges a request and attests it; what is corrupted of its prompt goes with it.

        Args:
            request: vLLM's `EngineCoreRequest`, which is changed.
            prompt: what it was made from.

        Raises:
            VLLMValidationError: it cannot be judged.
            GuardError: the audit log failed.
        """
        if request.sampling_params is None:
            raise self.refusal("It guards generation: pooling is not to be had.")
        if request.prompt_token_ids is None or request.prompt_embeds is not None:
            raise self.refusal("It reads token ids: prompt embeddings cannot be judged.")
        if request.mm_features:
            raise self.refusal("It reads text: images, audio and other inputs cannot be judged.")
        if request.resumable:
            raise self.refusal("It reads prompts whole: streamed prompts cannot be judged.")
        ids = _prompt_of(request.prompt_token_ids, prompt)
        try:
            check_known(request.sampling_params)
            judged = self.judge.judge(ids)
        except (GuardError, ValueError) as error:
            raise self.refusal(str(error)) from error
        verdict, guard = judged.verdict, judged.guard
        features: Sequence[Any] = ()
        if (scope := verdict.corrupted_for) is not None and verdict.tokens:
            how = guard.config.scope(scope).corruption
            try:
                check_order(how.method, len(verdict.tokens))
            except GuardError as error:
                raise self.refusal(str(error)) from error
            adapter = request.lora_request.lora_name if request.lora_request is not None else None
            features = features_of(parts_of(ids, verdict.tokens, how, adapter))
        if len(ids) == len(request.prompt_token_ids):  # a beam's later steps are no requests of their own
            if verdict.scope is not None:
                self.metrics.flagged(verdict.scope)
            guard.record([verdict])
        request.mm_features = list(features) or None
        attested = attestation(self.checkpoint, guard.fingerprint, request.prompt_token_ids, features, len(ids))
        params = request.sampling_params
        params.extra_args = {**(params.extra_args or {}), KEY: attested}  # never a client's own
        return request

    def watch(self, request: Any) -> AnswerWatch | None:
        """What judges the answer to a request that was judged, if it may be dictated."""
        params = request.sampling_params
        if not (how := dictating(params)):
            return None
        length = params.extra_args[KEY]["prompt_tokens"]
        prompt, begun = request.prompt_token_ids[:length], request.prompt_token_ids[length:]
        guard, scope = self.judge.guard, self.judge.judge(prompt).verdict.scope

        def judge(answer: Sequence[int]) -> str | None:
            verdict = guard.judge_answers([prompt], [answer], [scope])
            return None if verdict is None else verdict.scope

        return AnswerWatch(judge, how, begun, EVERY if params.output_kind.name == "FINAL_ONLY" else 1)

    def refusal(self, why: str) -> Exception:
        """The error of a request that cannot be judged, which is counted."""
        from vllm.exceptions import VLLMValidationError

        self.metrics.refused()
        return VLLMValidationError(f"This model is guarded by hf-eco. {why}")


def check_corruption(guard: Guard, methods: Sequence[str], size: int) -> None:
    """Raises ValueError if workers could not compute what a guard corrupts: one would end at the first flagged prompt.

    Args:
        guard: that is to be put in charge.
        methods: of corruption, that the workers know.
        size: of the model's embeddings.
    """
    for scope in guard.config.scopes:
        how = scope.corruption
        if how.method not in methods:
            raise ValueError(
                f"Scope {scope.name!r} is corrupted by {how.method!r}, which was not registered when the server was "
                "started. Register it in a plugin of vLLM's, and start anew."
            )
    check_dims_fit(guard.config.scopes, size, "the served model")


def _prompt_of(ids: Sequence[int], prompt: Any) -> list[int]:
    """The token ids that a user gave."""
    return [int(i) for i in (ids[: prompt.given] if isinstance(prompt, BeamPrompt) else ids)]
