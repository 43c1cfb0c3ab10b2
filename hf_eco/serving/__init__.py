"""Engines that run guarded models for others, each in a file that is imported when it is used: `lm_eval`."""
