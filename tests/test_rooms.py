"""The rooms of docs/architecture.md: a machine checks their arrows, and an arrow that runs up is found."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("importlinter")
ROOT = Path(__file__).parents[1]
FORBIDDEN = {  # by the contract that is broken: a file, and what it must not import
    "A room imports those below it": ("guard/plan.py", "from ..inference.hooks import EmbeddingHooks"),
    "A room imports those below it ": ("inference/caches.py", "from ..checkpoint.format import MODEL_TYPE"),
    "Corruption is torch alone": ("corruption.py", "from .errors import GuardError"),
    "What reads a guard's config does without torch": ("io/rows.py", "import torch"),
    "No circles": ("guard/verdict.py", "from .guard import Guard"),
}


def lint(directory: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-c",
        "import sys; from importlinter.cli import lint_imports_command as c; sys.exit(c())",
    ]
    environment = {**os.environ, "PYTHONPATH": str(directory)}
    options = ["--config", "pyproject.toml", "--no-cache"]
    return subprocess.run([*command, *options], cwd=directory, env=environment, capture_output=True, text=True)


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the package and its contracts."""
    shutil.copytree(ROOT / "hf_eco", tmp_path / "hf_eco", ignore=shutil.ignore_patterns("__pycache__", "*.jsonl"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_arrow_runs_down(house: Path) -> None:
    done = lint(house)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("contract", FORBIDDEN)
def test_an_import_that_is_forbidden_is_found(house: Path, contract: str) -> None:
    file, line = FORBIDDEN[contract]
    path = house / "hf_eco" / file
    path.write_text(path.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    done = lint(house)
    assert done.returncode == 1
    assert any(contract.strip() in said and "BROKEN" in said for said in done.stdout.splitlines())


def test_the_guard_and_what_is_below_know_nothing_of_generation() -> None:
    """Which the linter cannot see: for it transformers is one thing."""
    found = []
    for room in ("guard", "detection"):
        for path in sorted((ROOT / "hf_eco" / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("transformers"):
                    names = {alias.name for alias in node.names}
                    known = {"AutoConfig", "AutoModel", "AutoModelForSequenceClassification", "AutoTokenizer"}
                    known |= {"AutoModelForTokenClassification", "PreTrainedModel", "PreTrainedTokenizerBase"}
                    found += [(path.name, name) for name in names - known - {"cached_file", "logging"}]
    assert found == []


def test_private_names_of_transformers_stand_in_one_file() -> None:
    """No underscore name of an object of transformers' is used anywhere else."""
    private = ("_model_mapping", "_attn_implementation_internal", "_is_stateful", "_hf_peft_config_loaded")
    private += (
        "_supports_default_dynamic_cache",
        "_raise_exceptions",
        "_encode_special_floats",
        "extract_commit_hash",
    )
    private += ("_true_initial_tokens", "batch_processor", "transformers.cache_utils")
    found = [
        (str(path.relative_to(ROOT)), name)
        for path in sorted((ROOT / "hf_eco").rglob("*.py"))
        if path.name != "_transformers.py"
        for name in private
        if name in path.read_text(encoding="utf-8")
    ]
    assert found == []
