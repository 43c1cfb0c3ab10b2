"""Text in, p(forget) out: which scopes a text speaks of, how surely, and where. It knows no ids of the guarded model.

| file | what it holds |
|---|---|
| `detector` | `Detector`, what each way of recognising scopes gives |
| `registry` | `register_detector`, for detectors of your own |
| `classifier` | `PromptClassifier`: texts as they stand, without disguise, decoded; heads and names on each |
| `heads` | what is known of each scope, on an encoder that all scopes share |
| `packed_heads` | `PackedHead`, a head as it is used in scoring |
| `windows` | text models run over texts of any length |
| `sharing` | one encoder for all scopes that stand on the same one |
| `names/` | names, found however they are spelt |
| `facts/` | what documents say, found though nobody is named |
| `disguises/` | disguises taken off, encodings read |
| `entities` | entities of a text, marked by a token classifier |
| `log_odds` | probabilities as log-odds |
"""
