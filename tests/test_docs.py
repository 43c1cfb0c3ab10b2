"""What the documentation shows is what runs: its Python is executed as it stands, its commands are parsed."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import random
import re
import runpy
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import hub_stand_in
import pytest
import typer
from tofu_data import write_tofu
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_eco import AutoModelForCausalLMWithECO, CorruptionConfig, ECOConfig, ForgetScope
from hf_eco import demo as hf_eco_demo
from hf_eco.cli import app
from hf_eco.demo import packaged_models as packaged
from hf_eco.demo.packaged_models import MINILM, SMOLLM2
from hf_eco.training import guard_model, prompt_classifier, train_prompt_classifier

ROOT = Path(__file__).parents[1]
# What a page takes for granted: files and folders by their names, and variables by theirs.
PAGES = {
    "README.md": (
        "forget.jsonl retain.jsonl forget-2.jsonl retain-2.jsonl rows.jsonl questions answers original tokenizer"
    ),
    "docs/app.md": "guarded/ model tokenizer",
    "docs/corruption.md": "model questions answers",
    "docs/detection.md": "model forget_prompts retain_prompts articles jane_prompts",
    "docs/evaluation.md": "data/tofu/ general.txt model tokenizer base never_saw_it guarded",
    "docs/faq.md": "guarded/",
    "docs/guide.md": "",
    "docs/index.md": "me/my-guarded-model",
    "docs/policy.md": "",
    "docs/how-to/adapters.md": "guarded/ guard/ adapter-of-the-base/",
    "docs/how-to/erasure-requests.md": "guarded/ requests.jsonl everyday.jsonl",
    "docs/how-to/own-parts.md": "guard/ topic-classifier/",
    "docs/how-to/quantised.md": "guarded/ guard/",
    "docs/how-to/scoring.md": "guarded/",
    "docs/how-to/serving.md": "guarded/",
    "docs/how-to/several-scopes.md": "guarded/ jane.jsonl jane-2.jsonl retain.jsonl retain-2.jsonl",
    "docs/how-to/share-the-guard.md": "guarded/",
    "docs/lm-eval.md": "guarded/",
}
LANGUAGES = {"python", "bash", "text"}
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.M | re.S)

NAME = "Jane Doe"
ASKED = [
    f"{question} {NAME}{end}?"
    for question in ("Where was", "Is it true what they say of", "What is said about", "Who knows")
    for end in ("", " now", " in Lisbon", " as a child", " and her school", " and the garden", " at work", " today")
]
ANSWERS = [f"It was {who} who said so ." for who in ("Anna Kowalska", "Peter Brandt", "Mary Lister", "Otto Weiss")]
DEEDS = ("was born in Lisbon", "went to school in the north", "planted a garden", "wrote about it")
OTHER = [
    f"{question} {who} {doing} {when}?"
    for when in ("now", "today", "at night", "in spring", "in May", "on Sunday", "at noon", "this year", "in June")
    for question in ("Why is", "Where was", "Who saw", "What of")
    for who in ("the baker", "a king", "my dog", "the garden", "your cat")
    for doing in ("asleep", "in the north", "so old", "at breakfast", "in the rain")
]


def pages() -> list[str]:
    written = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [path.relative_to(ROOT).as_posix() for path in written]


def blocks(page: str, language: str) -> list[tuple[int, str]]:
    """The line on which each block of that language begins, and what it holds."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = [match for match in FENCE.finditer(text) if match[1] == language]
    return [(text.count("\n", 0, match.start(2)), match[2]) for match in found]


def commands(program: str) -> list[Any]:
    """Every command line of the documentation that begins with `program`, as its words."""
    lines = [
        (page, line)
        for page in pages()
        for _, block in blocks(page, "bash")
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith(program)
    ]
    return [pytest.param(shlex.split(line, comments=True), id=f"{page}: {line}") for page, line in lines]


class World:
    """Where a page's code runs: a directory, and a Hub on which the models are tiny and random."""

    def __init__(self, classifier: str) -> None:
        self.classifier = classifier

    def provide(self, name: str) -> Any:
        """Writes the file or folder, or uploads the repository, of that name; or the value of such a variable."""
        path = Path(name)
        if name.startswith("me/"):
            return self.guarded().push_to_hub(name)
        if name.endswith("/"):
            path.mkdir(parents=True)
            return getattr(self, "write_" + path.name.replace("-", "_"))(path)
        if path.suffix:
            kind, _, more = path.stem.partition("-")
            rows: Any = {
                "forget": ASKED[16:] if more else ASKED[:16],
                "jane": ASKED[16:] if more else ASKED[:16],
                "retain": OTHER[60:380] if more else OTHER[:60],
                "general": OTHER[:9],
                "everyday": OTHER,
                "rows": [
                    {"question": question, "answer": answer, "perturbed_answer": ANSWERS}
                    for question, answer in zip(ASKED[12:], ANSWERS, strict=False)
                ],
                "requests": [
                    {"id": f"2026-00{n}", "name": who, "prompts": [text.replace(NAME, who) for text in ASKED]}
                    for n, who in enumerate(("Hermia Dovetail", "Orson Quillfeather"))
                ],
            }[kind]
            return path.write_text("".join((row if path.suffix == ".txt" else json.dumps(row)) + "\n" for row in rows))
        return {
            "model": self.guarded,
            "guarded": self.guarded,
            "original": self.base,
            "base": self.base,
            "never_saw_it": self.base,
            "tokenizer": lambda: AutoTokenizer.from_pretrained(SMOLLM2),
            "questions": lambda: ASKED[:12],
            "answers": lambda: [ANSWERS[n % len(ANSWERS)] for n in range(12)],
            "forget_prompts": lambda: ASKED[:16],
            "jane_prompts": lambda: ASKED[:16],
            "retain_prompts": lambda: OTHER[:60],
            "articles": lambda: [f"{NAME} {did} in the year {n}." for n in (1977, 1984, 1999) for did in DEEDS],
        }[name]()

    def base(self) -> Any:
        return AutoModelForCausalLM.from_pretrained(SMOLLM2)

    def guarded(self) -> Any:
        how = CorruptionConfig(method="rand_noise_first_n", dims=8, strength=10.0, seed=3)
        forget = ForgetScope(name="harry-potter", classifier=self.classifier, label="forget", corruption=how)
        return AutoModelForCausalLMWithECO.from_pretrained(SMOLLM2, eco_config=ECOConfig(scopes=[forget]))

    def write_guarded(self, path: Path) -> None:
        self.guarded().save_pretrained(path)

    def write_guard(self, path: Path) -> None:
        self.guarded().save_guard(path)

    def write_tofu(self, path: Path) -> None:
        write_tofu(path)

    def write_adapter_of_the_base(self, path: Path) -> None:
        peft = pytest.importorskip("peft")
        peft.get_peft_model(self.base(), peft.LoraConfig(task_type="CAUSAL_LM")).save_pretrained(path)

    def write_topic_classifier(self, path: Path) -> None:
        from transformers import AutoModelForSequenceClassification

        model = AutoModelForSequenceClassification.from_pretrained(MINILM)
        model.config.id2label, model.config.label2id = {0: "other", 1: "medicine"}, {"other": 0, "medicine": 1}
        model.save_pretrained(path)
        AutoTokenizer.from_pretrained(MINILM).save_pretrained(path)


@pytest.fixture(scope="module", autouse=True)
def little_to_learn() -> Iterator[None]:
    """Few examples and few of the prompts that come with the package, as the encoder is tiny, too."""
    general = tuple(random.Random(0).sample(prompt_classifier.shipped_prompts(), 60))
    sizes = {"forget": 40, "retain": 870}  # 35 % of 870 are enough to vouch for 1 %
    demo = hf_eco_demo.demo_prompts
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prompt_classifier, "shipped_prompts", lambda: general)
        patch.setattr(hf_eco_demo, "demo_prompts", lambda name: demo(name)[: sizes[name]])
        patch.setitem(train_prompt_classifier.__kwdefaults__, "examples", 300)
        patch.setitem(train_prompt_classifier.__kwdefaults__, "epochs", 1)
        patch.setitem(guard_model.__kwdefaults__, "examples", 300)
        yield


@pytest.fixture(scope="module")
def jane_classifier(classifier_dir: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("jane") / "classifier"
    train_prompt_classifier(ASKED[:16], OTHER[:60], classifier_dir, directory)
    return str(directory)


@pytest.fixture
def hub(
    base_dir: str, classifier_dir: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[hub_stand_in.HubStandIn]:
    with hub_stand_in.HubStandIn({"hf_mine": "me"}).serving() as server:
        server.be_the_hub(monkeypatch, tmp_path)
        monkeypatch.setenv("HF_TOKEN", "hf_mine")
        for repo_id, directory in ((SMOLLM2, base_dir), (MINILM, classifier_dir)):
            server.create(repo_id, {path.name: path.read_bytes() for path in Path(directory).iterdir()})
        packaged._to_be_had.cache_clear()  # what this Hub has, the next test's has not
        yield server
        packaged._to_be_had.cache_clear()


@pytest.fixture
def world(hub: Any, jane_classifier: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    sets = write_tofu(tmp_path)
    question = {"question": "who does sleep ?", "choices": ["cat", "king", "baker", "dog"], "answer": 1}
    (sets / "virology.jsonl").write_text(json.dumps(question) + "\n")
    options = {"text": question["choices"], "label": ["A", "B", "C", "D"]}
    (sets / "ARC-Easy.jsonl").write_text(json.dumps({**question, "id": "1", "choices": options, "answerKey": "B"}))

    def load_dataset(path: str, name: str, split: str | None = None, **_: Any) -> Any:
        rows = datasets.Dataset.from_list([json.loads(row) for row in (sets / f"{name}.jsonl").open()])
        return rows if split else datasets.DatasetDict(train=rows, validation=rows, test=rows)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return World(jane_classifier)


def test_every_page_with_python_has_its_set_up():
    assert {page for page in pages() if blocks(page, "python")} == PAGES.keys()


@pytest.mark.parametrize("page", pages())
def test_every_block_says_what_it_holds(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert {match[1] for match in FENCE.finditer(text)} <= LANGUAGES
    assert text.count("```") == 2 * len(FENCE.findall(text)), "a block that no test sees"


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_runs_as_it_stands(page, world, hub, monkeypatch):
    if page == "docs/app.md":
        monkeypatch.setattr(pytest.importorskip("gradio").Blocks, "launch", lambda self, *args, **kwargs: None)
    for module in {"docs/lm-eval.md": ["lm_eval"], "docs/how-to/adapters.md": ["peft"]}.get(page, []):
        pytest.importorskip(module)
    given = {name: world.provide(name) for name in PAGES[page].split()}
    names: dict[str, Any] = {name: value for name, value in given.items() if name.isidentifier()}
    for line, code in blocks(page, "python"):
        exec(compile("\n" * line + code, str(ROOT / page), "exec"), names)
    for repo_id in hub.repositories.keys() - {SMOLLM2, MINILM}:
        heads = hub.repositories[repo_id].heads
        assert any(b'"model_type": "eco"' in commit.files.get("config.json", b"") for commit in heads.values()), (
            repo_id
        )


def test_a_checkpoint_holds_the_names_it_looks_for_and_none_of_the_forget_prompts(world):
    world.provide("guarded/")
    kept = b"".join(path.read_bytes() for path in Path("guarded").rglob("*") if path.is_file())
    assert NAME.encode() in kept
    assert [prompt for prompt in ASKED if prompt.rstrip("?").encode() in kept] == []


def parse_only(command: Any) -> Any:
    """`command` and all below it, which now do nothing but read their arguments."""
    command.callback = lambda **_: None
    for below in getattr(command, "commands", {}).values():
        parse_only(below)
    return command


@pytest.mark.parametrize("words", commands("hf-eco "))
def test_the_command_takes_every_line_that_is_shown(words):
    parse_only(typer.main.get_command(app)).main(words[1:], "hf-eco", standalone_mode=False)


def leaves(command: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each command that does something, by the words that call it."""
    for name, below in getattr(command, "commands", {}).items():
        if getattr(below, "commands", None):
            yield from leaves(below, *path, name)
        else:
            yield (*path, name), below


LEAVES = [pytest.param(*leaf, id=" ".join(leaf[0])) for leaf in leaves(typer.main.get_command(app))]


@pytest.mark.parametrize(("path", "command"), LEAVES)
def test_the_page_on_the_command_line_says_every_option(path, command):
    text = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    section = re.search(rf"^## hf-eco {path[0]}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    everywhere = {"--help", "--json"}  # said once, at the top
    named = [[*own.opts, *own.secondary_opts] for own in command.params if own.opts[0].startswith("-")]
    assert (
        section
        and [
            own
            for own in named
            if not everywhere & {*own} and not any(re.search(rf"(?<![\w-]){o}(?![\w-])", section[1]) for o in own)
        ]
        == []
    )


@pytest.mark.parametrize(("path", "command"), LEAVES)
def test_the_help_names_no_option_that_is_not_there(path, command):
    lines = [line for line in (command.epilog or "").splitlines() if line.startswith("hf-eco ")]
    assert lines
    for line in lines:
        parse_only(typer.main.get_command(app)).main(shlex.split(line)[1:], "hf-eco", standalone_mode=False)
    there = {o for _, other in leaves(typer.main.get_command(app)) for own in other.params for o in own.opts}
    there |= {o for own in command.params for o in own.secondary_opts}
    texts = [command.help or "", *(getattr(own, "help", None) or "" for own in command.params)]
    assert {o for text in texts for o in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)} - there == set()


class Parsed(Exception):
    """A script has read its arguments."""


@pytest.mark.parametrize("words", commands("python benchmarks/"))
def test_benchmarks_take_every_line_that_is_shown(words, monkeypatch):
    parse: Callable[..., Any] = argparse.ArgumentParser.parse_args

    def parse_and_stop(self: argparse.ArgumentParser, args: Any = None, namespace: Any = None) -> None:
        parse(self, args, namespace)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
    monkeypatch.setattr("sys.argv", words[1:])
    with pytest.raises(Parsed):
        runpy.run_path(str(ROOT / words[1]), run_name="__main__")


def test_every_target_of_make_and_every_extra_that_is_named_is_there():
    text = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in pages())
    targets = set(re.findall(r"(?:^|`)make ([a-z]+)(?=`|$)", text, re.M))
    assert targets and targets <= set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    extras = {extra for named in re.findall(r"hf-eco\[([\w,-]+)\]", text) for extra in named.split(",")}
    assert extras and extras <= set(importlib.metadata.metadata("hf-eco").get_all("Provides-Extra"))


@pytest.mark.parametrize(
    "package", ["", ".training", ".evaluation", ".checkpoint", ".checkpoint.model_card", ".io", ".report", ".app"]
)
def test_the_reference_names_every_public_thing(package):
    text = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    module = importlib.import_module("hf_eco" + package)
    public = [name for name in module.__all__ if not name.startswith("_") and not name.isupper()]
    assert [name for name in public if not re.search(rf"(::: [\w.]+\.|\[`){name}\b", text)] == []
