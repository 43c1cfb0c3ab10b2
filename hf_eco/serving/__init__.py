"""Engines that run guarded models for others, each imported when it is used: `lm_eval`, `vllm`."""
