"""A page to try a guarded model on: it answers twice, with its guard and without it.

| file | what it holds |
|---|---|
| `answers` | the model, asked with the guard on and off, under thresholds of the page's own |
| `drawing` | verdicts and scopes as HTML |
| `page` | the page, and the server that shows it |
| `space` | the same page as a Space of the Hugging Face Hub |
"""

from .page import build, launch
from .space import write_space

__all__ = ["build", "launch", "write_space"]
