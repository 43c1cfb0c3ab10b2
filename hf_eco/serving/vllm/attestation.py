"""A request says by which guard it was judged, and the engine refuses those that do not.

What travels with a request is a digest of its token ids, of what is corrupted of it, of the guard that judged it and
of the checkpoint. It tells a front end that has judged from one without the plugin, or of another checkpoint. It keeps
nobody out who runs code in the server. Clients cannot forge it: the front end writes over whatever they send.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from ...errors import GuardError

KEY = "hf_eco"  # in SamplingParams.extra_args


def attestation(
    checkpoint: str, guard: str, ids: Sequence[int], features: Sequence[Any], prompt_tokens: int
) -> dict[str, Any]:
    """What a judged request carries.

    Args:
        checkpoint: the fingerprint of the guard that the server was started with.
        guard: that of the guard that judged; another if the server follows a guard on disk.
        ids: the token ids of the prompt.
        features: what is corrupted of it, as vLLM's multimodal features.
        prompt_tokens: how many of the ids are the user's; what beams have generated is no prompt.
    """
    digest = hashlib.sha256(f"{checkpoint} {guard} {prompt_tokens}".encode())
    digest.update(b"".join(int(i).to_bytes(8, "little") for i in ids))
    for feature in features:
        position = feature.mm_position
        digest.update(f" {feature.modality} {feature.identifier} {position.offset} {position.length}".encode())
    return {"checkpoint": checkpoint, "guard": guard, "prompt_tokens": prompt_tokens, "digest": digest.hexdigest()}


def check_attested(request: Any, checkpoint: str) -> None:
    """Raises GuardError if a request was not judged by a front end of this checkpoint.

    Args:
        request: vLLM's `EngineCoreRequest`.
        checkpoint: as for `attestation`.
    """
    if getattr(request, "abort_immediately", False):  # it is never run
        return
    params = request.sampling_params
    carried = None if params is None or not params.extra_args else params.extra_args.get(KEY)
    if isinstance(carried, dict) and request.prompt_token_ids is not None and request.prompt_embeds is None:
        said = str(carried.get("guard")), request.prompt_token_ids, request.mm_features or ()
        if carried == attestation(checkpoint, *said, carried.get("prompt_tokens", 0)):
            return
    raise GuardError(
        f"Request {request.request_id!r} reached the engine of a guarded checkpoint and was not judged by its guard. "
        "Install hf-eco wherever a front end of this server runs, with the same checkpoint, and do not leave it out "
        "of VLLM_PLUGINS."
    )
