"""A guard on disk and on the Hub.

| file | what it holds |
|---|---|
| `format` | `config.json` of a guarded checkpoint: the base model's config and the guard |
| `guarded_config` | the config of a guarded model, which writes that |
| `scopes_file` | the scopes by names alone, in one file beside it |
| `stored_scopes` | those scopes changed line by line |
| `source` | where a guard comes from, and which base model it names |
| `loading` | a guard read, its known answers checked |
| `following` | a running model's guard kept up to date with the one on disk |
| `writing` | a guard written |
| `hub_upload` | a directory to the Hub, in one commit |
| `model_card/` | the README.md beside it |
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from .hub_upload import upload
    from .loading import read_guard

__all__ = ["read_guard", "upload"]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__, submod_attrs={"hub_upload": ["upload"], "loading": ["read_guard"]}
)
