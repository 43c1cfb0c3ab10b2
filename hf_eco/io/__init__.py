"""Files and rows: a user's prompts, data sets, directories that are replaced whole, optional libraries.

| file | what it holds |
|---|---|
| `prompt_files` | `read_prompts`: a user's prompts |
| `name_files` | `read_requests`, `write_requests`: names of those who are to be forgotten, and documents on them |
| `rows` | the rows of a file or data set |
| `directories` | writing a directory so that nothing half-written is left |
| `optional` | libraries that not everybody needs |
"""

from .name_files import Request, read_requests, write_requests
from .prompt_files import read_prompts

__all__ = ["Request", "read_prompts", "read_requests", "write_requests"]
