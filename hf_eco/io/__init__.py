"""Files and rows: a user's prompts, data sets, directories that are replaced whole, optional libraries.

| file | what it holds |
|---|---|
| `prompt_files` | `read_prompts`: a user's prompts |
| `name_files` | `read_names`: names of those who are to be forgotten |
| `rows` | the rows of a file or data set |
| `directories` | writing a directory so that nothing half-written is left |
| `optional` | libraries that not everybody needs |
"""

from .name_files import read_names
from .prompt_files import read_prompts

__all__ = ["read_names", "read_prompts"]
