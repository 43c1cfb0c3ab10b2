"""The models that a TOFU table compares: fine-tuned here, or made of an adapter; each an ordinary checkpoint."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from common import BFLOAT16, DEVICE
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments, set_seed

from hf_eco.evaluation.encoding import Encoder
from hf_eco.evaluation.result_cache import key_of
from hf_eco.evaluation.scoring import as_chat
from hf_eco.io.optional import import_extra

IGNORED = -100  # label of a token that no loss is taken of

Example = tuple[tuple[int, ...], tuple[int, ...]]
"""The ids of a prompt, and those of its answer."""


@dataclass(frozen=True)
class Tuning:
    """How a model is fine-tuned: AdamW, the learning rate rising over the first epoch and falling to 0 from there. The
    defaults are those of TOFU's authors for Llama-2-7B (Maini et al. 2024, arXiv 2401.06121).

    Attributes:
        learning_rate: its highest value.
        epochs: passes over the rows.
        batch_size: rows of a step, on all devices together.
        weight_decay: AdamW's.
        lora: rank of the adapter that is trained in place of the weights. None: the weights are.
        seed: of the order of the rows and of the adapter's first weights.
    """

    learning_rate: float = 1e-5
    epochs: int = 5
    batch_size: int = 32
    weight_decay: float = 0.01
    lora: int | None = None
    seed: int = 0


def check_work_dir(directory: Path, made_of: dict[str, Any]) -> None:
    """Refuses a directory with what was made of something else."""
    record = directory / "made-of.json"
    directory.mkdir(parents=True, exist_ok=True)
    if not record.exists():
        record.write_text(json.dumps(made_of, indent=1) + "\n")
    elif (known := json.loads(record.read_text())) != made_of:
        raise SystemExit(f"{directory} holds what was made of {known}, not of {made_of}. Take another --work-dir.")


def merged(base: str, adapter: Path, directory: Path) -> str:
    """`base` with `adapter` merged into it, as an ordinary checkpoint."""
    if not directory.exists():
        peft = import_extra("peft", "dev")
        unfinished = directory.with_suffix(".unfinished")
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        peft.PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(unfinished)
        AutoTokenizer.from_pretrained(base).save_pretrained(unfinished)
        unfinished.rename(directory)
    return str(directory)


def fine_tuned(
    base: str, rows: Sequence[dict[str, Any]], directory: Path, tuning: Tuning, rows_at_once: int, title: str
) -> str:
    """`base` fine-tuned on the answers of `rows`, as an ordinary checkpoint in `directory`; every process that
    `accelerate launch` has started takes part.

    What is there already is not made again, and a training that broke off goes on at the end of its last whole epoch.

    Args:
        base: path or Hub id of a causal language model.
        rows: TOFU's, {question, answer}.
        directory: for the checkpoints, the finished model and what they were made of.
        tuning: how.
        rows_at_once: rows that go through the model at once on each device.
        title: what is fine-tuned, in one word.

    Raises:
        SystemExit: `directory` holds what was made otherwise, or the rows of a step cannot be shared out.
    """
    tokenizer = AutoTokenizer.from_pretrained(base)
    examples = encode(tokenizer, rows)
    model_dir, checkpoints = directory / "model", directory / "checkpoints"
    arguments = training_arguments(checkpoints, tuning, len(examples), rows_at_once)
    with arguments.main_process_first():
        check_work_dir(
            directory, {"model": base, "version": version_of(base), "examples": key_of(examples), **asdict(tuning)}
        )
    if not model_dir.exists():
        if arguments.should_save:
            print(f"Fine-tuning {title}: {len(examples)} rows, {tuning}", flush=True)
        saved = directory / "adapter" if tuning.lora else model_dir
        if not saved.exists():
            _train(base, examples, arguments, tuning, saved)
        if arguments.should_save and tuning.lora:
            merged(base, saved, model_dir)
        if arguments.should_save:
            shutil.rmtree(checkpoints, ignore_errors=True)
    return str(model_dir)


def encode(tokenizer: Any, rows: Sequence[dict[str, Any]]) -> list[Example]:
    """Questions and answers as the token ids that they are scored by; an answer ends with what ends it when the model
    generates."""
    encoder = Encoder(tokenizer)
    examples = []
    for row in rows:
        prompt = as_chat(row["question"], tokenizer)
        answer = encoder.encode_answer(prompt, row["answer"])
        if isinstance(prompt, str):  # in a chat it ends already
            answer = (*answer, tokenizer.eos_token_id)
        examples.append((encoder.encode_prompt(prompt), answer))
    return examples


def training_arguments(directory: Path, tuning: Tuning, rows: int, rows_at_once: int) -> TrainingArguments:
    """What transformers' Trainer is told, on as many devices as there are.

    Raises:
        SystemExit: the rows of a step cannot be shared out among them.
    """
    arguments = TrainingArguments(
        output_dir=str(directory),
        num_train_epochs=tuning.epochs,
        per_device_train_batch_size=rows_at_once,
        learning_rate=tuning.learning_rate,
        weight_decay=tuning.weight_decay,
        lr_scheduler_type="linear",
        warmup_steps=-(-rows // tuning.batch_size),  # the first epoch
        bf16=BFLOAT16,
        use_cpu=DEVICE == "cpu",
        save_strategy="epoch",
        save_total_limit=1,
        logging_strategy="epoch",
        report_to="none",
        seed=tuning.seed,
    )
    together = arguments.train_batch_size * arguments.world_size
    if tuning.batch_size % together:
        raise SystemExit(
            f"The {tuning.batch_size} rows of a step are not a multiple of the {together} that all devices take at "
            f"once. Take another --batch-size than {rows_at_once}, or another number of processes."
        )
    arguments.gradient_accumulation_steps = tuning.batch_size // together
    return arguments


def version_of(model: str) -> str | None:
    """What tells a changed model from the one that had the same name: the commit on the Hub, or the dates of the files
    in a directory."""
    if not Path(model).is_dir():
        return AutoConfig.from_pretrained(model)._commit_hash
    stats = {path.name: path.stat() for path in sorted(Path(model).iterdir()) if path.is_file()}
    return key_of([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()])


def _train(
    base: str, examples: Sequence[Example], arguments: TrainingArguments, tuning: Tuning, directory: Path
) -> None:
    """Fine-tunes `base` and saves it, or its adapter, in `directory`."""
    set_seed(tuning.seed)  # of the adapter's first weights; the trainer's own comes too late for them
    # trained weights keep float32 beneath bf16's arithmetic: in bf16 most steps of this size would be rounded away
    frozen = BFLOAT16 and tuning.lora
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16 if frozen else torch.float32)
    if tuning.lora:
        peft = import_extra("peft", "dev")
        how = peft.LoraConfig(
            r=tuning.lora, lora_alpha=2 * tuning.lora, target_modules="all-linear", task_type="CAUSAL_LM"
        )
        model = peft.get_peft_model(model, how)
    # the model's own call: TrainingArguments' name for it has changed within transformers 5
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    trainer = Trainer(model, arguments, data_collator=collate, train_dataset=list(examples))
    trainer.train(resume_from_checkpoint=_last_whole_checkpoint(Path(str(arguments.output_dir))))
    accelerator = trainer.accelerator
    state = accelerator.get_state_dict(trainer.model_wrapped)  # of all devices, where the weights are sharded
    if arguments.should_save:
        unfinished = directory.with_suffix(".unfinished")
        accelerator.unwrap_model(trainer.model_wrapped).save_pretrained(unfinished, state_dict=state)
        AutoTokenizer.from_pretrained(base).save_pretrained(unfinished)
        unfinished.rename(directory)
    accelerator.wait_for_everyone()
    accelerator.free_memory()
    del trainer, model, state
    gc.collect()
    if DEVICE == "cuda":
        torch.cuda.empty_cache()


def collate(examples: Sequence[Example]) -> dict[str, torch.Tensor]:
    """A batch, padded on the right, with labels on the answers alone: (examples, sequence) each."""
    ids = [torch.tensor((*prompt, *answer)) for prompt, answer in examples]
    labels = [torch.tensor((*(IGNORED for _ in prompt), *answer)) for prompt, answer in examples]
    return {
        "input_ids": pad_sequence(ids, batch_first=True),
        "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
        "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED),
    }


def _last_whole_checkpoint(directory: Path) -> str | None:
    """The trainer's last checkpoint that was written to its end: its state is what is written last."""
    states = list(directory.glob("checkpoint-*/trainer_state.json"))
    last = max(states, key=lambda path: int(path.parent.name.rpartition("-")[2]), default=None)
    return str(last.parent) if last else None
