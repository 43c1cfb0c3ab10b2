"""Facts: what a scope's documents say, found in prompts that name nobody. Nothing is trained.

| file | what it holds |
|---|---|
| `detector` | `FactsDetector`: scopes that are recognised by their documents |
| `encoder` | `FactsEncoder`: texts as vectors |
| `sentences` | the sentences of documents and of prompts |
| `masking` | names taken out of documents; titles, names and numbers taken out of prompts |
| `words` | the words of a text, and how rare they are |
| `background` | what an encoder makes of the texts that come with the package |
| `bank` | `FactBank`: the sentences of all scopes, and those that are near a prompt |
| `storage` | a guard's facts on disk |
"""

from .detector import FactsDetector
from .encoder import FactsEncoder

__all__ = ["FactsDetector", "FactsEncoder"]
