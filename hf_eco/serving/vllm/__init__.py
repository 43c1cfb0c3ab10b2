"""Guarded checkpoints on vLLM: `vllm serve me/guarded`, `LLM("me/guarded")`.

vLLM loads this plugin by itself in each of its processes. What happens to a request, in order:

| file | process | what it holds |
|---|---|---|
| `plugin` | all | what the plugin tells vLLM: the model type, the architectures, where the other files take part |
| `checkpoint` | front end | finds the guard of the checkpoint to be served; refuses options that would go without it |
| `judge` | front end | verdicts, in a thread of their own, memoised |
| `front_end` | front end | judges each request before its prefix-cache key exists, and attests that |
| `sampling` | front end | which sampling parameters may dictate an answer, and judging such answers |
| `parts` | front end, worker | what is to be corrupted, in the form in which it travels to the workers |
| `attestation` | front end, engine | a request that was not judged is refused by the engine |
| `model` | worker | vLLM's own model class, which corrupts |
| `metrics` | front end | counters for Prometheus |
| `_vllm` | all | every private name of vLLM that is relied on |
"""

from .plugin import register

__all__ = ["register"]
