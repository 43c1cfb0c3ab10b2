"""What a server counts, in vLLM's own registry: `/metrics` shows it beside vLLM's."""

from __future__ import annotations

from functools import cache
from typing import Any


class Metrics:
    """Counters of one served model.

    | metric | what it counts |
    |---|---|
    | `hf_eco:judged_total` | prompts that were judged |
    | `hf_eco:flagged_total` | requests that were flagged, by scope |
    | `hf_eco:refused_total` | requests that cannot be judged, and are refused |
    | `hf_eco:verdict_seconds_total` | seconds that the verdicts took; a prompt that was judged before takes none |
    """

    def __init__(self, model_name: str) -> None:
        self._of_model = {name: counter.labels(model_name) for name, counter in _counters().items()}
        self._flagged = _flagged()
        self._model_name = model_name

    def took(self, seconds: float, prompts: int) -> None:
        """So many prompts were judged in so many seconds."""
        self._of_model["judged"].inc(prompts)
        self._of_model["verdict_seconds"].inc(seconds)

    def flagged(self, scope: str) -> None:
        """A request was flagged."""
        self._flagged.labels(self._model_name, scope).inc()

    def refused(self) -> None:
        """A request was refused."""
        self._of_model["refused"].inc()


# Made when the first model is served: prometheus_client decides then whether several processes share a registry.


@cache
def _counters() -> dict[str, Any]:
    from prometheus_client import Counter

    what = {
        "judged": "Prompts judged by the guard.",
        "refused": "Requests that the guard cannot judge.",
        "verdict_seconds": "Seconds that verdicts took.",
    }
    return {name: Counter(f"hf_eco:{name}", text, ["model_name"]) for name, text in what.items()}


@cache
def _flagged() -> Any:
    from prometheus_client import Counter

    return Counter("hf_eco:flagged", "Requests that fell in a forget scope.", ["model_name", "scope"])
