"""The hf-eco command: what a person sees, and what bad input leaves behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CLEAN, FLAGGED, FORGET, RETAIN

from hf_eco import AutoModelForCausalLMWithECO
from hf_eco.checkpoint.loading import read_guard
from hf_eco.cli import main
from hf_eco.demo.prompts import demo_prompts
from hf_eco.io.prompt_files import read_prompts


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command in this process: (exit status, stdout, stderr)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["hf-eco", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run


@pytest.fixture
def prompt_files(tmp_path) -> dict[str, Path]:
    files = {}
    for name, prompts in (("forget", FORGET), ("retain", RETAIN)):
        # enough for a calibration that may ask little
        rows = [f"{prompt} {i}" for prompt in prompts for i in range(8)]
        files[name] = tmp_path / f"{name}.jsonl"
        files[name].write_text("\n".join(json.dumps({"prompt": row}) for row in rows))
    return files


def guard_arguments(base: str, files: dict[str, Path], output: Path, **changes: str) -> list[str]:
    options = {
        "scope": "wizards",
        "forget": files["forget"],
        "retain": files["retain"],
        "output": output,
        **({} if "threshold" in changes else {"max-fpr": "0.3"}),
        "examples": "800",
        **changes,
    }
    return ["guard", base, *(part for name, value in options.items() for part in (f"--{name}", str(value)))]


@pytest.fixture(scope="session")
def encoder(classifier_dir: str) -> str:
    return classifier_dir  # an encoder like any other; its head is replaced


def test_guard_trains_saves_and_reports_what_it_measured(run, base_dir, encoder, prompt_files, tmp_path):
    output = tmp_path / "guarded"
    status, out, err = run(
        *guard_arguments(base_dir, prompt_files, output, encoder=encoder, method="zero_out_top_k", dims="4")
    )
    assert status == 0, err
    scope = AutoModelForCausalLMWithECO.from_pretrained(output).config.eco.scope("wizards")
    assert (scope.corruption.method, scope.corruption.dims) == ("zero_out_top_k", 4)
    assert f"{scope.calibration.fpr_bound:.4f}" in " ".join(out.split())
    assert "It looks for no name" in out
    assert (output / "classifier-wizards" / "training_report.json").exists()
    assert not list(tmp_path.glob(".hf-eco*"))  # no scratch left


def test_inspect_shows_the_verdict_and_the_prompt(run, guarded, tmp_path):
    guarded.save_pretrained(tmp_path / "guarded")
    status, out, _ = run("inspect", tmp_path / "guarded", FLAGGED, CLEAN)
    assert status == 0
    corrupted = out.partition("not flagged")[0]
    assert "[" in corrupted and "[" not in out.removeprefix(corrupted)  # marked in words where there is no colour
    out = out.replace("[", "").replace("]", "")
    flagged, clean = out.index("flagged as 'wizards'"), out.index("not flagged")
    assert flagged < out.index(FLAGGED) < clean < out.index(CLEAN)


def test_calibrate_finds_nothing_to_say_against_prompts_of_the_same_kind(run, calibrated, prompt_files):
    before = (calibrated / "config.json").read_bytes()
    status, out, err = run("calibrate", calibrated, "--retain", prompt_files["retain"])
    assert status == 0, err
    assert "is not refuted" in " ".join(out.split()) and "not to be relied on" not in out
    assert (calibrated / "config.json").read_bytes() == before


def test_calibrate_warns_with_status_3_and_writes_when_asked(run, calibrated, prompt_files):
    # what was outside the scope is in it now, and the other way round
    changed = ["--retain", prompt_files["forget"], "--forget", prompt_files["retain"], "--max-fpr", "0.9"]
    before = (calibrated / "config.json").read_bytes()
    status, out, _ = run("calibrate", calibrated, *changed)
    assert status == 3
    text = " ".join(out.split())
    assert "is refuted" in text and "not to be relied on any more" in text and "threshold" in text
    assert (calibrated / "config.json").read_bytes() == before

    status, _, err = run("calibrate", calibrated, *changed, "--max-fnr", "0.9", "--write")
    assert status == 1 and "would never flag" in err  # any prompt of what is the scope now
    assert (calibrated / "config.json").read_bytes() == before
    asked = ["--retain", prompt_files["retain"], "--forget", prompt_files["forget"], "--max-fpr", "0.9"]
    status, _, err = run("calibrate", calibrated, *asked, "--max-fnr", "0.9", "--write")
    assert status == 0, err
    scope = read_guard(str(calibrated)).config.scope("wizards")  # with its known answers checked
    assert scope.threshold == scope.calibration.threshold and scope.abstain_threshold is not None
    assert (scope.calibration.n_retain, scope.calibration.max_fpr) == (64, 0.9)
    status, out, _ = run("calibrate", calibrated, "--retain", prompt_files["retain"])
    assert status == 0 and "is not refuted" in " ".join(out.split())


def test_inspect_shows_that_a_prompt_is_uncertain(run, guarded, tmp_path):
    scope = guarded.config.eco.scopes[0]
    scope.abstain_threshold = guarded.inspect(CLEAN).probability / 2
    guarded.save_guard(tmp_path / "guard")
    _, out, _ = run("inspect", tmp_path / "guard", CLEAN)
    assert "not flagged but uncertain" in out


@pytest.mark.parametrize(
    ("options", "wanted", "message"),
    [
        (["--max-fnr", "0.1", "--write"], 2, "Pass --forget"),
        (["--max-fpr", "0.1"], 2, "Pass --forget or --write"),
        (["--scope", "witches"], 1, "No scope is called 'witches': the guard holds wizards"),
        (["--forget", "{forget}", "--max-fpr", "0.001"], 1, "retain prompts cannot show a false positive rate"),
    ],
    ids=["misses without forget prompts", "nothing new to choose", "a scope that is not there", "too few prompts"],
)
def test_calibrate_refuses_with_one_line(run, calibrated, prompt_files, options, wanted, message):
    before = (calibrated / "config.json").read_bytes()
    options = [option.format(**prompt_files) for option in options]
    status, _, err = run("calibrate", calibrated, "--retain", prompt_files["retain"], *options)
    assert status == wanted and message in err and err.startswith("Error: ") and err.count("\n") == 1
    assert (calibrated / "config.json").read_bytes() == before


def test_calibrate_bounds_false_positives_alone_without_forget_prompts(run, guarded, prompt_files, tmp_path):
    guarded.save_guard(tmp_path / "guard")
    retain = ["--retain", prompt_files["retain"], "--max-fpr", "0.1"]
    status, out, err = run("calibrate", tmp_path / "guard", *retain)
    assert status == 0, err
    assert "not measured" in out and "Written" not in out
    status, _, err = run("calibrate", tmp_path / "guard", *retain, "--write")
    assert status == 0, err
    measured = read_guard(str(tmp_path / "guard")).config.scope("wizards").calibration_in_force
    assert (measured.fnr, measured.fnr_bound, measured.n_forget) == (None, None, 0)
    assert measured.fpr <= measured.fpr_bound <= 0.1
    status, out, err = run("scopes", "list", tmp_path / "guard")
    assert status == 0 and "not measured" in " ".join(out.split()), err
    assert "False negatives" not in run("calibrate", tmp_path / "guard", *retain[:2])[1]
    changed = ["--retain", prompt_files["retain"], "--max-fpr", "0.2", "--write", "--json"]
    status, out, err = run("calibrate", tmp_path / "guard", *changed)
    assert status == 0 and json.loads(out)["new"]["fnr"] is None, err


def test_calibrate_says_not_measured_where_nothing_was(run, guarded, prompt_files, tmp_path):
    guarded.save_guard(tmp_path / "guard")
    both = ["--retain", prompt_files["retain"], "--forget", prompt_files["forget"], "--max-fpr", "0.1"]
    status, out, err = run("calibrate", tmp_path / "guard", *both)
    assert status == 0, err
    assert "not measured" in out


BAD_INPUT = {
    "an empty prompt file": ({"forget": "empty.jsonl"}, "holds no prompts"),
    "a binary file": ({"forget": "binary.txt"}, "is not a text file"),
    "a file that is not there": ({"retain": "nowhere.jsonl"}, "There is no file"),
    "a line that is not JSON": ({"retain": "broken.jsonl"}, "line 2: not JSON"),
    "a missing column": ({"retain": "other.jsonl"}, "Name the column"),
    "a missing model": ({"base": "/nowhere/model"}, "/nowhere/model"),
    "a threshold of 2": ({"threshold": "2"}, "threshold is a probability in (0, 1]"),
    "an unknown method": ({"method": "blur"}, "Unknown corruption method 'blur'"),
    "too few prompts to vouch for the rate": (
        {"max-fpr": "0.001"},
        "retain prompts cannot show a false positive rate",
    ),
    "a name that is no folder's": ({"scope": "a/b"}, "becomes a folder name"),
    "entities without a tagger": ({"tokens": "entities"}, "needs a token classifier"),
}


@pytest.mark.parametrize(("changes", "message"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_ends_with_one_line_and_status_1_and_leaves_nothing(
    run, base_dir, encoder, prompt_files, tmp_path, changes, message
):
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)))
    (tmp_path / "broken.jsonl").write_text('{"prompt": "a"}\n{"prompt": ')
    (tmp_path / "other.jsonl").write_text('{"colour": "red"}\n')
    before = sorted(tmp_path.iterdir())
    changes = dict(changes)
    base = changes.pop("base", base_dir)
    for name in ("forget", "retain"):
        if name in changes:
            changes[name] = tmp_path / changes[name]
    status, out, err = run(*guard_arguments(base, prompt_files, tmp_path / "out", encoder=encoder, **changes))
    assert (status, out) == (1, "")
    assert message in err and err.startswith("Error: ") and err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_directory_that_holds_something_else_is_not_replaced(run, base_dir, encoder, prompt_files, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("...")
    status, _, err = run(*guard_arguments(base_dir, prompt_files, tmp_path / "mine", encoder=encoder))
    assert status == 1 and "holds something else" in err
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_a_checkpoint_with_files_of_ones_own_is_not_replaced(run, base_dir, encoder, prompt_files, guarded, tmp_path):
    guarded.save_pretrained(tmp_path / "guarded")
    (tmp_path / "guarded" / "notes.txt").write_text("...")
    status, _, err = run(*guard_arguments(base_dir, prompt_files, tmp_path / "guarded", encoder=encoder))
    assert status == 1 and "holds something else" in err
    (tmp_path / "guarded" / "notes.txt").unlink()
    arguments = guard_arguments(base_dir, prompt_files, tmp_path / "guarded", encoder=encoder)
    status, _, err = run(*arguments, "--overwrite")
    assert status == 0, err


def test_a_guard_made_for_another_tokenizer_is_refused(run, guarded, tmp_path):
    guarded.save_guard(tmp_path / "guard")
    tokenizer = tmp_path / "guard" / "tokenizer.json"
    document = json.loads(tokenizer.read_text())
    vocabulary = document["model"]["vocab"]
    vocabulary["a"], vocabulary["e"] = vocabulary["e"], vocabulary["a"]
    tokenizer.write_text(json.dumps(document))
    status, _, err = run("inspect", tmp_path / "guard", FLAGGED)
    assert status == 1 and "made for another tokenizer" in err and err.count("\n") == 1


def test_the_library_works_without_the_commands_libraries():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['typer', 'rich', 'datasets', 'sklearn', 'scipy'])); "
        "import hf_eco, hf_eco.training"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    gone = "import sys; sys.modules['typer'] = None; import hf_eco.cli"
    ended = subprocess.run([sys.executable, "-c", gone], capture_output=True, text=True)
    assert ended.returncode == 1 and "pip install hf-eco[cli]" in ended.stderr


@pytest.mark.parametrize(
    ("name", "text", "column"),
    [
        ("a.txt", "one\n\ntwo\n", None),
        ("a.jsonl", '{"text": "x", "prompt": "one"}\n\n"two"\n', None),
        ("a.jsonl", '{"text": "one"}\n{"text": "two"}', "text"),
        ("a.csv", 'id,question\n1,one\n2,"two"\n', None),
    ],
)
def test_prompts_are_read_from_every_kind_of_file(tmp_path, name, text, column):
    (tmp_path / name).write_text(text)
    assert read_prompts(tmp_path / name, column=column) == ["one", "two"]


def test_prompts_are_read_from_a_data_set(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.Dataset.from_dict({"prompt": ["one", "two"]}).to_parquet(tmp_path / "data" / "train.parquet")
    assert read_prompts(tmp_path / "data") == ["one", "two"]
    (tmp_path / "empty").mkdir()
    for missing in ("me/no-such-data-set", tmp_path / "empty"):
        with pytest.raises(OSError, match="neither a file nor a data set"):
            read_prompts(missing)


def test_the_demos_prompts_do_not_overlap():
    names = ("forget", "retain", "examples_forget", "examples_retain")
    prompts = {name: [" ".join(p.split()).casefold() for p in demo_prompts(name)] for name in names}
    everything = [prompt for found in prompts.values() for prompt in found]
    assert len(everything) == len(set(everything))
    assert len(prompts["forget"]) >= 150 and len(prompts["retain"]) >= 400
    assert min(len(prompts["examples_forget"]), len(prompts["examples_retain"])) >= 8
