"""Files and rows: a user's prompts, data sets, directories that are replaced whole, optional libraries.

| file | what it holds |
|---|---|
| `prompt_files` | `read_prompts`, `PromptSource`: a user's prompts, and questions with their answers |
| `name_files` | `read_requests`, `write_requests`: names of those who are to be forgotten, and documents on them |
| `rows`, `data_sets` | the rows of a file or data set |
| `cells` | what a row holds: texts, lists, chats |
| `text_files` | encodings, compression, lines |
| `directories` | writing a directory so that nothing half-written is left |
| `locking` | a lock on an open file, which processes and threads wait for |
| `terminal` | text that a terminal does not take for commands |
| `optional` | libraries that not everybody needs |
"""

from .name_files import Request, read_requests, write_requests
from .prompt_files import PromptSource, read_prompts

__all__ = ["PromptSource", "Request", "read_prompts", "read_requests", "write_requests"]
