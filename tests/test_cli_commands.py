"""The hf-eco command as a whole: help, JSON, exit status, completion; and the commands beside guard and calibrate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import CLEAN, FLAGGED, FORGET, RETAIN
from huggingface_hub.errors import HfHubHTTPError
from test_cli import prompt_files, run  # noqa: F401
from tofu_data import write_tofu

from hf_eco import AutoModelForCausalLMWithECO
from hf_eco.checkpoint.loading import read_guard
from hf_eco.demo import packaged_models as packaged
from hf_eco.training import train_prompt_classifier
from hf_eco.training.labelled_prompts import prompts_sha256

pytest.importorskip("rouge_score")

COMMANDS = [
    *(["guard"], ["aliases"], ["train"], ["calibrate"], ["tune"], ["scopes"], ["scopes", "add"], ["scopes", "remove"]),
    *(["scopes", "list"], ["inspect"], ["demo"], ["evaluate"], ["report"], ["push"], ["app"], ["doctor"]),
]


@pytest.fixture
def checkpoint(guarded, tmp_path) -> Path:
    guarded.save_pretrained(tmp_path / "guarded")
    return tmp_path / "guarded"


@pytest.fixture(scope="session")
def bakers(classifier_dir: str, tmp_path_factory) -> str:
    """A second classifier: bakers are its scope."""
    directory = tmp_path_factory.mktemp("bakers") / "classifier"
    forget = [prompt.replace("wizard", "baker") for prompt in FORGET]
    train_prompt_classifier(forget, RETAIN[1:], classifier_dir, directory, label="bakers", examples=400)
    return str(directory)


# ---------------------------------------------------------------------------------------------------------------------
# What holds of all of them


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_examples_of_the_command(run, command):  # noqa: F811
    status, out, _ = run(*command, "--help")
    assert status == 0
    example = out[out.index("Example") :]
    assert f"hf-eco {' '.join(command)}" in example


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["guard", "base"], "Missing option '--output' / '-o'. See: hf-eco guard --help"),
        (["guard", "base", "-o", "out"], "Pass --name 'Jane Doe', --names FILE, or --forget and --retain."),
        (["guard", "base", "-o", "out", "--forget", "f"], "Pass all three, or --name alone."),
        (["guard", "b", "-o", "out", "--name", "Jane Doe", "--max-fpr", "0.1"], "--max-fpr would be ignored."),
        (["guard", "b", "-o", "out", "--name", "Jane Doe", "--name", "Al Roe", "--documents", "d"], "about one scope"),
        (["guard", "b", "-o", "out", "--names", "n.csv", "--scope", "jane"], "leave out --names."),
        (
            ["guard", "b", "-o", "out", "--scope", "a", "--forget", "f", "--retain", "r", "--names", "n.csv"],
            "--names would be ignored. Say whom",
        ),
        (
            ["guard", "b", "-o", "out", "--scope", "a", "--forget", "f", "--retain", "r", "--guard-only"],
            "--guard-only would be ignored.",
        ),
        (["scopes", "add", "g", "--scope", "a"], "Pass --name 'Jane Doe', --documents or --classifier."),
        (["scopes", "add", "g", "--scope", "a", "--name", "Jane Doe", "--retain", "r"], "--retain would be ignored."),
        (["inspect", "guarded", "a prompt", "--colour"], "No such option: --colour"),
        (["forget"], "No such command 'forget'. See: hf-eco --help"),
        (["scopes", "add"], "Missing argument 'model'. See: hf-eco scopes add --help"),
        (["train", "-o", "clf"], "nothing to learn the scope from. Pass --forget, --name or --documents."),
        (["scopes", "add", "g", "--scope", "a", "--classifier", "c"], "A scope needs a threshold. Pass --threshold"),
        (["evaluate", "m", "--task", "prompts.txt"], "Write forget:prompts.txt or retain:prompts.txt."),
        (["evaluate", "m", "--task", "tofuu"], "Unknown task 'tofuu'. Use tofu:SPLIT"),
        (["push", "guarded", "me/x", "--base-model", "b"], "Pass --guard-only with it."),
        *(
            (["calibrate", "g", "--retain", "r.txt", option, value], f"Without {lacks}, {option} would be ignored.")
            for lacks, option, value in (
                ("--forget", "--max-fnr", "0.1"),
                ("--near", "--max-near-fpr", "0.1"),
            )
        ),
        (
            ["calibrate", "g", "--retain", "r", "--forget", "f", "--max-near-fpr", "0.1"],
            "Without --near, --max-near-fpr would be ignored. Pass --near",
        ),
        *(
            (
                [*command, "--threshold", "0.5", option, value],
                f"With --threshold, {option} would be ignored. Leave out",
            )
            for command, options in (
                (
                    ["scopes", "add", "g", "--scope", "a", "--classifier", "c"],
                    ("--forget", "--retain", "--max-fpr", "--confidence"),
                ),
                (
                    ["guard", "m", "--scope", "a", "--forget", "f", "--retain", "r", "-o", "out"],
                    ("--max-fpr", "--max-fnr", "--confidence"),
                ),
            )
            for option, value in zip(options, ["0.1"] * len(options), strict=True)
        ),
        *(
            ([*command, "p.jsonl,colum=a"], "says colum=a. Use p.jsonl, and each at most once: ,column=... ")
            for command in (
                ["train", "-o", "clf", "--forget", "f.txt", "--exclude"],
                ["guard", "m", "-o", "out", "--name", "Jane Doe", "--documents"],
                ["calibrate", "g", "--retain"],
                ["scopes", "add", "g", "--forget"],
                ["report", "g", "--retain"],
                ["tune", "g", "--look-alikes"],
            )
        ),
        (["train", "-o", "clf", "--forget", "f.jsonl,answer=a"], "Of 'f.jsonl', answer would be ignored."),
        (["evaluate", "m", "--task", "forget-answers:f.csv,kind=a"], "says kind=a. Use f.csv"),
        (["evaluate", "m", "--task", "recite:f.csv,answer=a"], "answer would be ignored"),
    ],
)
def test_a_wrong_command_line_ends_with_one_line_and_status_2(run, arguments, said):  # noqa: F811
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("Error: ") and err.count("\n") == 1 and said in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", "/nowhere", "a prompt"],
        ["scopes", "list", "/nowhere"],
        ["scopes", "remove", "/nowhere", "a"],
        ["scopes", "add", "/nowhere", "--scope", "a", "--classifier", "c", "--threshold", "0.5"],
        ["tune", "/nowhere", "--prompts", "p.txt"],
        ["evaluate", "/nowhere", "--task", "forget:nowhere.txt"],
        ["report", "/nowhere"],
        ["push", "/nowhere", "me/x"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_a_model_that_is_not_there_ends_with_one_line_and_status_1(run, arguments):  # noqa: F811
    status, out, err = run(*arguments)
    assert (status, out) == (1, "")
    assert err.startswith("Error: ") and err.count("\n") == 1 and "nowhere" in err


def hf_eco(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from hf_eco.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)


def test_nothing_but_json_comes_out_of_a_pipe_and_no_progress_bars(checkpoint, prompt_files):  # noqa: F811
    ended = hf_eco("evaluate", checkpoint, "--task", f"forget:{prompt_files['forget']}", "--limit", "2", "--json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)[0]["tasks"][0]["n"] == 2
    assert ended.stderr == ""


def test_the_shell_completes_commands():
    ended = hf_eco(_HF_ECO_COMPLETE="complete_bash", COMP_WORDS="hf-eco cal", COMP_CWORD="1")
    assert ended.stdout.split() == ["calibrate"]


# ---------------------------------------------------------------------------------------------------------------------
# Making a guard


def test_train_saves_a_classifier_that_knows_its_scope(run, classifier_dir, prompt_files, tmp_path):  # noqa: F811
    files = ["--forget", prompt_files["forget"], "--retain", prompt_files["retain"]]
    options = ["--encoder", classifier_dir, "--label", "wizards", "--examples", "400", "--json"]
    status, out, err = run("train", *files, *options, "-o", tmp_path / "clf")
    assert status == 0, err
    said = json.loads(out)
    assert said["directory"] == str(tmp_path / "clf") and said["label"] == "wizards"
    stored = json.loads((tmp_path / "clf" / "training_report.json").read_text())
    assert said["report"] == stored


def test_train_says_which_names_it_looks_for_and_learns_from_no_excluded_prompt(run, classifier_dir, tmp_path):  # noqa: F811
    forget = [*FORGET, *(f"{prompt} now" for prompt in FORGET)]
    for name, prompts in (("in", forget), ("out", RETAIN), ("kept-in", forget[:2]), ("kept-out", RETAIN[:1])):
        (tmp_path / f"{name}.csv").write_text("question\n" + "".join(f'"{prompt}"\n' for prompt in prompts))
    files = ["--forget", tmp_path / "in.csv", "--retain", tmp_path / "out.csv", "--encoder", classifier_dir]
    kept = ["--exclude", f"{tmp_path / 'kept-in.csv'},column=question", "--exclude", tmp_path / "kept-out.csv"]
    names = ["--name", "Osgood Farrow", "--name", "Ada [Lovelace]"]
    status, out, err = run("train", *files, *kept, *names, "--examples", "400", "-o", tmp_path / "clf")
    assert status == 0, err
    assert "It looks for the names: Osgood Farrow, Ada [Lovelace]." in out
    learnt = json.loads((tmp_path / "clf" / "training_report.json").read_text())["prompts"]
    assert learnt["forget"]["sha256"] == prompts_sha256(forget[2:])
    assert learnt["retain"]["sha256"] == prompts_sha256(RETAIN[1:])


def test_a_scope_is_added_listed_and_removed_and_no_weight_changes(run, checkpoint, bakers):  # noqa: F811
    weights, before = (checkpoint / "model.safetensors").read_bytes(), read_guard(str(checkpoint)).inspect([FLAGGED])
    made = ["--classifier", bakers, "--label", "bakers", "--threshold", "0.5", "--method", "flip_sign_top_k"]
    status, _, err = run("scopes", "add", checkpoint, "--scope", "bakers", *made, "--dims", "4")
    assert status == 0, err
    model = AutoModelForCausalLMWithECO.from_pretrained(checkpoint)
    added = model.config.eco.scope("bakers")
    assert (added.threshold, added.label, added.corruption.dims) == (0.5, "bakers", 4)
    assert model.inspect(FLAGGED).probabilities["wizards"] == pytest.approx(before[0].probability)

    status, out, _ = run("scopes", "list", checkpoint, "--json")
    assert [scope["name"] for scope in json.loads(out)] == ["wizards", "bakers"]
    status, out, _ = run("scopes", "list", checkpoint)
    assert "not measured" in " ".join(out.split())

    status, out, err = run("scopes", "remove", checkpoint, "bakers", "--json")
    assert status == 0, err
    assert json.loads(out)["scopes"] == ["wizards"]
    assert [scope.name for scope in read_guard(str(checkpoint)).config.scopes] == ["wizards"]
    assert [path.name for path in checkpoint.glob("classifier-*")] == ["classifier-wizards"]
    assert (checkpoint / "model.safetensors").read_bytes() == weights
    status, _, err = run("scopes", "remove", checkpoint, "wizards")
    assert status == 1 and "last scope" in err
    assert AutoModelForCausalLMWithECO.from_pretrained(checkpoint).inspect(FLAGGED).flagged


def test_an_added_scope_is_calibrated_on_prompts_kept_aside(run, checkpoint, bakers, tmp_path):  # noqa: F811
    for name, prompts in (("in", ["the baker", "my baker"]), ("out", ["the dog", "my cat"])):
        (tmp_path / f"{name}.txt").write_text("\n".join(f"{p} of {i} days" for p in prompts for i in range(10)))
    given = ["--forget", tmp_path / "in.txt", "--retain", tmp_path / "out.txt", "--max-fpr", "0.9"]
    made = ["--scope", "bakers", "--classifier", bakers, "--label", "bakers"]
    status, out, err = run("scopes", "add", checkpoint, *made, *given, "--json")
    assert status == 0, err
    stored = read_guard(str(checkpoint)).config.scope("bakers")
    assert stored.calibration.n_retain == 20 and stored.threshold == stored.calibration.threshold
    assert json.loads(out)["scopes"][0]["calibration"]["fpr_bound"] == stored.calibration.fpr_bound


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--scope": "wizards"}, "wizards already"),
        ({"--dims": "4000"}, "--dims 4000"),
        ({"--label": "kings"}, "kings"),
        ({"--classifier": "/nowhere/classifier"}, "/nowhere/classifier"),
    ],
    ids=["a name that is taken", "too many dims", "another label", "no classifier"],
)
def test_a_scope_that_cannot_be_added_changes_nothing(run, checkpoint, bakers, change, message):  # noqa: F811
    before = {path: path.read_bytes() for path in checkpoint.rglob("*") if path.is_file()}
    options = {"--scope": "bakers", "--classifier": bakers, "--label": "bakers", "--threshold": "0.5", **change}
    status, _, err = run("scopes", "add", checkpoint, *(part for pair in options.items() for part in pair))
    assert status == 1 and message in err and err.count("\n") == 1
    assert {path: path.read_bytes() for path in checkpoint.rglob("*") if path.is_file()} == before


@pytest.fixture
def questions(tmp_path) -> Path:
    rows = [{"question": f"{FLAGGED} {i}", "answer": "the school of the north"} for i in range(5)]
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path / "questions.jsonl"


def test_tune_writes_what_it_has_learnt_and_how(run, checkpoint, questions, tmp_path):  # noqa: F811
    options = ["--prompts", questions, "--surrogate", "0.001", "--max-trials", "3", "--json"]
    before = (checkpoint / "config.json").read_bytes()
    status, out, err = run("tune", checkpoint, *options, "--dry-run")
    assert status == 0, err
    assert json.loads(out)["written"] is False and (checkpoint / "config.json").read_bytes() == before

    status, out, err = run("tune", checkpoint, *options, "--search-dir", tmp_path / "search")
    assert status == 0, err
    said, scope = json.loads(out), read_guard(str(checkpoint)).config.scope("wizards")
    assert said["corruption"]["strength"] == scope.corruption.strength == scope.learned.corruption.strength
    assert said["before"]["strength"] == 10.0  # which is measured beside the three, since they do not reach it
    assert len(said["trials"]) == scope.learned.trials == 4
    assert (tmp_path / "search" / "history.jsonl").exists()


def test_tune_leaves_a_guard_alone_that_it_cannot_better(run, checkpoint, questions):  # noqa: F811
    """The one corruption that is tried is all but none."""
    before = (checkpoint / "config.json").read_bytes()
    status, _, err = run("tune", checkpoint, "--prompts", questions, "--surrogate", "0.9", "--max-trials", "1")
    assert status == 1 and "Nothing was written" in err and "without the guard" in err
    assert (checkpoint / "config.json").read_bytes() == before


def test_tune_takes_look_alikes_and_one_surrogate_alone(run, checkpoint, questions, tmp_path):  # noqa: F811
    rows = [{"question": f"{CLEAN} {i}", "answer": "a dog"} for i in range(5)]
    (tmp_path / "alike.jsonl").write_text("\n".join(map(json.dumps, rows)))
    options = ["--prompts", questions, "--look-alikes", tmp_path / "alike.jsonl"]
    how = ["--bounds", "50", "60", "--max-trials", "1", "--max-new-tokens", "2", "--search-dir", tmp_path / "search"]
    run("tune", checkpoint, *options, *how)  # whether it helps or not
    about, *trials = map(json.loads, (tmp_path / "search" / "history.jsonl").read_text().splitlines())
    assert about["surrogate"] == "look-alikes" and trials[0]["strength"] == 50
    assert about["max_new_tokens"] == 2
    status, _, err = run("tune", checkpoint, *options, "--surrogate", "0.5")
    assert status == 2 and "--surrogate, --look-alikes or --retain-model" in err


def test_tune_reads_prompts_alone_where_no_answer_is_needed(run, checkpoint, tmp_path):  # noqa: F811
    (tmp_path / "plain.jsonl").write_text("\n".join(json.dumps(f"{FLAGGED} {i}") for i in range(5)))
    how = ["--score", "refusal_similarity", "--surrogate", "refusals", "--max-trials", "1", "--max-new-tokens", "2"]
    status, _, err = run("tune", checkpoint, "--prompts", tmp_path / "plain.jsonl", *how)
    assert status == 1 and "Nothing was written" in err  # a tiny model refuses nothing


def test_tune_says_which_column_it_lacks(run, checkpoint, tmp_path):  # noqa: F811
    (tmp_path / "rows.jsonl").write_text('{"stem": "who"}\n')
    status, _, err = run("tune", checkpoint, "--prompts", tmp_path / "rows.jsonl")
    assert status == 1 and "among ['stem']" in err and "FILE,column=..." in err and err.count("\n") == 1


def test_tune_names_the_option_of_the_column_that_a_score_lacks(run, checkpoint, questions):  # noqa: F811
    status, _, err = run("tune", checkpoint, "--prompts", questions, "--score", "log_truth_ratio")
    assert status == 1 and err.count("\n") == 1
    assert "wrong answers" in err and "'perturbed_answer'" in err and "FILE,wrong=..." in err
    (questions.parent / "plain.txt").write_text(f"{FLAGGED}\n")
    status, _, err = run("tune", checkpoint, "--prompts", questions.parent / "plain.txt")
    assert status == 1 and "holds prompts alone. Use .jsonl" in err


# ---------------------------------------------------------------------------------------------------------------------
# Looking at it


def test_inspect_gives_verdicts_as_json(run, checkpoint):  # noqa: F811
    status, out, _ = run("inspect", checkpoint, FLAGGED, CLEAN, "--json")
    assert status == 0
    flagged, clean = json.loads(out)
    assert (flagged["prompt"], flagged["flagged"], flagged["scope"]) == (FLAGGED, True, "wizards")
    assert flagged["tokens"] and not clean["flagged"] and clean["tokens"] == []


def test_calibrate_gives_its_findings_as_json_and_keeps_its_status(run, calibrated, prompt_files):  # noqa: F811
    changed = ["--retain", prompt_files["forget"], "--forget", prompt_files["retain"], "--max-fpr", "0.9"]
    status, out, _ = run("calibrate", calibrated, *changed, "--json")
    said = json.loads(out)
    assert status == 3 and said["outdated"] and not said["check"]["tenable"] and not said["written"]
    assert said["new"]["n_retain"] == 64 and "retain_scores" not in said["new"]


def test_calibrate_says_written_only_of_what_was(run, calibrated, prompt_files, monkeypatch):  # noqa: F811
    both = ["--retain", prompt_files["retain"], "--forget", prompt_files["forget"], "--max-fpr", "0.3"]
    before = (calibrated / "config.json").read_bytes()

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("hf_eco.training.saved_guards.rewrite_eco", full)
        for form in (["--json"], []):
            status, out, err = run("calibrate", calibrated, *both, "--write", *form)
            assert (status, out) == (1, "") and "No space left" in err
    assert (calibrated / "config.json").read_bytes() == before
    old = read_guard(str(calibrated)).config.scope("wizards").threshold
    status, out, err = run("calibrate", calibrated, *both, "--write", "--json")
    assert status == 0, err
    said = json.loads(out)
    assert said["written"] is True and said["threshold"] == old
    assert read_guard(str(calibrated)).config.scope("wizards").threshold == said["new"]["threshold"] != old


def test_evaluate_takes_questions_of_ones_own_and_says_if_none_is_flagged(run, checkpoint, tmp_path, caplog):  # noqa: F811
    for name, prompt in (("mine", FLAGGED), ("others", CLEAN)):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"q": prompt, "said": "a dog"}))
    mine, others = (f"{tmp_path}/{name}.jsonl,column=q,answer=said" for name in ("mine", "others"))
    tasks = ["--task", f"forget-answers:{mine}", "--task", f"retain-answers:{others}"]
    status, out, _ = run("evaluate", checkpoint, *tasks, "--json")
    assert status == 0 and "flags none" not in caplog.text
    forget, retain = json.loads(out)[0]["tasks"]
    assert (forget["kind"], forget["measures"]["flagged"]["value"], retain["kind"]) == ("forget", 1, "retain")
    assert (forget["flagged"], forget["n"], retain["flagged"]) == (1, 1, 0)
    assert 0 < forget["measures"]["answer_probability"]["value"] < 1

    status, _, _ = run("evaluate", checkpoint, "--task", f"forget-answers:{others}", "--json")
    assert status == 0 and "flags none of the 1 prompts of answers/forget/others" in caplog.text


def test_evaluate_measures_models_beside_each_other(run, checkpoint, base_dir, tmp_path):  # noqa: F811
    tofu = write_tofu(tmp_path)
    tasks = ["--task", "tofu:forget05", "--task", "tofu:retain", "--tofu", tofu, "--limit", "2"]
    others = ["--original", base_dir, "--retain", base_dir, "--protocol", "strict", "--protocol", "paper"]
    status, out, err = run("evaluate", checkpoint, *tasks, *others, "-o", tmp_path / "results.json", "--json")
    assert status == 0, err
    rows = {(row["model"], row["protocol"]): row for row in json.loads(out)}
    assert set(rows) == {(m, p) for m in ("original", "retain", "guarded") for p in ("strict", "paper")}
    assert rows["retain", "strict"]["forget_quality"] == {"tofu/forget05": 1.0}
    measures = [rows[label, "paper"]["tasks"][0]["measures"] for label in ("original", "guarded")]
    assert measures[0]["answer_probability"] != measures[1]["answer_probability"]
    assert measures[1]["flagged"]["value"] == 0.5

    status, out, err = run("report", checkpoint, "--comparison", tmp_path / "results.json", "-o", tmp_path / "r.html")
    assert status == 0, err
    assert FLAGGED in (tmp_path / "r.html").read_text().replace("<mark>", "").replace("</mark>", "")


def test_report_asks_with_and_without_the_guard(run, checkpoint, prompt_files, tmp_path):  # noqa: F811
    asked = ["--forget", prompt_files["forget"], "--retain", prompt_files["retain"], "--limit", "2"]
    status, out, err = run("report", checkpoint, *asked, "--max-new-tokens", "4", "-o", tmp_path / "r.html", "--json")
    assert status == 0, err
    said = json.loads(out)
    assert said["file"] == str(tmp_path / "r.html")
    assert any("error rates" in line for line in said["not_measured"])
    assert not any("examples" in line for line in said["not_measured"])


# ---------------------------------------------------------------------------------------------------------------------
# Sharing and checking


def test_push_uploads_the_directory_or_the_guard_alone(run, checkpoint, monkeypatch):  # noqa: F811
    from huggingface_hub import CommitInfo

    uploads = []

    def upload(directory, repo_id, **options):
        files = {path.relative_to(directory).as_posix() for path in Path(directory).rglob("*") if path.is_file()}
        uploads.append((repo_id, files, options))
        return CommitInfo(
            commit_url="https://huggingface.co/me/x/commit/abc", commit_message="", commit_description="", oid="abc"
        )

    monkeypatch.setattr("hf_eco.checkpoint.hub_upload.upload", upload)
    status, out, err = run("push", checkpoint, "me/x", "--private", "-m", "First", "--json")
    assert status == 0, err
    assert json.loads(out)["commit"] == "abc"
    repo_id, files, options = uploads[0]
    assert repo_id == "me/x" and "model.safetensors" in files
    assert options["private"] is True and options["commit_message"] == "First"

    status, _, err = run("push", checkpoint, "me/guard", "--guard-only", "--base-model", "me/base")
    assert status == 0, err
    repo_id, files, _ = uploads[1]
    assert repo_id == "me/guard" and "model.safetensors" not in files and "config.json" in files


def test_doctor_finds_nothing_wrong_with_what_was_just_saved(run, checkpoint):  # noqa: F811
    status, out, _ = run("doctor", checkpoint, "--json")
    found = {check["what"]: check for check in json.loads(out)}
    assert status == 0
    assert {found[what]["status"] for what in ("torch", "config", "architecture", "guard", "weights")} == {"ok"}
    assert found["scope wizards"]["status"] == "note" and "not measured" in found["scope wizards"]["finding"]


def _lose_classifier(checkpoint: Path) -> None:
    (checkpoint / "classifier-wizards" / "model.safetensors").unlink()


def _lose_weights(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()


def _swap_letters(checkpoint: Path) -> None:
    document = json.loads((checkpoint / "tokenizer.json").read_text())
    vocabulary = document["model"]["vocab"]
    vocabulary["a"], vocabulary["e"] = vocabulary["e"], vocabulary["a"]
    (checkpoint / "tokenizer.json").write_text(json.dumps(document))


def _too_new(checkpoint: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    config["eco"]["version"] = 99
    (checkpoint / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "what", "said"),
    [
        (_lose_classifier, "guard", "its classifiers or its tokenizer are not as they were saved"),
        (_lose_weights, "weights", "model.safetensors"),
        (_swap_letters, "guard", "another tokenizer"),
        (_too_new, "config", "Upgrade hf-eco"),
    ],
    ids=["no classifier", "no weights", "another tokenizer", "a newer format"],
)
def test_doctor_names_what_is_wrong_and_ends_with_status_1(run, checkpoint, damage, what, said):  # noqa: F811
    damage(checkpoint)
    status, out, _ = run("doctor", checkpoint, "--json")
    found = {check["what"]: check for check in json.loads(out)}
    assert status == 1
    assert found[what]["status"] == "wrong" and said in found[what]["finding"]
    status, out, _ = run("doctor", checkpoint)
    assert status == 1 and "WRONG" in out


def test_a_checkpoint_answers_the_same_after_scopes_came_and_went(run, checkpoint, bakers):  # noqa: F811
    ids = torch.tensor([read_guard(str(checkpoint)).tokenizer(FLAGGED)["input_ids"]])
    before = AutoModelForCausalLMWithECO.from_pretrained(checkpoint)(ids).logits
    made = ["--scope", "bakers", "--classifier", bakers, "--label", "bakers", "--threshold", "0.999"]
    assert run("scopes", "add", checkpoint, *made)[0] == 0
    assert run("scopes", "remove", checkpoint, "bakers")[0] == 0
    torch.testing.assert_close(AutoModelForCausalLMWithECO.from_pretrained(checkpoint)(ids).logits, before)


@pytest.mark.parametrize("folder", ["a [/b] c", "[red]", "x[/]"])
def test_a_path_with_brackets_is_a_path(run, folder, base_dir, tmp_path):  # noqa: F811
    path = tmp_path / folder  # rich would take it for markup, and end with an error when all is done
    for arguments in (
        ("guard", base_dir, "--name", "Jane Dorrington", "-o", path, "--retain", folder_of_prompts(tmp_path, folder)),
        ("scopes", "add", path, "--scope", "x", "--name", "John Farthingale"),
        ("inspect", path, f"Who is Jane Dorrington {folder} ?"),
        ("scopes", "list", path),
        ("doctor", path),
        ("scopes", "remove", path, "x"),
    ):
        status, out, err = run(*map(str, arguments))
        assert (status, err) == (0, ""), err
        assert folder in out or arguments[0] == "doctor" or arguments[1] == "list"


def folder_of_prompts(tmp_path, folder):
    (tmp_path / "retain.txt").write_text(f"Is Jane Dorrington in {folder} ?\n")
    return tmp_path / "retain.txt"


def test_a_hub_out_of_reach_is_one_line(run, guarded, monkeypatch, tmp_path):  # noqa: F811
    guarded.save_guard(tmp_path / "guard", base_model="me/base")

    def unreachable(*_: object, **__: object) -> None:
        raise HfHubHTTPError.__bases__[0]("Name or service not known")

    monkeypatch.setattr("hf_eco.checkpoint.hub_upload.upload", unreachable)
    status, _, err = run("push", tmp_path / "guard", "me/guard")
    assert status == 1
    assert err.strip().splitlines()[-1].startswith("Error: The Hub cannot be reached: Name or service not known")


def test_packages_stand_in_only_where_the_hub_does_not_answer(monkeypatch):
    packaged._to_be_had.cache_clear()
    monkeypatch.setattr(packaged, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(packaged, "_package_file", lambda *_: Path("/package/model"))
    monkeypatch.setattr(packaged.HfApi, "model_info", lambda *_, **__: None)
    assert packaged.resolve(packaged.MINILM) == packaged.MINILM
    packaged._to_be_had.cache_clear()

    def unreachable(*_: object, **__: object) -> None:
        raise HfHubHTTPError.__bases__[0]("Name or service not known")

    monkeypatch.setattr(packaged.HfApi, "model_info", unreachable)
    assert packaged.resolve(packaged.MINILM) == "/package/model"
    packaged._to_be_had.cache_clear()
