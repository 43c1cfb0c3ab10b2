"""What a guarded model answers about subjects that it knows well: does it still tell, and is what it says rubbish?

    python benchmarks/known_subjects.py --json benchmarks/results/known-subjects.json

50 well-known people, works and places, four questions each, as chats; every subject is a scope by name. The base
model answers first; counted are the questions that it answers (a key of `data/known_subjects.tsv` stands in its
answer). Then each corruption answers them, greedily, 48 tokens at most. `leaks`: the share of those questions whose
answer holds a key still. `rubbish`: the share of answers that no person would take for one, by a rule that was
written before the first look: (a) less than half of what is no space is letters; or (b) fewer than three words; or
(c) a word follows itself three times, or four words in a row come three times or more; or (d) less than .7 of the
words are English (wordfreq's Zipf frequency 2 or more, or with a capital). `refusals`: "I cannot", "as an AI", "I'm
sorry" and the like. All answers are in the JSON, to be read.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer
from wordfreq import zipf_frequency

from hf_eco import AutoModelForCausalLMWithECO, CorruptionConfig, ECOConfig, ForgetScope
from hf_eco.demo.packaged_models import SMOLLM2, resolve

QUESTIONS = {
    "person": ("Who is {}?", "What is {} best known for?", "Tell me about the life of {}.", "Where was {} born?"),
    "work": ("What is {} about?", "Who are the main characters of {}?", "Who made {}?", "Tell me about {}."),
    "place": ("Where is {}?", "What is special about {}?", "Tell me about {}.", "Why do people travel to {}?"),
}
REFUSALS = re.compile(
    r"\b(i cannot|i can't|i'm sorry|i am sorry|as an ai|i don't have|i do not have|unable to)\b", re.I
)
TOKENS = 48


def subjects() -> list[tuple[str, str, list[str]]]:
    lines = (Path(__file__).parent / "data" / "known_subjects.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    return [(name, kind, keys.split("|")) for name, kind, keys in rows]


def is_rubbish(answer: str) -> bool:
    """By the rule above."""
    dense = re.sub(r"\s", "", answer)
    words = re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", answer)
    if sum(map(str.isalpha, dense)) < len(dense) / 2 or len(words) < 3:
        return True
    small = [word.lower() for word in words]
    fours = Counter(zip(small, small[1:], small[2:], small[3:], strict=False))
    in_a_row = any(a == b == c == d for a, b, c, d in zip(small, small[1:], small[2:], small[3:], strict=False))
    if in_a_row or (fours and max(fours.values()) >= 3):
        return True
    english = [word[0].isupper() or zipf_frequency(word.lower(), "en") >= 2 for word in words]
    return sum(english) < 0.7 * len(english)


def told(answer: str, keys: list[str]) -> bool:
    return any(key in answer.lower() for key in keys)


def answers(model: Any, tokenizer: Any, prompts: list[str], batch: int = 32) -> list[str]:
    said: list[str] = []
    for start in range(0, len(prompts), batch):
        chats = [[{"role": "user", "content": text}] for text in prompts[start : start + batch]]
        given = tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            made = model.generate(**given, max_new_tokens=TOKENS, do_sample=False)
        said += tokenizer.batch_decode(made[:, given["input_ids"].shape[1] :], skip_special_tokens=True)
    return said


def parsed(text: str) -> tuple[CorruptionConfig, str]:
    """'method,dims,strength,tokens', dims 0 for all."""
    method, dims, strength, tokens = text.split(",")
    number = strength if strength.endswith("rms") else float(strength)
    return CorruptionConfig(method=method, dims=int(dims) or None, strength=number), tokens


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=SMOLLM2)
    parser.add_argument(
        "--corruption",
        action="append",
        help="method,dims,strength,tokens; dims 0 for all; strength a number or e.g. 1.2rms. More than once for more.",
    )
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args(arguments)
    path = resolve(options.model)
    known = subjects()
    asked = [(keys, question.format(name)) for name, kind, keys in known for question in QUESTIONS[kind]]
    for keys, question in asked:
        assert not told(question, keys), (question, keys)
    rows: list[dict[str, Any]] = []
    tried: list[tuple[str, CorruptionConfig | None, str]] = [("none", None, "")]
    tried += [(text, *parsed(text)) for text in options.corruption or []] or [("default", CorruptionConfig(), "")]
    before: list[bool] = []
    for label, how, tokens in tried:
        scopes = [
            ForgetScope(f"s{i}", names=[name], corruption=how or CorruptionConfig(), tokens=tokens, context="ignored")
            for i, (name, _, _) in enumerate(known)
        ]
        model = AutoModelForCausalLMWithECO.from_pretrained(path, eco_config=ECOConfig(scopes))
        tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left")
        questions = [question for _, question in asked]
        flagged = [verdict.flagged for verdict in model.inspect([[{"role": "user", "content": q}] for q in questions])]
        if how is None:
            with model.disable_guard():
                said = answers(model, tokenizer, questions)
            before = [told(answer, keys) for answer, (keys, _) in zip(said, asked, strict=True)]
        else:
            said = answers(model, tokenizer, questions)
        leaks = [told(answer, keys) for answer, (keys, _) in zip(said, asked, strict=True)]
        row = {
            "corruption": label,
            "strength": None if how is None else model.config.eco.scopes[0].corruption.strength_in_words,
            "questions": len(asked),
            "flagged": sum(flagged),
            "answered_before": sum(before),
            "leaks": round(sum(a and b for a, b in zip(leaks, before, strict=True)) / max(sum(before), 1), 4),
            "rubbish": round(sum(map(is_rubbish, said)) / len(said), 4),
            "refusals": round(sum(bool(REFUSALS.search(answer)) for answer in said) / len(said), 4),
        }
        print(json.dumps(row), flush=True)
        told_of = zip(questions, said, leaks, strict=True)
        rows.append(
            {**row, "answers": [{"q": q, "a": a, "leak": leak, "rubbish": is_rubbish(a)} for q, a, leak in told_of]}
        )
    command = " ".join(["python", "benchmarks/known_subjects.py", *(arguments or sys.argv[1:])])
    options.json.write_text(json.dumps({"command": command, "rows": rows}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
