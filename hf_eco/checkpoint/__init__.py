"""A guard on disk and on the Hub.

| file | what it holds |
|---|---|
| `format` | `config.json` of a guarded checkpoint |
| `source` | where a guard comes from, and which base model it names |
| `loading` | a guard read, its known answers checked |
| `writing` | a guard written |
| `hub_upload` | a directory to the Hub, in one commit |
| `model_card/` | the README.md beside it |
"""

from .hub_upload import upload
from .loading import read_guard

__all__ = ["read_guard", "upload"]
