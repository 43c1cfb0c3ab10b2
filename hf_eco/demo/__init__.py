"""The demo: a language model that has read the Harry Potter books, and after it one that has not."""

from .prompts import demo_prompts
from .run import DemoAnswer, DemoResult, run_demo

__all__ = ["DemoAnswer", "DemoResult", "demo_prompts", "run_demo"]
