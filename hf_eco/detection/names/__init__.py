"""Names, found in a text however they are spelt.

| file | what it holds |
|---|---|
| `detector` | `NamesDetector`: scopes that are recognised by their names |
| `hashed` | `HashedNamesDetector`: the same, where hashes are all that is kept of the names |
| `name_forms` | the forms of a name, and those that a text could hold, which are compared as hashes |
| `shared_index` | an index that several detectors share |
| `lexicon` | `Lexicon`, all names of a scope that has a trained head |
| `lexicons` | `Lexicons`: those of many scopes as one |
| `index` | `NameIndex`: all names of all scopes, few of which are looked for in a text |
| `last_names` | last names that stand by themselves |
| `initials` | initials beside a last name |
| `common` | names that many people bear |
| `chance` | how rare words are: what looks like a misspelt name is often another word |
| `name` | one name: in which words or letters of a text it stands, and how many of them are wrong |
| `sound_index` | `SoundIndex`: names in another script than they were given in, by sound |
| `scripts` | the words of a text in any script, as they sound |
| `chinese` | the characters that Chinese writes the names of foreigners with |
| `sounds` | phonemes, and how far one name is from another by ear |
| `hearing` | what each script does to the sounds of names from another |
| `kanji_index` | `KanjiIndex`: Japanese names in characters, by their readings |
| `kanji` | how Japanese names are read, and Korean names in Chinese characters |
| `words` | the words of a text, and those that are no misspelling of anything |
"""

from .lexicon import LAST_NAME_LOG_ODDS, Lexicon
from .lexicons import Lexicons
from .name import Mention
from .words import MIN_NAME, OPENING_WORDS, long_enough, without_suffix

__all__ = [
    "LAST_NAME_LOG_ODDS",
    "MIN_NAME",
    "OPENING_WORDS",
    "Lexicon",
    "Lexicons",
    "Mention",
    "long_enough",
    "without_suffix",
]
